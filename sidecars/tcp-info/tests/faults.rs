//! The recorder when things go wrong around it.

mod common;

use std::collections::{BTreeMap, HashSet};
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use common::{Ear, Place, ports, start, wait_until};
use groma_events::Event;
use groma_tcp_info::Config;
use groma_tcp_info::record::End;

/// Connections of 0 to 20 ms, one after another, on a few threads, and one that lives as long as the load.
struct Load {
    stop: Arc<AtomicBool>,
    visitors: Vec<JoinHandle<()>>,
    server: (Arc<AtomicBool>, JoinHandle<()>),
    port: u16,
}

impl Load {
    fn new() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let stop = Arc::new(AtomicBool::new(false));
        let stop_server = Arc::new(AtomicBool::new(false));
        let server = std::thread::spawn({
            let stop = stop_server.clone();
            move || answer(&listener, &stop)
        });
        let visitor = |worker| {
            let stop = stop.clone();
            std::thread::spawn(move || visit(address, &stop, worker))
        };
        Self {
            visitors: (0..3).map(visitor).collect(),
            stop,
            server: (stop_server, server),
            port: address.port(),
        }
    }

    fn end(self) {
        self.stop.store(true, Ordering::Relaxed);
        for visitor in self.visitors {
            visitor.join().unwrap();
        }
        // Not earlier: a server that closes resets the connections that it has not accepted.
        let (stop, server) = self.server;
        stop.store(true, Ordering::Relaxed);
        drop(TcpStream::connect(("127.0.0.1", self.port)));
        server.join().unwrap();
    }
}

/// Every connection gets its bytes back.
fn answer(listener: &TcpListener, stop: &AtomicBool) {
    let mut served = Vec::new();
    for stream in listener.incoming() {
        if stop.load(Ordering::Relaxed) {
            break;
        }
        let mut stream = stream.unwrap();
        served.push(std::thread::spawn(move || {
            let mut buffer = [0; 4096];
            while let Ok(length @ 1..) = stream.read(&mut buffer) {
                stream.write_all(&buffer[..length]).unwrap();
            }
        }));
    }
    for thread in served {
        thread.join().unwrap();
    }
}

fn visit(address: SocketAddr, stop: &AtomicBool, worker: u64) {
    let mut buffer = [worker as u8; 1000];
    let mut lasting = TcpStream::connect(address).unwrap();
    for turn in 0.. {
        if stop.load(Ordering::Relaxed) {
            return;
        }
        let mut short = TcpStream::connect(address).unwrap();
        for stream in [&mut short, &mut lasting] {
            stream.write_all(&buffer).unwrap();
            stream.read_exact(&mut buffer).unwrap();
        }
        std::thread::sleep(Duration::from_millis((turn + worker) % 20));
    }
}

const CHILD: &str = "GROMA_TEST_RECORD";

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

#[test]
fn twenty_kills_under_load_lose_no_file_and_double_nothing() {
    let place = Place::new();
    let load = Load::new();
    let mut ear = None;
    for life in 0..20_u64 {
        let mut recorder = spawn_recorder(place.dir.path(), load.port);
        let socket = place.socket();
        wait_until("the recorder listens", || {
            std::os::unix::net::UnixStream::connect(&socket).is_ok()
        });
        ear.get_or_insert_with(|| Ear::patient(socket));
        // Some lives are too short for anything to reach the disk, which may cost up to a second.
        let long = u64::from(life % 2 == 0) * 1000;
        std::thread::sleep(Duration::from_millis(long + 50 + life * 53 % 400));
        recorder.kill().unwrap();
        recorder.wait().unwrap();
    }
    let collector = start(place.config(ports(&[load.port])));
    std::thread::sleep(Duration::from_millis(300));
    load.end();
    wait_until("all are gone", || {
        let totals = collector.totals();
        assert_eq!(totals.opened, totals.closed + totals.open);
        totals.open == 0
    });
    let totals = collector.totals();
    collector.stop();

    assert_eq!(totals.opened, totals.closed);
    assert_eq!(place.waiting(), 0);
    let mut lives: BTreeMap<String, Vec<u32>> = BTreeMap::new();
    let mut starts: BTreeMap<String, jiff::Timestamp> = BTreeMap::new();
    for ((uuid, sequence), recording) in place.files() {
        let start = recording.metadata.unwrap().start_time;
        assert_eq!(
            *starts.entry(uuid.clone()).or_insert(start),
            start,
            "{uuid} {sequence}"
        );
        lives.entry(uuid).or_default().push(sequence);
    }
    assert!(
        lives.len() as u64 <= totals.opened && lives.len() > 100,
        "{}",
        lives.len()
    );
    let longest = lives.values().map(Vec::len).max().unwrap();
    assert!(
        longest >= 10,
        "a connection that lived through all kills has {longest} files"
    );
    let mut told = HashSet::new();
    for event in ear.unwrap().so_far() {
        let open = matches!(event, Event::Open { .. });
        assert!(
            told.insert((open, event.uuid().clone())),
            "{event:?} was told twice"
        );
    }
    assert!(told.len() > 100);
}

