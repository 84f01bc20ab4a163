use std::collections::BTreeMap;

use crate::common::{Lab, okay, query};

/// Checks the shape of an `OpenMetrics` text: every family declared once, every sample of
/// the family above it, every value a number. Returns the families' types.
fn check(text: &str) -> BTreeMap<&str, &str> {
    let mut families = BTreeMap::new();
    let mut family = "";
    let body = text.strip_suffix("# EOF\n").expect("ends with # EOF");
    for line in body.lines() {
        if let Some(declared) = line.strip_prefix("# TYPE ") {
            let (name, kind) = declared.split_once(' ').expect(line);
            assert_eq!(families.insert(name, kind), None, "declared twice: {line}");
            family = name;
        } else if line.starts_with("# HELP ") || line.starts_with("# UNIT ") {
            assert!(line.splitn(4, ' ').all(|part| !part.is_empty()), "{line}");
        } else {
            check_sample(line, family);
        }
    }
    families
}

fn check_sample(line: &str, family: &str) {
    let (series, value) = line.rsplit_once(' ').expect(line);
    value.parse::<f64>().expect(line);
    let (name, labels) = series.split_once('{').expect(line);
    let suffix = name.strip_prefix(family).expect(line);
    let known = ["", "_total", "_sum", "_count", "_bucket"];
    assert!(known.contains(&suffix), "{line}");
    let labels = labels.strip_suffix('}').expect(line);
    for label in labels.split(',') {
        let (name, value) = label.split_once('=').expect(line);
        assert!(name.bytes().all(|b| b.is_ascii_lowercase()), "{line}");
        assert!(
            value.len() > 1 && value.starts_with('"') && value.ends_with('"'),
            "{line}"
        );
    }
}

#[test]
fn the_four_signals_and_the_run_counter_are_there() {
    let mut lab = Lab::new();
    let experiment = lab.experiment();
    let admitted = experiment.admit(&query(&[("client_city", "x")])).unwrap();
    admitted.error("read_message");
    admitted.finish(&okay(), None).unwrap();
    lab.lifecycle.stop();
    experiment.admit(&[]).unwrap_err();
    let text = lab.metrics();
    let expected = [
        ("active_tests", "gauge"),
        ("bytes", "counter"),
        ("disk_full", "gauge"),
        ("errors", "counter"),
        ("metadata_dropped", "counter"),
        ("refusals", "counter"),
        ("saturation_ratio", "gauge"),
        ("spool_failed", "gauge"),
        ("test_duration_seconds", "histogram"),
        ("tests", "counter"),
    ];
    let expected = expected.map(|(name, kind)| (format!("groma_experiment_{name}"), kind));
    let found = check(&text);
    let found: Vec<_> = found.iter().map(|(n, k)| ((*n).to_owned(), *k)).collect();
    assert_eq!(found, expected, "{text}");
}

#[test]
fn counters_are_zero_before_the_first_test() {
    let mut lab = Lab::new();
    lab.experiment();
    let text = lab.metrics();
    for series in [
        r#"tests_total{experiment="sample",result="okay"} 0"#,
        r#"tests_total{experiment="sample",result="error"} 0"#,
        r#"tests_total{experiment="sample",result="aborted"} 0"#,
        r#"bytes_total{experiment="sample",direction="sent"} 0"#,
        r#"metadata_dropped_total{experiment="sample",reason="key"} 0"#,
        r#"refusals_total{experiment="sample",reason="busy"} 0"#,
        r#"errors_total{experiment="sample",operation="write_result"} 0"#,
    ] {
        assert!(text.contains(series), "{series} in\n{text}");
    }
}
