//! The manifest that ships, and ways to get one wrong.

use std::path::Path;

use groma_manifest::{
    Admission, BundleForm, Description, Manifest, ManifestError, Operator, Problem, Sidecar,
};

const NDT: &str = include_str!("format1.toml");
const SCHEMA: &str = r#"[{"name": "UUID", "type": "STRING", "mode": "NULLABLE"}]"#;

fn parse(text: &str) -> Result<Manifest, String> {
    Manifest::parse(text, |_| Ok(SCHEMA.to_owned())).map_err(|error| error.to_string())
}

#[test]
fn the_ndt_manifest_says_what_it_keeps() {
    let manifest = parse(NDT).unwrap();
    assert_eq!(manifest.name.as_str(), "ndt");
    assert_eq!(manifest.datatype("ndt7").unwrap().bundle, BundleForm::Tgz);
    let rule = manifest.metadata_rule("client_name").unwrap();
    assert!(rule.accepts("ndt7-js") && !rule.accepts("<script>"));
    assert!(manifest.metadata_rule("access_token").is_none());
    assert!(manifest.metadata_rule("email").is_none());
    assert_eq!(manifest.admission, Admission::Announced);
    assert_eq!(manifest.unadmitted_bytes, 4096);
}

const WATCHER: &str = r#"
sidecar = 1
name = "watcher"
revision = 3
datatypes = ["watched"]
stored = "what was watched"
purpose = "because it was there"

[unadmitted]
published = "the hour"
private = "Their address is"
hours = 72
"#;

#[test]
fn the_policy_is_generated_from_the_manifest_and_the_sidecars_and_says_nothing_else() {
    let schema = r#"[{"name": "IP", "type": "RECORD", "fields": [{"name": "Client", "type": "STRING", "privacy": "client_ip"}]}]"#;
    let alone = Manifest::parse(NDT, |_| Ok(schema.to_owned())).unwrap();
    let watched = alone
        .clone()
        .attach(&[Sidecar::parse(WATCHER).unwrap()])
        .unwrap();
    for manifest in [&alone, &watched] {
        let text = &manifest.consent.text;
        for words in [
            "- ndt7: your public IP address and port, the time",
            "client_name, client_version",
            "Purpose: ",
            "Kept for: ",
            "Controller: Groma, experiments@groma.example",
            "To have your address anonymised: write to experiments@groma.example",
            "CC0-1.0",
        ] {
            assert!(text.contains(words), "{words} is not in {text}");
        }
        for words in ["Nothing else", "cannot be withdrawn"] {
            assert!(!text.contains(words), "{words} is in {text}");
        }
    }
    let watching = "- watcher: what was watched, because it was there.";
    let refused = "without your address: the hour. Their address is kept for 72 hours";
    for words in [watching, refused] {
        assert!(
            watched.consent.text.contains(words),
            "{}",
            watched.consent.text
        );
        assert!(
            !alone.consent.text.contains(words),
            "{}",
            alone.consent.text
        );
    }
    let no_address = parse(NDT).unwrap().consent.text;
    assert!(
        !no_address.contains("your public IP address"),
        "{no_address}"
    );
}

#[test]
fn a_sidecar_raises_the_version_and_who_accepted_more_accepted_enough() {
    let alone = parse(NDT).unwrap();
    let sidecar = Sidecar::parse(WATCHER).unwrap();
    let watched = alone
        .clone()
        .attach(std::slice::from_ref(&sidecar))
        .unwrap();
    assert_eq!(alone.consent.policy_version, "2");
    assert_eq!(watched.consent.policy_version, "2-watcher3");
    for (version, alone_accepts, watched_accepts) in [
        ("2", true, false),
        ("2-watcher3", true, true),
        ("2-other1-watcher3", true, true),
        ("2-watcher2", true, false),
        ("2-watcher", true, false),
        ("1-watcher3", false, false),
        ("22", false, false),
        ("2-", false, false),
        ("2-watcher3-", false, false),
        ("", false, false),
        ("not-sent", false, false),
    ] {
        let accepts = [&alone, &watched].map(|manifest| manifest.consent.accepts(version));
        assert_eq!(accepts, [alone_accepts, watched_accepts], "{version}");
    }
    let many = vec![sidecar; 4];
    let error = alone.attach(&many).unwrap_err().to_string();
    assert!(error.contains("consent.policy_version"), "{error}");
}

#[test]
fn a_program_that_cannot_announce_says_so() {
    let text = NDT.replacen(
        "version =",
        "admission = \"first-payload\"\nunadmitted_bytes = 0\nversion =",
        1,
    );
    let manifest = parse(&text).unwrap();
    assert_eq!(manifest.admission, Admission::FirstPayload);
    assert_eq!(manifest.unadmitted_bytes, 0);
    for (from, word) in [
        ("first-payload", "sometimes"),
        ("bytes = 0", "bytes = 4097"),
    ] {
        assert!(parse(&text.replacen(from, word, 1)).is_err(), "{word}");
    }
}

