//! Independent peers in both roles, and our client against our server.

use std::net::{SocketAddr, TcpListener, TcpStream};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use groma_ndt7::client::{Client, ClientConfig, ClientError, Event, Trust};
use groma_ndt7::protocol::Direction;
use tokio::task::spawn_blocking;
use tokio_tungstenite::tungstenite;
use tungstenite::client::IntoClientRequest;
use tungstenite::handshake::server::{Request, Response};
use tungstenite::protocol::CloseFrame;
use tungstenite::protocol::frame::coding::CloseCode;
use tungstenite::{Message, WebSocket};

use crate::lab::{Lab, Wishes};

const SUBPROTOCOL: &str = "net.measurementlab.ndt.v7";

/// The messages of a test that tungstenite received.
#[derive(Debug, Default)]
struct Seen {
    load_bytes: usize,
    texts: usize,
    closed: Option<(u16, String)>,
}

pub(crate) fn tungstenite_client(server: SocketAddr, path: &str) -> WebSocket<TcpStream> {
    let mut request = format!("ws://{server}{path}")
        .into_client_request()
        .unwrap();
    let protocol = SUBPROTOCOL.parse().unwrap();
    request
        .headers_mut()
        .insert("Sec-WebSocket-Protocol", protocol);
    let stream = TcpStream::connect(server).unwrap();
    let (socket, response) = tungstenite::client(request, stream).unwrap();
    assert_eq!(response.headers()["Sec-WebSocket-Protocol"], SUBPROTOCOL);
    socket
}

/// Reads until the close handshake is complete.
fn read_all(socket: &mut WebSocket<TcpStream>) -> Seen {
    let mut seen = Seen::default();
    loop {
        match socket.read() {
            Ok(Message::Binary(load)) => seen.load_bytes += load.len(),
            Ok(Message::Text(text)) => {
                assert!(text.contains("\"TCPInfo\""));
                seen.texts += 1;
            }
            Ok(Message::Close(close)) => {
                seen.closed = close.map(|frame| (frame.code.into(), frame.reason.to_string()));
            }
            Ok(_) => {}
            Err(tungstenite::Error::ConnectionClosed) => return seen,
            Err(error) => panic!("{error}"),
        }
    }
}

#[tokio::test]
async fn tungstenite_downloads() {
    let lab = Lab::start(&Wishes::default());
    let server = lab.ws();
    let reading =
        spawn_blocking(move || read_all(&mut tungstenite_client(server, "/ndt/v7/download")));
    let seen = reading.await.unwrap();
    assert_eq!(seen.closed, Some((1000, "Done sending".to_owned())));
    assert!(seen.load_bytes > 1 << 20 && seen.texts > 0, "{seen:?}");
    lab.results(1).await;
}

#[tokio::test]
async fn tungstenite_uploads() {
    let lab = Lab::start(&Wishes::default());
    let server = lab.ws();
    let sending = spawn_blocking(move || {
        let mut socket = tungstenite_client(server, "/ndt/v7/upload");
        let start = Instant::now();
        let mut sent: i64 = 0;
        // Ends before the server does, so that what was sent is known exactly.
        while start.elapsed() < Duration::from_millis(300) {
            socket.send(Message::binary(vec![7; 1 << 16])).unwrap();
            sent += 1 << 16;
        }
        (sent, read_all(&mut socket))
    });
    let (sent, seen) = sending.await.unwrap();
    assert_eq!(seen.closed, Some((1000, "Done sending".to_owned())));
    let result = lab.result("Upload").await;
    let last = result["ServerMeasurements"]
        .as_array()
        .unwrap()
        .last()
        .unwrap();
    assert_eq!(last["AppInfo"]["NumBytes"], sent);
}

pub(crate) fn client(server: String, trust: Trust, tls: bool) -> Client {
    Client::new(ClientConfig {
        servers: vec![server],
        tls,
        trust,
        policy_version: Some("2".to_owned()),
        ..ClientConfig::default()
    })
    .unwrap()
}

