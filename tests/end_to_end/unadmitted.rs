//! Connections that do not become a test: counted, and nowhere published with address or UUID.

use std::collections::BTreeSet;
use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::Duration;

use arrow_array::cast::AsArray as _;
use arrow_array::types::Int64Type;
use flate2::read::GzDecoder;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use rustix::net::{AddressFamily, SocketType, bind, connect, socket};

use crate::drain::uuid_of;
use crate::groma::{groma, run, told, wait_for};
use crate::lab::{Lab, PATIENCE, measure, show};
use crate::stored;

/// An address of loopback that only clients without a test have.
const REFUSED: Ipv4Addr = Ipv4Addr::new(127, 66, 77, 88);
const UPGRADE: &str = "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
     Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
     Sec-WebSocket-Protocol: net.measurementlab.ndt.v7\r\n";

/// A connection from [`REFUSED`]. Its port is none that the kernel gives to servers: the client's end of a connection
/// from such a port would be recorded too.
fn call(address: &str) -> TcpStream {
    static NEXT: AtomicU16 = AtomicU16::new(10_000);
    let address: SocketAddr = address.parse().unwrap();
    let socket = socket(AddressFamily::INET, SocketType::STREAM, None).unwrap();
    let free = || {
        let port = NEXT.fetch_add(1, Ordering::Relaxed);
        assert!(port < 30_000, "no port is free");
        bind(&socket, &SocketAddr::from((REFUSED, port))).is_ok()
    };
    while !free() {}
    connect(&socket, &address).unwrap();
    TcpStream::from(socket)
}

fn request(stream: &mut TcpStream, path: &str, headers: &str) {
    write!(stream, "GET {path} HTTP/1.1\r\nHost: lab\r\n{headers}\r\n").unwrap();
}

/// Reads to the end; what came.
fn answer(mut stream: TcpStream) -> String {
    let mut text = Vec::new();
    stream
        .set_read_timeout(Some(Duration::from_secs(1)))
        .unwrap();
    // A server that waits for more is left.
    let _ = stream.read_to_end(&mut text);
    String::from_utf8_lossy(&text).into_owned()
}

/// Every way not to become a test; how many connections that were.
fn junk(lab: &Lab) -> usize {
    let (ws, wss) = (lab.address("ws"), lab.address("wss"));
    let mut made = 0;
    let mut new = |address: &str| {
        made += 1;
        call(address)
    };
    let asked = |mut stream: TcpStream, path: &str, headers: &str| {
        request(&mut stream, path, headers);
        answer(stream)
    };
    // Refused: no consent, another version, the older one without the recorder.
    for query in ["", "?policy_version=0", "?policy_version=2"] {
        let path = format!("/ndt/v7/download{query}");
        let text = asked(new(ws), &path, UPGRADE);
        assert!(text.starts_with("HTTP/1.1 403"), "{text}");
    }
    assert!(asked(new(ws), "/", "").starts_with("HTTP/1.1 404"));
    assert!(asked(new(ws), "/ndt/v7/download", "").starts_with("HTTP/1.1 400"));
    assert!(asked(new(ws), "/ndt/v7/upload?early_exit=1", UPGRADE).starts_with("HTTP/1.1 400"));
    // Neither a request nor a handshake.
    for address in [ws, wss] {
        drop(new(address));
        let mut garbage = new(address);
        let _ = garbage.write_all(b"\x00\xff garbage\r\n\r\n");
        let _ = answer(garbage);
        let aborted = new(address);
        rustix::net::sockopt::set_socket_linger(&aborted, Some(Duration::ZERO)).unwrap();
        drop(aborted);
    }
    // Gone with half a request, and with half a client hello.
    let mut half = new(ws);
    let _ = half.write_all(b"GET /ndt/v7/download?policy_version=");
    drop(half);
    let mut half = new(wss);
    let _ = half.write_all(&[22, 3, 1, 2, 0, 1, 0, 1, 252, 3, 3]);
    drop(half);
    made
}

