use std::fs::{self, File};
use std::net::{TcpListener, TcpStream};

use groma_experiment::FinishError;

use crate::common::{Lab, okay, result_file};

#[test]
fn the_uuids_of_all_connections_are_collected() {
    let mut lab = Lab::new();
    let prefix = lab.settings().prefix;
    let mut test = lab.experiment().admit(&[]).unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let (server, _) = listener.accept().unwrap();
    let first = test.connection(&server);
    let second = test.connection(&client);
    assert_ne!(first, second, "the two ends are two sockets");
    assert_eq!(test.connection(&server), first);
    assert_eq!(test.uuids(), [first.clone(), second]);
    let cookie = groma_sock::cookie(&server).unwrap();
    assert_eq!(first, prefix.uuid(cookie));
    assert_eq!(first.cookie(), Some(cookie));
}

#[test]
fn a_connection_without_a_cookie_is_invalid_but_named() {
    let mut lab = Lab::new();
    let mut test = lab.experiment().admit(&[]).unwrap();
    let no_socket = File::open("/dev/null").unwrap();
    assert_eq!(test.connection(&no_socket).as_str(), "INVALID_UUID");
    assert_eq!(test.uuids().len(), 1);
    assert_eq!(
        lab.sample("errors_total", r#"operation="socket_cookie""#),
        "1"
    );
}

#[test]
fn a_test_leaves_one_file_and_one_count() {
    let mut lab = Lab::new();
    let test = lab.experiment().admit(&[]).unwrap();
    test.bytes(1000, 20);
    test.bytes(1, 2);
    let file = result_file("rows", "row-1.json", br#"{"Rate":1.5}"#);
    let path = test.finish(&okay(), Some(file)).unwrap().unwrap();
    assert_eq!(path, lab.data_dir().join("rows/2026/11/22/row-1.json"));
    assert_eq!(fs::read_to_string(path).unwrap(), r#"{"Rate":1.5}"#);
    assert_eq!(lab.sample("tests_total", r#"result="okay""#), "1");
    assert_eq!(lab.sample("tests_total", r#"result="aborted""#), "0");
    assert_eq!(lab.sample("bytes_total", r#"direction="sent""#), "1001");
    assert_eq!(lab.sample("bytes_total", r#"direction="received""#), "22");
    assert_eq!(lab.sample("test_duration_seconds_count", ""), "1");
}

#[test]
fn a_dropped_test_is_aborted() {
    let mut lab = Lab::new();
    drop(lab.experiment().admit(&[]).unwrap());
    assert_eq!(lab.sample("tests_total", r#"result="aborted""#), "1");
    assert_eq!(lab.sample("test_duration_seconds_count", ""), "1");
}

#[test]
fn only_results_of_the_manifest_are_outcomes() {
    let mut lab = Lab::new();
    let experiment = lab.experiment();
    for name in ["oops", "aborted", ""] {
        let error = experiment.outcome(name).unwrap_err().to_string();
        assert!(error.contains(&format!("{name:?}")), "{error}");
    }
    assert_eq!(experiment.outcome("error").unwrap().as_str(), "error");
}

#[test]
fn a_row_is_filed_under_the_name_of_its_connection() {
    let mut lab = Lab::new();
    let mut test = lab.experiment().admit(&[]).unwrap();
    let uuid = test.connection(std::net::UdpSocket::bind("127.0.0.1:0").unwrap());
    let datatype = "rows".parse().unwrap();
    let row = serde_json::json!({"Rate": 1.5});
    let path = test.finish_with(&okay(), &datatype, &row).unwrap().unwrap();
    let name = path.file_name().unwrap().to_str().unwrap();
    assert!(
        name.starts_with("rows-2") && name.ends_with(&format!(".{uuid}.json")),
        "{name}"
    );
    assert_eq!(std::fs::read(path).unwrap(), br#"{"Rate":1.5}"#);
}

#[test]
fn a_failed_write_is_an_error_and_counted() {
    let mut lab = Lab::new();
    let experiment = lab.experiment();
    let finish = |datatype| {
        let file = result_file(datatype, "row.json", b"{}");
        experiment.admit(&[]).unwrap().finish(&okay(), Some(file))
    };
    let error = finish("other").unwrap_err();
    assert!(
        matches!(error, FinishError::UndeclaredDatatype { .. }),
        "{error}"
    );
    assert!(!lab.data_dir().join("other").exists());
    finish("rows").unwrap();
    let error = finish("rows").unwrap_err();
    assert!(
        matches!(&error, FinishError::Spool(e) if e.is_exists()),
        "{error}"
    );
    assert_eq!(
        lab.sample("errors_total", r#"operation="write_result""#),
        "2"
    );
    assert_eq!(lab.sample("tests_total", r#"result="okay""#), "3");
    assert_eq!(lab.sample("disk_full", ""), "0");
    assert_eq!(lab.sample("active_tests", ""), "0");
}

#[test]
fn an_experiment_counts_its_own_errors() {
    let mut lab = Lab::new();
    lab.experiment().admit(&[]).unwrap().error("read_message");
    assert_eq!(
        lab.sample("errors_total", r#"operation="read_message""#),
        "1"
    );
}
