//! Connections that are admitted, and those that are not.

mod common;

use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use common::{Ear, Place, ports, start, wait_until, walk};
use groma_events::Event;
use groma_tcp_info::record::End;
use groma_tcp_info::{Admission, Collector, Config};

/// A client and its server's end, and the cookie of the latter.
struct Pair {
    client: TcpStream,
    server: TcpStream,
    cookie: u64,
}

fn connect(listener: &TcpListener) -> Pair {
    let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let server = listener.accept().unwrap().0;
    let cookie = groma_sock::cookie(&server).unwrap();
    Pair {
        client,
        server,
        cookie,
    }
}

impl Pair {
    fn exchange(&mut self, there: usize, back: usize) {
        self.client.write_all(&vec![1; there]).unwrap();
        self.server.read_exact(&mut vec![0; there]).unwrap();
        self.server.write_all(&vec![2; back]).unwrap();
        self.client.read_exact(&mut vec![0; back]).unwrap();
    }

    /// Closes from the client's side.
    fn close(mut self) -> u64 {
        drop(self.client);
        while matches!(self.server.read(&mut [0; 4096]), Ok(1..)) {}
        self.cookie
    }
}

/// A port that the kernel gives to no client, which would be recorded at its own end too.
fn listen() -> (TcpListener, SocketAddr) {
    let first = 10_000 + (std::process::id() % 10_000) as u16;
    let mut ports = first..first + 10_000;
    let listener = ports.find_map(|port| TcpListener::bind(("127.0.0.1", port)).ok());
    let listener = listener.expect("one of ten thousand ports is free");
    let address = listener.local_addr().unwrap();
    (listener, address)
}

/// Waits until this number of connections has closed, and about each is decided.
fn all_are_decided(collector: &Collector, closed: usize) {
    wait_until("all are decided", || {
        collector.totals().closed == closed as u64 && collector.undecided() == 0
    });
}

/// No file of the spool has one of these addresses or UUIDs.
fn says_nothing_of(place: &Place, words: &[String]) {
    for file in walk(&place.dir.path().join("spool")) {
        let bytes = std::fs::read(&file).unwrap();
        let plain = zstd::decode_all(&bytes[..]).unwrap_or_else(|_| bytes.clone());
        for word in words {
            let found = |text: &[u8]| text.windows(word.len()).any(|part| part == word.as_bytes());
            let name = file.to_str().unwrap();
            assert!(!name.contains(word), "{word} is in the name {name}");
            assert!(!found(&bytes) && !found(&plain), "{word} is in {name}");
        }
    }
}

#[test]
fn only_announced_connections_are_published_with_address_and_uuid() {
    let place = Place::new();
    let (listener, address) = listen();
    let collector = start(place.announced(ports(&[address.port()])));
    let announcer = place.announcer();
    let ear = Ear::new(place.socket());

    let mut admitted = connect(&listener);
    let _test = place.announce(&announcer, admitted.cookie);
    admitted.exchange(1000, 2000);
    let mut refused = connect(&listener);
    refused.exchange(100, 50);
    let bare = connect(&listener);
    let mut much = connect(&listener);
    much.exchange(5000, 5000);
    let [refused, bare, much] = [refused, bare, much].map(Pair::close);
    let admitted = admitted.close();
    all_are_decided(&collector, 4);
    collector.stop();

    let files = place.files();
    let uuid = place.uuid(admitted);
    assert_eq!(files.keys().collect::<Vec<_>>(), [&(uuid.clone(), 0)]);
    assert_eq!(files[&(uuid, 0)].end, Some(End::Closed));
    let mut rows: Vec<(u64, u64)> = place
        .rows()
        .iter()
        .map(|row| {
            let keys: Vec<&String> = row.as_object().unwrap().keys().collect();
            let expected = ["Hour", "LocalPort", "Outcome", "BytesSent", "BytesReceived"];
            assert_eq!(keys, expected);
            assert_eq!(
                (&row["LocalPort"], &row["Outcome"]),
                (&address.port().into(), &"closed".into())
            );
            assert!(row["Hour"].as_str().unwrap().ends_with(":00:00Z"), "{row}");
            (
                row["BytesSent"].as_u64().unwrap(),
                row["BytesReceived"].as_u64().unwrap(),
            )
        })
        .collect();
    rows.sort_unstable();
    // The end of a stream counts as a byte received.
    assert_eq!(rows, [(0, 0), (50, 101), (5000, 5001)]);
    let uuids = [refused, bare, much].map(|cookie| place.uuid(cookie));
    says_nothing_of(&place, &uuids);
    assert_eq!(place.waiting(), 0);

    let told: Vec<Event> = ear.all();
    let admissions: Vec<&Event> = told
        .iter()
        .filter(|event| matches!(event, Event::Admission(_)))
        .collect();
    let [Event::Admission(admission)] = &admissions[..] else {
        panic!("{admissions:?}")
    };
    assert_eq!(admission.uuid.as_str(), place.uuid(admitted));
}

