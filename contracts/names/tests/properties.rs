//! Whatever is valid prints as it was read; whatever is not never panics.

use groma_names::{HostName, Node, ObjectName};
use proptest::prelude::*;

fn label() -> impl Strategy<Value = String> {
    "[a-z][a-z0-9]{0,8}"
}

fn node() -> impl Strategy<Value = String> {
    prop_oneof![
        "mlab[0-9]d?-[a-z]{3}[0-9][0-9tc]",
        "[0-9a-f]{8}-[a-z]{3}[0-9]{1,10}",
        Just("third-party".to_owned())
    ]
}

fn day() -> impl Strategy<Value = String> {
    (1970..2100, 1..13, 1..29).prop_map(|(year, month, day)| format!("{year}/{month:02}/{day:02}"))
}

fn stamp() -> impl Strategy<Value = String> {
    (day(), 0..24, 0..60, 0..60, "(\\.[0-9]{0,9})?").prop_map(
        |(day, hour, minute, second, fraction)| {
            format!(
                "{}T{hour:02}{minute:02}{second:02}{fraction}Z",
                day.replace('/', "")
            )
        },
    )
}

fn archive() -> impl Strategy<Value = String> {
    let experiment = "[a-z][a-z0-9]{0,5}([-_][a-z0-9]{1,5}){0,2}";
    let tail = "(-[0-9]{4})?(-e)?\\.(tgz|tar|tar\\.gz)";
    (
        experiment,
        prop::option::of(label()),
        day(),
        stamp(),
        any::<bool>(),
        node(),
        tail,
    )
        .prop_map(|(experiment, datatype, day, stamp, repeats, node, tail)| {
            let directory = datatype
                .as_ref()
                .map_or(String::new(), |datatype| format!("{datatype}/"));
            let second = datatype
                .filter(|_| repeats)
                .map_or(String::new(), |datatype| format!("-{datatype}"));
            format!("{experiment}/{directory}{day}/{stamp}{second}-{node}-{experiment}{tail}")
        })
}

fn bundle() -> impl Strategy<Value = String> {
    let root = prop_oneof![
        Just("autoload/v1".to_owned()),
        "autoload/v[2-9]/[a-z0-9]{1,8}",
        "[a-z]{3}/[a-z0-9]{1,8}"
    ];
    (root, label(), label(), day(), stamp(), node(), any::<bool>()).prop_map(
        |(root, experiment, datatype, day, stamp, node, is_index)| {
            let (directory, part) = if is_index { ("index1", "index1") } else { (datatype.as_str(), "data") };
            format!("{root}/{experiment}/{directory}/{day}/{stamp}-{datatype}-{node}-{experiment}-{part}.jsonl.gz")
        },
    )
}

fn table() -> impl Strategy<Value = String> {
    ("autoload/v[1-9]", "([a-z0-9]{1,8}/)?", label(), label()).prop_map(
        |(prefix, organization, experiment, datatype)| {
            format!("{prefix}/tables/{organization}{experiment}/{datatype}.table.json")
        },
    )
}

fn host() -> impl Strategy<Value = String> {
    prop_oneof![
        "([a-z]{1,4}\\.[a-z]{1,5}\\.)?mlab[0-9]d?\\.[a-z]{3}[0-9][0-9tc]\\.measurement-lab\\.org",
        "([a-z]{1,4}-)?mlab[0-9]d?-[a-z]{3}[0-9][0-9tc]\\.[a-z]{1,5}\\.measurement-lab\\.org(-[a-z0-9]{4})?",
        "([a-z]{1,4}-)?[a-z]{3}[0-9]{1,10}-[0-9a-f]{8}\\.[a-z0-9]{1,5}\\.[a-z]{1,5}\\.measurement-lab\\.org",
    ]
}

/// A valid name with one byte added, removed or doubled, as fuzzers of text formats produce it.
fn bent(name: impl Strategy<Value = String>) -> impl Strategy<Value = String> {
    (name, any::<prop::sample::Index>(), any::<char>(), 0..3).prop_map(|(name, at, char, what)| {
        let mut chars: Vec<char> = name.chars().collect();
        let at = at.index(chars.len());
        match what {
            0 => chars[at] = char,
            1 => chars.insert(at, char),
            _ => drop(chars.remove(at)),
        }
        chars.into_iter().collect()
    })
}

proptest! {
    #[test]
    fn valid_object_names_print_as_they_were_read(name in prop_oneof![archive(), bundle(), table()]) {
        let read: ObjectName = name.parse().map_err(|error| TestCaseError::fail(format!("{error}")))?;
        prop_assert_eq!(read.to_string(), name.clone());
        let file = name.rsplit('/').next().unwrap();
        prop_assert!(file.starts_with(&read.stem()));
        let location = format!("gs://bucket/{name}");
        prop_assert_eq!(ObjectName::strip_base(&location).unwrap(), ("gs://bucket/", read));
    }

    #[test]
    fn valid_host_names_print_as_they_were_read(name in host()) {
        let read: HostName = name.parse().map_err(|error| TestCaseError::fail(format!("{error}")))?;
        prop_assert_eq!(read.to_string(), name);
        prop_assert_eq!(&read.node().to_string().parse::<Node>().unwrap(), read.node());
    }

    #[test]
    fn bent_names_are_refused_or_print_as_they_were_read(name in bent(prop_oneof![archive(), bundle(), table(), host()])) {
        if let Ok(read) = name.parse::<ObjectName>() {
            prop_assert_eq!(read.to_string(), name.clone());
        }
        if let Ok(read) = name.parse::<HostName>() {
            prop_assert_eq!(read.to_string(), name.clone());
        }
        if let Ok((base, read)) = ObjectName::strip_base(&name) {
            prop_assert_eq!(format!("{base}{read}"), name);
        }
    }

    #[test]
    fn noise_never_panics(name in "\\PC{0,80}") {
        let _ = (name.parse::<ObjectName>(), name.parse::<HostName>(), name.parse::<Node>());
        let _ = ObjectName::strip_base(&name);
    }
}
