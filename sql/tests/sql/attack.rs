//! The endpoint and those who mean it ill.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::Duration;

use crate::support::Lake;

const SECRET: &str = "the-secret-of-the-bucket";
const ENDLESS: &str = "SELECT count(*) FROM range(100000) a, range(100000) b, range(100000) c WHERE a.range * b.range + c.range = -7";

struct Server {
    child: Child,
    address: String,
}

impl Server {
    fn start(lake: &Lake) -> Server {
        let mut child = Command::new(env!("CARGO_BIN_EXE_groma-sql"))
            .args([
                "serve",
                "--listen",
                "127.0.0.1:0",
                "--timeout",
                "3",
                "--memory",
                "256",
            ])
            .args(["--waiting", "8", "--max-rows", "1000", "--lake"])
            .arg(lake.root())
            .env("AWS_SECRET_ACCESS_KEY", SECRET)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap())
            .read_line(&mut line)
            .unwrap();
        let address = line
            .trim()
            .trim_start_matches("listening on http://")
            .to_owned();
        Server { child, address }
    }

    /// Status and body of what the server answers to these bytes.
    fn send(&self, bytes: &[u8]) -> (u16, String) {
        let mut stream = TcpStream::connect(&self.address).unwrap();
        // A server that refuses early may close before it has read everything.
        let _ = stream.write_all(bytes);
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer);
        let answer = String::from_utf8_lossy(&answer).into_owned();
        let status = answer
            .split(' ')
            .nth(1)
            .and_then(|status| status.parse().ok());
        let body = answer
            .split_once("\r\n\r\n")
            .map(|(_, body)| body.to_owned());
        (status.unwrap_or(0), body.unwrap_or_default())
    }

    fn query(&self, sql: &str) -> (u16, String) {
        let head = format!(
            "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: {}\r\n\r\n",
            sql.len()
        );
        self.send(&[head.as_bytes(), sql.as_bytes()].concat())
    }

    fn is_well(&self) {
        let (status, body) = self.query("SELECT count(*) AS n FROM lab.probe1");
        assert_eq!((status, body.trim()), (200, r#"[{"n":5}]"#));
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn lake() -> Lake {
    let lake = Lake::new();
    lake.put(
        "lab/probe1/live/date=2024-05-06/a.parquet",
        "SELECT i AS id FROM range(5) AS t(i)",
    );
    lake
}

#[test]
fn nothing_outside_the_lake_is_read_and_nothing_is_written() {
    let lake = lake();
    let server = Server::start(&lake);
    let root = lake.root().to_str().unwrap().to_owned();
    std::fs::write(lake.dir.path().join("secret"), "secret").unwrap();
    let before = std::fs::read_dir(lake.root()).unwrap().count();
    for attack in [
        "SELECT * FROM read_text('/etc/passwd')".to_owned(),
        "SELECT * FROM read_blob('/proc/self/environ')".to_owned(),
        "SELECT * FROM '/etc/passwd'".to_owned(),
        "SELECT * FROM glob('/etc/*')".to_owned(),
        format!("SELECT * FROM read_text('{root}/../secret')"),
        format!("SELECT * FROM read_text('{root}/lab/../../secret')"),
        "SELECT * FROM read_csv('http://127.0.0.1:1/x.csv')".to_owned(),
        "SELECT * FROM read_parquet('s3://bucket/x.parquet')".to_owned(),
        "SELECT getenv('HOME')".to_owned(),
        format!("COPY (SELECT 1) TO '{root}/evil.csv'"),
        format!("SELECT 1; COPY (SELECT 1) TO '{root}/evil.csv'"),
        format!("SELECT 1) AS a; COPY (SELECT 1) TO '{root}/evil.csv'; SELECT * FROM (SELECT 1"),
        format!("ATTACH '{root}/evil.db'"),
        "ATTACH ':memory:' AS other".to_owned(),
        "INSTALL httpfs".to_owned(),
        "LOAD httpfs".to_owned(),
        "SET enable_external_access = true".to_owned(),
        "PRAGMA enable_profiling".to_owned(),
        format!("EXPORT DATABASE '{root}/evil'"),
        "CREATE TABLE evil AS SELECT 1".to_owned(),
        "DROP VIEW lab.probe1".to_owned(),
        "CALL pragma_version()".to_owned(),
        "SELECT".to_owned(),
        String::new(),
        "\0".to_owned(),
        format!("SELECT {}1{}", "(".repeat(20_000), ")".repeat(20_000)),
    ] {
        let (status, body) = server.query(&attack);
        assert_eq!(status, 400, "{attack:.80}: {body:.300}");
        assert!(
            body.contains("error") && !body.contains("root:x"),
            "{body:.300}"
        );
    }
    assert_eq!(std::fs::read_dir(lake.root()).unwrap().count(), before);
    server.is_well();
}

#[test]
fn who_wants_too_much_is_cut_and_the_others_are_served() {
    let lake = lake();
    let server = Server::start(&lake);
    let (status, body) = server.query(ENDLESS);
    assert_eq!(status, 408, "{body}");
    for hungry in [
        "SELECT list(i) FROM range(10000000000) t(i)",
        "SELECT count(*) FROM (SELECT DISTINCT i::VARCHAR || repeat('x', 100) FROM range(100000000) t(i))",
        "SELECT repeat('x', 2000000000)",
    ] {
        let (status, body) = server.query(hungry);
        assert!(
            [400, 408].contains(&status),
            "{hungry}: {status} {body:.300}"
        );
    }
    let (status, body) = server.query("SELECT * FROM range(100000)");
    assert_eq!(
        (status, body.matches("range").count()),
        (200, 1000),
        "cut to the most rows"
    );
    server.is_well();
}

/// The processes that this one started.
fn children(of: u32) -> Vec<String> {
    let all = std::fs::read_dir("/proc").unwrap().flatten();
    let names = all.map(|entry| entry.file_name().to_string_lossy().into_owned());
    let parent = format!("\nPPid:\t{of}\n");
    names
        .filter(|name| {
            let status = std::fs::read_to_string(format!("/proc/{name}/status"));
            status.is_ok_and(|status| status.contains(&parent))
        })
        .collect()
}

#[test]
fn a_strangers_query_runs_without_the_servers_environment() {
    let lake = lake();
    let server = Server::start(&lake);
    let environment = |process: &str| std::fs::read(format!("/proc/{process}/environ")).unwrap();
    let has_secret = |process: &str| {
        let environment = environment(process);
        String::from_utf8_lossy(&environment).contains(SECRET)
    };
    assert!(has_secret(&server.child.id().to_string()));
    thread::scope(|scope| {
        let asked = scope.spawn(|| server.query(ENDLESS).0);
        let worker = (0..200).find_map(|_| {
            thread::sleep(Duration::from_millis(10));
            let is_worker = |process: &String| {
                let line = std::fs::read(format!("/proc/{process}/cmdline"));
                line.is_ok_and(|line| String::from_utf8_lossy(&line).contains("--cpu-seconds"))
            };
            children(server.child.id()).into_iter().find(is_worker)
        });
        assert!(!has_secret(&worker.expect("a worker runs")));
        assert_eq!(asked.join().unwrap(), 408);
    });
}

#[test]
fn two_hundred_at_once_are_answered_or_refused() {
    let lake = lake();
    let server = Server::start(&lake);
    let statuses: Vec<u16> = thread::scope(|scope| {
        let asked: Vec<_> = (0..200)
            .map(|number| {
                let server = &server;
                scope.spawn(move || {
                    server
                        .query(&format!("SELECT {number} AS n, count(*) FROM lab.probe1"))
                        .0
                })
            })
            .collect();
        asked
            .into_iter()
            .map(|asked| asked.join().unwrap())
            .collect()
    });
    let count = |wanted| statuses.iter().filter(|status| **status == wanted).count();
    let (answered, refused) = (count(200), count(503));
    assert_eq!(answered + refused, 200, "{statuses:?}");
    assert!(answered >= 10, "two run and eight wait: {answered}");
    server.is_well();
}

#[test]
fn what_is_no_request_is_refused() {
    let lake = lake();
    let server = Server::start(&lake);
    for (bytes, wanted) in [
        (&b"GET / HTTP/1.1\r\n\r\n"[..], 400),
        (b"POST / HTTP/1.1\r\n\r\n", 400),
        (b"POST / HTTP/1.1\r\nContent-Length: 99999999\r\n\r\n", 400),
        (b"POST / HTTP/1.1\r\nContent-Length: -1\r\n\r\n", 400),
        (
            b"POST /?format=exe HTTP/1.1\r\nContent-Length: 8\r\n\r\nSELECT 1",
            400,
        ),
        (
            b"POST / HTTP/1.1\r\nContent-Length: 3\r\n\r\n\xff\xfe\xfd",
            400,
        ),
        (b"\x16\x03\x01\x02\x00\n", 400),
        (
            b"POST /?format=csv HTTP/1.1\r\nContent-Length: 13\r\n\r\nSELECT 1 AS n",
            200,
        ),
    ] {
        assert_eq!(
            server.send(bytes).0,
            wanted,
            "{}",
            String::from_utf8_lossy(bytes)
        );
    }
    let mut long = b"POST / HTTP/1.1\r\n".to_vec();
    long.extend(std::iter::repeat_n(&b"X-Padding: aaaaaaaaaaaaaaaa\r\n"[..], 1000).flatten());
    assert_eq!(server.send(&long).0, 400);
}