#[test]
fn a_wrong_manifest_says_where() {
    let cases = [
        (
            "manifest = 1",
            "manifest = 9",
            "reads format 1 and format 2",
        ),
        ("name = \"ndt\"", "name = \"NDT\"", "NDT"),
        ("[consent]", "[consent]\nsurprise = 1", "surprise"),
        ("bundle = \"tgz\"", "bundle = \"zip\"", "zip"),
        (
            "key = \"client_name\"",
            "key = \"access_token\"",
            "can never be kept",
        ),
        ("key = \"client_name\"", "key = \"client_version\"", "twice"),
        ("protocol = \"tcp\"", "protocol = \"sctp\"", "sctp"),
        (
            "pattern = 'v[0-9]+'",
            "pattern = '[a-z]+)|(?:.*'",
            "client_metadata[7].pattern",
        ),
        (
            "policy_version = \"2\"",
            "policy_version = \"\"",
            "consent.policy_version",
        ),
        (
            "policy_version = \"2\"",
            "policy_version = \"not-sent\"",
            "consent.policy_version",
        ),
        (
            "policy_version = \"2\"",
            "policy_version = \"v 1\"",
            "consent.policy_version",
        ),
    ];
    for (from, to, word) in cases {
        assert!(NDT.contains(from), "{from} is not in the manifest any more");
        let error = parse(&NDT.replacen(from, to, 1)).expect_err(to);
        assert!(error.contains(word), "{to}: {error}");
    }
}

#[test]
fn a_missing_schema_file_is_named() {
    let error = Manifest::parse(NDT, |_| Err(std::io::ErrorKind::NotFound.into())).unwrap_err();
    assert!(error.to_string().contains("schema/ndt7.json"), "{error}");
}

/// A manifest of format 2 with every table.
const FULL: &str = include_str!("format2.toml");
const FULL_SCHEMA: &str = r#"[
    {"name": "UUID", "type": "STRING"},
    {"name": "Client", "type": "RECORD", "fields": [
        {"name": "IP", "type": "STRING", "privacy": "client_ip"},
        {"name": "Port", "type": "INTEGER"}]}]"#;

fn problems(text: &str) -> Vec<Problem> {
    let files = |name: &str| match name {
        "schema/echo.json" => Ok(FULL_SCHEMA.to_owned()),
        "Containerfile" | "objectives.yaml" => Ok(String::new()),
        _ => Err(std::io::ErrorKind::NotFound.into()),
    };
    match Manifest::parse(text, files) {
        Ok(_) => Vec::new(),
        Err(ManifestError::Problems(problems)) => problems.0,
        Err(error) => panic!("{error}"),
    }
}

#[test]
fn a_whole_manifest_of_format_2_is_read() {
    assert_eq!(problems(FULL), []);
    // Format 1 has none of its tables.
    let old = problems(&FULL.replacen("manifest = 2", "manifest = 1", 1));
    let keys: Vec<&str> = old.iter().map(|problem| problem.key.as_str()).collect();
    for key in ["run", "contacts", "port[0].name", "max_test_bytes"] {
        assert!(keys.contains(&key), "{key} is not in {keys:?}");
    }
}

#[test]
fn every_problem_is_reported_at_once_with_its_line() {
    let changes = [
        ("version = \"0.3.0\"", "version = 3", "version"),
        (
            "launch_date = 2027-01-15",
            "launch_date = \"soon\"",
            "launch_date",
        ),
        (
            "max_test_bytes = 100000",
            "max_test_bytes = -1",
            "max_test_bytes",
        ),
        (
            "support = \"help@echo.example\"",
            "support = \"help\"",
            "contacts.support",
        ),
        (
            "protocol = \"udp\"",
            "protocol = \"sctp\"",
            "egress[0].protocol",
        ),
        ("name = \"echo\" #port", "name = \"Echo\"", "port[0].name"),
        (
            "ready_port = \"control\"",
            "ready_port = \"echo\"",
            "probes.ready_port",
        ),
        ("cpu_percent = 100", "cpus = 1", "allocation.cpus"),
        (
            "objectives = \"objectives.yaml\"",
            "objectives = \"none.yaml\"",
            "objectives",
        ),
        ("until = 2027-06-30", "until = 2029-06-30", "embargo.until"),
        (
            "UUID = \"to join\"",
            "Uuid = \"to join\"",
            "datatype[0].purpose",
        ),
        (
            "policy_version = \"1\"",
            "policy_version = \"not-sent\"",
            "consent.policy_version",
        ),
        ("[owner]", "surprise = 1\n[owner]", "surprise"),
    ];
    let mut text = FULL.to_owned();
    for (from, to, _) in changes {
        assert!(text.contains(from), "{from} is not in the manifest");
        text = text.replacen(from, to, 1);
    }
    let found = problems(&text);
    for (_, to, key) in changes {
        let at = found.iter().find(|problem| problem.key == key);
        // The embargo cannot be compared with a launch date that is not one.
        if key == "embargo.until" {
            assert!(at.is_none(), "{found:?}");
            continue;
        }
        let line = at
            .unwrap_or_else(|| panic!("{key} is not in {found:?}"))
            .line;
        let shown = text.lines().nth(line - 1).unwrap();
        let word = to.lines().next().unwrap();
        let is_table = key == "datatype[0].purpose";
        assert!(
            is_table || shown.contains(word),
            "{key}: line {line} is {shown:?}"
        );
    }
    assert!(
        found
            .iter()
            .any(|it| it.key == "allocation.cpu_percent" && it.reason.contains("missing"))
    );
    let lines: Vec<usize> = found.iter().map(|problem| problem.line).collect();
    assert!(lines.is_sorted(), "{lines:?}");
}

