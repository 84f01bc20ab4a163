//! Whole lives on a disk that forgets and with an archive that fails, by schedules that a seed repeats.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use groma_archive::{LocalStore, Store, StoreError};
use groma_disk::Disk;
use groma_schema::Schema;
use jiff::Timestamp;
use prometheus_client::registry::Registry;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use super::bucket::{Bucket, Objects};
use super::common::{self, Lab, files_below};
use super::power::{Died, PowerDisk};
use crate::pick_up::Picker;
use crate::publisher::worker::Worker;
use crate::recover::recover;
use crate::seal::journal::Bundle;
use crate::shared::Shared;
use crate::{Config, Form};

/// The contents that an experiment has written under a name, the newest last.
type Written = Arc<Mutex<BTreeMap<PathBuf, Vec<Vec<u8>>>>>;

thread_local! {
    static NOW_US: AtomicI64 = const { AtomicI64::new(0) };
    static TICK_US: AtomicI64 = const { AtomicI64::new(0) };
}

fn clock() -> Timestamp {
    let tick = TICK_US.with(|tick| tick.load(Ordering::Relaxed));
    NOW_US.with(|now| Timestamp::from_microsecond(now.fetch_add(tick, Ordering::Relaxed)).unwrap())
}

/// No JSON.
const BAD: &[u8] = b"{";
const SCHEMA: &str = r#"[{"name": "version", "type": "INTEGER", "description": "Which writing."}]"#;

struct World {
    root: PathBuf,
    lab: Lab,
    disk: Arc<PowerDisk>,
    archive: Archive,
    written: Written,
    bad: BTreeSet<String>,
    schema: Option<Schema>,
}

#[derive(Clone)]
enum Archive {
    Bucket {
        objects: Arc<Mutex<Objects>>,
        knows_checksums: bool,
        may_cut_short: bool,
    },
    /// On the same disk as the publisher's own files.
    Directory(PathBuf),
}

impl Archive {
    fn new(root: &Path, rng: &mut StdRng) -> Archive {
        if rng.random() {
            return Archive::Directory(root.join("archive"));
        }
        Archive::Bucket {
            objects: Arc::default(),
            knows_checksums: rng.random(),
            may_cut_short: rng.random_bool(0.4),
        }
    }

    fn open(&self, disk: &Arc<PowerDisk>) -> Result<Arc<dyn Store>, StoreError> {
        Ok(match self {
            Archive::Bucket {
                objects,
                knows_checksums,
                may_cut_short,
            } => Arc::new(Bucket {
                objects: Arc::clone(objects),
                disk: Arc::clone(disk),
                knows_checksums: *knows_checksums,
                may_cut_short: *may_cut_short,
            }),
            Archive::Directory(root) => {
                let disk = Disk::with_faults(Arc::clone(disk) as _);
                Arc::new(LocalStore::open_on(disk, root)?)
            }
        })
    }

    fn look<T>(&self, at: impl FnOnce(&Objects) -> T) -> T {
        match self {
            Archive::Bucket { objects, .. } => at(&objects.lock().unwrap()),
            Archive::Directory(root) => at(&Objects::of_directory(root)),
        }
    }
}

impl World {
    fn new(root: &Path, rng: &mut StdRng) -> World {
        let form = [Form::Tgz, Form::Jsonl][rng.random_range(0..2)];
        let lab = Lab::new(root, form);
        let archive = Archive::new(root, rng);
        let seen = archive.clone();
        let may_remove = move |name: &str, bytes: &[u8]| {
            // Copied into quarantine, where it is looked for at the end.
            if bytes == BAD {
                return;
            }
            let content = (name.to_owned(), bytes.to_vec());
            assert!(
                seen.look(|objects| objects.contents.contains(&content)),
                "{name} is removed and not in the archive"
            );
        };
        let claimed = lab.spool.claimed_dir();
        let disk = PowerDisk::new(root, claimed, rng.random(), Box::new(may_remove));
        World {
            root: root.to_path_buf(),
            lab,
            disk: Arc::new(disk),
            archive,
            written: Written::default(),
            bad: BTreeSet::new(),
            // With tar it only means that files are JSON; with JSON lines it also becomes an object.
            schema: match form {
                Form::Tgz => Some(Schema { fields: Vec::new() }),
                Form::Jsonl => rng.random::<bool>().then(|| Schema::parse(SCHEMA).unwrap()),
            },
        }
    }

    fn config(&self, rng: &mut StdRng) -> Config {
        let mut config = self.lab.config();
        config.disk = Disk::with_faults(Arc::clone(&self.disk) as _);
        config.clock = clock;
        config.retry_max = Duration::ZERO;
        config.max_members = rng.random_range(1..5);
        config.datatypes[0].schema.clone_from(&self.schema);
        config
    }

