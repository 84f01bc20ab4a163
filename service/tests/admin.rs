//! The admin port as a scraper and a probe see it.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::Arc;

use groma_service::{
    Access, Build, Lifecycle, OPENMETRICS_CONTENT_TYPE, PROMETHEUS_CONTENT_TYPE, Page,
    register_process_metrics, serve_admin, serve_admin_with,
};
use prometheus_client::registry::Registry;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

type Step = fn(&Lifecycle);

struct Answer {
    status: u16,
    head: String,
    body: String,
}

async fn get(address: SocketAddr, path: &str) -> Answer {
    get_with(address, path, "Host: localhost").await
}

async fn get_with(address: SocketAddr, path: &str, header: &str) -> Answer {
    let mut stream = TcpStream::connect(address).await.unwrap();
    let request = format!("GET {path} HTTP/1.1\r\n{header}\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    Answer {
        status: head.split(' ').nth(1).unwrap().parse().unwrap(),
        head: head.to_ascii_lowercase(),
        body: body.to_owned(),
    }
}

async fn start() -> (SocketAddr, Lifecycle, JoinHandle<()>) {
    let lifecycle = Lifecycle::new();
    let mut registry = Registry::default();
    let build = Build {
        version: "1.2.3",
        commit: "0abc\"12",
    };
    register_process_metrics(&mut registry, &lifecycle, build);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let serving = serve_admin(listener, registry, lifecycle.clone());
    (address, lifecycle, tokio::spawn(serving))
}

#[tokio::test]
async fn health_follows_the_lifecycle() {
    let (address, lifecycle, serving) = start().await;
    let steps: [(&str, Step, [u16; 3]); 3] = [
        ("starting", |_| {}, [200, 503, 200]),
        ("ready", Lifecycle::ready, [200, 200, 200]),
        ("lame_duck", Lifecycle::lame_duck, [500, 503, 200]),
    ];
    for (phase, step, [health, ready, alive]) in steps {
        step(&lifecycle);
        let answer = get(address, "/health").await;
        assert_eq!(
            (answer.status, answer.body.as_str()),
            (health, ""),
            "{phase}"
        );
        let answer = get(address, "/ready").await;
        assert_eq!((answer.status, answer.body.as_str()), (ready, phase));
        assert_eq!(get(address, "/alive").await.status, alive, "{phase}");
        let gauge = format!("\nlame_duck_experiment {}\n", u8::from(health == 500));
        let metrics = get(address, "/metrics").await.body;
        assert!(metrics.contains(&gauge), "{phase}:\n{metrics}");
    }
    assert_eq!(get(address, "/").await.status, 404);
    lifecycle.stop();
    serving.await.unwrap();
}

#[tokio::test]
async fn a_part_that_cannot_work_makes_the_process_not_ready() {
    let (address, lifecycle, _serving) = start().await;
    lifecycle.ready();
    lifecycle.failed("spool", "read-only file system");
    let answer = get(address, "/ready").await;
    let expected = "ready\nspool: read-only file system";
    assert_eq!((answer.status, answer.body.as_str()), (503, expected));
    assert_eq!(get(address, "/alive").await.status, 200);
    lifecycle.recovered("spool");
    assert_eq!(get(address, "/ready").await.status, 200);
}

#[tokio::test]
async fn unfinished_requests_never_keep_others_out() {
    let (address, _lifecycle, _serving) = start().await;
    let mut unfinished = Vec::new();
    for _ in 0..500 {
        let mut stream = TcpStream::connect(address).await.unwrap();
        // The server may have closed an earlier one already; this one it has not.
        let _ = stream
            .write_all(b"GET /metrics HTTP/1.1\r\nHost: x\r\nX: ")
            .await;
        unfinished.push(stream);
    }
    assert_eq!(get(address, "/alive").await.status, 200);
    let mut open = 0;
    for stream in &mut unfinished {
        let read = tokio::time::timeout(std::time::Duration::from_millis(1), stream.read_u8());
        open += usize::from(read.await.is_err());
    }
    assert!(open < groma_service::ADMIN_DESCRIPTORS, "{open}");
}

