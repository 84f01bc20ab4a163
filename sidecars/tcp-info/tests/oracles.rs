//! Compares our readings with those of other programs on the same sockets: `ss`, and the crate `netlink-packet-sock-diag`.

use std::collections::HashMap;
use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::process::Command;

use groma_diag::{Diag, Snapshot};
use netlink_packet_core::Parseable as _;
use netlink_packet_sock_diag::inet::InetResponse;
use netlink_packet_sock_diag::inet::nlas::Nla;

/// Connections in different conditions, all idle while they are compared.
fn connections() -> (TcpListener, Vec<(TcpStream, TcpStream)>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let pairs = (0..8_usize)
        .map(|index| {
            let mut client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
            let mut server = listener.accept().unwrap().0;
            if index % 2 == 1 {
                rustix::net::sockopt::set_tcp_congestion(&server, "cubic").unwrap();
            }
            let size = index * index * 3000;
            let reading = std::thread::spawn(move || {
                client.read_exact(&mut vec![0; size]).unwrap();
                client.write_all(&[1; 100]).unwrap();
                client
            });
            server.write_all(&vec![7; size]).unwrap();
            let client = reading.join().unwrap();
            // Every third leaves what came unread.
            if index % 3 != 0 {
                server.read_exact(&mut [0; 100]).unwrap();
            }
            (client, server)
        })
        .collect();
    // Acknowledgements that were delayed come within this.
    std::thread::sleep(std::time::Duration::from_millis(300));
    (listener, pairs)
}

/// The bodies of the kernel's messages by remote port, of the sockets with this local port.
fn bodies(local_port: u16) -> HashMap<u16, Vec<u8>> {
    let mut bodies = HashMap::new();
    let dumped = Diag::open().unwrap().dump(|record| {
        if record.local_port() == local_port {
            bodies.insert(record.remote_port(), record.body().to_vec());
        }
    });
    assert!(!dumped.unwrap().interrupted);
    bodies
}

fn decode(body: &[u8]) -> Snapshot {
    Snapshot::of(groma_diag::Record::parse(body).unwrap())
}

/// Compares fields by name, ours with theirs.
macro_rules! same {
    ($ours:expr, $theirs:expr; $($our:ident $their:ident)*) => {
        { $(assert_eq!(i128::from($ours.$our), i128::from($theirs.$their), stringify!($our));)* }
    };
}

#[test]
fn the_crate_reads_the_same_from_the_same_bytes() {
    let (listener, _pairs) = connections();
    let bodies = bodies(listener.local_addr().unwrap().port());
    assert_eq!(bodies.len(), 8);
    for body in bodies.values() {
        let ours = decode(body);
        let theirs = InetResponse::parse(&body[..]).unwrap();
        let message = ours.inet_diag_msg.as_ref().unwrap();
        let (id, header) = (message.id.as_ref().unwrap(), &theirs.header);
        assert_eq!(
            (message.family, message.state),
            (header.family, header.state)
        );
        let socket = &header.socket_id;
        assert_eq!(
            (id.local_port, id.remote_port),
            (socket.source_port, socket.destination_port)
        );
        assert_eq!(
            (id.local_ip, id.remote_ip),
            (socket.source_address, socket.destination_address)
        );
        assert_eq!(id.interface, socket.interface_id);
        assert_eq!(id.cookie.to_ne_bytes(), socket.cookie);
        same!(message.words, header; rqueue_bytes recv_queue wqueue_bytes send_queue uid uid inode inode);
        let seen: usize = theirs
            .nlas
            .iter()
            .map(|attribute| compare(&ours, attribute))
            .sum();
        assert!(seen >= 6, "{seen}");
    }
}

