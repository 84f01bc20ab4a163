//! Every reply to a request that there is.

use tokio::io::AsyncReadExt;

use crate::lab::{Lab, Wishes};
use crate::wire::{ask, head, open};

const DOWNLOAD: &str = "/ndt/v7/download";

struct Case {
    name: &'static str,
    request: String,
    status: &'static str,
    headers: &'static [&'static str],
    body: &'static str,
}

fn case(
    name: &'static str,
    request: String,
    status: &'static str,
    headers: &'static [&'static str],
    body: &'static str,
) -> Case {
    Case {
        name,
        request,
        status,
        headers,
        body,
    }
}

fn get(target: &str, changes: &[(&str, &str)]) -> String {
    head("GET", target, changes)
}

fn cases() -> Vec<Case> {
    const PROTOCOL: &str = "Sec-WebSocket-Protocol";
    const SWITCHED: &[&str] = &[
        "upgrade: websocket",
        "connection: upgrade",
        "sec-websocket-accept: s3pplmbitxaq9kygzzhzrbk+xoo=",
        "sec-websocket-protocol: net.measurementlab.ndt.v7",
    ];
    const CLOSED: &[&str] = &["connection: close", "content-length: 0"];
    const VERSION: &[&str] = &["sec-websocket-version: 13"];
    let switched = |name, request| case(name, request, "101 Switching Protocols", SWITCHED, "");
    let bad_test = |name, request| case(name, request, "400 Bad Request", CLOSED, "");
    let no_upgrade =
        |name, request| case(name, request, "400 Bad Request", VERSION, "Bad Request\n");
    let method = |name, request| {
        let status = "405 Method Not Allowed";
        case(name, request, status, VERSION, "Method Not Allowed\n")
    };
    let not_found =
        |name, request| case(name, request, "404 Not Found", &[], "404 page not found\n");
    vec![
        switched("download", get(DOWNLOAD, &[])),
        switched("upload", get("/ndt/v7/upload", &[])),
        switched("early exit", get("/ndt/v7/download?early_exit=250", &[])),
        switched(
            "any origin",
            get(DOWNLOAD, &[("Origin", "https://evil.example")]),
        ),
        switched(
            "compression is not taken",
            get(
                DOWNLOAD,
                &[("Sec-WebSocket-Extensions", "permessage-deflate")],
            ),
        ),
        switched(
            "duplicate and empty keys",
            get("/ndt/v7/download?a=1&a=2&b&access_token=s", &[]),
        ),
        switched(
            "query of 4096 bytes",
            get(&format!("{DOWNLOAD}?a={}", "x".repeat(4094)), &[]),
        ),
        bad_test(
            "query of 4097 bytes",
            get(&format!("{DOWNLOAD}?a={}", "x".repeat(4095)), &[]),
        ),
        bad_test(
            "query that is no URL encoding",
            get("/ndt/v7/download?a=%zz", &[]),
        ),
        bad_test("query that is no UTF-8", get("/ndt/v7/download?a=%ff", &[])),
        bad_test(
            "early exit of another size",
            get("/ndt/v7/download?early_exit=251", &[]),
        ),
        bad_test(
            "early exit without size",
            get("/ndt/v7/upload?early_exit", &[]),
        ),
        bad_test("no subprotocol", get(DOWNLOAD, &[(PROTOCOL, "")])),
        bad_test("another subprotocol", get(DOWNLOAD, &[(PROTOCOL, "ndt")])),
        bad_test(
            "a list",
            get(DOWNLOAD, &[(PROTOCOL, "net.measurementlab.ndt.v7, foo")]),
        ),
        bad_test(
            "no subprotocol comes before the method",
            head("POST", DOWNLOAD, &[(PROTOCOL, "")]),
        ),
        no_upgrade(
            "no upgrade",
            get(DOWNLOAD, &[("Upgrade", ""), ("Connection", "")]),
        ),
        no_upgrade(
            "another version",
            get(DOWNLOAD, &[("Sec-WebSocket-Version", "8")]),
        ),
        no_upgrade("no key", get(DOWNLOAD, &[("Sec-WebSocket-Key", "")])),
        method("post", head("POST", DOWNLOAD, &[])),
        method("put", head("PUT", "/ndt/v7/upload", &[])),
        not_found("root", get("/", &[])),
        not_found("health is elsewhere", get("/health", &[])),
        not_found("more than the path", get("/ndt/v7/download/", &[])),
    ]
}

#[tokio::test]
async fn every_request_has_its_reply() {
    let lab = Lab::start(&Wishes::default());
    for case in cases() {
        let (mut stream, reply) = ask(lab.ws(), &case.request).await;
        let lower = reply.to_lowercase();
        assert!(
            reply.starts_with(&format!("HTTP/1.1 {}\r\n", case.status)),
            "{}: {reply}",
            case.name
        );
        for header in case.headers {
            assert!(
                lower.contains(&format!("{header}\r\n")),
                "{}: {reply}",
                case.name
            );
        }
        assert!(!lower.contains("extensions"), "{}: {reply}", case.name);
        if case.status.starts_with("101") {
            continue;
        }
        let mut body = String::new();
        stream.read_to_string(&mut body).await.unwrap();
        assert_eq!(body, case.body, "{}", case.name);
    }
    let started = cases()
        .iter()
        .filter(|case| case.status.starts_with("101"))
        .count();
    for (_, result) in lab.results(started).await {
        assert!(!result.to_string().contains("access_token"));
    }
}

#[tokio::test]
async fn a_missing_consent_is_told_in_words() {
    let wishes = Wishes {
        require_policy: true,
        ..Wishes::default()
    };
    let lab = Lab::start(&wishes);
    let (mut stream, reply) = ask(lab.ws(), &get(DOWNLOAD, &[])).await;
    assert!(reply.starts_with("HTTP/1.1 403 Forbidden\r\n"), "{reply}");
    let mut body = String::new();
    stream.read_to_string(&mut body).await.unwrap();
    assert!(
        body.contains("policy_version=2") && body.lines().count() == 1,
        "{body}"
    );

    drop(open(lab.ws(), "/ndt/v7/download?policy_version=2").await);
    let result = lab.result("Download").await;
    assert!(
        result["ServerMetadata"]
            .to_string()
            .contains(r#"{"Name":"policy_version","Value":"2"}"#),
        "{result}"
    );
}

#[tokio::test]
async fn a_full_server_says_so_without_words() {
    let wishes = Wishes {
        max_tests: 1,
        ..Wishes::default()
    };
    let lab = Lab::start(&wishes);
    let _first = open(lab.ws(), DOWNLOAD).await;
    let (mut stream, reply) = ask(lab.ws(), &get(DOWNLOAD, &[])).await;
    assert!(
        reply.starts_with("HTTP/1.1 503 Service Unavailable\r\n"),
        "{reply}"
    );
    let mut body = String::new();
    stream.read_to_string(&mut body).await.unwrap();
    assert_eq!(body, "");
    lab.metric(r#"ndt7_client_connections_total{direction="download",status="result"} 1"#)
        .await;
    let metrics = lab.metrics();
    let mut errors = metrics
        .lines()
        .filter(|line| line.contains("websocket-error"));
    assert!(errors.all(|line| line.ends_with("} 0")), "{metrics}");
}