#[tokio::test]
async fn a_request_that_names_two_hosts_is_refused() {
    let (address, lifecycle, _serving) = start().await;
    lifecycle.ready();
    for (path, header) in [
        ("/ready", "Host: localhost\r\nHost: other.example"),
        ("http://other.example/ready", "Host: localhost"),
    ] {
        assert_eq!(get_with(address, path, header).await.status, 400, "{path}");
    }
    assert_eq!(get(address, "/ready").await.status, 200);
}

#[tokio::test]
async fn an_idle_connection_does_not_hold_up_the_end() {
    let (address, lifecycle, serving) = start().await;
    let mut half_asked = TcpStream::connect(address).await.unwrap();
    half_asked.write_all(b"GET /metr").await.unwrap();
    get(address, "/alive").await;
    lifecycle.stop();
    serving.await.unwrap();
}

#[tokio::test]
async fn metrics_are_well_formed_openmetrics() {
    let (address, _lifecycle, _serving) = start().await;
    let accept = "Host: x\r\nAccept: application/openmetrics-text;version=1.0.0,*/*;q=0.1";
    let answer = get_with(address, "/metrics", accept).await;
    let content_type = format!("content-type: {OPENMETRICS_CONTENT_TYPE}\r\n");
    assert!(answer.head.contains(&content_type), "{}", answer.head);
    let info = r#"groma_build_info{version="1.2.3",commit="0abc\"12"} 1"#;
    assert!(answer.body.contains(info), "{}", answer.body);
    assert!(answer.body.ends_with("\n# EOF\n"));
    let families: BTreeSet<_> = answer
        .body
        .lines()
        .filter_map(|line| line.strip_prefix("# TYPE "))
        .collect();
    let expected = ["groma_build info", "lame_duck_experiment gauge"];
    assert_eq!(families, BTreeSet::from(expected));
}

#[tokio::test]
async fn a_scraper_that_asks_for_nothing_else_gets_prometheus_text() {
    let (address, _lifecycle, _serving) = start().await;
    for header in ["Host: x", "Host: x\r\nAccept: text/plain;version=0.0.4"] {
        let answer = get_with(address, "/metrics", header).await;
        let content_type = format!("content-type: {PROMETHEUS_CONTENT_TYPE}\r\n");
        assert!(answer.head.contains(&content_type), "{}", answer.head);
        let types: Vec<&str> = answer
            .body
            .lines()
            .filter(|line| line.starts_with("# TYPE"))
            .collect();
        assert_eq!(
            types,
            [
                "# TYPE groma_build_info gauge",
                "# TYPE lame_duck_experiment gauge"
            ]
        );
        assert!(!answer.body.contains("# EOF"));
    }
}

#[tokio::test]
async fn a_page_of_its_own_gets_the_parameters() {
    let lifecycle = Lifecycle::new();
    let page = Page {
        path: "/echo",
        answer: Arc::new(|asked| (418, format!("{asked:?}"))),
    };
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let registry = Registry::default();
    let pages = vec![page];
    let serving = serve_admin_with(
        listener,
        registry,
        lifecycle.clone(),
        pages,
        Access::default(),
    );
    let serving = tokio::spawn(serving);
    let answer = get(address, "/echo?a=1%202&a=3&b=").await;
    assert_eq!(answer.status, 418);
    assert!(answer.head.contains("content-type: application/json"));
    assert_eq!(answer.body, r#"{"a": "3", "b": ""}"#);
    for host in [
        "Host: node",
        "Host: localhost\r\nOrigin: https://site.example",
    ] {
        assert_eq!(get_with(address, "/echo", host).await.status, 403, "{host}");
    }
    assert_eq!(get(address, "/alive").await.status, 200);
    lifecycle.stop();
    serving.await.unwrap();
}
