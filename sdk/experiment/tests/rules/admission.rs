use std::time::Duration;

use groma_experiment::{Refusal, Settings};

use crate::common::{Lab, okay, query};

#[test]
fn every_phase_but_the_last_admits() {
    let mut lab = Lab::new();
    let experiment = lab.experiment();
    assert!(experiment.admit(&[]).is_ok());
    lab.lifecycle.ready();
    assert!(experiment.admit(&[]).is_ok());
    lab.lifecycle.lame_duck();
    assert!(experiment.admit(&[]).is_ok());
    lab.lifecycle.stop();
    assert_eq!(experiment.admit(&[]).unwrap_err(), Refusal::Draining);
    assert_eq!(lab.sample("refusals_total", r#"reason="draining""#), "1");
}

#[test]
fn places_are_limited_and_given_back() {
    let mut lab = Lab::new();
    let settings = Settings {
        max_tests: 2,
        ..lab.settings()
    };
    let experiment = lab.open(settings).unwrap();
    let first = experiment.admit(&[]).unwrap();
    assert_eq!(lab.sample("saturation_ratio", ""), "0.5");
    let second = experiment.admit(&[]).unwrap();
    assert_eq!(experiment.admit(&[]).unwrap_err(), Refusal::Busy);
    assert_eq!(lab.sample("active_tests", ""), "2");
    assert_eq!(lab.sample("refusals_total", r#"reason="busy""#), "1");
    first.finish(&okay(), None).unwrap();
    let third = experiment.admit(&[]).unwrap();
    drop((second, third));
    assert_eq!(lab.sample("active_tests", ""), "0");
    assert_eq!(lab.sample("saturation_ratio", ""), "0");
}

#[test]
fn a_required_policy_must_be_sent() {
    let mut lab = Lab::new();
    let settings = Settings {
        require_policy: true,
        ..lab.settings()
    };
    let experiment = lab.open(settings).unwrap();
    // Neither a word with the form of a version nor an older version is consent.
    for bad in [
        "", "v4", "yes", "V5", "v55", "v 5", "not-sent", "v5\n", "<b>",
    ] {
        let query = query(&[("policy_version", bad)]);
        let refusal = experiment.admit(&query).unwrap_err();
        assert_eq!(refusal, Refusal::PolicyNotAccepted, "{bad:?}");
    }
    assert_eq!(
        experiment.admit(&[]).unwrap_err(),
        Refusal::PolicyNotAccepted
    );
    let test = experiment
        .admit(&query(&[("policy_version", "v5")]))
        .unwrap();
    assert_eq!(test.server_metadata()[0].value, "v5");
    assert_eq!(
        experiment.active().count(),
        1,
        "a refused test took a place"
    );
}

#[test]
fn a_refusal_has_a_status_that_clients_understand() {
    let cases = [
        (Refusal::PolicyNotAccepted, 403),
        (Refusal::Draining, 503),
        (Refusal::Busy, 503),
        (Refusal::DiskFull, 503),
    ];
    for (refusal, status) in cases {
        assert_eq!(refusal.http_status(), status);
    }
}

#[test]
fn a_drain_refuses_new_tests_and_waits_for_running_ones() {
    let mut lab = Lab::new();
    let experiment = lab.experiment();
    let running = experiment.admit(&[]).unwrap();
    assert!(!experiment.drain(Duration::ZERO));
    assert_eq!(experiment.admit(&[]).unwrap_err(), Refusal::Draining);
    let ends = std::thread::spawn(move || drop(running));
    assert!(experiment.drain(Duration::from_mins(1)));
    ends.join().unwrap();
}
