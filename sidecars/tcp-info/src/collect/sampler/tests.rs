use std::io;
use std::sync::mpsc::sync_channel;

use groma_diag::{Drained, Dumped, MESSAGE_BYTES, Record, kind};
use prometheus_client::registry::Registry;

use super::*;
use crate::record::End;

const SOCKETS: u8 = 5;
/// More than it takes until a connection that complete looks do not find counts as gone.
const POLLS: u32 = 2 * LOOKS_UNTIL_VANISHED;

/// How the kernel answers a look.
#[derive(Clone, Copy, Debug)]
enum Answering {
    Well,
    /// Shows one socket, then fails.
    Fails(fn() -> DiagError),
    /// Shows one socket, and says that others may be missing.
    Interrupted,
    /// Shows one socket, which is all.
    WithOne,
}

struct Fake {
    answering: Answering,
    deaf: bool,
}

fn body(cookie: u8) -> Vec<u8> {
    let mut body = vec![0; MESSAGE_BYTES];
    // IPv4, established, ports, the cookie, addresses 192.0.2.1 and 198.51.100.1.
    (body[0], body[1], body[5], body[7], body[44]) = (2, 1, 80, 90, cookie);
    body[8..12].copy_from_slice(&[192, 0, 2, 1]);
    body[24..28].copy_from_slice(&[198, 51, 100, 1]);
    body.extend_from_slice(&236_u16.to_ne_bytes());
    body.extend_from_slice(&kind::INFO.to_ne_bytes());
    body.resize(body.len() + 232, 0);
    body
}

impl Fake {
    /// The sockets that it shows, and how it ends.
    fn show(&self, visit: &mut dyn FnMut(Record<'_>)) -> Result<Dumped, DiagError> {
        let sockets = match self.answering {
            Answering::Well => SOCKETS,
            _ => 1,
        };
        for cookie in 1..=sockets {
            visit(Record::parse(&body(cookie)).unwrap());
        }
        match self.answering {
            Answering::Fails(error) => Err(error()),
            other => Ok(Dumped {
                sockets: sockets.into(),
                interrupted: matches!(other, Answering::Interrupted),
            }),
        }
    }
}

impl Kernel for Fake {
    fn dump(&mut self, visit: &mut dyn FnMut(Record<'_>)) -> Result<Dumped, DiagError> {
        self.show(visit)
    }

    fn get(&mut self, _: &[Key], visit: &mut dyn FnMut(Answer<'_>)) -> Result<(), DiagError> {
        self.show(&mut |record| visit(Answer::Here(record)))
            .map(|_| ())
    }

    fn last_words(&mut self, _: &mut dyn FnMut(Record<'_>)) -> Result<Drained, DiagError> {
        if self.deaf {
            return Err(receive(no_buffers()));
        }
        Ok(Drained::default())
    }
}

/// `ENOBUFS`.
fn no_buffers() -> io::Error {
    rustix::io::Errno::NOBUFS.into()
}

fn receive(source: io::Error) -> DiagError {
    DiagError::Io {
        operation: "receive",
        source,
    }
}

/// Lets a sampler poll, first with good answers, then with these; what it counted as closed, and its own count of
/// polls that failed.
fn closed_by(answering: Answering, deaf: bool) -> (Vec<End>, u64) {
    let (batches, filled) = sync_channel(1);
    let (put_back, empty) = sync_channel(1);
    put_back.send(Batch::new(0)).unwrap();
    let setup = SamplerSetup {
        source: 0,
        namespace: None,
        scope: Scope::Whole {
            excluded_local_ports: Vec::new(),
            excluded_remotes: Vec::new(),
        },
        interval: Duration::from_millis(10),
        most_flows: 100,
        last_words_bytes: 0,
        metrics: Metrics::new(&mut Registry::default()),
        stop: Arc::default(),
        batches,
        empty,
    };
    let kernel = Fake {
        answering: Answering::Well,
        deaf: false,
    };
    let mut sampler = Sampler::new(setup, kernel, None);
    let (mut opened, mut closed) = (0, Vec::new());
    for poll in 0..POLLS {
        if poll == 2 {
            assert_eq!(opened, SOCKETS);
            (sampler.kernel.answering, sampler.kernel.deaf) = (answering, deaf);
        }
        sampler.poll().unwrap();
        let batch = filled.recv().unwrap();
        for entry in &batch.entries {
            match entry {
                Entry::Open { .. } => opened += 1,
                Entry::Close { end, .. } => closed.push(*end),
                _ => {}
            }
        }
        put_back.send(batch).unwrap();
    }
    assert_eq!(opened, SOCKETS, "nothing opens twice");
    (closed, sampler.pace.polls.failed)
}

#[test]
fn no_failed_cut_or_interrupted_answer_closes_a_connection_and_each_is_counted() {
    let failures: [Answering; 6] = [
        Answering::Interrupted,
        Answering::Fails(|| receive(no_buffers())),
        Answering::Fails(|| DiagError::Refused(io::ErrorKind::PermissionDenied.into())),
        Answering::Fails(|| DiagError::Truncated),
        Answering::Fails(|| DiagError::Malformed),
        Answering::Fails(|| DiagError::Unanswered(4)),
    ];
    for failure in failures {
        // Also when last words are lost at the same time, after which patience is short.
        for deaf in [false, true] {
            let (closed, failed) = closed_by(failure, deaf);
            assert!(closed.is_empty(), "{failure:?} {deaf}: {closed:?}");
            assert_eq!(failed, u64::from(POLLS) - 2, "{failure:?} {deaf}");
        }
    }
}

#[test]
fn a_complete_answer_without_them_does() {
    for deaf in [false, true] {
        let (closed, failed) = closed_by(Answering::WithOne, deaf);
        assert_eq!(closed, [End::Vanished; SOCKETS as usize - 1]);
        assert_eq!(failed, 0);
    }
}