#[tokio::test]
async fn our_client_measures_our_server() {
    let lab = Lab::start(&Wishes {
        require_policy: true,
        ..Wishes::default()
    });
    let secure = format!("localhost:{}", lab.wss().port());
    let clients = [
        ("ws", client(lab.ws().to_string(), Trust::System, false)),
        ("ws6", client(lab.ws6().to_string(), Trust::System, false)),
        (
            "wss",
            client(secure.clone(), Trust::File(lab.certificate()), true),
        ),
        ("wss unverified", client(secure, Trust::Anybody, true)),
    ];
    for (name, client) in &clients {
        let (mut started, mut measurements, mut progress) = (0, 0, 0);
        let mut count = |event| match event {
            Event::Started { .. } => started += 1,
            Event::Measurement(_) => measurements += 1,
            Event::Progress(_) => progress += 1,
        };
        let download = client.download(&mut count).await.unwrap();
        let upload = client.upload(&mut count).await.unwrap();
        assert_eq!(started, 2, "{name}");
        assert!(
            measurements >= 2 && progress >= 2,
            "{name}: {measurements} {progress}"
        );
        for summary in [&download, &upload] {
            assert!(
                summary.mean_mbps > 1.0 && summary.bytes > 1 << 20,
                "{name}: {summary:?}"
            );
            assert!(
                summary.min_rtt_ms.is_some_and(|rtt| rtt > 0.0),
                "{name}: {summary:?}"
            );
        }
        assert_eq!(download.direction, Direction::Download);
        assert!(download.retransmission_ratio.is_some());
        assert_ne!(download.uuid, upload.uuid);
    }
    let results = lab.results(clients.len() * 2).await;
    for (_, result) in &results {
        let data = if result["Upload"].is_null() {
            &result["Download"]
        } else {
            &result["Upload"]
        };
        assert!(
            data["ClientMetadata"].to_string().contains("groma-ndt7"),
            "{data}"
        );
    }
    for protocol in ["ndt7+ws", "ndt7+wss"] {
        for direction in ["download", "upload"] {
            let line = format!(
                "ndt7_client_test_results_total{{protocol=\"{protocol}\",direction=\"{direction}\",result=\"okay-with-rate\"}} 2"
            );
            lab.metric(&line).await;
        }
    }
}

#[tokio::test]
async fn refusals_have_types() {
    let lab = Lab::start(&Wishes {
        require_policy: true,
        ..Wishes::default()
    });
    let stranger = Client::new(ClientConfig {
        servers: vec![lab.ws().to_string()],
        tls: false,
        ..ClientConfig::default()
    })
    .unwrap();
    match stranger.download(|_| {}).await {
        Err(ClientError::Refused { status, text, .. }) => {
            assert_eq!(status, 403);
            assert!(text.contains("policy_version"), "{text}");
        }
        other => panic!("{other:?}"),
    }
    let secure = format!("localhost:{}", lab.wss().port());
    let unbelieved = client(secure, Trust::File(other_certificate(&lab)), true);
    let refused = unbelieved.download(|_| {}).await;
    assert!(
        matches!(refused, Err(ClientError::Tls { .. })),
        "{refused:?}"
    );
    let closed = TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap();
    let refused = client(closed.to_string(), Trust::System, false)
        .upload(|_| {})
        .await;
    assert!(
        matches!(refused, Err(ClientError::Connect { .. })),
        "{refused:?}"
    );
    assert!(matches!(
        Client::new(ClientConfig::default()),
        Err(ClientError::NoServer)
    ));
}

fn other_certificate(lab: &Lab) -> std::path::PathBuf {
    let path = lab.dir.path().join("other.pem");
    let other = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
    std::fs::write(&path, other.cert.pem()).unwrap();
    path
}

#[tokio::test]
async fn the_next_server_is_tried() {
    let lab = Lab::start(&Wishes::default());
    let closed = TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap();
    let client = Client::new(ClientConfig {
        servers: vec![
            closed.to_string(),
            format!("ws://{}/ndt/v7/upload?client_os=linux", lab.ws()),
        ],
        tls: false,
        ..ClientConfig::default()
    })
    .unwrap();
    let summary = client.upload(|_| {}).await.unwrap();
    assert_eq!(summary.server, lab.ws());
    let result = lab.result("Upload").await;
    assert!(
        result["ClientMetadata"]
            .to_string()
            .contains(r#"{"Name":"client_os","Value":"linux"}"#)
    );
}

/// A server made of tungstenite: one connection, one test, one measurement.
pub(crate) fn tungstenite_server(
    serve: impl FnOnce(WebSocket<TcpStream>) + Send + 'static,
) -> (SocketAddr, JoinHandle<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let serving = std::thread::spawn(move || {
        let (stream, _) = listener.accept().unwrap();
        #[expect(
            clippy::result_large_err,
            reason = "the callback's type is tungstenite's"
        )]
        let agree = |request: &Request, mut response: Response| {
            assert_eq!(request.headers()["Sec-WebSocket-Protocol"], SUBPROTOCOL);
            let protocol = SUBPROTOCOL.parse().unwrap();
            response
                .headers_mut()
                .insert("Sec-WebSocket-Protocol", protocol);
            Ok(response)
        };
        serve(tungstenite::accept_hdr(stream, agree).unwrap());
    });
    (address, serving)
}