#[test]
fn an_empty_manifest_lists_every_key_that_it_needs() {
    let found = problems("");
    for key in [
        "manifest", "name", "owner", "contacts", "run", "port", "datatype", "metrics",
    ] {
        assert!(found.iter().any(|it| it.key == key), "{key}: {found:?}");
    }
    assert!(
        found.iter().all(|it| it.reason.contains("missing")),
        "{found:?}"
    );
}

#[test]
fn a_syntax_error_has_its_line() {
    let found = problems("manifest = 2\nname = \ntitle = 'x'\n");
    assert_eq!(
        found.iter().map(|it| it.line).collect::<Vec<_>>(),
        [2],
        "{found:?}"
    );
}

#[test]
fn the_description_has_the_policy_of_the_operator_and_its_hash() {
    let operator = Operator {
        controller: Some("City Library".to_owned()),
        contact: Some("privacy@library.example".to_owned()),
        text: Some("Shown on a screen.".to_owned()),
    };
    let alone = parse(NDT).unwrap();
    let operated = alone
        .clone()
        .operated_by(operator.clone())
        .attach(&[])
        .unwrap();
    let other = Operator {
        text: Some("Shown on two screens.".to_owned()),
        ..operator
    };
    let other = alone.clone().operated_by(other).attach(&[]).unwrap();
    let [first, second] = [&operated, &other].map(|it| &it.consent.policy_version);
    assert!(
        first.starts_with("2-op") && first != second,
        "{first} {second}"
    );
    // A person who agreed to the manifest alone, or to another text, has not agreed to this one.
    assert!(!operated.consent.accepts("2") && !operated.consent.accepts(second));
    let description = operated.description();
    assert_eq!(description.policy.controller, "City Library");
    assert_eq!(description.policy.contact, "privacy@library.example");
    assert!(description.policy.text.ends_with("Shown on a screen."));
    let json = description.to_json();
    assert_eq!(Description::parse(json.as_bytes()).unwrap(), description);
    for (from, to) in [
        ("Shown on a screen.", "Shown on a stage."),
        ("\"description\": 1", "\"description\": 2"),
        (first.as_str(), "not a version"),
    ] {
        assert!(json.contains(from), "{from} is not in {json}");
        let changed = json.replace(from, to);
        assert!(Description::parse(changed.as_bytes()).is_err(), "{to}");
    }
    // Without an operator nothing changes.
    let same = alone
        .clone()
        .operated_by(Operator::default())
        .attach(&[])
        .unwrap();
    assert_eq!(same.consent.policy_version, alone.consent.policy_version);
}

#[test]
fn names_that_the_platform_uses_itself_are_refused() {
    for (from, to, key) in [
        (
            "name = \"echo\"\nversion",
            "name = \"datatypes\"\nversion",
            "name",
        ),
        (
            "name = \"control\"\nservice",
            "name = \"admin\"\nservice",
            "port[1].name",
        ),
    ] {
        assert!(FULL.contains(from), "{from} is not in the manifest");
        let found = problems(&FULL.replacen(from, to, 1));
        assert!(found.iter().any(|it| it.key == key), "{key}: {found:?}");
    }
}

#[test]
fn a_pipe_a_device_and_a_huge_file_are_refused_at_once() {
    let dir = tempfile::tempdir().unwrap();
    let pipe = dir.path().join("pipe");
    let made = std::process::Command::new("mkfifo").arg(&pipe).status();
    assert!(made.unwrap().success());
    let huge = dir.path().join("huge");
    std::fs::write(&huge, "#\n".repeat(100_000)).unwrap();
    for (path, reason) in [
        (pipe.as_path(), "not a regular file"),
        (Path::new("/dev/zero"), "not a regular file"),
        (huge.as_path(), "larger than"),
    ] {
        let error = Manifest::load(path).unwrap_err();
        let text = std::error::Error::source(&error)
            .map_or_else(|| error.to_string(), ToString::to_string);
        assert!(text.contains(reason), "{text}");
    }
}
