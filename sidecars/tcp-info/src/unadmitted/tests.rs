//! A ledger after each state in which an earlier one can have died.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::mpsc::sync_channel;

use groma_diag::{MESSAGE_BYTES, Record};
use groma_spool::ExperimentDir;
use prometheus_client::registry::Registry;

use super::{Ledger, LedgerSetup};
use crate::admission::Unadmitted;
use crate::file::Layout;
use crate::metrics::Metrics;
use crate::record::{Line, Metadata, encode_line, encode_record};

struct Place {
    dir: tempfile::TempDir,
    layout: Layout,
}

fn uuid(number: u64) -> String {
    format!("a_1_{number:016X}")
}

impl Place {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let spool = ExperimentDir::open(dir.path().join("ndt"), "ndt".parse().unwrap()).unwrap();
        let layout = Layout::open(spool, true).unwrap();
        fs::create_dir(dir.path().join("state")).unwrap();
        Self { dir, layout }
    }

    /// Puts a connection into the queue: its file, with one snapshot.
    fn queue(&self, number: u64) {
        let start_time = "2026-11-30T23:59:59Z".parse().unwrap();
        let header = encode_line(&Line::Header(Metadata {
            uuid: uuid(number),
            sequence: 0,
            start_time,
        }));
        let mut body = [0; MESSAGE_BYTES];
        body[0] = 2;
        body[4..6].copy_from_slice(&443_u16.to_be_bytes());
        body[6..8].copy_from_slice(&50_000_u16.to_be_bytes());
        body[24..28].copy_from_slice(&[192, 0, 2, 77]);
        let snapshot = encode_record(start_time, Record::parse(&body).unwrap());
        let file = zstd::bulk::compress((header + &snapshot).as_bytes(), 1).unwrap();
        let name = format!("2026-11-30.{}.00000=whole", uuid(number));
        fs::write(self.layout.unadmitted_dir().join(name), file).unwrap();
    }

    fn log(&self) -> PathBuf {
        self.dir.path().join("state/unadmitted/log")
    }

    /// Lives once: works through the queue, publishes, ends.
    fn live(&self) {
        let ledger = Ledger::open(LedgerSetup {
            layout: self.layout.clone(),
            state_dir: self.dir.path().join("state"),
            settings: Unadmitted::default(),
            metrics: Metrics::new(&mut Registry::default()),
        });
        let (sender, news) = sync_channel(1);
        drop(sender);
        ledger.unwrap().run(&news);
    }

    /// Rows in the spool.
    fn rows(&self) -> Vec<String> {
        let dir = self.dir.path().join("ndt/unadmitted/2026/11/30");
        let texts = files(&dir)
            .into_iter()
            .map(|path| fs::read_to_string(path).unwrap());
        texts
            .flat_map(|text| text.lines().map(str::to_owned).collect::<Vec<_>>())
            .collect()
    }

    fn is_clean(&self) -> bool {
        !self.log().exists()
            && files(&self.layout.unadmitted_dir()).is_empty()
            && files(self.layout.rows_dir().unwrap()).is_empty()
    }
}

fn files(dir: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(dir).into_iter().flatten();
    entries.map(|entry| entry.unwrap().path()).collect()
}

const ROW: &str = r#"{"Hour":"2026-11-30T23:00:00Z","LocalPort":443,"Outcome":"unknown","BytesSent":0,"BytesReceived":0}"#;

#[test]
fn each_connection_in_the_queue_becomes_a_row() {
    let place = Place::new();
    for number in 0..5 {
        place.queue(number);
    }
    place.live();
    assert_eq!(place.rows(), [ROW; 5]);
    assert!(place.is_clean());
    place.live();
    assert_eq!(place.rows().len(), 5);
}

#[test]
fn a_death_between_the_log_and_the_removal_of_files_counts_nothing_twice() {
    let place = Place::new();
    place.queue(1);
    place.queue(2);
    place.queue(3);
    fs::create_dir_all(place.log().parent().unwrap()).unwrap();
    let log = format!(
        "{} 2026-11-30 {ROW}\n{} 2026-11-30 {ROW}\n{} 2026-11",
        uuid(1),
        uuid(9),
        uuid(2)
    );
    fs::write(place.log(), log).unwrap();
    place.live();
    // 1 and 9 are in the log, 2 in half a line of it, 3 not at all.
    assert_eq!(place.rows(), [ROW; 4]);
    assert!(place.is_clean());
}

#[test]
fn a_death_before_the_log_is_removed_publishes_its_rows_once() {
    let place = Place::new();
    fs::create_dir_all(place.log().parent().unwrap()).unwrap();
    fs::write(place.log(), format!("{} 2026-11-30 {ROW}\n", uuid(1))).unwrap();
    let copy = place.layout.rows_dir().unwrap().join("2026-11-30.x=rows");
    fs::write(copy, format!("{ROW}\n")).unwrap();
    place.live();
    assert_eq!(place.rows(), [ROW]);
    assert!(place.is_clean());
}

#[test]
fn a_death_after_the_log_is_removed_publishes_the_complete_file_and_no_half_one() {
    let place = Place::new();
    let rows = place.layout.rows_dir().unwrap();
    fs::write(rows.join("2026-11-30.x=rows"), format!("{ROW}\n")).unwrap();
    fs::write(rows.join(".half"), "{").unwrap();
    place.queue(1);
    place.live();
    assert_eq!(place.rows(), [ROW; 2]);
    assert!(place.is_clean());
}

#[test]
fn a_file_without_a_snapshot_is_nothing_and_holds_up_no_other() {
    let place = Place::new();
    fs::write(place.layout.unadmitted_dir().join("strange"), "").unwrap();
    place.queue(1);
    place.live();
    assert_eq!(place.rows(), [ROW]);
    assert!(place.is_clean());
}
