//! A datatype of which only the schema is known.

use serde_json::Value;

use super::base_name;
use crate::source::Archiver;

pub(super) fn is_wanted(member: &str) -> bool {
    let name = base_name(member);
    let stem = name.strip_suffix(".gz").unwrap_or(name);
    stem.strip_suffix(".json")
        .is_some_and(|rest| !rest.is_empty())
}

/// The key is the line's own `id`, else the measurement's top-level `UUID` or `id`, else the connection UUID of the file name.
pub(super) fn key(id: Option<String>, archiver: &Archiver, raw: &Value) -> Option<String> {
    id.or_else(|| own_key(raw)).or_else(|| {
        let name = archiver.filename.as_deref()?;
        uuid_of(base_name(name)).map(str::to_owned)
    })
}

fn own_key(raw: &Value) -> Option<String> {
    let fields = raw.as_object()?;
    ["uuid", "id"].into_iter().find_map(|wanted| {
        let (_, value) = fields
            .iter()
            .find(|(key, _)| key.eq_ignore_ascii_case(wanted))?;
        value
            .as_str()
            .filter(|text| !text.is_empty())
            .map(str::to_owned)
    })
}

/// The first dot-separated piece of the form `<name>_<boot time>_<16 hex>`.
fn uuid_of(file: &str) -> Option<&str> {
    file.split('.').find(|piece| {
        let mut parts = piece.rsplitn(3, '_');
        let cookie = parts.next().unwrap_or_default();
        let boot = parts.next().unwrap_or_default();
        cookie.len() == 16
            && cookie.bytes().all(|b| b.is_ascii_hexdigit())
            && !boot.is_empty()
            && boot.bytes().all(|b| b.is_ascii_digit() || boot == "unsafe")
            && parts.next().is_some_and(|name| !name.is_empty())
    })
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::{is_wanted, key};
    use crate::source::Archiver;

    #[test]
    fn wants_json_members_only() {
        for (name, wanted) in [
            ("2024/01/02/a.json", true),
            ("a.json.gz", true),
            ("a.jsonl", false),
            (".json", false),
            ("", false),
            ("../../etc/passwd", false),
        ] {
            assert_eq!(is_wanted(name), wanted, "{name}");
        }
    }

    #[test]
    fn finds_the_key_where_it_stands() {
        let from = |id: Option<&str>, raw: Value, file: &str| {
            let archiver = Archiver {
                filename: Some(file.to_owned()),
                ..Archiver::default()
            };
            key(id.map(str::to_owned), &archiver, &raw)
        };
        let uuid = "host-x_1583603744_00000000000058E8";
        let file = format!("2020/03/18/20200318T000643Z.{uuid}.json");
        assert_eq!(
            from(Some("line"), json!({"UUID": "raw"}), &file).as_deref(),
            Some("line")
        );
        assert_eq!(
            from(None, json!({"uuid": "raw"}), &file).as_deref(),
            Some("raw")
        );
        assert_eq!(from(None, json!({"ID": ""}), &file).as_deref(), Some(uuid));
        assert_eq!(from(None, json!({}), "plain.json"), None);
    }
}
