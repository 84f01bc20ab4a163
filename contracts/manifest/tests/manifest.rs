//! The manifest that ships, and ways to get one wrong.

use groma_manifest::{BundleForm, Manifest};

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
    assert!(manifest.consent.text.contains("address"));
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
            "policy_version = \"1\"",
            "policy_version = \"\"",
            "consent.policy_version",
        ),
        (
            "policy_version = \"1\"",
            "policy_version = \"not-sent\"",
            "consent.policy_version",
        ),
        (
            "policy_version = \"1\"",
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
