//! M-Lab's jostler.

use std::path::{Path, PathBuf};
use std::time::Duration;

use groma_schema::Schema;
use groma_service::{FlagNames, GoFlagError, GoFlags, parse_duration, parse_switch, value_error};
use groma_spool::Name;

use super::{Adjust, Compat, bucket, name, needed, node, not_empty, or_file};
use crate::{DatatypeConfig, Form};

const PRIVACY_FLAG: &str = "datatype-privacy-file";

pub(super) const FLAGS: &FlagNames = &[
    ("gcs-bucket", false),
    ("gcs-data-dir", false),
    ("mlab-node-name", false),
    ("organization", false),
    ("upload-schema", true),
    ("bundle-size-max", false),
    ("bundle-age-max", false),
    ("local-data-dir", false),
    ("extensions", false),
    ("experiment", false),
    ("datatype", false),
    ("datatype-schema-file", false),
    // Groma's own: M-Lab's schemas say nothing about privacy.
    (PRIVACY_FLAG, false),
    ("missed-age", false),
    ("missed-interval", false),
    ("verbose", true),
    ("local", true),
    ("gcs-local-disk", true),
    ("test-interval", false),
    ("prometheusx.listen-address", false),
];

/// The trees are watched and walked all the time; `GROMA_LOG` says how much is logged.
const WITHOUT_EFFECT: &[&str] = &["missed-interval", "verbose", "test-interval"];

pub(super) fn read<E: Fn(&str) -> Option<String>>(
    flags: &GoFlags<E>,
) -> Result<Compat, GoFlagError> {
    for (flag, instead) in [
        (
            "local",
            "not done here; the table's schema is in the archive, beside the data",
        ),
        ("gcs-local-disk", "give a directory as -gcs-bucket instead"),
    ] {
        if flags.read(flag, false, parse_switch)? {
            return Err(value_error(flag)(instead));
        }
    }
    let extensions = flags.list("extensions");
    if extensions.iter().any(|extension| extension != ".json") {
        return Err(value_error("extensions")(
            "only .json is published as JSON lines",
        ));
    }
    let or = |flag, default: &str| flags.last(flag).unwrap_or_else(|| default.to_owned());
    let spool = PathBuf::from(or("local-data-dir", "/var/spool"));
    let experiment = name("experiment", &needed(flags, "experiment")?)?;
    let schema_files = flags.list("datatype-schema-file");
    let privacy_files = flags.list(PRIVACY_FLAG);
    let datatypes = flags.list("datatype");
    let datatypes = datatypes
        .iter()
        .map(|datatype| read_datatype(datatype, &schema_files, &privacy_files, &spool))
        .collect::<Result<_, _>>()?;
    let host = or_file("mlab-node-name", &needed(flags, "mlab-node-name")?)?;
    Ok(Compat {
        archive: bucket(needed(flags, "gcs-bucket")?),
        listen_address: or("prometheusx.listen-address", "127.0.0.1:9990"),
        is_dry_run: false,
        without_effect: flags.given(WITHOUT_EFFECT),
        directory: spool.join(experiment.as_str()),
        experiment,
        datatypes: not_empty("datatype", datatypes)?,
        node: node("mlab-node-name", &host)?,
        adjust: Adjust {
            data_prefix: Some(or("gcs-data-dir", "autoload/v1")),
            organization: flags.last("organization"),
            leaves_tables: !flags.read("upload-schema", true, parse_switch)?,
            flush_age: flags.read("bundle-age-max", Duration::from_hours(1), parse_duration)?,
            flush_bytes: flags.read("bundle-size-max", 20 * 1024 * 1024, str::parse)?,
            settle: flags.read("missed-age", Duration::from_hours(3), parse_duration)?,
            ..Adjust::default()
        },
    })
}

/// A datatype and its schema, `<datatype>:<path>` or the file where jostler looks for it.
fn read_datatype(
    text: &str,
    schema_files: &[String],
    privacy_files: &[String],
    spool: &Path,
) -> Result<DatatypeConfig, GoFlagError> {
    const FLAG: &str = "datatype-schema-file";
    let datatype: Name = name("datatype", text)?;
    let given = of_datatype(schema_files, text);
    let path = given.unwrap_or_else(|| spool.join("datatypes").join(format!("{text}.json")));
    let failed = |error: &dyn std::fmt::Display| {
        value_error(FLAG)(format!("read the schema {}: {error}", path.display()))
    };
    let json = std::fs::read_to_string(&path).map_err(|error| failed(&error))?;
    let mut schema = Schema::parse(&json).map_err(|error| failed(&error))?;
    declare_privacy(&mut schema, text, of_datatype(privacy_files, text))?;
    Ok(DatatypeConfig {
        name: datatype,
        form: Form::Jsonl,
        schema: Some(schema),
    })
}

/// The file of a datatype in a list of `<datatype>:<path>`.
fn of_datatype(files: &[String], datatype: &str) -> Option<PathBuf> {
    files.iter().find_map(|file| {
        let (of, path) = file.split_once(':')?;
        (of == datatype).then(|| PathBuf::from(path))
    })
}

/// Adds the operator's declarations to a schema. A schema with texts that says nothing about privacy needs them: without,
/// every file with an address or a long text would go to quarantine.
fn declare_privacy(
    schema: &mut Schema,
    datatype: &str,
    file: Option<PathBuf>,
) -> Result<(), GoFlagError> {
    if let Some(file) = file {
        let failed = |error: &dyn std::fmt::Display| {
            value_error(PRIVACY_FLAG)(format!("read {}: {error}", file.display()))
        };
        let text = std::fs::read_to_string(&file).map_err(|error| failed(&error))?;
        return schema.declare(&text).map_err(|error| failed(&error));
    }
    let texts = schema.undeclared_texts();
    if texts.is_empty() || !schema.has_no_privacy() {
        return Ok(());
    }
    Err(value_error(PRIVACY_FLAG)(format!(
        "the schema of {datatype} does not declare the privacy of its texts ({}); give {datatype}:FILE, a JSON object of \
         fields and their privacy, such as {{\"{}\": \"none\"}}",
        texts.join(", "),
        texts[0]
    )))
}
