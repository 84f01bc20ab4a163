//! The socket options on a real loopback connection.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream, UdpSocket};

fn pair() -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let (server, _) = listener.accept().unwrap();
    (client, server)
}

#[test]
fn both_ends_have_their_own_lasting_cookie() {
    let (client, server) = pair();
    let cookie = groma_sock::cookie(&server).unwrap();
    assert_ne!(cookie, 0);
    assert_eq!(cookie, groma_sock::cookie(&server).unwrap());
    assert_ne!(cookie, groma_sock::cookie(&client).unwrap());
}

#[test]
fn tcp_info_counts_the_bytes_that_passed() {
    let (mut client, mut server) = pair();
    client.write_all(&[1; 1000]).unwrap();
    let mut received = [0; 1000];
    server.read_exact(&mut received).unwrap();
    // The answer carries the acknowledgement, so both ends now agree.
    server.write_all(b"x").unwrap();
    client.read_exact(&mut received[..1]).unwrap();

    let server_info = groma_sock::tcp_info(&server).unwrap();
    let client_info = groma_sock::tcp_info(&client).unwrap();
    assert_eq!(server_info.bytes_received, 1000);
    // The kernel counts the SYN of the active side as one acknowledged byte.
    assert!((1000..=1001).contains(&client_info.bytes_acked));
    assert_eq!(client_info.bytes_sent, 1000);
    assert_eq!(server_info.state, 1);
    assert!(client_info.min_rtt_us > 0);
    assert!(client_info.snd_mss_bytes > 0);
}

#[test]
fn the_congestion_control_can_be_chosen() {
    let (client, _server) = pair();
    groma_sock::set_congestion_control(&client, "reno").unwrap();
    assert_eq!(groma_sock::congestion_control(&client).unwrap(), "reno");
    assert_eq!(groma_sock::bbr_info(&client).unwrap(), None);
    assert!(groma_sock::set_congestion_control(&client, "no-such-thing").is_err());
}

#[test]
fn bbr_tells_its_gains() {
    let (client, _server) = pair();
    if let Err(error) = groma_sock::set_congestion_control(&client, "bbr") {
        println!("skipped: this kernel offers no bbr ({error})");
        return;
    }
    let info = groma_sock::bbr_info(&client)
        .unwrap()
        .expect("bbr is in use");
    assert!(info.pacing_gain > 0 && info.cwnd_gain > 0);
}

#[test]
fn a_socket_that_is_not_tcp_is_an_error() {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    assert!(groma_sock::tcp_info(&socket).is_err());
    assert!(groma_sock::bbr_info(&socket).is_err());
    assert!(groma_sock::cookie(&socket).is_ok());
}
