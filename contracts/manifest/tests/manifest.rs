//! The manifest that ships, and ways to get one wrong.

use groma_manifest::{Admission, BundleForm, Manifest, Sidecar};

const NDT: &str = include_str!("../../../experiments/ndt7/experiment.toml");
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
        ("manifest = 1", "manifest = 9", "reads format 1"),
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