#[test]
fn the_addresses_of_the_others_are_for_operators_only() {
    let place = Place::new();
    let (listener, address) = listen();
    let collector = start(place.announced(ports(&[address.port()])));
    let mut refused = connect(&listener);
    let port = refused.client.local_addr().unwrap().port();
    refused.exchange(10, 10);
    refused.close();
    all_are_decided(&collector, 1);
    collector.stop();
    let addresses = place.addresses();
    let [line] = &addresses[..] else {
        panic!("{addresses:?}")
    };
    assert_eq!(
        (&line["RemoteIP"], &line["RemotePort"], &line["LocalPort"]),
        (&"127.0.0.1".into(), &port.into(), &address.port().into())
    );
    assert!(line["Time"].is_string(), "{line}");
}

#[test]
fn an_announcement_may_come_before_the_connection_is_seen_and_after_it_has_closed() {
    let place = Place::new();
    let (listener, address) = listen();
    let mut config = place.announced(ports(&[address.port()]));
    config.unadmitted.grace = Duration::from_mins(10);
    let collector = start(config);
    let announcer = place.announcer();
    let mut tests = Vec::new();
    // Sockets have a cookie before the recorder can see a connection.
    let early = connect(&listener);
    tests.push(place.announce(&announcer, early.cookie));
    std::thread::sleep(Duration::from_millis(100));
    let early = early.close();
    let late = connect(&listener).close();
    wait_until("both have closed", || collector.totals().closed == 2);
    wait_until("one waits", || collector.undecided() == 1);
    tests.push(place.announce(&announcer, late));
    wait_until("none waits", || collector.undecided() == 0);
    collector.stop();
    let expected = [early, late].map(|cookie| (place.uuid(cookie), 0));
    let mut expected = expected.to_vec();
    expected.sort();
    assert_eq!(place.files().into_keys().collect::<Vec<_>>(), expected);
    assert!(place.rows().is_empty() && place.waiting() == 0);
}

#[test]
fn rotated_files_wait_for_the_admission_and_are_all_published_then() {
    let place = Place::new();
    let (listener, address) = listen();
    let mut config = place.announced(ports(&[address.port()]));
    config.rotation = Duration::from_millis(300);
    let collector = start(config);
    let announcer = place.announcer();
    let mut pairs = [connect(&listener), connect(&listener)];
    let mut exchanges = 0;
    // Two files of each that are complete, or complete and growing.
    wait_until("there are held files", || {
        for pair in &mut pairs {
            pair.exchange(100, 100);
        }
        exchanges += 1;
        std::thread::sleep(Duration::from_millis(50));
        walk(&place.dir.path().join("spool/ndt/.tcpinfo/held")).len() >= 4
    });
    assert!(place.files().is_empty());
    let [admitted, refused] = pairs;
    let _test = place.announce(&announcer, admitted.cookie);
    wait_until("the held files are published", || place.files().len() >= 2);
    let (admitted, refused) = (admitted.close(), refused.close());
    all_are_decided(&collector, 2);
    collector.stop();
    let files = place.files();
    assert!(files.keys().all(|(uuid, _)| *uuid == place.uuid(admitted)));
    let sequences: Vec<u32> = files.keys().map(|(_, sequence)| *sequence).collect();
    assert!(
        sequences.iter().copied().eq(0..sequences.len() as u32),
        "{sequences:?}"
    );
    let rows = place.rows();
    assert_eq!(
        rows.len(),
        1,
        "one row for the connection, not for each file"
    );
    assert_eq!(rows[0]["BytesReceived"], 100 * exchanges + 1);
    says_nothing_of(&place, &[place.uuid(refused)]);
    assert_eq!(place.waiting(), 0);
}

