//! Signals, sent to a child process: this test binary once more.

use std::fs;
use std::io::{BufRead, BufReader, Lines};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::thread;
use std::time::Duration;

use groma_service::{on_hangup, until_signal};
use rustix::process::{Pid, Signal, kill_process};

/// The child: waits for one signal, prints its name, then blocks its only runtime thread.
#[test]
#[ignore = "runs as the child of the other tests"]
fn child() {
    // A child whose parent failed must end too.
    thread::spawn(|| {
        thread::sleep(Duration::from_mins(1));
        std::process::exit(99);
    });
    thread::spawn(|| {
        while !handlers_installed() {
            thread::sleep(Duration::from_millis(5));
        }
        // The listener takes its first look right after it installed the handlers.
        thread::sleep(Duration::from_millis(200));
        println!("\narmed");
    });
    on_hangup(|| println!("\nreloaded"));
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .unwrap();
    runtime.block_on(async {
        println!("\ngot {}", until_signal().await);
        loop {
            thread::sleep(Duration::from_secs(1));
        }
    });
}

/// `SigCgt` of `proc_pid_status(5)`: bit n - 1 is signal n.
fn handlers_installed() -> bool {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let caught = status.lines().find_map(|line| line.strip_prefix("SigCgt:"));
    let caught = u64::from_str_radix(caught.unwrap().trim(), 16).unwrap();
    [2, 15]
        .iter()
        .all(|signal| caught & (1 << (signal - 1)) != 0)
}

struct Running {
    child: Child,
    lines: Lines<BufReader<ChildStdout>>,
}

impl Running {
    fn start() -> Self {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["child", "--exact", "--ignored", "--nocapture"])
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let mut running = Self { child, lines };
        running.read_until("armed");
        running
    }

    fn read_until(&mut self, wanted: &str) {
        let found = self.lines.by_ref().any(|line| line.unwrap() == wanted);
        assert!(found, "the child ended without saying {wanted:?}");
    }

    fn send(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
    }
}

#[test]
fn the_first_signal_is_named_and_the_second_ends_at_once() {
    let cases = [
        (Signal::TERM, "got SIGTERM", Signal::INT, 130),
        (Signal::INT, "got SIGINT", Signal::TERM, 143),
    ];
    for (first, named, second, code) in cases {
        let mut running = Running::start();
        running.send(first);
        running.read_until(named);
        running.send(second);
        assert_eq!(running.child.wait().unwrap().code(), Some(code), "{named}");
    }
}

#[test]
fn a_hangup_reloads_and_ends_nothing() {
    let mut running = Running::start();
    for _ in 0..2 {
        running.send(Signal::HUP);
        running.read_until("reloaded");
    }
    running.send(Signal::TERM);
    running.read_until("got SIGTERM");
    running.send(Signal::HUP);
    running.read_until("reloaded");
    running.send(Signal::TERM);
    assert_eq!(running.child.wait().unwrap().code(), Some(143));
}
