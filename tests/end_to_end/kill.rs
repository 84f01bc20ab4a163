//! Killed at any moment, again and again, the lab neither loses nor doubles a
//! result that was closed.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use groma_spool::{ExperimentDir, SpoolPath};
use jiff::Timestamp;
use jiff::tz::TimeZone;
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use serde_json::json;

use crate::drain::uuid_of;
use crate::groma::wait_for;
use crate::lab::{Lab, PATIENCE, measure, show};
use crate::stored::{self, Counts};

const KILLS: usize = 50;
/// Rounds in which a whole test by a real client comes before the kill.
const REAL_TESTS: [usize; 2] = [12, 37];
/// Long enough to start, recover and be in the midst of publishing and loading.
const LONGEST_LIFE_MS: u64 = 800;
/// Short, so that most kills find bundles on their way.
const FLUSH_AGE: &str = "200ms";

#[test]
fn no_closed_result_is_lost_or_doubled_by_fifty_kills() {
    let seed =
        std::env::var("GROMA_SEED").map_or_else(|_| rand::random(), |seed| seed.parse().unwrap());
    println!("GROMA_SEED={seed} repeats these kills");
    let mut rng = StdRng::seed_from_u64(seed);
    let temporary = tempfile::tempdir().unwrap();
    let dir = temporary.path().join("lab");

    let mut caught_in_the_act = 0;
    let stop = AtomicBool::new(false);
    let closed = thread::scope(|scope| {
        // Stops the writer also when this thread panics; otherwise the scope would never end.
        let _stop = StopOnDrop(&stop);
        let writer = scope.spawn(|| write_results(&dir, &stop));
        let mut real = Vec::new();
        for round in 0..KILLS {
            real.extend(live_and_die(&dir, round, &mut rng));
            caught_in_the_act += usize::from(has_files(&dir.join("spool/ndt/.claimed")));
        }
        stop.store(true, Ordering::Relaxed);
        let mut closed = writer.join().unwrap();
        closed.extend(real);
        closed
    });
    println!(
        "{} results were closed during {KILLS} kills, of which {caught_in_the_act} caught the publisher in the act",
        closed.len()
    );
    assert!(
        caught_in_the_act > 0,
        "no kill came at a bad moment, so nothing was tested"
    );

    let lab = Lab::start(&dir, FLUSH_AGE);
    let _ = wait_for_rows(&lab, &dir, &closed);
    lab.ask_to_end();
    assert_eq!(lab.ended().code(), Some(0));

    assert_each_once("row", &closed, &stored::rows(&dir, "ndt7"));
    assert_each_once(
        "archived file",
        &closed,
        &by_uuid(&stored::archived(&dir, "ndt7")),
    );
    let traced = stored::archived(&dir, "tcpinfo");
    assert!(
        traced.values().all(|count| *count == 1),
        "doubled: {traced:?}"
    );
    for uuid in closed.iter().step_by(closed.len() / 5) {
        let report = show(&dir, uuid).expect("a closed result is known");
        assert_eq!(report["stage"], "loaded", "{report}");
    }
}

/// One life of the lab. Gives the UUID if a real client's result was closed in it.
fn live_and_die(dir: &Path, round: usize, rng: &mut StdRng) -> Option<String> {
    let life = Duration::from_millis(rng.random_range(0..LONGEST_LIFE_MS));
    if !REAL_TESTS.contains(&round) {
        let mut lab = Lab::spawn(dir, FLUSH_AGE);
        thread::sleep(life);
        assert_eq!(lab.has_ended(), None, "the lab gave up in round {round}");
        lab.kill();
        return None;
    }
    let lab = Lab::start(dir, FLUSH_AGE);
    let uuid = uuid_of(&measure(lab.address("ws"), "upload"));
    wait_for("the closed result", PATIENCE, || show(dir, &uuid));
    thread::sleep(life);
    lab.kill();
    Some(uuid)
}

/// Closes results in the spool as an experiment does, until `stop` is set. Returns
/// the UUIDs of the closed results.
fn write_results(dir: &Path, stop: &AtomicBool) -> BTreeSet<String> {
    let spool = ExperimentDir::open(dir.join("spool/ndt"), "ndt".parse().unwrap()).unwrap();
    let mut closed = BTreeSet::new();
    let mut cookie = 0_u64;
    while !stop.load(Ordering::Relaxed) {
        cookie += 1;
        let uuid = format!("writer_1700000000_{cookie:016X}");
        let (path, body) = result(&uuid);
        spool
            .write(&path, body.as_bytes())
            .expect("a result can be stored whatever the lab does");
        closed.insert(uuid);
        thread::sleep(Duration::from_millis(10));
    }
    closed
}

/// A small ndt7 result and its path.
fn result(uuid: &str) -> (SpoolPath, String) {
    let now = Timestamp::now();
    let utc = now.to_zoned(TimeZone::UTC);
    let (date, time) = (utc.strftime("%Y/%m/%d"), utc.strftime("%Y%m%dT%H%M%S.%9fZ"));
    let path = format!("ndt7/{date}/ndt7-download-{time}.{uuid}.json");
    let body = json!({
        "GitShortCommit": "0000000", "Version": "v0", "StartTime": now, "EndTime": now,
        "ServerIP": "127.0.0.1", "ServerPort": 80, "ClientIP": "127.0.0.1", "ClientPort": 40000,
        "Download": {
            "UUID": uuid, "StartTime": now, "EndTime": now,
            "ServerMeasurements": [{"TCPInfo": {"BytesAcked": 1000, "ElapsedTime": 1000, "MinRTT": 100}}],
        },
    });
    (path.parse().unwrap(), body.to_string())
}

fn wait_for_rows(lab: &Lab, dir: &Path, closed: &BTreeSet<String>) -> Counts {
    let missing = |rows: &Counts| {
        closed
            .iter()
            .filter(|uuid| !rows.contains_key(*uuid))
            .count()
    };
    let start = std::time::Instant::now();
    loop {
        let rows = stored::rows(dir, "ndt7");
        let lacking = missing(&rows);
        if lacking == 0 {
            return rows;
        }
        assert!(
            start.elapsed() < PATIENCE,
            "{lacking} of {} results never became rows\n{}",
            closed.len(),
            lab.log()
        );
        thread::sleep(Duration::from_millis(500));
    }
}

/// The UUID that each file name of a test ends in.
fn by_uuid(files: &Counts) -> Counts {
    let mut counts = Counts::new();
    for (file, count) in files {
        let stem = file.trim_end_matches(".gz").trim_end_matches(".json");
        let (_, uuid) = stem
            .split_once("Z.")
            .expect("a test's file is named by time and UUID");
        *counts.entry(uuid.to_owned()).or_default() += count;
    }
    counts
}

fn assert_each_once(what: &str, closed: &BTreeSet<String>, found: &Counts) {
    let lost: Vec<_> = closed
        .iter()
        .filter(|uuid| !found.contains_key(*uuid))
        .collect();
    let doubled: Vec<_> = found.iter().filter(|(_, count)| **count != 1).collect();
    assert!(lost.is_empty(), "{} without {what}: {lost:?}", lost.len());
    assert!(
        doubled.is_empty(),
        "{} with more than one {what}: {doubled:?}",
        doubled.len()
    );
}

fn has_files(dir: &Path) -> bool {
    !stored::files(dir, "").is_empty()
}

struct StopOnDrop<'a>(&'a AtomicBool);

impl Drop for StopOnDrop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}
