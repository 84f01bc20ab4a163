//! The admin port as a scraper and a probe see it.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::Arc;

use groma_service::{
    Build, Lifecycle, OPENMETRICS_CONTENT_TYPE, Page, register_process_metrics, serve_admin,
    serve_admin_with,
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
    let mut stream = TcpStream::connect(address).await.unwrap();
    let request = format!("GET {path} HTTP/1.1\r\nHost: node\r\nConnection: close\r\n\r\n");
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

async fn start() -> (SocketAddr, Lifecycle, JoinHandle<std::io::Result<()>>) {
    let lifecycle = Lifecycle::new();
    let mut registry = Registry::default();
    let build = Build {
        version: "1.2.3",
        commit: "0abc\"12",
    };
    register_process_metrics(&mut registry, &lifecycle, build);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let serving = serve_admin(listener, Arc::new(registry), lifecycle.clone());
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
    serving.await.unwrap().unwrap();
}

#[tokio::test]
async fn an_idle_connection_does_not_hold_up_the_end() {
    let (address, lifecycle, serving) = start().await;
    let mut half_asked = TcpStream::connect(address).await.unwrap();
    half_asked.write_all(b"GET /metr").await.unwrap();
    get(address, "/alive").await;
    lifecycle.stop();
    serving.await.unwrap().unwrap();
}

#[tokio::test]
async fn metrics_are_well_formed_openmetrics() {
    let (address, _lifecycle, _serving) = start().await;
    let answer = get(address, "/metrics").await;
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
async fn a_page_of_its_own_gets_the_parameters() {
    let lifecycle = Lifecycle::new();
    let page = Page {
        path: "/echo",
        answer: Arc::new(|asked| (418, format!("{asked:?}"))),
    };
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let registry = Arc::new(Registry::default());
    let pages = vec![page];
    let serving = serve_admin_with(listener, registry, lifecycle.clone(), pages);
    let serving = tokio::spawn(serving);
    let answer = get(address, "/echo?a=1%202&a=3&b=").await;
    assert_eq!(answer.status, 418);
    assert!(answer.head.contains("content-type: application/json"));
    assert_eq!(answer.body, r#"{"a": "3", "b": ""}"#);
    assert_eq!(get(address, "/alive").await.status, 200);
    lifecycle.stop();
    serving.await.unwrap().unwrap();
}
