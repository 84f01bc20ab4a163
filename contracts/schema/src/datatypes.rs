//! Datatypes that belong to no experiment. All but `unadmitted` are M-Lab's: names, order and types are those of its tables
//! (`platform` reference, exact row schemas), descriptions and additions ours. They are files in `datatypes/`, built in.

/// Name of the datatype → its schema file's JSON, by name.
pub const DATATYPES: &[(&str, &str)] = &[
    ("annotation2", include_str!("../datatypes/annotation2.json")),
    (
        "hopannotation2",
        include_str!("../datatypes/hopannotation2.json"),
    ),
    ("ndt5", include_str!("../datatypes/ndt5.json")),
    ("nodeinfo1", include_str!("../datatypes/nodeinfo1.json")),
    ("pcap", include_str!("../datatypes/pcap.json")),
    ("scamper1", include_str!("../datatypes/scamper1.json")),
    ("scamper2", include_str!("../datatypes/scamper2.json")),
    ("switch", include_str!("../datatypes/switch.json")),
    ("tcpinfo", include_str!("../datatypes/tcpinfo.json")),
    ("unadmitted", include_str!("../datatypes/unadmitted.json")),
];

/// The schema file of a built-in datatype, as JSON text; `None` for one that is not built in.
pub fn datatype(name: &str) -> Option<&'static str> {
    DATATYPES
        .iter()
        .find(|(known, _)| *known == name)
        .map(|(_, json)| *json)
}

#[cfg(test)]
mod tests {
    use super::{DATATYPES, datatype};
    use crate::Schema;

    #[test]
    fn every_file_is_a_schema_and_found_by_its_name() {
        for (name, json) in DATATYPES {
            let schema = Schema::parse(json).unwrap_or_else(|error| panic!("{name}: {error}"));
            assert!(!schema.fields.is_empty(), "{name}");
            assert_eq!(datatype(name), Some(*json));
        }
        assert_eq!(datatype("ndt7"), None);
    }
}
