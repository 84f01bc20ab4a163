//! Credentials come into no log, at whatever level, and into no error, whether a store answers or not.

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::process::{Command, Output};

/// Stands in every credential.
const SECRET: &str = "NotToBeSeen";
const OBJECT: &str = "lab/ndt7/2026/01/01/20260101T000000.000000Z-ndt7-mlab1-lga0t-lab.tgz";

/// A store that refuses everything and returns the request in its answer.
fn echo() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let mut told = vec![0; 64 * 1024];
            let read = stream.read(&mut told).unwrap_or(0);
            let head = format!(
                "HTTP/1.1 403 Forbidden\r\nconnection: close\r\nx-told: {SECRET}\r\ncontent-length: {read}\r\n\r\n"
            );
            let _ = stream.write_all(&[head.as_bytes(), &told[..read]].concat());
        }
    });
    address
}

/// An address on which no process listens.
fn dead() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap()
}

/// Files of Google's tools with credentials: a user's, and a service's whose key cannot be read.
fn google_files(dir: &Path, store: SocketAddr) -> [String; 2] {
    let user = format!(
        r#"{{"type":"authorized_user","client_id":"x","client_secret":"{SECRET}","refresh_token":"{SECRET}"}}"#
    );
    let service = format!(
        r#"{{"type":"service_account","client_email":"x@y","private_key_id":"{SECRET}","private_key":"{SECRET}",
            "token_uri":"http://{store}/token"}}"#
    );
    [("user.json", user), ("service.json", service)].map(|(name, text)| {
        let path = dir.join(name);
        fs::write(&path, text).unwrap();
        path.to_str().unwrap().to_owned()
    })
}

/// Runs the program at its most talkative, until it ends or for two seconds, with these credentials and no others.
fn groma(dir: &Path, environment: &[(String, String)], arguments: &[&str]) -> Output {
    Command::new("timeout")
        .args(["--signal", "TERM", "2", env!("CARGO_BIN_EXE_groma")])
        .args(arguments)
        .env_clear()
        .env("PATH", std::env::var_os("PATH").unwrap_or_default())
        .env("HOME", dir)
        .env("GROMA_LOG", "trace")
        .env("RUST_LOG", "trace")
        .envs(environment.iter().cloned())
        .output()
        .unwrap()
}

/// Answers whether the libraries talked, too.
fn assert_unseen(output: &Output, what: &str) -> bool {
    let text = [&output.stdout[..], &output.stderr].concat();
    let text = String::from_utf8_lossy(&text);
    assert!(!text.trim().is_empty(), "{what} says nothing");
    for line in text.lines() {
        assert!(!line.contains(SECRET), "{what}: {line}");
    }
    text.contains("TRACE")
}

#[test]
fn credentials_come_into_no_log_and_no_error() {
    let dir = tempfile::tempdir().unwrap();
    for store in [echo(), dead()] {
        let [user, service] = google_files(dir.path(), store);
        let plain = format!("http://{store}");
        let with_user = format!("http://user:{SECRET}@{store}");
        let keys = [
            ("AWS_ACCESS_KEY_ID", SECRET),
            ("AWS_SECRET_ACCESS_KEY", SECRET),
            ("AWS_SESSION_TOKEN", SECRET),
        ];
        let s3 = |name, value| [&keys[..], &[(name, value)]].concat();
        let google = |file| {
            vec![
                ("HTTPS_PROXY", &*with_user),
                ("GOOGLE_APPLICATION_CREDENTIALS", file),
            ]
        };
        let web = format!("{with_user}/{OBJECT}");
        let no_object = format!("{with_user}/x?sig={SECRET}");
        let misplaced = format!("s3://user:{SECRET}@bucket/x");
        let cases = [
            (s3("AWS_ENDPOINT_URL", &plain), "s3://bucket/x"),
            (s3("AWS_ENDPOINT_URL", &with_user), "s3://bucket/x"),
            (s3("HTTPS_PROXY", &with_user), "s3://bucket/x"),
            (s3("AWS_ENDPOINT_URL", &plain), &misplaced),
            (
                vec![("STORAGE_EMULATOR_HOST", &*with_user)],
                "gs://bucket/x",
            ),
            (google(&user), "gs://bucket/x"),
            (google(&service), "gs://bucket/x"),
            (Vec::new(), &web),
            (Vec::new(), &no_object),
        ];
        let cases = cases.map(|(environment, archive)| {
            let pairs = environment.into_iter();
            let environment: Vec<_> = pairs
                .map(|(name, value)| (name.to_owned(), value.to_owned()))
                .collect();
            (environment, archive)
        });
        let talked = std::thread::scope(|scope| {
            let tries = cases.iter().enumerate();
            let tries = tries.map(|(number, (environment, archive))| {
                let dir = dir.path().join(format!("{}-{number}", store.port()));
                scope.spawn(move || try_with(&dir, environment, archive))
            });
            let tries: Vec<_> = tries.collect();
            let talked = tries.into_iter().map(|tried| tried.join().unwrap());
            talked.filter(|talked| *talked).count()
        });
        assert!(talked >= 5, "only {talked} say what their libraries do");
    }
}

/// Loads from an archive, publishes into it, and reads a lake in a bucket; answers whether the libraries talked.
fn try_with(dir: &Path, environment: &[(String, String)], archive: &str) -> bool {
    fs::create_dir(dir).unwrap();
    let path = |name: &str| dir.join(name).to_str().unwrap().to_owned();
    let (lake, spool, state) = (path("lake"), path("spool/ndt"), path("state"));
    let load = vec!["load", archive, "--lake", &lake];
    let publish = [
        ["publish", "--archive", archive],
        ["--directory", &spool, "--reserve=0"],
        ["--state", &state, "--grace=0s"],
    ];
    let mut publish = publish.concat();
    publish.extend(["--prometheusx.listen-address", "127.0.0.1:0"]);
    let export = [
        "export",
        "--lake",
        "s3://bucket/lake",
        "--date",
        "2026-01-01",
    ]
    .to_vec();
    let tried = [load, publish, export].map(|arguments| {
        let output = groma(dir, environment, &arguments);
        assert_unseen(&output, &format!("{arguments:?} with {environment:?}"))
    });
    tried.contains(&true)
}