/// Compares an attribute; 1 if it is one that the crate decodes.
fn compare(ours: &Snapshot, theirs: &Nla) -> usize {
    match theirs {
        Nla::TcpInfo(theirs) => {
            let ours = ours.tcp_info.unwrap();
            same!(ours, theirs; state state ca_state ca_state retransmits retransmits probes probes
                backoff backoff options options wscale wscale app_limited delivery_rate_app_limited
                rto_us rto ato_us ato snd_mss_bytes snd_mss rcv_mss_bytes rcv_mss unacked unacked
                sacked sacked lost lost retrans retrans fackets fackets
                last_data_sent_ms last_data_sent last_ack_sent_ms last_ack_sent
                last_data_recv_ms last_data_recv last_ack_recv_ms last_ack_recv
                pmtu_bytes pmtu rcv_ssthresh_bytes rcv_ssthresh rtt_us rtt rtt_var_us rttvar
                snd_ssthresh snd_ssthresh snd_cwnd snd_cwnd adv_mss_bytes advmss
                reordering reordering rcv_rtt_us rcv_rtt rcv_space_bytes rcv_space
                total_retrans total_retrans pacing_rate_bytes_per_s pacing_rate
                bytes_acked bytes_acked bytes_received bytes_received
                segs_out segs_out segs_in segs_in notsent_bytes notsent_bytes min_rtt_us min_rtt
                data_segs_in data_segs_in data_segs_out data_segs_out
                delivery_rate_bytes_per_s delivery_rate busy_time_us busy_time
                rwnd_limited_us rwnd_limited sndbuf_limited_us sndbuf_limited
                delivered delivered delivered_ce delivered_ce bytes_sent bytes_sent
                bytes_retrans bytes_retrans dsack_dups dsack_dups reord_seen reord_seen
                rcv_ooo_pack rcv_ooopack snd_wnd_bytes snd_wnd);
            assert_eq!(
                ours.max_pacing_rate_bytes_per_s.cast_unsigned(),
                theirs.max_pacing_rate
            );
        }
        Nla::Congestion(name) => assert_eq!(ours.congestion_algorithm, name.trim_end_matches('\0')),
        Nla::Tos(tos) => assert_eq!(ours.tos, *tos),
        Nla::Tc(class) => assert_eq!(ours.tclass, *class),
        Nla::Shutdown(shutdown) => assert_eq!(ours.shutdown, *shutdown),
        Nla::Mark(mark) => assert_eq!(ours.mark, *mark),
        Nla::ClassId(id) => assert_eq!(ours.class_id, *id),
        Nla::LegacyMemInfo(theirs) => same!(ours.mem_info.unwrap(), theirs;
            rmem_bytes receive_queue wmem_bytes bottom_send_queue fmem_bytes cache tmem_bytes send_queue),
        Nla::MemInfo(theirs) => same!(ours.socket_mem.unwrap(), theirs;
            rmem_alloc_bytes receive_queue rcvbuf_bytes receive_queue_max
            wmem_alloc_bytes bottom_send_queues sndbuf_bytes send_queue_max
            fwd_alloc_bytes cache wmem_queued_bytes send_queue),
        _ => return 0,
    }
    1
}

#[test]
fn ss_shows_the_same() {
    let port_filter = |port: u16| ["sport".to_owned(), "=".to_owned(), format!(":{port}")];
    let (listener, _pairs) = connections();
    let port = listener.local_addr().unwrap().port();
    let bodies = bodies(port);
    let Ok(output) = Command::new("ss")
        .arg("-tieOnmH")
        .args(port_filter(port))
        .output()
    else {
        return groma_tests::skip("this test needs ss (iproute2)");
    };
    let text = String::from_utf8(output.stdout).unwrap();
    let mut compared = 0;
    for line in text.lines().filter(|line| line.starts_with("ESTAB")) {
        let words: Vec<&str> = line.split_whitespace().collect();
        let remote_port: u16 = words[4].rsplit_once(':').unwrap().1.parse().unwrap();
        compared += compare_line(&decode(&bodies[&remote_port]), &words);
    }
    // Eight connections, with some twenty values that ss shows of each.
    assert!(compared >= 8 * 18, "{compared}: {text}");
}