#[test]
fn by_first_payload_a_connection_without_payload_is_not_admitted() {
    let place = Place::new();
    let (listener, address) = listen();
    let mut config = place.announced(ports(&[address.port()]));
    config.admission = Admission::FirstPayload {
        policy_version: "7".to_owned(),
    };
    // Without announcements there is nothing to wait for.
    config.unadmitted.grace = Duration::from_mins(10);
    let collector = start(config);
    let ear = Ear::new(place.socket());
    let mut talks = connect(&listener);
    let mut listens = connect(&listener);
    listens.server.write_all(&[1; 100]).unwrap();
    listens.client.read_exact(&mut [0; 100]).unwrap();
    let silent = connect(&listener);
    talks.exchange(1, 0);
    // Its end alone is not payload, whichever side closes first.
    let silent = silent.close();
    let Pair {
        client,
        mut server,
        cookie: listens,
    } = listens;
    server.shutdown(std::net::Shutdown::Write).unwrap();
    drop(client);
    assert_eq!(server.read(&mut [0]).unwrap(), 0);
    drop(server);
    let talks = talks.close();
    all_are_decided(&collector, 3);
    collector.stop();
    let files: Vec<_> = place.files().into_keys().collect();
    assert_eq!(files, [(place.uuid(talks), 0)]);
    assert_eq!(place.rows().len(), 2);
    says_nothing_of(&place, &[place.uuid(silent), place.uuid(listens)]);
    let versions: Vec<String> = ear
        .all()
        .into_iter()
        .filter_map(|event| match event {
            Event::Admission(admission) => Some(admission.policy_version),
            _ => None,
        })
        .collect();
    assert_eq!(versions, ["7"]);
}

#[test]
fn the_handshake_of_a_refused_tls_client_is_not_unexplained() {
    let place = Place::new();
    let listeners = [listen(), listen()];
    let [plain, tls] = [listeners[0].1.port(), listeners[1].1.port()];
    let mut config = place.announced(ports(&[plain, tls]));
    config.unadmitted.tls_ports = vec![tls];
    let mut registry = prometheus_client::registry::Registry::default();
    let collector = Collector::start(config, &mut registry).unwrap();
    // A handshake with a long chain of certificates; a test on a TLS port; a short exchange and a test on a plain one.
    for (port, there, back) in [
        (tls, 2500, 8000),
        (tls, 2500, 80_000),
        (plain, 500, 3000),
        (plain, 2500, 8000),
    ] {
        let listener = if port == tls {
            &listeners[1].0
        } else {
            &listeners[0].0
        };
        let mut pair = connect(listener);
        pair.exchange(there, back);
        pair.close();
    }
    all_are_decided(&collector, 4);
    collector.stop();
    let mut text = String::new();
    prometheus_client::encoding::text::encode(&mut text, &registry).unwrap();
    let count = |line: &str| text.lines().any(|found| found == line);
    assert!(count("groma_tcpinfo_flows_unadmitted_total 4"), "{text}");
    assert!(count("groma_tcpinfo_flows_unexplained_total 2"), "{text}");
}

#[test]
fn a_recorder_without_a_socket_for_announcements_does_not_start() {
    let place = Place::new();
    let mut config = place.announced(ports(&[1]));
    config.event_socket = None;
    let mut registry = prometheus_client::registry::Registry::default();
    let error = Collector::start(config, &mut registry).err().unwrap();
    assert!(error.to_string().contains("event socket"), "{error}");
}

#[test]
fn announcements_of_another_prefix_admit_nothing() {
    let place = Place::new();
    let (listener, address) = listen();
    let collector = start(place.announced(ports(&[address.port()])));
    let announcer = place.announcer();
    let pair = connect(&listener);
    let foreign = groma_uuid::Prefix::fallback().uuid(pair.cookie);
    let _test = announcer.announce(groma_events::Admission {
        timestamp: jiff::Timestamp::now(),
        uuid: foreign.clone(),
        test_id: foreign,
        policy_version: "2".to_owned(),
    });
    pair.close();
    all_are_decided(&collector, 1);
    collector.stop();
    assert!(place.files().is_empty());
    assert_eq!(place.rows().len(), 1);
}

#[test]
fn thousands_of_junk_connections_become_few_files_and_hide_no_test() {
    const JUNK: usize = 4000;
    let place = Place::new();
    let (listener, address) = listen();
    let mut config = place.announced(ports(&[address.port()]));
    config.unadmitted.batch_age = Duration::from_mins(10);
    let collector = start(config);
    let announcer = place.announcer();
    let accepting = std::thread::spawn({
        let listener = listener.try_clone().unwrap();
        move || {
            for _ in 0..JUNK {
                let (mut stream, _) = listener.accept().unwrap();
                while matches!(stream.read(&mut [0; 100]), Ok(1..)) {}
            }
        }
    });
    for number in 0..JUNK {
        // An address that no test has.
        let from = SocketAddr::from((Ipv4Addr::new(127, 7, 7, 7), 0));
        let socket = rustix::net::socket(
            rustix::net::AddressFamily::INET,
            rustix::net::SocketType::STREAM,
            None,
        )
        .unwrap();
        rustix::net::bind(&socket, &from).unwrap();
        rustix::net::connect(&socket, &address).unwrap();
        let mut stream = TcpStream::from(socket);
        stream.write_all(&vec![1; number % 3]).unwrap();
    }
    accepting.join().unwrap();
    let mut tests = Vec::new();
    let mut expected = Vec::new();
    for _ in 0..20 {
        let mut pair = connect(&listener);
        tests.push(place.announce(&announcer, pair.cookie));
        pair.exchange(10, 10);
        expected.push((place.uuid(pair.close()), 0));
    }
    all_are_decided(&collector, JUNK + 20);
    collector.stop();
    expected.sort();
    assert_eq!(place.files().into_keys().collect::<Vec<_>>(), expected);
    assert_eq!(place.rows().len(), JUNK);
    assert_eq!(place.addresses().len(), JUNK);
    let files = walk(&place.dir.path().join("spool/ndt/unadmitted")).len();
    assert!(files <= 2, "{files} files, and two only around midnight");
    says_nothing_of(&place, &["127.7.7.7".to_owned()]);
    assert_eq!(place.waiting(), 0);
}

