//! The parts of a node, each a process of its own, hand a test on from one to the
//! next through files alone.

use std::fs::{self, File};
use std::path::Path;
use std::process::Child;

use rustix::process::{Pid, Signal, kill_process};

use crate::drain::uuid_of;
use crate::groma::{groma, run, told, wait_for};
use crate::lab::{PATIENCE, measure};
use crate::stored;

/// A part that runs until it is told to end; killed when dropped.
struct Part(Child);

impl Part {
    fn start(arguments: &[&str], log: &Path) -> Self {
        let log = File::create(log).unwrap();
        let admin = ["--prometheusx.listen-address", "127.0.0.1:0"];
        let all = arguments.iter().copied().chain(admin);
        Self(groma(all).stderr(log).spawn().unwrap())
    }

    fn end(mut self) {
        kill_process(Pid::from_child(&self.0), Signal::TERM).unwrap();
        let status = wait_for("a part's end", PATIENCE, || self.0.try_wait().unwrap());
        assert_eq!(status.code(), Some(0));
    }
}

impl Drop for Part {
    fn drop(&mut self) {
        // After its end both fail, which is as well.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn server_publisher_and_loader_alone_make_the_same_row() {
    let temporary = tempfile::tempdir().unwrap();
    let path = |name: &str| temporary.path().join(name).to_str().unwrap().to_owned();
    let (spool, archive, state, lake) = (
        path("spool/ndt"),
        path("archive"),
        path("state"),
        path("lake"),
    );

    let (log, prefix) = (temporary.path().join("ndt7.log"), path("prefix"));
    fs::write(&prefix, "node_1700000000").unwrap();
    let listen = [
        "ndt7",
        "--datadir",
        &spool,
        "--ndt7_addr_cleartext",
        "127.0.0.1:0",
    ];
    let server = Part::start(
        &[&listen[..], &["--uuid-prefix-file", &prefix]].concat(),
        &log,
    );
    let address = wait_for("the server's address", PATIENCE, || {
        let text = fs::read_to_string(&log).unwrap();
        let (_, rest) = text.split_once("ws://")?;
        let (address, _) = rest.split_once(char::is_whitespace)?;
        Some(address.to_owned())
    });
    let uuid = uuid_of(&measure(&address, "upload"));
    server.end();
    let closed = stored::files(Path::new(&spool), ".json");
    assert_eq!(closed.len(), 1, "{closed:?}");

    let places = [
        "publish",
        "--directory",
        &spool,
        "--archive",
        &archive,
        "--state",
        &state,
    ];
    let publisher = Part::start(&places, path("publish.log").as_ref());
    wait_for("the file to be taken", PATIENCE, || {
        stored::files(Path::new(&spool), ".json")
            .is_empty()
            .then_some(())
    });
    // Long before its hour is over: asked to end, it publishes what it took.
    publisher.end();

    let loaded = run(&mut groma(["load", &archive, "--lake", &lake]));
    assert!(loaded.status.success(), "{}", told(&loaded));
    let rows = stored::rows(temporary.path());
    assert_eq!(rows.into_iter().collect::<Vec<_>>(), [(uuid, 1)]);
}
