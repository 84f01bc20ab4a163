//! Every order of the steps of two loaders that want one object under two dates or by its two names.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::Scope;

use groma_archive::{LocalStore, Store as _};
use groma_schema::Schema;
use jiff::civil::Date;

use super::Lake;
use crate::{LoadDatatype, LoadError, Loaded, Loader};

const OBJECT: &str = "lab/probe1/2024/05/06/20240507T000809.000000Z-probe1-mlab1-lga0t-lab.tgz";
/// The name of a download of it, by which its date is another one.
const FILE: &str = "20240507T000809.000000Z-probe1-mlab1-lga0t-lab.tgz";

thread_local! {
    static TURN: RefCell<Option<Turn>> = const { RefCell::new(None) };
}

/// The turn that a loader waits for before a step.
struct Turn {
    waiting: Sender<()>,
    go: Receiver<()>,
}

pub(super) fn wait_for_turn() {
    TURN.with_borrow(|turn| {
        if let Some(turn) = turn {
            // Nobody answers a loader that died: it takes no step more.
            let asked = turn.waiting.send(());
            if asked.is_err() || turn.go.recv().is_err() {
                std::panic::panic_any(Died);
            }
        }
    });
}

/// The end of a loader that was killed before a step.
struct Died;

/// A loader whose steps the test controls.
struct Stepped<'scope> {
    go: Option<Sender<()>>,
    waiting: Receiver<()>,
    thread: std::thread::ScopedJoinHandle<'scope, Result<Loaded, LoadError>>,
    is_waiting: bool,
}

impl<'scope> Stepped<'scope> {
    fn start<'env>(scope: &'scope Scope<'scope, 'env>, dir: &'env Path, load: Load) -> Self {
        let ((waiting, waits), (go, goes)) = (channel(), channel());
        let thread = scope.spawn(move || {
            TURN.set(Some(Turn { waiting, go: goes }));
            let result = loader(dir).load_object(load.name, load.date);
            TURN.set(None);
            result
        });
        let mut stepped = Stepped {
            go: Some(go),
            waiting: waits,
            thread,
            is_waiting: false,
        };
        stepped.wait();
        stepped
    }

    fn wait(&mut self) {
        self.is_waiting = self.waiting.recv().is_ok();
    }

    fn step(&mut self) {
        if let Some(go) = &self.go {
            go.send(()).unwrap();
        }
        self.wait();
    }

    /// It dies before the step for which it waits.
    fn kill(&mut self) {
        self.go = None;
        self.wait();
    }

    /// None of one that died.
    fn end(self) -> Option<Result<Loaded, LoadError>> {
        self.thread
            .join()
            .map_err(|died| assert!(died.is::<Died>()))
            .ok()
    }
}

#[derive(Clone, Copy)]
struct Load {
    name: &'static str,
    date: Option<Date>,
}

const UNDATED: Load = Load {
    name: OBJECT,
    date: None,
};

fn dated(date: &str) -> Load {
    Load {
        date: Some(date.parse().unwrap()),
        ..UNDATED
    }
}

fn loader(dir: &Path) -> Loader {
    let schema = r#"[{"name": "UUID", "type": "STRING"}]"#;
    let datatype = LoadDatatype::new(
        "lab".parse().unwrap(),
        "probe1".parse().unwrap(),
        Schema::parse(schema).unwrap(),
    );
    let store = LocalStore::open(dir.join("archive")).unwrap();
    Loader::new(Arc::new(store), Lake::new(dir.join("lake")), vec![datatype])
}

/// An archive of one object.
fn archive(dir: &Path) {
    let mut tar = tar::Builder::new(Vec::new());
    let mut header = tar::Header::new_ustar();
    header.set_size(2);
    header.set_mode(0o644);
    tar.append_data(&mut header, "a.json", &b"{}"[..]).unwrap();
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    std::io::Write::write_all(&mut gzip, &tar.into_inner().unwrap()).unwrap();
    let body = dir.join("body");
    std::fs::write(&body, gzip.finish().unwrap()).unwrap();
    let store = LocalStore::open(dir.join("archive")).unwrap();
    for name in [OBJECT, FILE] {
        store.put_new(name, &body).unwrap();
    }
}

/// The dates under which there are rows.
fn dates(dir: &Path) -> BTreeSet<String> {
    let live = dir.join("lake/lab/probe1/live");
    let days = std::fs::read_dir(live).into_iter().flatten().flatten();
    days.filter(|day| std::fs::read_dir(day.path()).unwrap().count() > 0)
        .map(|day| day.file_name().into_string().unwrap())
        .collect()
}

/// Runs both loads in every order of their steps, the second one also dying before each of its; gives the number of orders.
fn in_every_order(loads: [Load; 2], dies: bool) -> usize {
    let mut runs = 0;
    let mut plan: Vec<usize> = Vec::new();
    loop {
        // On a disk of memory where there is one: every load syncs its files.
        let shm = Path::new("/dev/shm");
        let base = if shm.is_dir() {
            shm.to_owned()
        } else {
            std::env::temp_dir()
        };
        let dir = tempfile::tempdir_in(base).unwrap();
        archive(dir.path());
        // Choices of this run, and how many there were to choose from.
        let mut taken: Vec<(usize, usize)> = Vec::new();
        let results = std::thread::scope(|scope| {
            let mut loaders = loads.map(|load| Stepped::start(scope, dir.path(), load));
            let mut has_died = false;
            while loaders.iter().any(|loader| loader.is_waiting) {
                let mut ways: Vec<(usize, bool)> = Vec::new();
                for (at, loader) in loaders.iter().enumerate() {
                    if loader.is_waiting {
                        ways.push((at, false));
                    }
                }
                if dies && !has_died && loaders[1].is_waiting {
                    ways.push((1, true));
                }
                let choice = plan.get(taken.len()).copied().unwrap_or(0);
                taken.push((choice, ways.len()));
                match ways[choice] {
                    (at, false) => loaders[at].step(),
                    (at, true) => {
                        has_died = true;
                        loaders[at].kill();
                    }
                }
            }
            loaders.map(Stepped::end)
        });
        for result in results.into_iter().flatten() {
            match result {
                Ok(loaded) => assert!(loaded.path.exists(), "{loaded:?} by {taken:?}"),
                Err(LoadError::OtherDate { .. }) => {}
                Err(error) => panic!("{error:?} by {taken:?}"),
            }
        }
        // A later loader finds the rows or the unfinished work of the dead loader, and uses one date.
        loader(dir.path()).load_object(OBJECT, None).unwrap();
        assert_eq!(dates(dir.path()).len(), 1, "by {taken:?}");
        runs += 1;
        // The next order: the last choice that was not the last of its kind, one further.
        while taken.pop_if(|(choice, of)| *choice + 1 == *of).is_some() {}
        let Some((choice, _)) = taken.pop() else {
            return runs;
        };
        plan = taken.iter().map(|(choice, _)| *choice).collect();
        plan.push(choice + 1);
    }
}

#[test]
fn an_undated_load_agrees_with_a_dated_one_that_dies_at_any_step() {
    let runs = in_every_order([UNDATED, dated("2001-02-03")], true);
    assert!(runs > 1000, "{runs}");
}

#[test]
fn so_does_another_dated_one() {
    let runs = in_every_order([dated("2001-02-03"), dated("2001-02-04")], true);
    assert!(runs > 1000, "{runs}");
}

#[test]
fn loads_by_both_names_agree() {
    let bare = Load {
        name: FILE,
        ..UNDATED
    };
    let runs = in_every_order([UNDATED, bare], false);
    assert!(runs > 100, "{runs}");
}