#[test]
fn when_last_words_are_lost_polls_make_it_good() {
    let place = Place::new();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let mut config = place.config(ports(&[address.port()]));
    config.interval = Duration::from_millis(200);
    config.last_words_bytes = 1 << 15;
    let collector = start(config);
    let ear = Ear::new(place.socket());
    let connect = || {
        (
            TcpStream::connect(address).unwrap(),
            listener.accept().unwrap().0,
        )
    };
    let lasting = connect();
    let pairs: Vec<_> = (0..300).map(|_| connect()).collect();
    wait_until("all are seen", || collector.totals().open == 301);
    drop(pairs);
    wait_until("all but one are gone", || collector.totals().open == 1);
    drop(lasting);
    wait_until("the last one is gone", || collector.totals().open == 0);
    let totals = collector.totals();
    collector.stop();
    assert_eq!((totals.opened, totals.closed), (301, 301));
    let files = place.files();
    assert_eq!(files.len(), 301);
    let ends = |end| files.values().filter(|file| file.end == Some(end)).count();
    assert!(ends(End::Vanished) > 0 && ends(End::Vanished) + ends(End::Closed) == 301);
    assert!(
        files.values().any(|file| file.polls.unwrap().overruns > 0),
        "the files say so"
    );
    let closed = ear
        .all()
        .iter()
        .filter(|event| matches!(event, Event::Close { .. }))
        .count();
    assert_eq!(closed, 301);
}

/// A small file system of its own.
struct SmallDisk(PathBuf);

impl SmallDisk {
    fn new(path: &Path) -> Self {
        let status = Command::new("mount")
            .args(["-t", "tmpfs", "-o", "size=16m", "tmpfs"])
            .arg(path)
            .status();
        assert!(status.unwrap().success());
        Self(path.to_owned())
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}

#[test]
fn a_full_disk_stops_nobody_and_what_comes_after_is_whole() {
    if !groma_tests::root() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let _disk = SmallDisk::new(dir.path());
    let place = Place::at(dir);
    let load = Load::new();
    let collector = start(place.config(ports(&[load.port])));
    wait_until("some are recorded", || collector.totals().closed > 20);
    let filler = place.dir.path().join("filler");
    let mut file = std::fs::File::create(&filler).unwrap();
    while file.write_all(&[0; 512]).is_ok() {}
    let before = collector.totals().closed;
    wait_until("the recorder goes on", || {
        collector.totals().closed > before + 100
    });
    drop(file);
    std::fs::remove_file(filler).unwrap();
    let before = collector.totals().closed;
    wait_until("there is room again", || {
        collector.totals().closed > before + 50
    });
    load.end();
    wait_until("all are gone", || collector.totals().open == 0);
    let totals = collector.totals();
    collector.stop();
    assert_eq!(totals.opened, totals.closed);
    assert_eq!(place.waiting(), 0, "what waited for room was finished");
    let files = place.files();
    let whole = files
        .values()
        .filter(|file| file.end == Some(End::Closed))
        .count();
    assert!(whole > 50, "{whole} of {}", files.len());
}
