//! A publisher that is killed again and again while files keep coming.

mod common;

use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use common::{Lab, Running, files_below};
use groma_publish::{Form, Publisher};
use prometheus_client::registry::Registry;

const CHILD: &str = "GROMA_TEST_CHILD";
/// How often it is killed, unless `GROMA_KILLS` says otherwise.
const KILLS: u64 = 20;
/// How many of the kills must follow new objects. A slow machine is given more kills, and each child more time, until they do.
const KILLS_AFTER_WORK: usize = 5;
/// The kills at most.
const MOST_KILLS: u64 = 2_000;

/// Not a test of its own: the killed process runs this function, which publishes in an endless loop. The environment selects it.
#[test]
fn child() {
    let Ok(setting) = std::env::var(CHILD) else {
        return;
    };
    let (form, root) = setting.split_once(':').unwrap();
    let lab = Lab::new(
        &PathBuf::from(root),
        if form == "tgz" {
            Form::Tgz
        } else {
            Form::Jsonl
        },
    );
    let mut config = lab.config();
    config.flush_age = Duration::from_millis(3);
    let publisher =
        Publisher::open(config, Arc::new(lab.store()), &mut Registry::default()).unwrap();
    publisher.run(Arc::new(AtomicBool::new(false))).unwrap();
}

#[test]
fn killed_again_and_again_nothing_is_lost_and_nothing_doubled() {
    let kills = std::env::var("GROMA_KILLS").map_or(KILLS, |kills| kills.parse().unwrap());
    for (form, label) in [(Form::Tgz, "tgz"), (Form::Jsonl, "jsonl")] {
        let dir = common::tempdir();
        let mut lab = Lab::new(dir.path(), form);
        let done = Arc::new(AtomicBool::new(false));
        let told = Arc::clone(&done);
        let root = dir.path().to_path_buf();
        let writer = std::thread::spawn(move || {
            let mut lab = Lab::new(&root, form);
            let mut batch = 0;
            while !told.load(Ordering::Relaxed) {
                lab.write_some(&format!("batch{batch}"), 6);
                batch += 1;
                std::thread::sleep(Duration::from_millis(2));
            }
            lab.written
        });
        let mut objects = Vec::new();
        let mut grown = 0;
        let mut kill = 0;
        let mut extra_ms = 0;
        while kill < kills || grown < KILLS_AFTER_WORK {
            assert!(
                kill < kills.max(MOST_KILLS),
                "the kills came before any work was done: {objects:?}"
            );
            let mut child = Command::new(std::env::current_exe().unwrap())
                .args(["--exact", "child"])
                .env(CHILD, format!("{label}:{}", dir.path().display()))
                .stdout(Stdio::null())
                .stderr(Stdio::null())
                .spawn()
                .unwrap();
            // Uneven pauses, so that the kills fall into different steps.
            std::thread::sleep(Duration::from_millis(20 + kill * 37 % 90 + extra_ms));
            assert_eq!(child.try_wait().unwrap(), None, "the child ended by itself");
            child.kill().unwrap();
            child.wait().unwrap();
            let before = objects.last().copied().unwrap_or_default();
            objects.push(files_below(&dir.path().join("archive")).len());
            if objects[objects.len() - 1] > before {
                grown += 1;
            } else {
                extra_ms = (extra_ms + 10).min(1_000);
            }
            kill += 1;
        }
        done.store(true, Ordering::Relaxed);
        lab.written = writer.join().unwrap();
        Running::start(lab.config(), Arc::new(lab.store()))
            .stop()
            .unwrap();
        lab.assert_exactly_once();
        println!(
            "{label}: {} files, objects after each kill: {objects:?}",
            lab.written.len()
        );
    }
}