/// Rows of `unadmitted` in the lake.
fn rows(dir: &Path) -> usize {
    let mut count = 0;
    for table in stored::files(&dir.join("lake/ndt/unadmitted"), ".parquet") {
        let file = fs::File::open(&table).unwrap();
        let reader = ParquetRecordBatchReaderBuilder::try_new(file).unwrap();
        for batch in reader.build().unwrap() {
            let batch = batch.unwrap();
            let raw = batch.column_by_name("raw").unwrap().as_struct();
            let port = raw.column_by_name("LocalPort").unwrap();
            assert!(
                port.as_primitive::<Int64Type>()
                    .iter()
                    .all(|port| port.is_some())
            );
            assert!(batch.column_by_name("id").unwrap().null_count() == batch.num_rows());
            count += batch.num_rows();
        }
    }
    count
}

/// Everything that can be read in a file: its bytes, those in gzip, the members of a tar.
fn texts(path: &Path) -> Vec<Vec<u8>> {
    let bytes = fs::read(path).unwrap_or_default();
    let mut texts = Vec::new();
    let mut plain = Vec::new();
    if GzDecoder::new(&bytes[..]).read_to_end(&mut plain).is_ok() {
        let mut members = tar::Archive::new(&plain[..]);
        for member in members.entries().unwrap().flatten() {
            let mut member = member;
            let mut text = member.path_bytes().into_owned();
            text.push(b'\n');
            member.read_to_end(&mut text).unwrap();
            texts.push(text);
        }
        texts.push(plain);
    }
    texts.push(bytes);
    texts
}

/// Each `groma measure` asks for the policy over a connection of its own, which is not a test and comes from another address
/// than the junk.
const POLICY: usize = 1;

/// Finds all files, hidden ones too.
fn walk(dir: &Path, found: &mut Vec<std::path::PathBuf>) {
    for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
        if entry.file_type().unwrap().is_dir() {
            walk(&entry.path(), found);
        } else {
            found.push(entry.path());
        }
    }
}

/// Only the operators' store has a refused client, and only these UUIDs were published.
fn nothing_is_published_of_the_refused(dir: &Path, uuids: &[String]) {
    let mut all = Vec::new();
    for part in ["archive", "lake", "spool"] {
        walk(&dir.join(part), &mut all);
    }
    assert!(all.len() > 3, "{all:?}");
    let words: [Vec<u8>; 2] = [REFUSED.to_string().into_bytes(), REFUSED.octets().to_vec()];
    for path in &all {
        for text in texts(path) {
            for word in &words {
                let found = text.windows(word.len()).any(|part| part == &word[..]);
                assert!(!found, "{} tells of {REFUSED}", path.display());
            }
        }
    }
    let expected: BTreeSet<String> = uuids.iter().cloned().collect();
    for datatype in ["ndt7", "tcpinfo"] {
        let rows: BTreeSet<String> = stored::rows(dir, datatype).into_keys().collect();
        assert_eq!(rows, expected, "{datatype}");
    }
    let in_archive = stored::archived(dir, "tcpinfo");
    assert!(
        in_archive
            .keys()
            .all(|name| uuids.iter().any(|uuid| name.starts_with(uuid.as_str()))),
        "{in_archive:?}"
    );
    let find = run(groma(["find", "--json", "--dir"]).arg(dir));
    assert!(find.status.success(), "{}", told(&find));
    assert!(
        !told(&find).contains(&REFUSED.to_string()),
        "{}",
        told(&find)
    );
}

/// UUIDs of connections before and after: those of refused clients are between them.
fn neighbours(uuid: &str) -> impl Iterator<Item = String> {
    let (prefix, cookie) = uuid.rsplit_once('_').unwrap();
    let cookie = u64::from_str_radix(cookie, 16).unwrap();
    let prefix = prefix.to_owned();
    (cookie - 20..cookie + 20).map(move |cookie| format!("{prefix}_{cookie:016X}"))
}