    /// An experiment writes files, durably.
    fn spool(&mut self, life: usize, rng: &mut StdRng) {
        for number in 0..rng.random_range(0..5) {
            let name = format!("life{life}-{number}.json");
            let path = format!("ndt7/2026/01/{:02}/{name}", rng.random_range(1..3));
            let is_bad = rng.random_bool(0.1);
            let body = if is_bad { BAD.to_vec() } else { body(0) };
            self.lab.write(&path, &body);
            let path = self.lab.spool.path().join(path);
            set_modified(&path, 0);
            if is_bad {
                self.bad.insert(name);
            } else {
                self.written.lock().unwrap().insert(path, vec![body]);
            }
        }
    }

    /// At some step an experiment writes into a file that it had closed, wherever that is now.
    fn meddle(&self, rng: &mut StdRng) {
        let written = Arc::clone(&self.written);
        let claimed = self.lab.spool.claimed_dir().join("ndt7");
        let act = move |rng: &mut StdRng| {
            let mut written = written.lock().unwrap();
            let mut there: Vec<_> = written
                .iter_mut()
                .filter_map(|(path, versions)| {
                    let name = path.file_name().unwrap();
                    let days = ["2026-01-01", "2026-01-02"].map(|day| claimed.join(day).join(name));
                    let mut places = days.into_iter().chain([path.clone()]);
                    Some((places.find(|place| place.exists())?, versions))
                })
                .collect();
            if there.is_empty() {
                return;
            }
            let chosen = rng.random_range(0..there.len());
            let (place, versions) = &mut there[chosen];
            let body = body(versions.len());
            fs::write(&*place, &body).unwrap();
            set_modified(place, versions.len());
            versions.push(body);
        };
        let within = 1 << rng.random_range(5..9);
        let at = rng.random_range(0..within);
        self.disk.between(at, rng.random(), Box::new(act));
    }

    /// One life of the publisher, all in this thread; false if it died. The spool is looked at before the work, or, as
    /// when that is fast, after it.
    fn live(&self, config: Config, scans_first: bool) -> bool {
        let life = || {
            let Ok(store) = self.archive.open(&self.disk) else {
                return;
            };
            let Ok(shared) = Shared::open(config, store, &mut Registry::default()) else {
                return;
            };
            let shared = Arc::new(shared);
            let Ok(mut inheritance) = recover(&shared) else {
                return;
            };
            let mut picker = Picker::new(Arc::clone(&shared));
            if scans_first {
                picker.scan();
            }
            for (name, lane) in &shared.lanes {
                lane.backlog.stop(Instant::now() + Duration::from_hours(1));
                let inherited = inheritance.remove(name).unwrap_or_default();
                let worker = Worker::new(Arc::clone(&shared), name.clone(), inherited.held);
                worker.run(inherited.bundles);
            }
            if !scans_first {
                picker.scan();
            }
        };
        match catch_unwind(AssertUnwindSafe(life)) {
            Ok(()) => true,
            Err(panic) if panic.is::<Died>() => false,
            Err(panic) => std::panic::resume_unwind(panic),
        }
    }

    fn assert_all_is_well(&self) {
        self.archive
            .look(|objects| self.assert_all_arrived(objects));
        self.assert_nothing_is_left();
    }

    fn assert_all_arrived(&self, objects: &Objects) {
        assert_eq!(objects.doubled, [], "in two objects");
        let (receipted, set_aside) = (self.receipts(), self.set_aside());
        assert!(
            objects.cut_short || set_aside.is_empty(),
            "set aside although the archive keeps its word: {set_aside:?}"
        );
        for (path, versions) in &*self.written.lock().unwrap() {
            let name = path.file_name().unwrap().to_string_lossy().into_owned();
            let last = (name.clone(), versions.last().unwrap().clone());
            if set_aside.contains(&name) {
                continue;
            }
            assert!(objects.contents.contains(&last), "{name} is lost");
            let digest = crate::files::digest(&last.1[..]).unwrap().1;
            let receipts = receipted
                .iter()
                .filter(|(file, sha256)| *file == name && *sha256 == digest);
            assert_eq!(receipts.count(), 1, "receipts of {name}");
            let wanted = crate::Wanted::File(name.clone());
            let found = crate::find_receipts(&self.root.join("state"), &wanted).unwrap();
            assert!(
                found.iter().any(|receipt| receipt.sha256 == digest),
                "{name} is not found in the index of receipts"
            );
        }
    }

