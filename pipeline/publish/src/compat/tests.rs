use std::fs;
use std::time::Duration;

use super::*;
use crate::Form;

fn read(
    program: Program,
    line: &str,
    environment: &[(&str, &str)],
) -> Result<(Compat, Config), String> {
    let arguments: Vec<String> = line.split_whitespace().map(str::to_owned).collect();
    let compat = parse(program, &arguments, |name| {
        let found = environment.iter().find(|(key, _)| *key == name);
        found.map(|(_, value)| (*value).to_owned())
    })
    .map_err(|error| error.to_string())?;
    let config = compat.config(None).map_err(|error| error.to_string())?;
    Ok((compat, config))
}

#[test]
fn pushers_production_line_is_understood() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("image"), "measurementlab/pusher:v1.20.3\n").unwrap();
    let at = dir.path().display();
    let line = format!(
        "-prometheusx.listen-address=127.0.0.1:9995 -experiment=ndt --archive_size_threshold 50MB -directory={at}/ndt \
         -datatype=tcpinfo -datatype=pcap,scamper1 -datatype ndt7=1.0 -metadata=MLAB.experiment.name=ndt \
         -metadata=MLAB.pusher.image=@{at}/image -sigterm_wait_time=40s -upload_timeout=30m"
    );
    let environment = [
        ("BUCKET", "pusher-mlab-oti"),
        ("MLAB_NODE_NAME", "mlab2-lga03.mlab-oti.measurement-lab.org"),
        ("ARCHIVE_SIZE_THRESHOLD", "1KB"),
    ];
    let (compat, config) = read(Program::Pusher, &line, &environment).unwrap();
    assert_eq!(compat.archive, "gs://pusher-mlab-oti");
    assert_eq!(compat.without_effect, ["upload_timeout"]);
    assert_eq!(config.flush_bytes, 50_000_000);
    assert_eq!(
        (config.flush_age, config.settle, config.grace),
        (
            Duration::from_hours(1),
            Duration::from_hours(4),
            Duration::from_secs(40)
        )
    );
    assert_eq!(
        (config.node.machine(), config.node.site()),
        ("mlab2", "lga03")
    );
    let names: Vec<_> = config.datatypes.iter().map(|d| d.name.as_str()).collect();
    assert_eq!(names, ["tcpinfo", "pcap", "scamper1", "ndt7"]);
    assert_eq!(config.metadata[1].1, "measurementlab/pusher:v1.20.3");
    assert_eq!(config.state_dir, dir.path().join("ndt/.groma-publish"));
}

#[test]
fn what_pusher_would_do_and_groma_does_not_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let good = format!(
        "-directory={} -bucket=b -experiment=ndt -mlab_node_name=mlab2-lga03.mlab-oti.measurement-lab.org",
        dir.path().display()
    );
    for (flags, reason) in [
        ("-datatype=ndt7=0.5", "throws results away"),
        ("-datatype=ndt7=2", "not a ratio"),
        ("-datatype=ndt7=NaN", "not a ratio"),
        ("", "-datatype: at least one"),
        ("-datatype=Ndt7", "-datatype"),
        ("-datatype=ndt7 -dry_run=perhaps", "-dry_run"),
        ("-datatype=ndt7 -archiv=1", "unknown flag -archiv"),
        ("-datatype=ndt7 -metadata=key", "KEY=VALUE"),
        ("-datatype=ndt7 -metadata=key=@/nowhere", "/nowhere"),
        ("-datatype=ndt7 -node_name=x", "-node_name"),
        ("-datatype=ndt7 -archive_wait_time_expected=3h", "between"),
        ("-datatype=ndt7 -bucket=", "-bucket: it must be given"),
    ] {
        let error = read(Program::Pusher, &format!("{good} {flags}"), &[]).unwrap_err();
        assert!(error.contains(reason), "{flags}: {error}");
    }
}