pub(crate) fn close_and_drain(mut socket: WebSocket<TcpStream>, code: CloseCode) {
    let reason = "Done sending".into();
    socket.close(Some(CloseFrame { code, reason })).unwrap();
    let ended = std::iter::repeat_with(|| socket.read()).find_map(Result::err);
    assert!(
        matches!(ended, Some(tungstenite::Error::ConnectionClosed)),
        "the client answers the close frame: {ended:?}"
    );
}

#[tokio::test]
async fn our_client_downloads_from_tungstenite() {
    let (server, serving) = tungstenite_server(|mut socket| {
        for _ in 0..100 {
            socket.send(Message::binary(vec![1; 10_000])).unwrap();
        }
        let text = r#"{"ConnectionInfo":{"UUID":"u"},"TCPInfo":{"MinRTT":2000,"BytesSent":100,"BytesRetrans":25}}"#;
        socket.send(Message::text(text)).unwrap();
        socket
            .send(Message::Ping(b"12345".as_slice().into()))
            .unwrap();
        loop {
            if let Message::Pong(payload) = socket.read().unwrap() {
                assert_eq!(payload.as_ref(), b"12345");
                break;
            }
        }
        close_and_drain(socket, CloseCode::Normal);
    });
    let client = client(server.to_string(), Trust::System, false);
    let summary = client.download(|_| {}).await.unwrap();
    serving.join().unwrap();
    assert_eq!(summary.bytes, 1_000_000);
    assert_eq!(summary.uuid.as_deref(), Some("u"));
    assert_eq!(
        (summary.min_rtt_ms, summary.retransmission_ratio),
        (Some(2.0), Some(0.25))
    );
}

#[tokio::test]
async fn our_client_uploads_to_tungstenite() {
    let (server, serving) = tungstenite_server(|mut socket| {
        let mut received = 0;
        while received < 20_000_000 {
            match socket.read().unwrap() {
                Message::Binary(load) => received += load.len(),
                other => panic!("{other:?}"),
            }
        }
        let text = format!(r#"{{"TCPInfo":{{"BytesReceived":{received},"ElapsedTime":1000000}}}}"#);
        socket.send(Message::text(text)).unwrap();
        close_and_drain(socket, CloseCode::Normal);
    });
    let client = client(server.to_string(), Trust::System, false);
    let summary = client.upload(|_| {}).await.unwrap();
    serving.join().unwrap();
    assert!(summary.bytes >= 20_000_000);
    assert_eq!(summary.elapsed_us, 1_000_000);
}

#[tokio::test]
async fn a_test_in_which_nothing_moved_is_an_error() {
    let (server, serving) = tungstenite_server(|socket| close_and_drain(socket, CloseCode::Normal));
    let ended = client(server.to_string(), Trust::System, false)
        .download(|_| {})
        .await;
    assert!(
        matches!(ended, Err(ClientError::NoLoad { .. })),
        "{ended:?}"
    );
    serving.join().unwrap();
}

#[tokio::test]
async fn a_test_that_breaks_off_is_an_error() {
    let (lost, _) = tungstenite_server(|mut socket| {
        socket.send(Message::binary(vec![1; 10_000])).unwrap();
    });
    let ended = client(lost.to_string(), Trust::System, false)
        .download(|_| {})
        .await;
    assert!(matches!(ended, Err(ClientError::Lost { .. })), "{ended:?}");
    let (overloaded, _) = tungstenite_server(|socket| close_and_drain(socket, CloseCode::Again));
    let ended = client(overloaded.to_string(), Trust::System, false)
        .upload(|_| {})
        .await;
    assert!(
        matches!(ended, Err(ClientError::Closed { code: 1013, .. })),
        "{ended:?}"
    );
}

#[tokio::test]
async fn a_port_of_the_other_kind_is_named_in_the_error() {
    let lab = Lab::start(&Wishes::default());
    let secure = client(lab.ws().to_string(), Trust::Anybody, true);
    let error = secure.download(|_| ()).await.unwrap_err();
    let expected = format!("use ws://{}", lab.ws());
    assert!(error.to_string().contains(&expected), "{error}");
    assert!(!error.is_about_certificate());
    let plain = client(lab.wss().to_string(), Trust::System, false);
    let error = plain.download(|_| ()).await.unwrap_err();
    let expected = format!("use wss://{}", lab.wss());
    assert!(error.to_string().contains(&expected), "{error}");
    let untrusted = client(
        format!("localhost:{}", lab.wss().port()),
        Trust::System,
        true,
    );
    let error = untrusted.download(|_| ()).await.unwrap_err();
    assert!(error.is_about_certificate(), "{error}");
}
