//! One test, from admission to its result file.

use std::os::fd::AsFd;
use std::path::PathBuf;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use groma_events::{Admission, Announced};
use groma_manifest::Manifest;
use groma_service::ActiveGuard;
use groma_spool::{FileName, Name, NameError, SpoolError, SpoolPath};
use groma_uuid::{INVALID_UUID, Uuid};
use jiff::Timestamp;
use jiff::civil::Date;
use jiff::tz::TimeZone;
use serde::Serialize;

use crate::NameValue;
use crate::disk::Room;
use crate::experiment::Shared;
use crate::metrics::{ABORTED, SOCKET_COOKIE, WRITE_RESULT};

/// How long a result waits before each further try: 3.1 s in all. File descriptors run out when clients come faster than
/// they go, and come back as tests end. A full disk has room again when the publisher gives its reserve away.
const WAITS: [Duration; 5] = [
    Duration::from_millis(100),
    Duration::from_millis(200),
    Duration::from_millis(400),
    Duration::from_millis(800),
    Duration::from_millis(1600),
];

/// One of the results that the manifest declares: the `result` of the run counter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outcome(Arc<str>);

/// A result that the manifest does not declare.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the manifest of {experiment} declares no result {name:?}; add it to `results`")]
pub struct UndeclaredOutcome {
    experiment: Name,
    name: String,
}

impl Outcome {
    /// Returns the outcome with this name.
    pub(crate) fn declared(manifest: &Manifest, name: &str) -> Result<Self, UndeclaredOutcome> {
        if manifest.results.iter().any(|declared| declared == name) {
            return Ok(Self(name.into()));
        }
        Err(UndeclaredOutcome {
            experiment: manifest.name.clone(),
            name: name.to_owned(),
        })
    }

    /// The name in the manifest.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// The one file in which a test leaves its result.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ResultFile {
    /// A datatype that the manifest declares.
    pub datatype: Name,
    /// The file's name; it must hold a UUID or something else that never repeats.
    pub name: FileName,
    /// The UTC date under which it is filed: M-Lab takes that of the writing.
    pub date: Date,
    /// Its content, in the form that the datatype's schema describes.
    pub body: Vec<u8>,
}

