//! The recorder on live sockets.

mod common;

use std::collections::{HashMap, HashSet};
use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::time::Duration;

use common::{Cable, Ear, Place, ports, start, wait_until, whole};
use groma_events::Event;
use groma_tcp_info::record::End;

/// Sends, receives, and closes from the client's side.
fn exchange(client: &mut TcpStream, server: &mut TcpStream, there: usize, back: usize) {
    client.write_all(&vec![1; there]).unwrap();
    server.read_exact(&mut vec![0; there]).unwrap();
    server.write_all(&vec![2; back]).unwrap();
    client.read_exact(&mut vec![0; back]).unwrap();
}

#[test]
fn one_test_on_loopback_leaves_one_uuid_and_a_strangers_connection_nothing() {
    let place = Place::new();
    let [listener, stranger] = [(); 2].map(|()| TcpListener::bind("127.0.0.1:0").unwrap());
    let port = listener.local_addr().unwrap().port();
    let collector = start(place.config(ports(&[port])));
    let ear = Ear::new(place.socket());
    let foreign = TcpStream::connect(stranger.local_addr().unwrap()).unwrap();
    let mut client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let client_port = client.local_addr().unwrap().port();
    let mut server = listener.accept().unwrap().0;
    let cookie = groma_sock::cookie(&server).unwrap();
    wait_until("the connection is seen", || collector.totals().open == 1);
    for _ in 0..5 {
        exchange(&mut client, &mut server, 1000, 2000);
        std::thread::sleep(Duration::from_millis(25));
    }
    drop(client);
    assert_eq!(server.read(&mut [0]).unwrap(), 0);
    drop((server, foreign));
    wait_until("the connection is gone", || collector.totals().closed == 1);
    collector.stop();

    let files = place.files();
    let uuid = place.uuid(cookie);
    assert_eq!(files.keys().collect::<Vec<_>>(), [&(uuid.clone(), 0)]);
    let recording = &files[&(uuid.clone(), 0)];
    assert_eq!((recording.end, place.waiting()), (Some(End::Closed), 0));
    assert!(recording.records.len() >= 6, "{}", recording.records.len());
    assert!(recording.polls.unwrap().made >= 10);
    let last = recording.records.last().unwrap().decode().tcp_info.unwrap();
    assert_eq!(
        (last.bytes_received, last.bytes_acked),
        (5001, 10_001),
        "data and one FIN each way"
    );
    let events = ear.all();
    let [
        Event::Open {
            id, uuid: opened, ..
        },
        Event::Close { uuid: closed, .. },
    ] = &events[..]
    else {
        panic!("{events:?}")
    };
    assert_eq!((opened.as_str(), closed.as_str()), (&uuid[..], &uuid[..]));
    assert_eq!((id.local_port, id.remote_port), (port, client_port));
    assert_eq!(id.cookie.cast_unsigned(), cookie);
}