const CHILD: &str = "GROMA_TEST_RECORD_ADMITTED";

/// Not a test by itself: the recorder as a process of its own, which the next test kills.
#[test]
fn recorder_process() {
    let Some(task) = std::env::var_os(CHILD) else {
        return;
    };
    let task = task.into_string().unwrap();
    let (dir, port) = task.split_once(',').unwrap();
    let _collector = start(child_config(Path::new(dir), port.parse().unwrap()));
    std::thread::sleep(Duration::from_mins(10));
}

fn child_config(dir: &Path, port: u16) -> Config {
    let prefix = groma_uuid::Prefix::read(&dir.join("prefix")).unwrap();
    let spool = groma_spool::ExperimentDir::open(dir.join("spool/ndt"), "ndt".parse().unwrap());
    let mut config = Config::new(spool.unwrap(), dir.join("state"), prefix, ports(&[port]));
    config.event_socket = Some(dir.join("events.sock"));
    config.admission = Admission::Announced;
    config.unadmitted.grace = Duration::from_secs(3);
    config.unadmitted.batch_age = Duration::from_millis(100);
    config.rotation = Duration::from_millis(400);
    config
}

fn spawn_recorder(dir: &Path, port: u16) -> Child {
    Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "recorder_process"])
        .env(CHILD, format!("{},{port}", dir.display()))
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap()
}

/// Tests and junk beside each other while the recorder is killed again and again. A connection that the recorder saw
/// for less than a second before a kill may be lost with its file; those here live longer.
#[test]
fn kills_publish_no_unadmitted_connection_and_lose_no_admitted_one() {
    let place = Place::new();
    let (listener, address) = listen();
    let announcer = groma_events::Announcer::start(place.socket()).unwrap();
    let (mut admitted, mut refused) = (Vec::new(), Vec::new());
    for life in 0..10_u64 {
        let mut recorder = spawn_recorder(place.dir.path(), address.port());
        let socket = place.socket();
        wait_until("the recorder listens", || {
            UnixStream::connect(&socket).is_ok()
        });
        let mut pairs: Vec<Pair> = (0..6).map(|_| connect(&listener)).collect();
        let mut tests = Vec::new();
        let steps = 8;
        for step in 0..steps {
            for (number, pair) in pairs.iter_mut().enumerate() {
                pair.exchange(100, 100);
                // Some are announced at once, some late.
                if number % 2 == 0 && step == number {
                    tests.push(place.announce(&announcer, pair.cookie));
                }
            }
            std::thread::sleep(Duration::from_millis(200));
        }
        for (number, pair) in pairs.into_iter().enumerate() {
            let cookie = pair.close();
            if number % 2 == 0 {
                admitted.push(place.uuid(cookie));
            } else {
                refused.push(place.uuid(cookie));
            }
        }
        // Up to the middle of the grace, of the moves, of the batches.
        std::thread::sleep(Duration::from_millis(life * 417 % 3600));
        recorder.kill().unwrap();
        recorder.wait().unwrap();
        for (uuid, _) in place.files().into_keys() {
            assert!(!refused.contains(&uuid), "{uuid} was published");
        }
    }
    let collector = start(child_config(place.dir.path(), address.port()));
    wait_until("the earlier lives are settled", || {
        collector.totals().open == 0
            && walk(&place.dir.path().join("spool/ndt/.tcpinfo")).is_empty()
    });
    collector.finish();
    let published: std::collections::BTreeSet<String> =
        place.files().into_keys().map(|(uuid, _)| uuid).collect();
    admitted.sort();
    assert_eq!(published.into_iter().collect::<Vec<_>>(), admitted);
    assert_eq!(
        place.rows().len(),
        refused.len(),
        "{:#?}",
        place.addresses()
    );
    says_nothing_of(&place, &refused);
}