/// Compares the `key:value` words of ss, and returns the number of compared ones. ss omits zeros and defaults.
fn compare_line(ours: &Snapshot, words: &[&str]) -> usize {
    let info = ours.tcp_info.unwrap();
    let message = ours.inet_diag_msg.as_ref().unwrap();
    let memory = ours.socket_mem.unwrap();
    let ms = |us: u32| f64::from(us) / 1000.0;
    let bits = |bytes: i64| bytes as f64 * 8.0;
    let (mut compared, mut words) = (0, words.iter());
    assert!(
        words
            .clone()
            .any(|word| **word == ours.congestion_algorithm),
        "{words:?}"
    );
    while let Some(word) = words.next() {
        let (key, value) = match *word {
            "pacing_rate" | "delivery_rate" => {
                (*word, words.next().unwrap().trim_end_matches("bps"))
            }
            _ => match word.split_once([':', '(']) {
                Some(pair) => pair,
                None => continue,
            },
        };
        let expected = match key {
            "mss" => f64::from(info.snd_mss_bytes),
            "pmtu" => f64::from(info.pmtu_bytes),
            "rcvmss" => f64::from(info.rcv_mss_bytes),
            "advmss" => f64::from(info.adv_mss_bytes),
            "cwnd" => f64::from(info.snd_cwnd),
            "ssthresh" => f64::from(info.snd_ssthresh),
            "rto" => ms(info.rto_us),
            "ato" => ms(info.ato_us),
            "minrtt" => ms(info.min_rtt_us),
            "rcv_rtt" => ms(info.rcv_rtt_us),
            "bytes_sent" => info.bytes_sent as f64,
            "bytes_acked" => info.bytes_acked as f64,
            "bytes_received" => info.bytes_received as f64,
            "segs_out" => f64::from(info.segs_out),
            "segs_in" => f64::from(info.segs_in),
            "data_segs_out" => f64::from(info.data_segs_out),
            "data_segs_in" => f64::from(info.data_segs_in),
            "delivered" => f64::from(info.delivered),
            "reordering" => f64::from(info.reordering),
            "rcv_space" => f64::from(info.rcv_space_bytes),
            "rcv_ssthresh" => f64::from(info.rcv_ssthresh_bytes),
            "snd_wnd" => f64::from(info.snd_wnd_bytes),
            "pacing_rate" => bits(info.pacing_rate_bytes_per_s),
            "delivery_rate" => bits(info.delivery_rate_bytes_per_s),
            "ino" => f64::from(message.words.inode),
            "rtt" => {
                assert_eq!(
                    value,
                    format!("{}/{}", ms(info.rtt_us), ms(info.rtt_var_us))
                );
                compared += 1;
                continue;
            }
            "sk" => {
                let cookie = message.id.as_ref().unwrap().cookie;
                assert_eq!(value, format!("{cookie:x}"));
                compared += 1;
                continue;
            }
            "skmem" => {
                let numbers = [
                    ("r", memory.rmem_alloc_bytes),
                    ("rb", memory.rcvbuf_bytes),
                    ("t", memory.wmem_alloc_bytes),
                    ("tb", memory.sndbuf_bytes),
                    ("f", memory.fwd_alloc_bytes),
                    ("w", memory.wmem_queued_bytes),
                    ("o", memory.optmem_bytes),
                    ("bl", memory.backlog_bytes),
                    ("d", memory.drops),
                ];
                let text: Vec<_> = numbers
                    .iter()
                    .map(|(name, number)| format!("{name}{number}"))
                    .collect();
                assert_eq!(value.trim_matches(['(', ')']), text.join(","));
                compared += numbers.len();
                continue;
            }
            _ => continue,
        };
        let shown: f64 = value.parse().unwrap();
        assert!(
            (shown - expected).abs() <= 1e-9 * expected.abs(),
            "{key}: {shown} and {expected}"
        );
        compared += 1;
    }
    compared
}
