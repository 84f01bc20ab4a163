//! The parts of a node, each a process of its own, hand a test on from one to the
//! next through files alone.

use std::fs::{self, File, Permissions};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Child;

use rustix::process::{Pid, Signal, kill_process};

use crate::drain::uuid_of;
use crate::groma::{command, groma, program, run, told, wait_for};
use crate::lab::{PATIENCE, measure};
use crate::stored;

/// A part that runs until it gets a signal; killed when dropped.
pub(crate) struct Part(pub(crate) Child);

impl Part {
    pub(crate) fn start(arguments: &[&str], log: &Path) -> Self {
        let log = File::create(log).unwrap();
        let admin = ["--prometheusx.listen-address", "127.0.0.1:0"];
        let all = arguments.iter().copied().chain(admin);
        Self(groma(all).stderr(log).spawn().unwrap())
    }

    pub(crate) fn end(mut self) {
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

/// Waits until a part's log has this text.
pub(crate) fn wait_for_log(log: &Path, text: &str) {
    wait_for(text, PATIENCE, || {
        fs::read_to_string(log)
            .unwrap()
            .contains(text)
            .then_some(())
    });
}

#[test]
fn server_recorder_publisher_and_loader_alone_make_the_same_rows() {
    let temporary = tempfile::tempdir().unwrap();
    let path = |name: &str| temporary.path().join(name).to_str().unwrap().to_owned();
    let (spool, archive, state, lake) = (path("ndt"), path("archive"), path("state"), path("lake"));

    let events = path("events.sock");
    let (log, prefix) = (temporary.path().join("ndt7.log"), path("prefix"));
    fs::write(&prefix, "node_1700000000").unwrap();
    let listen = [
        "ndt7",
        "--datadir",
        &spool,
        "--ndt7_addr_cleartext",
        "127.0.0.1:0",
        "--event-socket",
        &events,
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
    let port = address.rsplit_once(':').unwrap().1;
    let trace_state = path("trace");
    let recorded = [
        "tcp-info",
        "--directory",
        &spool,
        "--state",
        &trace_state,
        "--event-socket",
        &events,
    ];
    let log = temporary.path().join("tcp-info.log");
    let recorder = Part::start(
        &[
            &recorded[..],
            &["--uuid-prefix-file", &prefix, "--port", port],
        ]
        .concat(),
        &log,
    );
    wait_for_log(&log, "recording");
    let uuid = uuid_of(&measure(&address, "upload"));
    server.end();
    recorder.end();
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
    for datatype in ["ndt7", "tcpinfo"] {
        let rows = stored::rows(temporary.path(), datatype);
        assert_eq!(rows.into_iter().collect::<Vec<_>>(), [(uuid.clone(), 1)]);
    }
}

#[test]
fn an_object_that_is_named_is_loaded_or_it_is_told_why_not() {
    let temporary = tempfile::tempdir().unwrap();
    let lake = temporary.path().join("lake");
    for (name, reason) in [
        (
            "20190718T000000Z-ndt7-mlab1-lga03-ndt-0001-e.tgz",
            "--embargoed",
        ),
        (
            "20190718T000000Z-unheard-mlab1-lga03-ndt.tgz",
            "no schema for ndt/unheard",
        ),
        ("holiday.tgz", "holiday.tgz"),
    ] {
        let object = temporary.path().join(name);
        fs::write(&object, b"").unwrap();
        let loaded = run(groma(["load", "--lake"]).arg(&lake).arg(&object));
        assert!(!loaded.status.success(), "{}", told(&loaded));
        assert!(told(&loaded).contains(reason), "{}", told(&loaded));
    }
}

#[test]
fn the_recorder_takes_m_labs_flags_without_any_privilege() {
    if !groma_tests::root() {
        return;
    }
    let temporary = tempfile::tempdir().unwrap();
    fs::set_permissions(temporary.path(), Permissions::from_mode(0o777)).unwrap();
    let path = |name: &str| temporary.path().join(name).to_str().unwrap().to_owned();
    fs::copy(program(), path("groma")).unwrap();
    fs::write(path("prefix"), "node_1700000000").unwrap();
    // A namespace of its own with an address that is none of loopback.
    let script = "ip link set lo up && ip address add 192.0.2.1/32 dev lo && \
                  exec setpriv --reuid 65534 --regid 65534 --clear-groups \"$@\"";
    let flags = [
        format!("-output={}", path("ndt/tcpinfo")),
        format!("--tcpinfo.eventsocket={}", path("events.sock")),
        format!("-uuid-prefix-file={}", path("prefix")),
        "-exclude-srcport".to_owned(),
        "9991,9990".to_owned(),
        "-prometheusx.listen-address=:9991".to_owned(),
    ];
    let groma = path("groma");
    let start = [
        "-n", "sh", "-c", script, "sh", &groma, "tcp-info", "--compat",
    ];
    let log = temporary.path().join("log");
    let child = command(Path::new("unshare"), start)
        .args(flags)
        // Our own as well: neither notation minds the other's.
        .env("DIRECTORY", "/nowhere")
        .stderr(File::create(&log).unwrap())
        .spawn()
        .unwrap();
    let recorder = Part(child);
    wait_for_log(&log, "recording");

    // Asking for its metrics is a connection: its server's end is excluded by port, the client's is recorded.
    let inside = format!("--net=/proc/{}/ns/net", recorder.0.id());
    let ask =
        "exec 3<>/dev/tcp/192.0.2.1/9991; printf 'GET /metrics HTTP/1.0\\r\\n\\r\\n' >&3; cat <&3";
    let metrics = run(&mut command(
        Path::new("nsenter"),
        [&inside, "bash", "-c", ask],
    ));
    let metrics = String::from_utf8(metrics.stdout).unwrap();
    assert!(
        metrics.contains("tcpinfo_polling_interval_histogram_bucket"),
        "{metrics}"
    );
    let text = fs::read_to_string(&log).unwrap();
    let warned = |line: &str| line.contains("WARN") && line.contains("published in full");
    assert!(text.lines().any(warned), "{text}");
    recorder.end();
    let traces = stored::files(Path::new(&path("ndt")), ".00000.jsonl.zst");
    assert_eq!(traces.len(), 1, "{traces:?}");
    let table = run(&mut groma_decode(&traces[0]));
    let table = String::from_utf8(table.stdout).unwrap();
    assert!(table.contains("<- 192.0.2.1 port 9991"), "{table}");
}

fn groma_decode(file: &Path) -> std::process::Command {
    groma(["tcp-info", "decode", file.to_str().unwrap()])
}