#[test]
fn an_aborted_connection_keeps_its_last_good_snapshot() {
    let place = Place::new();
    let listener = TcpListener::bind("[::1]:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let collector = start(place.config(ports(&[port])));
    let mut client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let mut server = listener.accept().unwrap().0;
    exchange(&mut client, &mut server, 3000, 4000);
    wait_until("the connection is seen", || collector.totals().open == 1);
    std::thread::sleep(Duration::from_millis(50));
    rustix::net::sockopt::set_socket_linger(&server, Some(Duration::ZERO)).unwrap();
    drop(server);
    wait_until("the connection is gone", || collector.totals().closed == 1);
    collector.stop();
    let files = place.files();
    let recording = files.values().next().unwrap();
    assert_eq!((files.len(), recording.end), (1, Some(End::Aborted)));
    let last = recording.records.last().unwrap().decode().tcp_info.unwrap();
    assert_eq!((last.bytes_received, last.bytes_acked), (3000, 4000));
}

#[test]
fn a_stop_ends_the_file_and_the_next_life_goes_on_with_the_next_sequence() {
    let place = Place::new();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let collector = start(place.config(ports(&[port])));
    let mut client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let mut server = listener.accept().unwrap().0;
    let uuid = place.uuid(groma_sock::cookie(&server).unwrap());
    wait_until("the connection is seen", || collector.totals().open == 1);
    collector.stop();
    assert_eq!(place.files()[&(uuid.clone(), 0)].end, Some(End::Stopped));

    let collector = start(place.config(ports(&[port])));
    let ear = Ear::new(place.socket());
    exchange(&mut client, &mut server, 10, 10);
    std::thread::sleep(Duration::from_millis(50));
    drop((client, server));
    wait_until("the connection is gone", || collector.totals().closed == 1);
    assert_eq!(collector.totals().opened, 1);
    collector.stop();
    let files = place.files();
    let [first, second] = [0, 1].map(|sequence| files[&(uuid.clone(), sequence)].clone());
    assert_eq!(second.end, Some(End::Closed));
    assert_eq!(
        first.metadata.unwrap().start_time,
        second.metadata.unwrap().start_time
    );
    assert!(
        matches!(&ear.all()[..], [Event::Close { .. }]),
        "it was told as open before"
    );
}

#[test]
fn files_rotate_also_while_nothing_happens() {
    let place = Place::new();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let mut config = place.config(ports(&[listener.local_addr().unwrap().port()]));
    config.rotation = Duration::from_millis(300);
    let collector = start(config);
    let mut client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let mut server = listener.accept().unwrap().0;
    wait_until("the idle file is published", || place.files().len() == 1);
    exchange(&mut client, &mut server, 10, 10);
    wait_until("the next one too", || place.files().len() == 2);
    collector.stop();
    let files = place.files();
    assert!(files.values().all(|file| file.end == Some(End::Rotated)));
    assert!(files.values().all(|file| file.polls.unwrap().made > 0));
}

#[test]
fn what_is_left_of_a_socket_after_its_last_word_is_no_connection() {
    let place = Place::new();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let collector = start(place.config(ports(&[port])));
    let ear = Ear::new(place.socket());
    let mut client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let mut server = listener.accept().unwrap().0;
    exchange(&mut client, &mut server, 100, 100);
    // The client goes on: the server's end stays behind as a stump in FIN-WAIT-2, without counters.
    drop(server);
    wait_until("the connection is gone", || collector.totals().closed == 1);
    std::thread::sleep(Duration::from_millis(300));
    collector.stop();
    let files = place.files();
    assert_eq!(files.len(), 1);
    let recording = files.values().next().unwrap();
    assert_eq!(recording.end, Some(End::Closed));
    let stumps = recording.records.iter();
    let stumps = stumps.filter(|record| record.decode().tcp_info.is_none());
    assert_eq!(stumps.count(), 0);
    assert_eq!(ear.all().len(), 2, "opened and closed once");
    drop(client);
}

/// A connection from one namespace to a port of the other, closed again.
fn connect(cable: &Cable, (from, to): (usize, usize), address: &'static str) {
    let (bound, wait_for_bound) = std::sync::mpsc::channel();
    let server = cable.run(to, move || {
        let listener = TcpListener::bind(address).unwrap();
        bound.send(()).unwrap();
        let mut stream = listener.accept().unwrap().0;
        assert_eq!(stream.read(&mut [0]).unwrap(), 0);
    });
    wait_for_bound.recv().unwrap();
    let client = cable.run(from, move || drop(TcpStream::connect(address).unwrap()));
    client.join().unwrap();
    server.join().unwrap();
}

#[test]
fn several_namespaces_are_recorded_each_by_its_own_rules() {
    let Some(cable) = Cable::new("several") else {
        return;
    };
    let place = Place::new();
    let own = TcpListener::bind("127.0.0.1:0").unwrap();
    let own_port = own.local_addr().unwrap().port();
    let mut namespaces = ports(&[own_port]);
    for (end, excluded_local_ports, excluded_remotes) in [
        (0, vec![5002], Vec::new()),
        (1, Vec::new(), vec!["10.77.0.0/24".parse().unwrap()]),
    ] {
        namespaces.push(groma_tcp_info::Namespace {
            path: Some(cable.path(end)),
            scope: groma_tcp_info::Scope::Whole {
                excluded_local_ports,
                excluded_remotes,
            },
        });
    }
    let collector = start(place.config(namespaces));
    for address in ["10.77.0.1:5001", "10.77.0.1:5002", "[fd77::1]:5001"] {
        connect(&cable, (1, 0), address);
    }
    drop(TcpStream::connect(own.local_addr().unwrap()).unwrap());
    drop(own.accept().unwrap());
    // Recorded ends: the server's of the first, none of the second, both of the third, and one of our own.
    wait_until("all are gone", || collector.totals().closed == 4);
    std::thread::sleep(Duration::from_millis(100));
    collector.stop();
    let files = place.files();
    let mut ends: Vec<_> = files
        .values()
        .map(|file| {
            let last = file.records.last().unwrap().decode();
            let id = last.inet_diag_msg.unwrap().id.unwrap();
            let known = |port: u16| [5001, 5002, own_port].contains(&port).then_some(port);
            (id.local_ip.to_string(), known(id.local_port))
        })
        .collect();
    ends.sort();
    let expected = [
        ("10.77.0.1", Some(5001)),
        ("127.0.0.1", Some(own_port)),
        ("fd77::1", Some(5001)),
        ("fd77::2", None),
    ];
    assert_eq!(ends, expected.map(|(ip, port)| (ip.to_owned(), port)));
}

/// One of many short connections: what was sent and how the server named it.
struct Short {
    cookie: u64,
    received: i64,
    sent: i64,
    client_closes: bool,
}

#[test]
fn ten_thousand_connections_of_a_few_milliseconds_are_all_recorded_to_the_byte() {
    const WORKERS: usize = 20;
    const EACH: usize = 500;
    let Some(cable) = Cable::new("short") else {
        return;
    };
    let place = Place::new();
    let collector = start(place.config(vec![whole(&cable.path(0))]));
    let ear = Ear::new(place.socket());
    let workers: Vec<_> = (0..WORKERS)
        .map(|worker| {
            let v6 = worker % 2 == 1;
            let (bound, wait_for_bound) = std::sync::mpsc::channel();
            let server = cable.run(0, move || {
                let listener =
                    TcpListener::bind(if v6 { "[fd77::1]:0" } else { "10.77.0.1:0" }).unwrap();
                bound.send(listener.local_addr().unwrap()).unwrap();
                (0..EACH)
                    .map(|turn| serve(&listener, worker, turn))
                    .collect::<Vec<_>>()
            });
            let address = wait_for_bound.recv().unwrap();
            let client = cable.run(1, move || {
                for turn in 0..EACH {
                    visit(address, worker, turn);
                }
            });
            (server, client)
        })
        .collect();
    let mut expected = HashMap::new();
    for (server, client) in workers {
        client.join().unwrap();
        for short in server.join().unwrap() {
            expected.insert(place.uuid(short.cookie), short);
        }
    }
    let count = WORKERS * EACH;
    wait_until("all are gone", || collector.totals().closed == count as u64);
    assert_eq!(collector.totals().opened, count as u64);
    collector.stop();

    let mut opened = HashSet::new();
    let mut closed = HashSet::new();
    for event in ear.all() {
        let set = if matches!(event, Event::Open { .. }) {
            &mut opened
        } else {
            &mut closed
        };
        assert!(set.insert(event.uuid().to_string()), "{event:?} twice");
    }
    assert_eq!(
        (expected.len(), opened.len(), closed.len()),
        (count, count, count)
    );
    let files = place.files();
    assert_eq!(files.len(), count);
    for (uuid, short) in &expected {
        assert!(opened.contains(uuid) && closed.contains(uuid));
        let recording = &files[&(uuid.clone(), 0)];
        assert_eq!(recording.end, Some(End::Closed), "{uuid}");
        let last = recording.records.last().unwrap().decode().tcp_info.unwrap();
        // One more each way: the FINs. The client's comes after the last word where the server closed first and its
        // FIN was acknowledged at once: the kernel then keeps a stump of the socket that counts nothing.
        let fins = if short.client_closes { 1..=1 } else { 0..=1 };
        assert!(
            fins.contains(&(last.bytes_received - short.received)),
            "{uuid}"
        );
        assert_eq!(last.bytes_acked, short.sent + 1, "{uuid}");
    }
}

/// Bytes there and back of one connection, different for each.
fn sizes(worker: usize, turn: usize) -> (usize, usize) {
    (
        1 + (worker * 131 + turn * 17) % 5000,
        1 + (worker * 37 + turn * 101) % 20_000,
    )
}

fn serve(listener: &TcpListener, worker: usize, turn: usize) -> Short {
    let (there, back) = sizes(worker, turn);
    let mut stream = listener.accept().unwrap().0;
    stream.read_exact(&mut vec![0; there]).unwrap();
    stream.write_all(&vec![7; back]).unwrap();
    let cookie = groma_sock::cookie(&stream).unwrap();
    // Whichever side closes first, both orders of FINs occur.
    let client_closes = turn.is_multiple_of(2);
    if client_closes {
        assert_eq!(stream.read(&mut [0]).unwrap(), 0);
    }
    Short {
        cookie,
        received: there as i64,
        sent: back as i64,
        client_closes,
    }
}

fn visit(address: std::net::SocketAddr, worker: usize, turn: usize) {
    let (there, back) = sizes(worker, turn);
    let mut stream = TcpStream::connect(address).unwrap();
    stream.write_all(&vec![7; there]).unwrap();
    stream.read_exact(&mut vec![0; back]).unwrap();
    std::thread::sleep(Duration::from_millis(turn as u64 % 4));
    if !turn.is_multiple_of(2) {
        assert_eq!(stream.read(&mut [0]).unwrap(), 0);
    }
}