/// Why a result file was not written. The test is counted under its outcome all the same.
#[derive(Debug, thiserror::Error)]
pub enum FinishError {
    /// The manifest declares no such datatype.
    #[error("write result of {experiment}: its manifest declares no datatype {datatype}")]
    UndeclaredDatatype {
        /// The experiment.
        experiment: Name,
        /// The datatype of the file.
        datatype: Name,
    },
    /// The row cannot be written as JSON.
    #[error("write the result as JSON: {0}")]
    Row(#[source] serde_json::Error),
    /// The name of the file breaks a rule of the spool.
    #[error(transparent)]
    FileName(NameError),
    /// The spool did not take it.
    #[error(transparent)]
    Spool(#[from] SpoolError),
}

/// An admitted test. It holds one of the experiment's places until it is finished.
///
/// Dropped without [`finish`](Test::finish) it is counted as `aborted`.
#[derive(Debug)]
pub struct Test {
    shared: Arc<Shared>,
    // Held for its Drop, which gives the place back.
    _place: ActiveGuard,
    /// Room for the result.
    rooms: Vec<Room>,
    client_metadata: Vec<NameValue>,
    /// The policy version first, then the mark of a wrong clock.
    server_metadata: Vec<NameValue>,
    uuids: Vec<Uuid>,
    // Held for their Drop, which says that the test has ended.
    announced: Vec<Announced>,
    began: Instant,
    counted: bool,
}

impl Test {
    pub(crate) fn new(
        shared: Arc<Shared>,
        place: ActiveGuard,
        rooms: Vec<Room>,
        client_metadata: Vec<NameValue>,
        server_metadata: Vec<NameValue>,
    ) -> Self {
        Self {
            shared,
            _place: place,
            rooms,
            client_metadata,
            server_metadata,
            uuids: Vec::new(),
            announced: Vec::new(),
            began: Instant::now(),
            counted: false,
        }
    }

    /// Adds a connection to the test and returns its UUID, the key by which the result
    /// joins what the sidecars record. A connection may be given more than once.
    ///
    /// Where [`event_socket`](crate::Settings::event_socket) is set, this announces the connection as one of an
    /// admitted test, with the test's id (the UUID of its first connection) and the policy version. It does not wait
    /// for the announcement to arrive. Call it as soon as the test is admitted: the recorder publishes nothing of a
    /// connection that it did not hear of within some seconds of the connection's end.
    ///
    /// When the kernel returns no socket cookie, the UUID is `INVALID_UUID`, as M-Lab's
    /// library has it: the result is kept, but nothing can be joined to it.
    pub fn connection(&mut self, fd: impl AsFd) -> Uuid {
        let uuid = match groma_sock::cookie(fd) {
            Ok(cookie) => self.shared.prefix.uuid(cookie),
            Err(source) => {
                tracing::error!(%source, "read SO_COOKIE: this test will join with nothing");
                self.error(SOCKET_COOKIE);
                Uuid::invalid()
            }
        };
        if !self.uuids.contains(&uuid) {
            self.uuids.push(uuid.clone());
            self.announce(&uuid);
        }
        uuid
    }

    /// The recorder knows connections by their cookies, so one without a cookie cannot be announced.
    fn announce(&mut self, uuid: &Uuid) {
        let Some(announcer) = &self.shared.announcer else {
            return;
        };
        if uuid.cookie().is_none() {
            return;
        }
        let first = self.uuids.iter().find(|uuid| uuid.cookie().is_some());
        self.announced.push(announcer.announce(Admission {
            timestamp: Timestamp::now(),
            uuid: uuid.clone(),
            test_id: first.unwrap_or(uuid).clone(),
            policy_version: self.server_metadata[0].value.clone(),
        }));
    }

    /// The UUIDs of all its connections so far, each once, in the order of their coming.
    pub fn uuids(&self) -> &[Uuid] {
        &self.uuids
    }

    /// Returns the client's metadata that the manifest allows.
    pub fn client_metadata(&self) -> &[NameValue] {
        &self.client_metadata
    }

    /// Returns the server's entries about the test. The first is `policy_version`: the manifest's if the client sent that one
    /// as accepted, else `not-sent`. `clock` is `implausible` where the clock cannot be right.
    pub fn server_metadata(&self) -> &[NameValue] {
        &self.server_metadata
    }

    /// Adds measured bytes to `groma_experiment_bytes_total`: what came since the last call.
    pub fn bytes(&self, sent: u64, received: u64) {
        self.shared.metrics.sent.inc_by(sent);
        self.shared.metrics.received.inc_by(received);
    }

    /// Counts a failed operation in `groma_experiment_errors_total`. `operation` is from a
    /// small fixed set of the experiment, such as `read_message`.
    pub fn error(&self, operation: &'static str) {
        self.shared.metrics.error(operation);
    }

    /// Ends the test: counts it under `outcome`, and writes its file if it has one. Returns the file's path.
    ///
    /// Blocking (`fsync`): from asynchronous code call it inside `spawn_blocking`.
    /// The result goes into the room that admission took for it. Where file descriptors or room are missing all the same, it
    /// is tried again for about 3 s. The experiment logs the error; the SDK counts it, and admits no test until the spool
    /// takes files again.
    pub fn finish(
        mut self,
        outcome: &Outcome,
        file: Option<ResultFile>,
    ) -> Result<Option<PathBuf>, FinishError> {
        self.count(outcome.as_str());
        let Some(file) = file else {
            return Ok(None);
        };
        let written = self.write(file);
        if written.is_err() {
            self.error(WRITE_RESULT);
        }
        written.map(Some)
    }

    /// Ends the test as [`finish`](Test::finish), with a row in JSON that is filed under today's UTC date. Its file is named
    /// `<datatype>-<time>.<uuid>.json` after the first connection, which the test must have.
    ///
    /// # Errors
    ///
    /// As [`finish`](Test::finish), and for a row that cannot be written as JSON.
    pub fn finish_with(
        self,
        outcome: &Outcome,
        datatype: &Name,
        row: &impl Serialize,
    ) -> Result<Option<PathBuf>, FinishError> {
        let body = serde_json::to_vec(row).map_err(FinishError::Row)?;
        let now = Timestamp::now();
        let uuid = self.uuids.first().map_or(INVALID_UUID, Uuid::as_str);
        let name = format!(
            "{datatype}-{}.{uuid}.json",
            now.strftime("%Y%m%dT%H%M%S.%9fZ")
        );
        let file = ResultFile {
            datatype: datatype.clone(),
            name: name.parse().map_err(FinishError::FileName)?,
            date: now.to_zoned(TimeZone::UTC).date(),
            body,
        };
        self.finish(outcome, Some(file))
    }

    fn write(&mut self, file: ResultFile) -> Result<PathBuf, FinishError> {
        let Shared { manifest, dir, .. } = &*self.shared;
        if manifest.datatype(file.datatype.as_str()).is_none() {
            return Err(FinishError::UndeclaredDatatype {
                experiment: manifest.name.clone(),
                datatype: file.datatype,
            });
        }
        let path = SpoolPath {
            datatype: file.datatype,
            date: file.date,
            file: file.name,
        };
        let mut room = Room::of(&mut self.rooms, dir, &path.datatype);
        let mut write = || {
            let reserved = room.as_mut().map(|room| room.write(&path, &file.body));
            match reserved {
                // Somebody has removed the directory with the room in it; the probe creates it again.
                Some(Err(error)) if error.is_missing() => dir
                    .probe(&path.datatype)
                    .and_then(|_| dir.write(&path, &file.body)),
                Some(written) => written,
                None => dir.write(&path, &file.body),
            }
        };
        let mut written = write();
        for wait in WAITS {
            let may_pass = |error: &SpoolError| error.is_out_of_descriptors() || error.is_full();
            if !written.as_ref().is_err_and(may_pass) {
                break;
            }
            tracing::warn!(file = %path, "no file descriptor or no room for a result: trying again");
            thread::sleep(wait);
            written = write();
        }
        if let Err(error) = &written
            && !error.is_exists()
        {
            let needed_bytes = file.body.len() as u64;
            self.shared
                .disk
                .found_broken(error, Some(&path), needed_bytes);
        }
        Ok(written?)
    }

    fn count(&mut self, outcome: &str) {
        let metrics = &self.shared.metrics;
        metrics.test_ended(outcome, self.began.elapsed());
        self.counted = true;
    }
}

impl Drop for Test {
    fn drop(&mut self) {
        if !self.counted {
            self.count(ABORTED);
        }
    }
}
