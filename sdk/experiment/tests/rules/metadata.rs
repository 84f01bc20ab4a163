use groma_experiment::{MAX_KEY_BYTES, MAX_PAIRS, NameValue};

use crate::common::{Lab, query};

type Pairs<'a> = &'a [(&'a str, &'a str)];

fn pair(name: &str, value: &str) -> NameValue {
    NameValue {
        name: name.to_owned(),
        value: value.to_owned(),
    }
}

#[test]
fn only_what_the_manifest_allows_is_kept() {
    let long_key = "k".repeat(MAX_KEY_BYTES + 1);
    let hostile = "\u{0}".repeat(100_000);
    let cases: [(Pairs, Pairs, Option<&str>); 10] = [
        (&[("client_name", "abc")], &[("client_name", "abc")], None),
        (&[("client_city", "abc")], &[], Some("key")),
        (&[("CLIENT_NAME", "abc")], &[], Some("key")),
        (&[("server_name", "abc")], &[], Some("key")),
        (&[("", "")], &[], Some("key")),
        (&[("client_name", "ABC")], &[], Some("value")),
        (&[("client_name", "abcdefghi")], &[], Some("length")),
        (&[("client_name", &hostile)], &[], Some("length")),
        (&[(&long_key, "abc")], &[], Some("length")),
        (
            &[("client_name", "first"), ("client_name", "second")],
            &[("client_name", "first")],
            Some("duplicate"),
        ),
    ];
    for (sent, kept, reason) in cases {
        let mut lab = Lab::new();
        let test = lab.experiment().admit(&query(sent)).unwrap();
        let kept: Vec<_> = kept.iter().map(|(k, v)| pair(k, v)).collect();
        assert_eq!(test.client_metadata(), kept, "{sent:?}");
        for known in ["key", "value", "length", "duplicate", "count", "policy"] {
            let label = format!("reason={known:?}");
            let expected = if reason == Some(known) { "1" } else { "0" };
            let counted = lab.sample("metadata_dropped_total", &label);
            assert_eq!(counted, expected, "{known}: {sent:?}");
        }
    }
}

#[test]
fn the_number_of_pairs_is_limited() {
    let mut lab = Lab::new();
    let keys: Vec<_> = (0..MAX_PAIRS + 3).map(|n| format!("client_k{n}")).collect();
    let experiment = lab.experiment_with_keys(&keys);
    let sent: Vec<_> = keys.iter().map(|key| (key.as_str(), "abc")).collect();
    let test = experiment.admit(&query(&sent)).unwrap();
    assert_eq!(test.client_metadata().len(), MAX_PAIRS);
    assert_eq!(
        lab.sample("metadata_dropped_total", r#"reason="count""#),
        "3"
    );
}

#[test]
fn a_token_is_never_kept_and_never_counted() {
    let mut lab = Lab::new();
    let sent = query(&[("access_token", "secret"), ("client_name", "abc")]);
    let test = lab.experiment().admit(&sent).unwrap();
    assert_eq!(test.client_metadata(), [pair("client_name", "abc")]);
    assert!(!lab.metrics().contains("secret"));
    assert_eq!(lab.sample("metadata_dropped_total", r#"reason="key""#), "0");
}

#[test]
fn consent_is_stored_once_and_only_as_the_version_of_the_manifest() {
    let cases: [(Pairs, &str, &str); 7] = [
        (&[], "not-sent", "0"),
        (&[("policy_version", "v5")], "v5", "0"),
        (&[("policy_version", "v4")], "not-sent", "1"),
        (&[("policy_version", "jane.doe_4711")], "not-sent", "1"),
        (&[("policy_version", "")], "not-sent", "1"),
        (&[("policy_version", "not-sent")], "not-sent", "1"),
        (
            &[("policy_version", "v4"), ("policy_version", "v5")],
            "not-sent",
            "1",
        ),
    ];
    for (sent, stored, dropped) in cases {
        let mut lab = Lab::new();
        let experiment = lab.experiment();
        // The sample manifest even allows the key as client metadata.
        let test = experiment.admit(&query(sent)).unwrap();
        assert_eq!(test.server_metadata(), [pair("policy_version", stored)]);
        assert_eq!(test.client_metadata(), [], "{sent:?}");
        let counted = lab.sample("metadata_dropped_total", r#"reason="policy""#);
        assert_eq!(counted, dropped, "{sent:?}");
    }
}

#[test]
fn entries_have_the_keys_of_the_result_format() {
    let json = serde_json::to_string(&pair("client_name", "abc")).unwrap();
    assert_eq!(json, r#"{"Name":"client_name","Value":"abc"}"#);
}
