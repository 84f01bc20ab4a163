//! Signals to running services.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use rustix::process::{Pid, Signal, kill_process};

use crate::groma::{command, groma, program, run, told, wait_for};
use crate::lab::PATIENCE;
use crate::parts::{Part, wait_for_log};

const NDT7: [&str; 4] = ["ndt7", "--ndt7_addr_cleartext", "127.0.0.1:0", "--datadir"];

#[test]
fn an_idle_server_stops_at_once() {
    let temporary = tempfile::tempdir().unwrap();
    let log = temporary.path().join("log");
    let spool = temporary.path().join("ndt");
    let spool = spool.to_str().unwrap();
    // A lame duck period far beyond the patience of the test.
    let arguments = [&NDT7[..], &[spool, "--lame-duck", "24h"]].concat();
    let server = Part::start(&arguments, &log);
    wait_for_log(&log, "ws://");
    // The handlers are installed after the port is open.
    wait_for_log(&log, "phase=ready");
    server.end();
}

#[test]
fn a_service_that_has_just_begun_stops_gracefully() {
    let temporary = tempfile::tempdir().unwrap();
    let path = |name: &str| temporary.path().join(name).to_str().unwrap().to_owned();
    let (spool, archive, prefix) = (path("ndt"), path("archive"), path("prefix"));
    fs::create_dir(&spool).unwrap();
    fs::write(&prefix, "node_1700000000").unwrap();
    let (lab, results) = (path("lab"), path("results"));
    let (state, trace_state) = (path("state"), path("trace"));
    let up = ["up", "--dir", &lab, "--ws-port", "0", "--wss-port", "0"];
    let up = [&up[..], &["--admin-port", "0"]].concat();
    let publish = ["publish", "--directory", &spool, "--archive", &archive];
    let publish = [&publish[..], &["--state", &state]].concat();
    let record = ["tcp-info", "--directory", &spool, "--state", &trace_state];
    let record = [&record[..], &["--uuid-prefix-file", &prefix, "--port", "1"]].concat();
    for (arguments, first) in [
        (up, &lab),
        ([&NDT7[..], &[&results]].concat(), &results),
        (publish, &state),
        (record, &trace_state),
    ] {
        let log = fs::File::create(temporary.path().join("log")).unwrap();
        let mut command = groma(arguments.iter().copied());
        if arguments[0] != "up" {
            command.args(["--prometheusx.listen-address", "127.0.0.1:0"]);
        }
        let service = Part(command.stderr(log).stdout(Stdio::null()).spawn().unwrap());
        // The signal comes as soon as the service has created anything.
        while !Path::new(first).exists() {
            std::thread::yield_now();
        }
        service.end();
    }
}

#[test]
fn a_hangup_ends_no_service() {
    let temporary = tempfile::tempdir().unwrap();
    let path = |name: &str| temporary.path().join(name).to_str().unwrap().to_owned();
    let (spool, archive, state) = (path("ndt"), path("archive"), path("state"));
    let prefix = path("prefix");
    fs::write(&prefix, "node_1700000000").unwrap();
    let publish = [
        "publish",
        "--directory",
        &spool,
        "--archive",
        &archive,
        "--state",
        &state,
    ];
    let trace_state = path("trace");
    let record = [
        "tcp-info",
        "--directory",
        &spool,
        "--state",
        &trace_state,
        "--uuid-prefix-file",
        &prefix,
        "--port",
        "1",
    ];
    for (name, arguments) in [
        ("ndt7", [&NDT7[..], &[&spool]].concat()),
        ("publish", publish.to_vec()),
        ("tcp-info", record.to_vec()),
    ] {
        let log = temporary.path().join(format!("{name}.log"));
        let service = Part::start(&arguments, &log);
        wait_for_log(&log, "phase=ready");
        for _ in 0..2 {
            kill_process(Pid::from_child(&service.0), Signal::HUP).unwrap();
        }
        wait_for_log(&log, "SIGHUP");
        service.end();
    }
}

#[test]
fn a_port_alone_means_both_families_whatever_the_system_prefers() {
    if !groma_tests::root() {
        return;
    }
    let temporary = tempfile::tempdir().unwrap();
    let spool = temporary.path().join("ndt");
    let script = "ip link set lo up && sysctl -qw net.ipv6.bindv6only=1 && \
        { \"$@\" & server=$!; } && for try in $(seq 100); do \
        if (exec 3<>/dev/tcp/127.0.0.1/18001 && exec 4<>/dev/tcp/127.0.0.1/18002 && exec 5<>/dev/tcp/::1/18001) \
        2>/dev/null; then kill $server; wait $server; exit; fi; sleep 0.1; done; kill $server; exit 9";
    let program = program().to_str().unwrap();
    let start = [
        "-n",
        "bash",
        "-c",
        script,
        "bash",
        program,
        "ndt7",
        "--ndt7_addr_cleartext",
        ":18001",
        "--prometheusx.listen-address",
        ":18002",
        "--datadir",
    ];
    let mut unshare: Command = command(Path::new("unshare"), start);
    let output = run(unshare.arg(&spool));
    assert_eq!(output.status.code(), Some(0), "{}", told(&output));
}

#[test]
fn the_demo_removes_its_folder_when_it_is_interrupted() {
    let temporary = tempfile::tempdir().unwrap();
    let folders = || fs::read_dir(temporary.path()).unwrap().count();
    let mut demo = groma(["demo"])
        .env("TMPDIR", temporary.path())
        .stdout(std::process::Stdio::null())
        .stderr(std::process::Stdio::null())
        .spawn()
        .unwrap();
    wait_for("the demo's folder", PATIENCE, || {
        (folders() > 0).then_some(())
    });
    // Wait until the lab has started: its folder has content.
    let content = || {
        let folder = fs::read_dir(temporary.path()).unwrap().flatten().next()?;
        folder.path().join("lake").exists().then_some(())
    };
    wait_for("the lab", PATIENCE, content);
    kill_process(Pid::from_child(&demo), Signal::INT).unwrap();
    let status = wait_for("the demo's end", PATIENCE, || demo.try_wait().unwrap());
    assert_eq!(status.code(), Some(130));
    assert_eq!(folders(), 0);
}