#[test]
fn jostlers_production_line_is_understood() {
    let dir = tempfile::tempdir().unwrap();
    let at = dir.path().display();
    fs::create_dir(dir.path().join("datatypes")).unwrap();
    let schema = r#"[{"name":"a","type":"INTEGER"}]"#;
    fs::write(dir.path().join("datatypes/foo1.json"), schema).unwrap();
    fs::write(dir.path().join("bar1.schema"), schema).unwrap();
    let host = "lga12345-c0a80001.org.autojoin.measurement-lab.org\n";
    fs::write(dir.path().join("hostname"), host).unwrap();
    let line = format!(
        "-gcs-bucket={at}/archive -gcs-data-dir=autoload/v2 -organization=org -upload-schema=false -experiment=speed \
         -mlab-node-name=@{at}/hostname -local-data-dir={at} -datatype=foo1 -datatype=bar1 -verbose \
         -datatype-schema-file=bar1:{at}/bar1.schema -bundle-size-max=52428800 -bundle-age-max=1h -missed-age=2h \
         -missed-interval=5m"
    );
    let (compat, config) = read(Program::Jostler, &line, &[]).unwrap();
    assert_eq!(compat.archive, format!("{at}/archive"));
    assert_eq!(compat.without_effect, ["missed-interval", "verbose"]);
    assert_eq!(config.flush_bytes, 52_428_800);
    assert_eq!(config.spool.path(), dir.path().join("speed"));
    assert_eq!(config.node.machine(), "c0a80001");
    assert!(!config.puts_tables);
    assert_eq!(config.data_prefix, "autoload/v2");
    for datatype in &config.datatypes {
        assert_eq!(datatype.form, Form::Jsonl);
        assert_eq!(datatype.schema.as_ref().unwrap().fields.len(), 1);
    }
    for (flags, reason) in [
        ("-local", "-local"),
        ("-gcs-local-disk", "directory as -gcs-bucket"),
        ("-extensions=.json,.txt", "only .json"),
        ("-datatype=lacking", "datatypes/lacking.json"),
    ] {
        let error = read(Program::Jostler, &format!("{line} {flags}"), &[]).unwrap_err();
        assert!(error.contains(reason), "{flags}: {error}");
    }
}

#[test]
fn a_schema_without_privacy_needs_the_operators_declarations() {
    let dir = tempfile::tempdir().unwrap();
    let at = dir.path().display();
    fs::create_dir(dir.path().join("datatypes")).unwrap();
    let schema = r#"[{"name":"Client","type":"STRING"},{"name":"Rate","type":"FLOAT"}]"#;
    fs::write(dir.path().join("datatypes/throughput1.json"), schema).unwrap();
    let line = format!(
        "-gcs-bucket={at}/archive -experiment=msak -local-data-dir={at} -datatype=throughput1 \
         -mlab-node-name=lga12345-c0a80001.org.autojoin.measurement-lab.org"
    );
    let error = read(Program::Jostler, &line, &[]).unwrap_err();
    for part in ["-datatype-privacy-file", "throughput1:FILE", "Client"] {
        assert!(error.contains(part), "{error}");
    }
    let file = dir.path().join("throughput1.privacy.json");
    let with = format!(
        "{line} -datatype-privacy-file=throughput1:{}",
        file.display()
    );
    for (text, reason) in [
        (None, "No such file"),
        (Some(r#"{"Klient": "client_ip"}"#), "`Klient`"),
        (Some(r#"{"Rate": "client_ip"}"#), "does not fit"),
    ] {
        if let Some(text) = text {
            fs::write(&file, text).unwrap();
        }
        let error = read(Program::Jostler, &with, &[]).unwrap_err();
        assert!(error.contains(reason), "{error}");
    }
    fs::write(&file, r#"{"Client": "client_ip"}"#).unwrap();
    let (_, config) = read(Program::Jostler, &with, &[]).unwrap();
    let schema = config.datatypes[0].schema.as_ref().unwrap();
    assert!(schema.undeclared_texts().is_empty());
    // A program that gets its flags from the environment gets this one, too.
    let environment = [(
        "DATATYPE_PRIVACY_FILE",
        &*format!("throughput1:{}", file.display()),
    )];
    read(Program::Jostler, &line, &environment).unwrap();
}