fn addresses(dir: &Path) -> usize {
    let store = dir.join("state/tcp-info/ndt/unadmitted/addresses");
    let files = stored::files(&store, ".jsonl");
    let texts = files.iter().map(|path| fs::read_to_string(path).unwrap());
    texts
        .map(|text| {
            text.lines()
                .filter(|line| line.contains("127.66.77.88"))
                .count()
        })
        .sum()
}

fn whatever_is_refused(require_policy: bool) {
    let temporary = tempfile::tempdir().unwrap();
    let dir = temporary.path().join("lab");
    let flags: &[&str] = if require_policy {
        &["--require-policy"]
    } else {
        &[]
    };
    let lab = Lab::start_with(&dir, "1s", flags);
    let uuid = uuid_of(&measure(lab.address("ws"), "download"));
    let made = if require_policy {
        junk(&lab)
    } else {
        junk_without_consent(&lab)
    };
    lab.row_of(&uuid);
    let counted = || lab.metric("groma_tcpinfo_flows_unadmitted_total");
    wait_for("the junk to be counted", PATIENCE, || {
        (counted() >= (made + POLICY) as f64).then_some(())
    });
    let counts = ["unexplained", "admitted"]
        .map(|kind| lab.metric(&format!("groma_tcpinfo_flows_{kind}_total")) as u64);
    assert_eq!(counts, [0, 1]);
    // The last ones are decided by the end of the lab.
    drop(call(lab.address("ws")));
    lab.ask_to_end();
    assert_eq!(lab.ended().code(), Some(0));
    assert_eq!(rows(&dir), made + POLICY + 1);
    assert_eq!(addresses(&dir), made + 1);
    nothing_is_published_of_the_refused(&dir, std::slice::from_ref(&uuid));
    for other in neighbours(&uuid).filter(|other| *other != uuid) {
        assert_eq!(show(&dir, &other), None);
    }
}

/// Without `--require-policy` a client without consent is served, so only the others are junk.
fn junk_without_consent(lab: &Lab) -> usize {
    let ws = lab.address("ws");
    let mut request_of_a_page = call(ws);
    request(&mut request_of_a_page, "/", "");
    assert!(answer(request_of_a_page).starts_with("HTTP/1.1 404"));
    drop(call(ws));
    let mut garbage = call(lab.address("wss"));
    let _ = garbage.write_all(b"not TLS\r\n");
    let _ = answer(garbage);
    let mut half = call(ws);
    let _ = half.write_all(b"GET /ndt/v7/download?");
    drop(half);
    4
}

#[test]
fn with_a_required_policy_whoever_is_refused_is_a_row_without_address() {
    whatever_is_refused(true);
}

#[test]
fn without_a_required_policy_too() {
    whatever_is_refused(false);
}

#[test]
fn thousands_of_junk_connections_beside_tests_are_counted_exactly() {
    const JUNK: usize = 3000;
    let temporary = tempfile::tempdir().unwrap();
    let dir = temporary.path().join("lab");
    let lab = Arc::new(Lab::start_with(&dir, "2s", &["--require-policy"]));
    let flood = {
        let lab = Arc::clone(&lab);
        std::thread::spawn(move || {
            for number in 0..JUNK {
                let mut stream = call(lab.address("ws"));
                if number % 2 == 0 {
                    request(&mut stream, "/", "");
                    let _ = stream.read(&mut [0; 100]);
                }
            }
        })
    };
    let mut uuids = Vec::new();
    for direction in ["download", "upload"] {
        uuids.push(uuid_of(&measure(lab.address("ws"), direction)));
    }
    flood.join().unwrap();
    let Ok(lab) = Arc::try_unwrap(lab) else {
        panic!("the flood has ended")
    };
    for uuid in &uuids {
        lab.row_of(uuid);
    }
    lab.ask_to_end();
    assert_eq!(lab.ended().code(), Some(0));
    assert_eq!(rows(&dir), JUNK + uuids.len() * POLICY);
    assert_eq!(addresses(&dir), JUNK);
    let objects = stored::files(&dir.join("archive/ndt/unadmitted"), ".tgz").len();
    assert!(objects < 100, "{objects} objects for {JUNK} connections");
    nothing_is_published_of_the_refused(&dir, &uuids);
}
