//! The announcements of tests, and that nothing else is announced.

use std::io::{BufRead as _, BufReader};
use std::net::{TcpListener, TcpStream};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::PathBuf;

use groma_events::{Admission, Event};
use groma_experiment::{Experiment, Refusal, Settings};

use crate::common::{Lab, okay, query};

/// A recorder that only listens.
struct Recorder {
    path: PathBuf,
    listener: UnixListener,
}

impl Recorder {
    fn new(lab: &Lab) -> Self {
        let path = lab.dir.path().join("events.sock");
        let listener = UnixListener::bind(&path).unwrap();
        Self { path, listener }
    }

    fn experiment(&self, lab: &mut Lab, max_tests: usize) -> Experiment {
        let settings = Settings {
            require_policy: true,
            max_tests,
            event_socket: Some(self.path.clone()),
            ..lab.settings()
        };
        lab.open(settings).unwrap()
    }

    /// Everything until the experiment closes the connection.
    fn heard(stream: UnixStream) -> Vec<Admission> {
        let lines = BufReader::new(stream).lines();
        lines
            .map(|line| match Event::parse(line.unwrap().as_bytes()) {
                Ok(Event::Admission(admission)) => admission,
                other => panic!("{other:?}"),
            })
            .collect()
    }

    fn accept(&self) -> UnixStream {
        self.listener.accept().unwrap().0
    }
}

fn consent() -> Vec<(String, String)> {
    query(&[("policy_version", "v5")])
}

#[test]
fn the_connections_of_an_admitted_test_are_announced_once_each() {
    let mut lab = Lab::new();
    let recorder = Recorder::new(&lab);
    let experiment = recorder.experiment(&mut lab, 4);
    let stream = recorder.accept();
    let server = TcpListener::bind("127.0.0.1:0").unwrap();
    let sockets = [(); 2].map(|()| TcpStream::connect(server.local_addr().unwrap()).unwrap());
    let mut test = experiment.admit(&consent()).unwrap();
    for socket in [&sockets[0], &sockets[1], &sockets[0]] {
        test.connection(socket);
    }
    let uuids = test.uuids().to_vec();
    drop((test, experiment));
    let heard = Recorder::heard(stream);
    let named: Vec<_> = heard
        .iter()
        .map(|admission| admission.uuid.clone())
        .collect();
    assert_eq!(named, uuids);
    for admission in heard {
        assert_eq!(admission.test_id, uuids[0]);
        assert_eq!(admission.policy_version, "v5");
    }
}

#[test]
fn nothing_is_announced_of_a_test_that_is_refused_or_has_no_connection_yet() {
    let mut lab = Lab::new();
    let recorder = Recorder::new(&lab);
    let experiment = recorder.experiment(&mut lab, 1);
    let stream = recorder.accept();
    assert_eq!(
        experiment.admit(&[]).unwrap_err(),
        Refusal::PolicyNotAccepted
    );
    let waits = experiment.admit(&consent()).unwrap();
    assert_eq!(experiment.admit(&consent()).unwrap_err(), Refusal::Busy);
    drop(waits);
    lab.lifecycle.stop();
    assert_eq!(experiment.admit(&consent()).unwrap_err(), Refusal::Draining);
    drop(experiment);
    assert_eq!(Recorder::heard(stream), []);
}

#[test]
fn a_connection_without_a_cookie_is_not_announced() {
    let mut lab = Lab::new();
    let recorder = Recorder::new(&lab);
    let experiment = recorder.experiment(&mut lab, 1);
    let stream = recorder.accept();
    let mut test = experiment.admit(&consent()).unwrap();
    test.connection(tempfile::tempfile().unwrap());
    drop((test, experiment));
    assert_eq!(Recorder::heard(stream), []);
}

#[test]
fn a_recorder_that_is_away_blocks_no_test_and_is_shown() {
    let mut lab = Lab::new();
    let recorder = Recorder::new(&lab);
    let experiment = recorder.experiment(&mut lab, 1);
    drop(recorder.accept());
    drop(recorder.listener);
    std::fs::remove_file(&recorder.path).unwrap();
    let server = TcpListener::bind("127.0.0.1:0").unwrap();
    let socket = TcpStream::connect(server.local_addr().unwrap()).unwrap();
    let mut test = experiment.admit(&consent()).unwrap();
    let uuid = test.connection(&socket);
    test.finish(&okay(), None).unwrap();
    while lab.sample("recorder_connected", "") != "0" {
        std::thread::yield_now();
    }
    // The next one hears of it.
    let recorder = Recorder::new(&lab);
    let stream = recorder.accept();
    let mut line = String::new();
    BufReader::new(stream).read_line(&mut line).unwrap();
    assert!(line.contains(uuid.as_str()), "{line}");
}
