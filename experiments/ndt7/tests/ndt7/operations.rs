//! The operations of an operator on a running server.

use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::time::Duration;

use groma_ndt7::client::{Client, ClientConfig, ClientError, Trust};

use crate::lab::{Lab, PATIENCE, Wishes};

fn believing(server: SocketAddr, certificate: &Path) -> Client {
    Client::new(ClientConfig {
        servers: vec![format!("localhost:{}", server.port())],
        trust: Trust::File(certificate.to_owned()),
        ..ClientConfig::default()
    })
    .unwrap()
}

#[tokio::test]
async fn a_new_certificate_is_served_without_restart_and_half_of_one_is_not() {
    let lab = Lab::start(&Wishes {
        runtime: Duration::from_millis(50),
        ..Wishes::default()
    });
    let old = lab.dir.path().join("old.pem");
    std::fs::copy(lab.certificate(), &old).unwrap();
    believing(lab.wss(), &old).download(|_| {}).await.unwrap();

    let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
    std::fs::write(lab.certificate(), made.cert.pem()).unwrap();
    tokio::time::sleep(Duration::from_millis(1100)).await;
    believing(lab.wss(), &old)
        .download(|_| {})
        .await
        .expect("certificate and key do not go together, so the old pair stays");

    let key = lab.dir.path().join("key.pem");
    std::fs::write(key, made.signing_key.serialize_pem()).unwrap();
    let new = believing(lab.wss(), &lab.certificate());
    let served = async {
        while new.download(|_| {}).await.is_err() {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    tokio::time::timeout(PATIENCE, served).await.unwrap();
    let refused = believing(lab.wss(), &old).download(|_| {}).await;
    assert!(
        matches!(refused, Err(ClientError::Tls { .. })),
        "{refused:?}"
    );
}

#[tokio::test]
async fn one_socket_serves_both_families_and_ipv4_clients_keep_their_address() {
    let socket = TcpListener::bind("[::]:0").unwrap();
    let port = socket.local_addr().unwrap().port();
    let lab = Lab::listening(&Wishes::default(), vec![socket], false);
    for address in [format!("127.0.0.1:{port}"), format!("[::1]:{port}")] {
        let client = Client::new(ClientConfig {
            servers: vec![address],
            tls: false,
            ..ClientConfig::default()
        })
        .unwrap();
        client.upload(|_| {}).await.unwrap();
    }
    let mut clients: Vec<String> = lab
        .results(2)
        .await
        .iter()
        .map(|(_, result)| result["ClientIP"].as_str().unwrap().to_owned())
        .collect();
    clients.sort();
    assert_eq!(clients, ["127.0.0.1", "::1"]);
}

#[tokio::test]
async fn a_server_of_tls_alone_has_no_cleartext_socket() {
    let lab = Lab::listening(&Wishes::default(), vec![], true);
    let sockets: Vec<bool> = lab
        .server
        .local_addrs()
        .iter()
        .map(|local| local.secure)
        .collect();
    assert_eq!(sockets, [true]);
}

#[tokio::test]
async fn draining_lets_tests_end_and_lets_nobody_in() {
    let lab = Lab::start(&Wishes::default());
    let server = lab.ws();
    let client = Client::new(ClientConfig {
        servers: vec![server.to_string()],
        tls: false,
        ..ClientConfig::default()
    })
    .unwrap();
    let running = tokio::spawn({
        let client = client.clone();
        async move { client.download(|_| {}).await }
    });
    lab.metric("netx_current_open_conns 1").await;
    let (spool, drained) = lab.drain(Duration::from_secs(30)).await;
    assert!(drained, "within the grace");
    running.await.unwrap().expect("the test came to its end");
    assert!(client.download(|_| {}).await.is_err(), "nobody listens");
    assert_eq!(spool.len(), 1, "its result is there");
}
