//! M-Lab's pusher, v1.20 as its nodes run it and later.

use std::time::Duration;

use groma_names::Node;
use groma_service::{
    FlagNames, GoFlagError, GoFlags, parse_byte_count, parse_duration, parse_switch, value_error,
};
use groma_spool::Name;

use super::{Adjust, Compat, bucket, name, needed, node, not_empty, or_file};
use crate::{DatatypeConfig, Form};

pub(super) const FLAGS: &FlagNames = &[
    ("project", false),
    ("directory", false),
    ("bucket", false),
    ("experiment", false),
    ("datatype", false),
    ("mlab_node_name", false),
    ("node_name", false),
    ("metadata", false),
    ("archive_size_threshold", false),
    ("archive_wait_time_min", false),
    ("archive_wait_time_expected", false),
    ("archive_wait_time_max", false),
    ("cleanup_interval", false),
    ("cleanup_interval_max", false),
    ("max_file_age", false),
    ("sigterm_wait_time", false),
    ("upload_timeout", false),
    ("dry_run", true),
    ("prometheusx.listen-address", false),
];

/// Nothing of M-Lab's project is in a name; the trees are watched and walked all the time; the archive's client has its
/// own time limits, and a bundle's age is not left to chance.
const WITHOUT_EFFECT: &[&str] = &[
    "project",
    "archive_wait_time_min",
    "archive_wait_time_max",
    "cleanup_interval",
    "cleanup_interval_max",
    "upload_timeout",
];

pub(super) fn read<E: Fn(&str) -> Option<String>>(
    flags: &GoFlags<E>,
) -> Result<Compat, GoFlagError> {
    let or = |flag, default: &str| flags.last(flag).unwrap_or_else(|| default.to_owned());
    let datatypes: Vec<_> = flags
        .list("datatype")
        .iter()
        .map(|text| datatype(text))
        .collect();
    let datatypes = not_empty("datatype", datatypes)?;
    Ok(Compat {
        archive: bucket(needed(flags, "bucket")?),
        listen_address: or("prometheusx.listen-address", "127.0.0.1:9990"),
        is_dry_run: flags.read("dry_run", false, parse_switch)?,
        without_effect: flags.given(WITHOUT_EFFECT),
        directory: or("directory", "/var/spool").into(),
        experiment: name("experiment", &needed(flags, "experiment")?)?,
        datatypes: datatypes.into_iter().collect::<Result<_, _>>()?,
        node: the_node(flags)?,
        adjust: Adjust {
            flush_age: age(flags)?,
            flush_bytes: flags.read("archive_size_threshold", 20_000_000, parse_byte_count)?,
            settle: flags.read("max_file_age", Duration::from_hours(4), parse_duration)?,
            grace: Some(flags.read(
                "sigterm_wait_time",
                Duration::from_secs(150),
                parse_duration,
            )?),
            metadata: metadata(&flags.list("metadata"))?,
            ..Adjust::default()
        },
    })
}

/// `<datatype>` or `<datatype>=<ratio>`. The publisher never drops results: an unwanted test
/// should not be measured.
fn datatype(text: &str) -> Result<DatatypeConfig, GoFlagError> {
    const FLAG: &str = "datatype";
    let (datatype, ratio) = text.split_once('=').unwrap_or((text, "1"));
    let datatype: Name = name(FLAG, datatype)?;
    match ratio.parse::<f64>() {
        Ok(1.0) => Ok(DatatypeConfig {
            name: datatype,
            form: Form::Tgz,
            schema: None,
        }),
        Ok(ratio) if (0.0..1.0).contains(&ratio) => Err(value_error(FLAG)(format!(
            "{text}: a ratio below 1 throws results away, which Groma does not do; give {datatype}=1 or {datatype} alone"
        ))),
        _ => Err(value_error(FLAG)(format!(
            "{text}: {ratio:?} is not a ratio between 0 and 1"
        ))),
    }
}

/// `-node_name`, `<machine>-<site>`, goes before the host name.
fn the_node<E: Fn(&str) -> Option<String>>(flags: &GoFlags<E>) -> Result<Node, GoFlagError> {
    let Some(text) = flags.last("node_name") else {
        return node("mlab_node_name", &needed(flags, "mlab_node_name")?);
    };
    text.parse().map_err(value_error("node_name"))
}

fn age<E: Fn(&str) -> Option<String>>(flags: &GoFlags<E>) -> Result<Duration, GoFlagError> {
    let read = |flag, minutes| flags.read(flag, Duration::from_mins(minutes), parse_duration);
    let expected = read("archive_wait_time_expected", 60)?;
    let (min, max) = (
        read("archive_wait_time_min", 30)?,
        read("archive_wait_time_max", 120)?,
    );
    if expected < min || (!max.is_zero() && max < expected) {
        return Err(value_error("archive_wait_time_expected")(
            "it must be between -archive_wait_time_min and -archive_wait_time_max",
        ));
    }
    Ok(expected)
}

fn metadata(items: &[String]) -> Result<Vec<(String, String)>, GoFlagError> {
    const FLAG: &str = "metadata";
    let read = |item: &String| {
        let (key, value) = item
            .split_once('=')
            .ok_or_else(|| value_error(FLAG)(format!("{item:?} is not KEY=VALUE")))?;
        Ok((key.to_owned(), or_file(FLAG, value)?))
    };
    items.iter().map(read).collect()
}
