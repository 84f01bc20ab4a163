use std::sync::mpsc::sync_channel;

use groma_diag::{MESSAGE_BYTES, Record};
use groma_spool::ExperimentDir;
use prometheus_client::registry::Registry;

use super::*;
use crate::decode::Recording;

const BODY: [u8; MESSAGE_BYTES] = [0; MESSAGE_BYTES];

/// A writer in a folder of its own; gives it these entries, each at its time, and returns the files that it ended.
fn write(batches: Vec<(&str, Vec<Entry>)>) -> Vec<Recording> {
    let dir = tempfile::tempdir().unwrap();
    let spool = ExperimentDir::open(dir.path().join("ndt"), "ndt".parse().unwrap()).unwrap();
    let layout = Layout::open(spool, false).unwrap();
    let (journal, known) = Journal::open(&dir.path().join("state"), "a_1").unwrap();
    let (put_back, _empty) = sync_channel(8);
    let (news, _has_news) = sync_channel(1);
    let (refusals, _refused) = sync_channel(1);
    let (_announced, announcements) = sync_channel(1);
    let writer = Writer::new(WriterSetup {
        layout: layout.clone(),
        journal,
        known,
        held: Held::new(),
        admission: Admission::Everything,
        grace: Duration::from_secs(10),
        announcements,
        is_final: Arc::default(),
        prefix: Prefix::fallback(),
        anonymize: Anonymize::None,
        rotation: Duration::from_mins(10),
        events: None,
        metrics: Metrics::new(&mut Registry::default()),
        returns: vec![put_back],
        news,
        refusals,
    })
    .unwrap();
    let (sender, receiver) = sync_channel(8);
    for (time, entries) in batches {
        let mut batch = Batch::new(0);
        batch.reset(0, time.parse().unwrap(), Polls::default());
        for entry in entries {
            match entry {
                // The range is that of the batch's own memory.
                Entry::Record { slot, .. } => batch.record(slot, &BODY),
                other => batch.entries.push(other),
            }
        }
        sender.send(batch).unwrap();
    }
    drop(sender);
    writer.run(&receiver);
    assert_eq!(std::fs::read_dir(layout.open_dir()).unwrap().count(), 0);
    let mut files: Vec<_> = std::fs::read_dir(layout.done_dir())
        .unwrap()
        .map(|entry| {
            // The reader knows compression by the ending.
            let path = entry.unwrap().path();
            let named = path.with_extension("zst");
            std::fs::rename(&path, &named).unwrap();
            Recording::read(&named).unwrap()
        })
        .collect();
    files.sort_by_key(|file| file.metadata.as_ref().unwrap().sequence);
    files
}

fn open(slot: u32) -> Entry {
    let id = Record::parse(&BODY).unwrap().id();
    Entry::Open {
        slot,
        cookie: 1000 + u64::from(slot),
        id,
    }
}

fn record() -> Entry {
    Entry::Record {
        slot: 0,
        start: 0,
        end: 0,
    }
}

#[test]
fn a_step_of_the_clock_separates_files_and_keeps_the_start() {
    let files = write(vec![
        ("2026-11-22T12:00:00Z", vec![open(0), record()]),
        ("2026-11-22T11:00:00Z", vec![Entry::ClockStep, record()]),
        (
            "2026-11-22T11:00:00.01Z",
            vec![
                record(),
                Entry::Close {
                    slot: 0,
                    end: End::Closed,
                },
            ],
        ),
    ]);
    let [before, after] = &files[..] else {
        panic!("{files:?}")
    };
    assert_eq!(
        (before.end, after.end),
        (Some(End::Rotated), Some(End::Closed))
    );
    assert_eq!((before.records.len(), after.records.len()), (1, 2));
    let start = |file: &Recording| file.metadata.as_ref().unwrap().start_time;
    assert_eq!(start(before), start(after));
    assert!(after.records.is_sorted_by_key(|record| record.timestamp));
}

#[test]
fn the_end_of_the_recorder_ends_every_file() {
    let files = write(vec![(
        "2026-11-22T12:00:00Z",
        vec![
            open(0),
            open(1),
            record(),
            Entry::Record {
                slot: 1,
                start: 0,
                end: 0,
            },
        ],
    )]);
    assert_eq!(files.len(), 2);
    assert!(files.iter().all(|file| file.end == Some(End::Stopped)));
}