    fn assert_nothing_is_left(&self) {
        let set_aside = self.set_aside();
        let left: Vec<_> = files_below(self.lab.spool.path())
            .into_iter()
            .filter(|path| !set_aside.contains(&*path.file_name().unwrap().to_string_lossy()))
            .collect();
        assert_eq!(left, Vec::<PathBuf>::new(), "left in the spool");
        let quarantined: Vec<String> = files_below(&self.root.join("state/quarantine"))
            .iter()
            .map(|path| path.file_name().unwrap().to_string_lossy().into_owned())
            .filter(|name| !name.starts_with('.') && !name.ends_with(".reason.json"))
            .collect();
        assert_eq!(quarantined.len(), self.bad.len(), "{quarantined:?}");
        assert_eq!(BTreeSet::from_iter(quarantined), self.bad, "in quarantine");
        for note in files_below(&self.root.join("state/quarantine")) {
            let name = note.file_name().unwrap().to_string_lossy();
            if !name.starts_with('.') && name.ends_with(".reason.json") {
                let note: serde_json::Value =
                    serde_json::from_slice(&fs::read(&note).unwrap()).unwrap();
                assert!(note["reason"].as_str().unwrap().contains("JSON"), "{note}");
            } else if !name.starts_with('.') {
                let reason = crate::quarantine::note_path(&note);
                assert!(reason.exists(), "{name} has no reason");
            }
        }
        for dir in ["state/bundles", "archive/.tmp"] {
            let left = files_below(&self.root.join(dir));
            assert_eq!(left, Vec::<PathBuf>::new(), "left in {dir}");
        }
    }

    /// File and checksum of everything that has a receipt.
    fn receipts(&self) -> Vec<(String, String)> {
        files_below(&self.root.join("state/receipts"))
            .iter()
            .filter(|path| !path.file_name().unwrap().to_string_lossy().starts_with('.'))
            .filter(|path| path.extension().is_some_and(|end| end == "json"))
            .flat_map(|path| {
                let receipt: Bundle = serde_json::from_slice(&fs::read(path).unwrap()).unwrap();
                receipt.members
            })
            .map(|member| {
                let file = member.path.rsplit('/').next().unwrap().to_owned();
                (file, member.sha256)
            })
            .collect()
    }

    /// Files of bundles whose name the archive gave to other bytes.
    fn set_aside(&self) -> BTreeSet<String> {
        crate::files::visible_entries(&self.root.join("state/conflict"))
            .unwrap()
            .iter()
            .flat_map(|dir| match Bundle::read(dir) {
                Ok(Some(bundle)) => bundle.members,
                other => panic!("set aside without a journal: {other:?}"),
            })
            .map(|member| member.path.rsplit('/').next().unwrap().to_owned())
            .collect()
    }
}

fn body(version: usize) -> Vec<u8> {
    format!("{{\"version\":{version:04}}}")
        .replace(":0", ":1")
        .into_bytes()
}

fn set_modified(path: &Path, version: usize) {
    let modified =
        std::time::SystemTime::UNIX_EPOCH + Duration::from_secs(1_767_225_600 + version as u64);
    fs::File::options()
        .write(true)
        .open(path)
        .unwrap()
        .set_modified(modified)
        .unwrap();
}

/// A few lives that end badly and two that do not; panics if anything is lost, doubled or removed too early. Answers the
/// syncs and checks it came by.
fn run(seed: u64, overruled: Option<&str>) -> BTreeSet<String> {
    let mut rng = StdRng::seed_from_u64(seed);
    let dir = common::tempdir();
    let mut world = World::new(dir.path(), &mut rng);
    world.disk.overrule(overruled.map(str::to_owned));
    NOW_US.with(|now| now.store(1_767_225_600_000_000, Ordering::Relaxed));
    // In some schedules the clock does not move.
    let tick = [0, 10, 10][rng.random_range(0..3)];
    TICK_US.with(|now| now.store(tick, Ordering::Relaxed));
    for life in 0..rng.random_range(1..5) {
        world.spool(life, &mut rng);
        // The clock may be set back between lives, and forward by days.
        let jump = tick * rng.random_range(-2..3_i64) * 9_000_000_000;
        NOW_US.with(|now| now.fetch_add(jump, Ordering::Relaxed));
        world.disk.begin(true);
        if rng.random_bool(0.8) {
            world.disk.die_after(rng.random_range(1..300));
        }
        let chance = [0.0, 0.02, 0.15, 0.3][rng.random_range(0..4)];
        let from = [0, rng.random_range(0..150)][rng.random_range(0..2)];
        world.disk.fail(chance, from, chance > 0.2);
        let chance = [0.0, 0.1, 0.5][rng.random_range(0..3)];
        world.disk.answer_wrongly(chance);
        match rng.random_range(0..10) {
            0..2 => world.disk.die_at_sync(rng.random_range(1..60)),
            2..6 => world.disk.die_or_fail_at_a_site(),
            6..8 => world.disk.fail_at_sync(rng.random_range(1..60)),
            _ => {}
        }
        if rng.random_bool(0.4) {
            world.meddle(&mut rng);
        }
        world.live(world.config(&mut rng), rng.random_bool(0.7));
        // A kill forgives a sync that was left out.
        if rng.random_bool(0.4) || world.disk.has_overruled() {
            world.disk.cut();
        }
    }
    for _ in 0..2 {
        world.disk.begin(false);
        assert!(world.live(world.config(&mut rng), true));
    }
    world.assert_all_is_well();
    world.disk.seen()
}

