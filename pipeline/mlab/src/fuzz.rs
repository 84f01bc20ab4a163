//! The rules that hold for any bytes of a measurement; the fuzz targets call these functions.

use std::cell::RefCell;
use std::collections::BTreeMap;

use groma_load::fuzz::check_rows;
use groma_schema::Schema;

/// Traceroutes of both kinds.
pub fn scamper(data: &[u8]) {
    built_in("scamper1", "x.jsonl", data);
    built_in("scamper2", "x.jsonl", data);
}

/// Files of tcp-info, and a file with a netlink record of these bytes.
pub fn tcpinfo(data: &[u8]) {
    use base64::prelude::{BASE64_STANDARD, Engine as _};
    let file = "x.00000.jsonl";
    built_in("tcpinfo", file, data);
    let Some((message, mut rest)) = data.split_at_checked(groma_diag::MESSAGE_BYTES) else {
        return;
    };
    let mut attributes = Vec::new();
    while let Some((length, tail)) = rest.split_first() {
        let (attribute, behind) = tail.split_at(usize::from(*length).min(tail.len()));
        attributes.push((!attribute.is_empty()).then(|| BASE64_STANDARD.encode(attribute)));
        rest = behind;
    }
    let line = serde_json::json!({
        "Timestamp": "2024-01-02T03:04:05Z", "RawIDM": BASE64_STANDARD.encode(message), "Attributes": attributes,
    });
    let metadata = r#"{"Timestamp":"2024-01-02T03:04:05Z","Metadata":{"UUID":"u"}}"#;
    built_in("tcpinfo", file, format!("{metadata}\n{line}").as_bytes());
}

/// Captures.
pub fn pcap(data: &[u8]) {
    built_in("pcap", "x.pcap", data);
}

/// The JSON datatypes with rules of their own. The first byte selects one.
pub fn json_by_rules(data: &[u8]) {
    let Some((first, json)) = data.split_first() else {
        return;
    };
    match first % 7 {
        0 => built_in("ndt5", "x.json", json),
        1 => built_in("annotation2", "x.json", json),
        2 => built_in("switch", "x.json", json),
        3 => built_in("switch", "x.jsonl", json),
        4 => built_in("unadmitted", "x.jsonl", json),
        5 => built_in("hopannotation2", "x.json", json),
        _ => built_in("nodeinfo1", "x.json", json),
    }
}

fn built_in(datatype: &'static str, file: &str, data: &[u8]) {
    thread_local! {
        static PARSED: RefCell<BTreeMap<&'static str, Schema>> = const { RefCell::new(BTreeMap::new()) };
    }
    PARSED.with_borrow_mut(|parsed| {
        let schema = parsed.entry(datatype).or_insert_with(|| {
            let text = groma_schema::datatype(datatype).expect("built in");
            Schema::parse(text).expect("tested")
        });
        check_rows(crate::datatype(datatype), schema, file, data);
    });
}

#[cfg(test)]
mod tests {
    /// Every real sample through every target, as the fuzzer's seeds would be.
    #[test]
    fn real_samples_hold() {
        let targets: [fn(&[u8]); 4] = [
            super::scamper,
            super::tcpinfo,
            super::pcap,
            super::json_by_rules,
        ];
        // Enough for every rule; whole captures take their time without optimisation.
        groma_tests::for_each_sample(1 << 16, |bytes| {
            for target in &targets {
                target(bytes);
            }
        });
    }
}
