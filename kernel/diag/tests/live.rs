//! On sockets of this machine: loopback connections that each test makes itself.

use std::collections::HashMap;
use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::process::{Child, Command};
use std::time::Duration;

use groma_diag::{Answer, Destroyed, Diag, Key, Opens, Snapshot, enter_namespace, kind};

fn pair(address: &str) -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind(address).unwrap();
    let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    (client, listener.accept().unwrap().0)
}

fn dumped(diag: &mut Diag) -> HashMap<u64, Vec<u8>> {
    let mut found = HashMap::new();
    let end = diag
        .dump(|record| {
            found.insert(record.cookie(), record.body().to_vec());
        })
        .unwrap();
    assert!(end.sockets >= found.len());
    found
}

fn key_of(body: &[u8]) -> Key {
    groma_diag::Record::parse(body).unwrap().key()
}

#[test]
fn one_dump_has_both_families_and_both_ends() {
    let mut diag = Diag::open().unwrap();
    for address in ["127.0.0.1:0", "[::1]:0"] {
        let (client, server) = pair(address);
        let found = dumped(&mut diag);
        for stream in [&client, &server] {
            let body = &found[&groma_sock::cookie(stream).unwrap()];
            let record = groma_diag::Record::parse(body).unwrap();
            assert_eq!(record.local_port(), stream.local_addr().unwrap().port());
            assert_eq!(record.remote_ip(), stream.peer_addr().unwrap().ip());
        }
    }
}

#[test]
fn an_exact_get_says_the_same_as_getsockopt() {
    let (mut client, mut server) = pair("127.0.0.1:0");
    client.write_all(&[7; 12_345]).unwrap();
    server.read_exact(&mut [0; 12_345]).unwrap();
    let mut diag = Diag::open().unwrap();
    let cookie = groma_sock::cookie(&server).unwrap();
    let key = key_of(&dumped(&mut diag)[&cookie]);
    let mut answer = None;
    diag.get(&[key], |_, found| {
        let Answer::Here(record) = found else {
            panic!("gone")
        };
        answer = Some(Snapshot::of(record));
    })
    .unwrap();
    let mut from_netlink = answer.unwrap().tcp_info.unwrap();
    let mut from_option = groma_sock::tcp_info(&server).unwrap();
    assert_eq!(from_netlink.bytes_received, 12_345);
    for info in [&mut from_netlink, &mut from_option] {
        (
            info.last_data_recv_ms,
            info.last_ack_recv_ms,
            info.last_data_sent_ms,
        ) = (0, 0, 0);
    }
    assert_eq!(from_netlink, from_option);
}

#[test]
fn a_hundred_gets_find_the_living_and_tell_the_dead() {
    let pairs: Vec<_> = (0..50).map(|_| pair("127.0.0.1:0")).collect();
    let mut diag = Diag::open().unwrap();
    let found = dumped(&mut diag);
    let mut keys = Vec::new();
    for (client, server) in &pairs {
        for stream in [client, server] {
            keys.push(key_of(&found[&groma_sock::cookie(stream).unwrap()]));
        }
    }
    let ask = |diag: &mut Diag| {
        let mut here = vec![None; keys.len()];
        diag.get(&keys, |index, answer| {
            assert!(here[index].is_none(), "answered twice");
            here[index] = Some(matches!(answer, Answer::Here(record)
                if record.attribute(kind::INFO).is_some()));
        })
        .unwrap();
        here
    };
    assert!(ask(&mut diag).iter().all(|here| *here == Some(true)));
    drop(pairs);
    assert!(ask(&mut diag).iter().all(|here| *here == Some(false)));
}

/// Closes a connection in order and waits until the kernel has said so for both ends.
fn last_words(destroyed: &mut Destroyed, cookies: &[u64]) -> HashMap<u64, Vec<u8>> {
    let mut found = HashMap::new();
    for _ in 0..500 {
        let drained = destroyed
            .drain(|record| {
                if cookies.contains(&record.cookie()) {
                    found.insert(record.cookie(), record.body().to_vec());
                }
            })
            .unwrap();
        assert_eq!(drained.malformed, 0);
        if found.len() == cookies.len() {
            break;
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    found
}

#[test]
fn the_destroy_multicast_has_the_final_counters() {
    let mut destroyed = Destroyed::open(1 << 20).unwrap();
    for address in ["127.0.0.1:0", "[::1]:0"] {
        let (mut client, mut server) = pair(address);
        client.write_all(&[1; 1000]).unwrap();
        server.read_exact(&mut [0; 1000]).unwrap();
        let cookie = groma_sock::cookie(&server).unwrap();
        let port = server.local_addr().unwrap().port();
        drop(client);
        assert_eq!(server.read(&mut [0]).unwrap(), 0);
        drop(server);
        let body = &last_words(&mut destroyed, &[cookie])[&cookie];
        let record = groma_diag::Record::parse(body).unwrap();
        assert_eq!(record.local_port(), port);
        let info = Snapshot::of(record).tcp_info.unwrap();
        assert_eq!(info.bytes_received, 1001, "the data and the FIN");
    }
}

#[test]
fn an_overrun_is_told_and_what_follows_is_heard() {
    let mut destroyed = Destroyed::open(1 << 15).unwrap();
    // The kernel reports from a queue, so that the flood arrives after a moment, on a busy machine after several.
    let overrun = (0..100).any(|_| {
        for _ in 0..200 {
            drop(pair("127.0.0.1:0"));
        }
        std::thread::sleep(Duration::from_millis(50));
        destroyed.drain(|_| {}).unwrap().overrun
    });
    assert!(overrun);
    let (client, server) = pair("127.0.0.1:0");
    let cookie = groma_sock::cookie(&server).unwrap();
    drop((client, server));
    assert_eq!(last_words(&mut destroyed, &[cookie]).len(), 1);
}

#[test]
fn the_counter_of_opens_moves_with_every_connection() {
    let mut opens = Opens::open().unwrap();
    let before = opens.count().unwrap();
    let _pair = pair("127.0.0.1:0");
    assert!(opens.count().unwrap() >= before + 2);
}

/// A process that holds a network namespace open.
struct Holder(Child);

impl Drop for Holder {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn another_namespace_is_seen_from_outside_and_alone() {
    if !groma_tests::root() {
        return;
    }
    let mut child = Command::new("unshare")
        .args([
            "-n",
            "sh",
            "-c",
            "ip link set lo up && echo up && exec sleep 600",
        ])
        .stdout(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    let mut ready = [0; 3];
    child
        .stdout
        .as_mut()
        .unwrap()
        .read_exact(&mut ready)
        .unwrap();
    let path = format!("/proc/{}/ns/net", child.id());
    let _holder = Holder(child);
    let _outside = pair("127.0.0.1:0");
    std::thread::spawn(move || {
        enter_namespace(path.as_ref()).unwrap();
        let mut diag = Diag::open().unwrap();
        let mut opens = Opens::open().unwrap();
        let before = opens.count().unwrap();
        let _inside = pair("127.0.0.1:0");
        assert_eq!(dumped(&mut diag).len(), 2);
        assert_eq!(opens.count().unwrap(), before + 2);
    })
    .join()
    .unwrap();
    assert!(enter_namespace("/proc/self/ns/mnt".as_ref()).is_err());
}
