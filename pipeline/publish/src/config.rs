//! The configuration of a publisher.

use std::io;
use std::os::fd::BorrowedFd;
use std::path::PathBuf;
use std::time::Duration;

use groma_disk::Disk;
use groma_names::Node;
use groma_schema::Schema;
use groma_service::Lifecycle;
use groma_spool::{ExperimentDir, Name};

/// The version in the rows of everything that this program publishes, in both forms of bundles.
pub const VERSION: &str = concat!("v", env!("CARGO_PKG_VERSION"));

/// The commit in these rows: `GROMA_GIT_COMMIT` of the build, and else the tag of the version.
pub const GIT_COMMIT: &str = match option_env!("GROMA_GIT_COMMIT") {
    Some(commit) if !commit.is_empty() => commit,
    _ => VERSION,
};

/// How the files of a datatype are bundled.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Form {
    /// A gzipped tar of the files as they are (M-Lab's pusher).
    Tgz,
    /// Gzipped JSON lines, each file wrapped in the standard columns, and an index beside it (M-Lab's jostler).
    Jsonl,
}

/// One datatype to publish.
#[derive(Clone, Debug)]
pub struct DatatypeConfig {
    /// Its directory in the spool.
    pub name: Name,
    /// Its bundles.
    pub form: Form,
    /// With [`Form::Jsonl`] every file must keep to it and it is published as the table's schema; with
    /// [`Form::Tgz`] it says that `.json` members must be well-formed JSON.
    pub schema: Option<Schema>,
}

/// Answers whether some process has the file open for writing. The file is open read-only.
pub type WriterProbe = fn(BorrowedFd<'_>) -> io::Result<bool>;

/// Everything a [`Publisher`](crate::Publisher) needs to know. [`Config::new`] has M-Lab's production values.
#[derive(Clone, Debug)]
pub struct Config {
    /// The experiment's directory in the spool.
    pub spool: ExperimentDir,
    /// The publisher's own directory: bundles on their way, receipts, quarantine. One publisher at a time.
    pub state_dir: PathBuf,
    /// The datatypes; files of others are left alone.
    pub datatypes: Vec<DatatypeConfig>,
    /// The measurement node, part of every object name.
    pub node: Node,
    /// First part of the names of JSON-line objects, `autoload/v2`.
    pub data_prefix: String,
    /// The organization of an `autoload/v2` name.
    pub organization: Option<String>,
    /// Whether the publisher puts a missing table schema into the archive, rather than another publisher.
    pub puts_tables: bool,
    /// A bundle is sealed when its oldest file was picked up this long ago …
    pub flush_age: Duration,
    /// … or when the files picked up for it have this many bytes.
    pub flush_bytes: u64,
    /// A bundle has at most this many members.
    pub max_members: usize,
    /// A JSON file larger than this, after decompression, goes to quarantine.
    pub max_json_bytes: u64,
    /// Any other file larger than this goes there, too.
    pub max_file_bytes: u64,
    /// PAX records of every tar member beside `MLAB.datatype`: key and value.
    pub metadata: Vec<(String, String)>,
    /// `Archiver.Version` of a line.
    pub version: String,
    /// `Archiver.GitCommit` of a line.
    pub git_commit: String,
    /// A file whose closing was not seen is picked up when it was last modified this long ago and no probe says more.
    /// Zero is right where every writer renames finished files into place, as `groma_spool` does.
    pub settle: Duration,
    /// Lets a file whose closing was not seen be picked up as soon as no writer has it open, whatever its age.
    pub writer_probe: Option<WriterProbe>,
    /// The largest size of the quarantine on disk, reasons included. While there is no room for another file, the datatype that
    /// needs it waits. A file that would not fit if it were empty stays claimed, and nothing waits for it.
    pub quarantine_max_bytes: u64,
    /// Bytes set aside in the state directory for the day when the disk is full. While less than that is free beside
    /// them the experiment admits no tests. Zero sets nothing aside.
    pub reserve_bytes: u64,
    /// Receipts of days longer ago than this are removed.
    pub receipts_kept: Duration,
    /// How long [`Publisher::run`](crate::Publisher::run) goes on delivering after the request to stop.
    pub grace: Duration,
    /// Longest pause between two attempts to deliver a bundle; the first pause is 100 ms and each is about twice the last.
    pub retry_max: Duration,
    /// The real file system; tests put faults there.
    pub disk: Disk,
    /// Tells the time of names and receipts.
    pub clock: fn() -> jiff::Timestamp,
    /// Where the publisher reports files that it cannot claim, for `/ready`.
    pub lifecycle: Option<Lifecycle>,
    #[cfg(test)]
    pub(crate) crash: Option<crate::fault::Crash>,
}

impl Config {
    /// A configuration without datatypes, with the limits that M-Lab uses in production.
    pub fn new(spool: ExperimentDir, state_dir: impl Into<PathBuf>, node: Node) -> Config {
        Config {
            spool,
            state_dir: state_dir.into(),
            datatypes: Vec::new(),
            node,
            data_prefix: "autoload/v2".to_owned(),
            organization: None,
            puts_tables: true,
            flush_age: Duration::from_hours(1),
            flush_bytes: 50 * 1024 * 1024,
            max_members: 10_000,
            max_json_bytes: 64 * 1024 * 1024,
            max_file_bytes: 1024 * 1024 * 1024,
            metadata: Vec::new(),
            version: VERSION.to_owned(),
            git_commit: GIT_COMMIT.to_owned(),
            settle: Duration::from_hours(2),
            writer_probe: None,
            quarantine_max_bytes: 4 * 1024 * 1024 * 1024,
            reserve_bytes: 0,
            receipts_kept: Duration::from_hours(90 * 24),
            grace: Duration::from_secs(30),
            retry_max: Duration::from_mins(5),
            disk: Disk::default(),
            clock: jiff::Timestamp::now,
            lifecycle: None,
            #[cfg(test)]
            crash: None,
        }
    }
}
