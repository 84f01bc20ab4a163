//! A publisher before buckets of other people: answers that get lost, and `kill -9` of both sides.

mod common;

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use common::{Lab, Running, wait_for};
use groma_archive::{Opening, Store, open, open_to_put};
use groma_publish::{Form, Publisher};
use groma_tests::proxy::{Fault, Proxy};
use groma_tests::stores::{Kind, ObjectStore};
use prometheus_client::registry::Registry;

const KINDS: &[Kind] = &[
    #[cfg(feature = "s3")]
    Kind::Moto,
    #[cfg(feature = "gcs")]
    Kind::FakeGcs,
];

/// Root of the lab and URL of the archive, for the process that is killed.
const CHILD: [&str; 2] = ["GROMA_TEST_CHILD", "GROMA_TEST_URL"];
/// How often the publisher is killed before each store, unless `GROMA_KILLS` says otherwise.
const KILLS: u64 = 10;

fn opened(server: &ObjectStore, address: std::net::SocketAddr) -> Arc<dyn Store> {
    let opening = Opening {
        variables: server.variables(address),
        stall: Duration::from_secs(1),
        ..Opening::to_write()
    };
    Arc::from(open(&server.url(), &opening).unwrap())
}

/// Brings the bucket's objects into the lab's own archive, where it looks for them.
fn bring(store: &dyn Store, lab: &Lab) {
    for name in store.list("").unwrap() {
        let path = lab.root.join("archive").join(&name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        let mut file = fs::File::create(path).unwrap();
        std::io::copy(&mut store.open(&name).unwrap(), &mut file).unwrap();
    }
}

fn is_put(method: &str) -> bool {
    method == "PUT" || method == "POST"
}

#[test]
fn whatever_is_answered_every_file_arrives_once() {
    let dir = common::tempdir();
    for &kind in KINDS {
        let at = |part: &str| dir.path().join(format!("{kind:?}-{part}"));
        let Some(server) = ObjectStore::start(kind, &at("store")) else {
            return;
        };
        for (number, fault) in [
            Fault::Refused(412),
            Fault::Refused(409),
            Fault::Refused(503),
            Fault::Refused(403),
            Fault::Denied(500),
            Fault::Denied(412),
            Fault::AnswerLost,
            Fault::Hang,
            Fault::AnswerCut,
        ]
        .into_iter()
        .enumerate()
        {
            let label = format!("{kind:?} {fault:?}");
            let before = opened(&server, server.address()).list("").unwrap();
            // Only once the store was tried.
            let left = Arc::new(AtomicU64::new(0));
            let of_proxy = Arc::clone(&left);
            let proxy = Proxy::start(server.address(), move |_, method, _| {
                let wanted = match fault {
                    // Among reads, only those of an object.
                    Fault::AnswerCut => method == "HEAD" || method == "GET",
                    _ => is_put(method),
                };
                let takes = |left: u64| left.checked_sub(1);
                let is_due = wanted
                    && of_proxy
                        .fetch_update(Ordering::Relaxed, Ordering::Relaxed, takes)
                        .is_ok();
                is_due.then_some(fault)
            });
            let store = opened(&server, proxy.address());
            store.probe().unwrap();
            left.store(3, Ordering::Relaxed);
            let mut lab = Lab::new(&at(&number.to_string()), Form::Tgz);
            lab.write_some("batch", 9);
            let running = Running::start(lab.config(), store);
            wait_for(&label, || lab.left().is_empty());
            running.stop().unwrap();
            assert!(proxy.faults() > 0, "{label}: nothing went wrong");
            let direct = opened(&server, server.address());
            bring(&*direct, &lab);
            for name in before {
                fs::remove_file(lab.root.join("archive").join(name)).unwrap();
            }
            lab.assert_exactly_once();
        }
    }
}

/// The store holds half of an object and says that all is well: nothing of it is forgotten.
#[cfg(feature = "s3")]
#[test]
fn an_object_that_was_cut_short_is_found_out() {
    let dir = common::tempdir();
    let Some(server) = ObjectStore::start(Kind::Moto, &dir.path().join("store")) else {
        return;
    };
    let proxy = Proxy::start(server.address(), |_, method, path| {
        // Not the object by which the store is tried.
        (is_put(method) && !path.contains(".groma")).then_some(Fault::BodyCut)
    });
    let mut lab = Lab::new(&dir.path().join("lab"), Form::Tgz);
    lab.write_some("batch", 3);
    let running = Running::start(lab.config(), opened(&server, proxy.address()));
    let conflict = lab.root.join("state/conflict");
    wait_for("the bundles to be set aside", || {
        fs::read_dir(&conflict).is_ok_and(|dirs| dirs.count() == 3)
    });
    running.stop().unwrap();
    assert_eq!(lab.left().len(), lab.written.len(), "the files are there");
}

/// Not a test of its own: the killed process runs this function, which publishes in an endless loop. The environment selects it.
#[test]
fn child() {
    let [Ok(root), Ok(url)] = CHILD.map(std::env::var) else {
        return;
    };
    let lab = Lab::new(Path::new(&root), Form::Tgz);
    let mut config = lab.config();
    config.flush_age = Duration::from_millis(3);
    let store = open_to_put(&url, false).unwrap();
    let publisher = Publisher::open(config, store, &mut Registry::default()).unwrap();
    publisher.run(Arc::new(AtomicBool::new(false))).unwrap();
}

#[test]
fn killed_again_and_again_and_the_store_too() {
    let kills = std::env::var("GROMA_KILLS").map_or(KILLS, |kills| kills.parse().unwrap());
    for &kind in KINDS {
        let dir = common::tempdir();
        let Some(mut server) = ObjectStore::start(kind, &dir.path().join("store")) else {
            return;
        };
        // moto holds all objects in memory, so its connections are cut instead of killing it.
        let proxy = Proxy::start(server.address(), |_, _, _| None);
        let mut lab = Lab::new(dir.path(), Form::Tgz);
        let done = Arc::new(AtomicBool::new(false));
        let told = Arc::clone(&done);
        let root = dir.path().to_path_buf();
        let writer = std::thread::spawn(move || {
            let mut lab = Lab::new(&root, Form::Tgz);
            let mut batch = 0;
            while !told.load(Ordering::Relaxed) {
                lab.write_some(&format!("batch{batch}"), 6);
                batch += 1;
                std::thread::sleep(Duration::from_millis(5));
            }
            lab.written
        });
        let mut objects = Vec::new();
        for kill in 0..kills {
            let mut child = Command::new(std::env::current_exe().unwrap())
                .args(["--exact", "child"])
                .envs(
                    CHILD
                        .into_iter()
                        .zip([dir.path().to_str().unwrap(), &server.url()]),
                )
                .envs(server.variables(proxy.address()))
                .stdout(Stdio::null())
                .stderr(Stdio::null())
                .spawn()
                .unwrap();
            // Uneven pauses, so that the kills fall into different steps; moto needs longer for each.
            let shortest = if kind == Kind::Moto { 300 } else { 120 };
            std::thread::sleep(Duration::from_millis(shortest + kill * 37 % 190));
            if kill % 3 == 1 {
                proxy.set_down(true);
                if kind == Kind::FakeGcs {
                    server.kill();
                }
                std::thread::sleep(Duration::from_millis(30));
                if kind == Kind::FakeGcs {
                    server.restart();
                }
                proxy.set_down(false);
                std::thread::sleep(Duration::from_millis(60));
            }
            assert_eq!(child.try_wait().unwrap(), None, "the child ended by itself");
            child.kill().unwrap();
            child.wait().unwrap();
            objects.push(match kind {
                // Which cannot be asked for a list while it has half an object.
                Kind::FakeGcs => server.files(),
                _ => opened(&server, server.address()).list("").unwrap().len(),
            });
        }
        done.store(true, Ordering::Relaxed);
        lab.written = writer.join().unwrap();
        let grown = objects.windows(2).filter(|pair| pair[1] > pair[0]).count();
        assert!(grown >= 3, "the kills came before any work: {objects:?}");
        let store = opened(&server, server.address());
        let running = Running::start(lab.config(), Arc::clone(&store));
        wait_for("the rest", || lab.left().is_empty());
        running.stop().unwrap();
        bring(&*store, &lab);
        lab.assert_exactly_once();
        println!(
            "{kind:?}: {} files, objects after each kill: {objects:?}",
            lab.written.len()
        );
    }
}
