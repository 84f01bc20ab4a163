//! The client against servers written from the format alone.

use std::io::Write as _;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use groma_events::{Backoff, Client, Event, Notice};

const OPEN: &[u8] = br#"{"Event":0,"Timestamp":"2024-01-02T03:04:05.678901234Z","UUID":"ndt-abcde_1700000000_00000000000003E8","ID":{"SPort":443,"DPort":51234,"SrcIP":"192.0.2.1","DstIP":"2001:db8::7","Interface":0,"Cookie":1000}}
"#;
const CLOSE: &[u8] = br#"{"Event":1,"Timestamp":"2024-01-02T03:04:15.1Z","UUID":"ndt-abcde_1700000000_00000000000003E8","ID":null}
"#;

fn client(path: &Path) -> (Client, Arc<AtomicBool>) {
    let stop = Arc::new(AtomicBool::new(false));
    let backoff = Backoff {
        shortest: Duration::from_millis(1),
        longest: Duration::from_millis(8),
    };
    (Client::new(path, backoff, stop.clone()), stop)
}

fn serve(path: &Path) -> UnixListener {
    let _ = std::fs::remove_file(path);
    UnixListener::bind(path).unwrap()
}

fn accept(listener: &UnixListener) -> UnixStream {
    listener.accept().unwrap().0
}

#[test]
fn it_waits_for_its_server_and_outlives_it() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("events.sock");
    let (mut client, stop) = client(&path);
    let listening = std::thread::spawn(move || {
        let mut notices = Vec::new();
        while let Some(notice) = client.next_notice() {
            notices.push(notice);
            if notices.len() == 6 {
                break;
            }
        }
        notices
    });
    std::thread::sleep(Duration::from_millis(30));
    for line in [OPEN, CLOSE] {
        let listener = serve(&path);
        accept(&listener).write_all(line).unwrap();
    }
    let notices = listening.join().unwrap();
    let open = Event::parse(OPEN).unwrap();
    let close = Event::parse(CLOSE).unwrap();
    assert_eq!(
        notices,
        [
            Notice::Connected,
            Notice::Event(open),
            Notice::Lost,
            Notice::Connected,
            Notice::Event(close),
            Notice::Lost,
        ]
    );
    stop.store(true, Ordering::Relaxed);
}

#[test]
fn lines_in_pieces_are_put_together_and_bad_ones_cost_nothing_else() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("events.sock");
    let listener = serve(&path);
    let (mut client, stop) = client(&path);
    assert_eq!(client.next_notice(), Some(Notice::Connected));
    let mut server = accept(&listener);
    let writing = std::thread::spawn(move || {
        server
            .write_all(
                b"no json\n{\"Event\":9,\"Timestamp\":\"2024-01-02T03:04:15.1Z\",\"UUID\":\"a\"}\n",
            )
            .unwrap();
        server.write_all(&vec![b'x'; 300_000]).unwrap();
        server.write_all(b"\n").unwrap();
        // Longer than the client's patience, so that a timeout falls into the middle of the line.
        let (front, back) = CLOSE.split_at(20);
        server.write_all(front).unwrap();
        std::thread::sleep(Duration::from_millis(250));
        server.write_all(back).unwrap();
        server
    });
    let event = client.next_notice();
    assert_eq!(event, Some(Notice::Event(Event::parse(CLOSE).unwrap())));
    let counts = client.counts();
    assert_eq!(
        (counts.malformed, counts.unknown, counts.connections),
        (2, 1, 1)
    );
    let _server = writing.join().unwrap();
    stop.store(true, Ordering::Relaxed);
    assert_eq!(client.next_notice(), None);
}
