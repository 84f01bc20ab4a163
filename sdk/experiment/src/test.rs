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

/// The delay before each retry of writing a result: 3.1 s in total. File descriptors can run out when many clients arrive,
/// and become free as tests end. A full disk has space again when the publisher releases its reserve.
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

/// The result file of a test.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ResultFile {
    /// A datatype that the manifest declares.
    pub datatype: Name,
    /// The file's name; it must hold a UUID or something else that never repeats.
    pub name: FileName,
    /// The UTC date of the file's directory; M-Lab uses the date on which the file is written.
    pub date: Date,
    /// The content, which must follow the datatype's schema.
    pub body: Vec<u8>,
}

/// The reason why a result file was not written. The test is still counted under its outcome.
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
    /// The file could not be written into the spool.
    #[error(transparent)]
    Spool(#[from] SpoolError),
}

/// An admitted test. It holds one of the experiment's `max_tests` permits until it is finished.
///
/// A test that is dropped without [`finish`](Test::finish) is counted as `aborted`.
#[derive(Debug)]
pub struct Test {
    shared: Arc<Shared>,
    // Held for its Drop, which returns the permit.
    _place: ActiveGuard,
    /// Space reserved for the result.
    rooms: Vec<Room>,
    client_metadata: Vec<NameValue>,
    /// The policy version first, then the flag of an implausible clock.
    server_metadata: Vec<NameValue>,
    uuids: Vec<Uuid>,
    // Held for their Drop, which reports that the test has ended.
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

    /// Adds a connection to the test and returns its UUID, the key that joins the result with the
    /// records of the sidecars. A connection may be added more than once.
    ///
    /// Where [`event_socket`](crate::Settings::event_socket) is set, this announces the connection as one of an
    /// admitted test, with the test's id (the UUID of its first connection) and the policy version. It does not wait
    /// for the announcement to arrive. Call it as soon as the test is admitted: the recorder does not publish a connection
    /// in full if the announcement arrives more than a few seconds after the connection's end.
    ///
    /// If the kernel returns no socket cookie, the UUID is `INVALID_UUID`, as in M-Lab's
    /// library: the result is kept, but nothing can be joined to it.
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

    /// Returns the UUIDs of all connections of the test so far, each once, in the order in which they were added.
    pub fn uuids(&self) -> &[Uuid] {
        &self.uuids
    }

    /// Returns the client's metadata that the manifest allows.
    pub fn client_metadata(&self) -> &[NameValue] {
        &self.client_metadata
    }

    /// Returns the server's entries about the test. The first is `policy_version`: the manifest's if the client sent that one
    /// as accepted, else `not-sent`. The entry `clock` is `implausible` if the clock is.
    pub fn server_metadata(&self) -> &[NameValue] {
        &self.server_metadata
    }

    /// Adds the bytes measured since the last call to `groma_experiment_bytes_total`.
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
    /// The result is written into the space that admission reserved for it. If file descriptors or disk space are still
    /// missing, the write is retried for about 3 s. The experiment logs the error; the SDK counts it, and admits no test
    /// until the spool can be written again.
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