/// Why a schedule fails, `None` if it holds.
fn failure(seed: u64, overruled: Option<&str>) -> Option<String> {
    let panic = catch_unwind(|| run(seed, overruled)).err()?;
    let text = panic.downcast_ref::<String>().cloned();
    Some(text.unwrap_or_else(|| {
        panic
            .downcast_ref::<&str>()
            .map_or_else(String::new, |text| (*text).to_owned())
    }))
}

/// Schedules that a run of all tests gives each sync and check that it leaves out, and how many it must find out so.
const SAMPLE_SCHEDULES: u64 = 150;
const SAMPLE_FOUND: usize = 20;

fn from_env(name: &str) -> Option<u64> {
    Some(std::env::var(name).ok()?.parse().unwrap())
}

/// `GROMA_SEED` runs that schedule alone, `GROMA_SCHEDULES` as many as it says.
#[test]
fn schedules_of_failure_lose_and_double_nothing() {
    if let Some(seed) = from_env("GROMA_SEED") {
        run(seed, None);
        return;
    }
    let count = from_env("GROMA_SCHEDULES").unwrap_or(400);
    let base: u64 = if count > 400 {
        rand::random::<u32>().into()
    } else {
        0
    };
    let failures: Vec<_> = std::thread::scope(|scope| {
        let halves = [0, 1].map(|half| {
            scope.spawn(move || {
                let seeds = (base + half..base + count).step_by(2);
                seeds
                    .filter_map(|seed| Some((seed, failure(seed, None)?)))
                    .take(5)
                    .collect::<Vec<_>>()
            })
        });
        halves
            .into_iter()
            .flat_map(|half| half.join().unwrap())
            .collect()
    });
    assert!(failures.is_empty(), "GROMA_SEED=… repeats: {failures:#?}");
    println!("{count} schedules hold, from seed {base}");
}

/// Syncs that no schedule needs. The one of the last timestamp: the names of bundles and receipts show that timestamp too,
/// until the receipts expire, and a schedule is too short for that.
const OUT_OF_REACH: &str = "sync of a file in pipeline/publish/src/seal/naming.rs";

/// Overrules, one by one, the syncs and checks that the schedules reach. Returns their number, and those without which all
/// schedules hold.
fn needless(schedules: u64) -> (usize, Vec<String>) {
    let mut seen: BTreeSet<_> = (0..40).flat_map(|seed| run(seed, None)).collect();
    if let Ok(part) = std::env::var("GROMA_OVERRULED_IN") {
        seen.retain(|what| what.contains(&part));
    }
    seen.retain(|what| !what.starts_with(OUT_OF_REACH));
    let count = seen.len();
    let (waiting, needless) = (Mutex::new(seen), Mutex::new(Vec::new()));
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                loop {
                    let Some(what) = waiting.lock().unwrap().pop_first() else {
                        return;
                    };
                    match (0..schedules).find_map(|seed| Some((seed, failure(seed, Some(&what))?)))
                    {
                        Some((seed, why)) => println!("without {what}: seed {seed}: {why}"),
                        None => needless.lock().unwrap().push(what),
                    }
                }
            });
        }
    });
    let needless = needless.into_inner().unwrap();
    println!(
        "{} of {count} syncs and checks are found out within {schedules} schedules; not: {needless:#?}",
        count - needless.len()
    );
    (count, needless)
}

/// `GROMA_OVERRULED` is the number of schedules within which each must be found out; without it most must, within some.
/// `GROMA_OVERRULED_IN` tries those alone whose name has this in it.
#[test]
fn every_sync_and_every_check_is_needed() {
    let asked = from_env("GROMA_OVERRULED");
    let (count, needless) = needless(asked.unwrap_or(SAMPLE_SCHEDULES));
    let needed = match asked {
        Some(_) => count,
        None => SAMPLE_FOUND,
    };
    assert!(
        count - needless.len() >= needed,
        "nothing fails without {needless:#?}"
    );
}
