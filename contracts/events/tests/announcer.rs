//! The announcer against a server written from the format alone.

use std::io::{BufRead as _, BufReader, Write as _};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};

use groma_events::{Admission, Announcer, Event};
use groma_uuid::Uuid;

fn uuid(number: u64) -> Uuid {
    format!("host_1700000000_{number:016X}").parse().unwrap()
}

fn admission(number: u64) -> Admission {
    Admission {
        timestamp: "2026-11-30T12:00:00Z".parse().unwrap(),
        uuid: uuid(number),
        test_id: uuid(number),
        policy_version: "2".to_owned(),
    }
}

fn place() -> (tempfile::TempDir, PathBuf) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("events.sock");
    (dir, path)
}

fn serve(path: &Path) -> UnixListener {
    let _ = std::fs::remove_file(path);
    UnixListener::bind(path).unwrap()
}

fn accept(listener: &UnixListener) -> BufReader<UnixStream> {
    BufReader::new(listener.accept().unwrap().0)
}

fn heard(stream: &mut BufReader<UnixStream>) -> u64 {
    let mut line = String::new();
    stream.read_line(&mut line).unwrap();
    let event = Event::parse(line.as_bytes()).unwrap();
    assert!(matches!(event, Event::Admission(_)), "{event:?}");
    event.uuid().cookie().unwrap()
}

#[test]
fn admissions_made_before_there_is_a_server_are_announced_to_the_first_one() {
    let (_dir, path) = place();
    let announcer = Announcer::start(&path).unwrap();
    let _running = announcer.announce(admission(1));
    drop(announcer.announce(admission(2)));
    let mut stream = accept(&serve(&path));
    assert_eq!([heard(&mut stream), heard(&mut stream)], [1, 2]);
    let _late = announcer.announce(admission(3));
    assert_eq!(heard(&mut stream), 3);
}

#[test]
fn a_restarted_server_hears_of_running_and_of_recently_ended_tests_again() {
    let (_dir, path) = place();
    let announcer = Announcer::start(&path).unwrap();
    let listener = serve(&path);
    let mut stream = accept(&listener);
    let _running = announcer.announce(admission(1));
    drop(announcer.announce(admission(2)));
    assert_eq!([heard(&mut stream), heard(&mut stream)], [1, 2]);
    drop((stream, listener));
    let mut stream = accept(&serve(&path));
    assert_eq!([heard(&mut stream), heard(&mut stream)], [1, 2]);
}

#[test]
fn a_server_that_tells_a_great_deal_is_read_and_one_that_reads_nothing_blocks_nobody() {
    let (_dir, path) = place();
    let announcer = Announcer::start(&path).unwrap();
    let listener = serve(&path);
    let mut stream = accept(&listener);
    // More than a socket's buffer: this returns only if the announcer reads.
    stream.get_mut().write_all(&vec![b'x'; 8 << 20]).unwrap();
    let tests: Vec<_> = (0..20_000)
        .map(|number| announcer.announce(admission(number)))
        .collect();
    assert_eq!(tests.len(), 20_000);
    drop(tests);
    drop(announcer);
}

#[test]
fn the_end_of_the_announcer_still_delivers_what_was_announced() {
    let (_dir, path) = place();
    let listener = serve(&path);
    let announcer = Announcer::start(&path).unwrap();
    let mut stream = accept(&listener);
    let tests: Vec<_> = (0..1000)
        .map(|number| announcer.announce(admission(number)))
        .collect();
    let reading = std::thread::spawn(move || {
        (0..1000).for_each(|number| assert_eq!(heard(&mut stream), number));
    });
    drop(announcer);
    reading.join().unwrap();
    drop(tests);
}
