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

#[test]
fn discarding_takes_exactly_so_many_bytes() {
    let (mut client, mut server) = pair();
    let sending = std::thread::spawn(move || {
        let bytes: Vec<u8> = (0..1_000_000u32).map(|n| (n % 253) as u8).collect();
        server.write_all(&bytes).unwrap();
    });
    let mut left = 700_001;
    while left > 0 {
        let gone = groma_sock::discard(&client, left).unwrap();
        assert!(gone > 0 && gone <= left);
        left -= gone;
    }
    let mut next = [0];
    client.read_exact(&mut next).unwrap();
    assert_eq!(u32::from(next[0]), 700_001 % 253);
    sending.join().unwrap();
    while groma_sock::discard(&client, 1 << 20).unwrap() > 0 {}
    client.set_nonblocking(true).unwrap();
    assert_eq!(
        groma_sock::discard(&client, 5).unwrap(),
        0,
        "the end of the stream"
    );
}

#[test]
fn a_socket_that_is_not_tcp_refuses_to_discard() {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket
        .send_to(b"123", socket.local_addr().unwrap())
        .unwrap();
    let refused = groma_sock::discard(&socket, 3).unwrap_err();
    assert_eq!(refused.raw_os_error(), Some(14), "EFAULT");
}

#[test]
fn below_the_low_water_nothing_is_readable_until_it_is_lowered_or_the_stream_ends() {
    let readable = |stream: &TcpStream| {
        let mut asked = [rustix::event::PollFd::new(
            stream,
            rustix::event::PollFlags::IN,
        )];
        rustix::event::poll(&mut asked, Some(&rustix::time::Timespec::default())).unwrap() == 1
    };
    let (client, mut server) = pair();
    groma_sock::set_receive_low_water(&client, 1000).unwrap();
    server.write_all(&[1; 999]).unwrap();
    assert!(!readable(&client));
    server.write_all(&[1]).unwrap();
    assert!(readable(&client));
    groma_sock::set_receive_low_water(&client, 2000).unwrap();
    assert!(!readable(&client));
    groma_sock::set_receive_low_water(&client, 1).unwrap();
    assert!(readable(&client));
    groma_sock::set_receive_low_water(&client, 2000).unwrap();
    drop(server);
    assert!(readable(&client));
}
