//! Experiments that break the contract of the spool, by mistake or on purpose.

mod common;

use std::fs::{self, File};
use std::io::Write;
use std::os::unix::fs::symlink;
use std::sync::Arc;
use std::time::Duration;

use common::{Lab, Late, Running, wait_for};
use groma_publish::Form;

const DAY: &str = "ndt7/2026/01/01";

#[test]
fn what_is_not_a_plain_file_is_never_read() {
    for form in [Form::Tgz, Form::Jsonl] {
        let dir = common::tempdir();
        let mut lab = Lab::new(dir.path(), form);
        let secret = dir.path().join("secret");
        fs::write(&secret, "{\"secret\":1}").unwrap();
        let outside = dir.path().join("outside");
        fs::create_dir_all(outside.join("01")).unwrap();
        fs::write(outside.join("01/x.json"), "{\"secret\":2}").unwrap();
        lab.write(&format!("{DAY}/good.json"), b"{}");
        let day = lab.spool.path().join(DAY);
        symlink(&secret, day.join("symlink.json")).unwrap();
        fs::hard_link(&secret, day.join("hardlink.json")).unwrap();
        fs::create_dir(day.join("directory.json")).unwrap();
        rustix::fs::mkfifoat(
            rustix::fs::CWD,
            day.join("fifo.json"),
            rustix::fs::Mode::RWXU,
        )
        .unwrap();
        symlink(&outside, lab.spool.path().join("ndt7/2026/02")).unwrap();
        // The same again among the claimed files, where only a race can bring them.
        let claimed = lab.spool.claimed_dir().join("ndt7/2026-01-01");
        fs::create_dir_all(&claimed).unwrap();
        symlink(&secret, claimed.join("symlink2.json")).unwrap();
        fs::hard_link(&secret, claimed.join("hardlink2.json")).unwrap();
        let running = Running::start(lab.config(), Arc::new(lab.store()));
        let published = "groma_publish_files_total{datatype=\"ndt7\",state=\"published\"}";
        wait_for("the good file", || running.metric(published) >= 1);
        let kinds = "groma_publish_violations_total{kind=\"kind\"}";
        wait_for("all breaches", || running.metric(kinds) >= 4);
        running.stop().unwrap();
        let arrived = lab.arrived();
        assert_eq!(arrived.len(), 1, "{arrived:?}");
        assert_eq!(arrived[0].bytes, b"{}");
        assert_eq!(fs::read(&secret).unwrap(), b"{\"secret\":1}");
        assert!(outside.join("01/x.json").exists(), "a link was followed");
        assert!(day.join("fifo.json").symlink_metadata().is_ok());
        assert!(
            dir.path()
                .join("state/quarantine/ndt7/2026-01-01/symlink2.json")
                .symlink_metadata()
                .unwrap()
                .is_symlink()
        );
    }
}

#[test]
fn names_that_break_the_rules_stay_where_they_are() {
    let dir = common::tempdir();
    let mut lab = Lab::new(dir.path(), Form::Tgz);
    lab.write(&format!("{DAY}/good.json"), b"{}");
    let bad = [
        "ndt7/x.json",
        "ndt7/2026/01/x.json",
        "ndt7/2026/13/01/x.json",
        "ndt7/2026/01/01/a b.json",
        "ndt7/2026/01/01/sub/x",
    ];
    for path in bad {
        let path = lab.spool.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, "{}").unwrap();
    }
    fs::create_dir_all(lab.spool.path().join("other/2026/01/01")).unwrap();
    fs::write(lab.spool.path().join("other/2026/01/01/x.json"), "{}").unwrap();
    let running = Running::start(lab.config(), Arc::new(lab.store()));
    wait_for("the good file", || lab.arrived().len() == 1);
    wait_for("the violations", || {
        running.metric("groma_publish_violations_total{kind=\"name\"}") >= 4
    });
    running.stop().unwrap();
    assert_eq!(lab.arrived().len(), 1);
    assert_eq!(lab.left().len(), bad.len() + 1);
}

#[test]
fn a_file_that_is_written_again_after_it_was_claimed_is_not_lost() {
    let dir = common::tempdir();
    let mut lab = Lab::new(dir.path(), Form::Tgz);
    lab.write(&format!("{DAY}/a.json"), b"first");
    let mut late = File::options()
        .append(true)
        .open(lab.spool.path().join(DAY).join("a.json"))
        .unwrap();
    let mut config = lab.config();
    // Delivery fails until the writer has written once more: so the second version comes after the seal.
    config.retry_max = Duration::from_millis(5);
    let archive = dir.path().join("archive");
    fs::write(&archive, "not a directory yet").unwrap();
    let store = Late {
        root: archive.clone(),
    };
    let running = Running::start(config, Arc::new(store));
    wait_for("the seal", || {
        !common::files_below(&dir.path().join("state/bundles")).is_empty()
    });
    wait_for("a failure", || {
        running.metric("groma_publish_errors_total{datatype=\"ndt7\",operation=\"deliver\"}") > 0
    });
    late.write_all(b" and second").unwrap();
    drop(late);
    fs::remove_file(&archive).unwrap();
    wait_for("both versions", || {
        archive.is_dir() && lab.arrived().len() == 2
    });
    assert!(running.metric("groma_publish_violations_total{kind=\"rewritten\"}") >= 1);
    running.stop().unwrap();
    let mut versions: Vec<_> = lab.arrived().into_iter().map(|file| file.bytes).collect();
    versions.sort();
    assert_eq!(versions, [b"first".to_vec(), b"first and second".to_vec()]);
    assert!(lab.left().is_empty());
}

#[test]
fn a_second_file_of_a_name_waits_for_the_first() {
    let dir = common::tempdir();
    let mut lab = Lab::new(dir.path(), Form::Tgz);
    let mut config = lab.config();
    config.flush_age = Duration::from_hours(1);
    let running = Running::start(config, Arc::new(lab.store()));
    lab.write(&format!("{DAY}/a.json"), b"first");
    wait_for("the claim", || {
        running.metric("groma_publish_pending_files{datatype=\"ndt7\"}") >= 1
    });
    lab.write(&format!("{DAY}/a.json"), b"second");
    wait_for("the second", || {
        running.metric("groma_publish_violations_total{kind=\"blocked\"}") >= 1
    });
    running.stop().unwrap();
    assert_eq!(lab.arrived().len(), 1);
    Running::start(lab.config(), Arc::new(lab.store()))
        .stop()
        .unwrap();
    let versions: Vec<_> = lab.arrived().into_iter().map(|file| file.bytes).collect();
    assert_eq!(versions, [b"first".to_vec(), b"second".to_vec()]);
}

#[test]
fn a_file_whose_closing_was_not_seen_is_left_to_its_writer() {
    let dir = common::tempdir();
    let mut lab = Lab::new(dir.path(), Form::Tgz);
    lab.write(&format!("{DAY}/old.json"), b"{}");
    let mut config = lab.config();
    config.settle = Duration::from_hours(1);
    Running::start(config.clone(), Arc::new(lab.store()))
        .stop()
        .unwrap();
    assert_eq!(
        lab.arrived(),
        [],
        "it was taken although it is new and may be open"
    );
    config.writer_probe = Some(|_| Ok(true));
    Running::start(config.clone(), Arc::new(lab.store()))
        .stop()
        .unwrap();
    assert_eq!(lab.arrived(), []);
    config.writer_probe = Some(|_| Ok(false));
    Running::start(config, Arc::new(lab.store()))
        .stop()
        .unwrap();
    lab.assert_exactly_once();
}

#[test]
fn the_kernel_tells_an_open_file_from_one_whose_writer_died() {
    let dir = common::tempdir();
    let mut lab = Lab::new(dir.path(), Form::Tgz);
    let mut config = lab.config();
    config.settle = Duration::from_hours(1);
    config.writer_probe = Some(groma_lease::has_writer);
    lab.write(&format!("{DAY}/closed.json"), b"{}");
    let path = lab.spool.path().join(DAY).join("open.json");
    let mut open = File::create(&path).unwrap();
    let running = Running::start(config, Arc::new(lab.store()));
    let published = "groma_publish_files_total{datatype=\"ndt7\",state=\"published\"}";
    wait_for("the closed file", || running.metric(published) >= 1);
    assert!(path.exists(), "an open file was taken");
    open.write_all(b"[]").unwrap();
    drop(open);
    lab.written
        .insert(format!("{DAY}/open.json"), b"[]".to_vec());
    wait_for("the other file", || running.metric(published) >= 2);
    running.stop().unwrap();
    lab.assert_exactly_once();
}

#[test]
fn a_second_writer_loses_nothing_and_is_put_on_record() {
    let dir = common::tempdir();
    let mut lab = Lab::new(dir.path(), Form::Tgz);
    let mut config = lab.config();
    config.writer_probe = Some(groma_lease::has_writer);
    let path = lab.spool.path().join(DAY).join("log.txt");
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    let running = Running::start(config, Arc::new(lab.store()));
    let mut second = File::create(&path).unwrap();
    fs::OpenOptions::new()
        .append(true)
        .open(&path)
        .unwrap()
        .write_all(b"first")
        .unwrap();
    wait_for("the violation", || {
        running.metric("groma_publish_violations_total{kind=\"reopened\"}") >= 1
    });
    second.write_all(b"first and last").unwrap();
    drop(second);
    lab.written
        .insert(format!("{DAY}/log.txt"), b"first and last".to_vec());
    wait_for("the file", || {
        running.metric("groma_publish_files_total{datatype=\"ndt7\",state=\"published\"}") >= 1
    });
    running.stop().unwrap();
    lab.assert_exactly_once();
}

#[test]
fn a_file_that_is_held_open_does_not_hold_up_the_end() {
    let dir = common::tempdir();
    let lab = Lab::new(dir.path(), Form::Tgz);
    let mut config = lab.config();
    config.writer_probe = Some(groma_lease::has_writer);
    let path = lab.spool.path().join(DAY).join("log.txt");
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    let running = Running::start(config, Arc::new(lab.store()));
    let held = File::create(&path).unwrap();
    fs::OpenOptions::new().append(true).open(&path).unwrap();
    let violations = "groma_publish_violations_total{kind=\"reopened\"}";
    wait_for("the violation", || running.metric(violations) >= 1);
    running.stop().unwrap();
    drop(held);
    assert!(lab.arrived().is_empty(), "an open file was archived");
    assert!(
        lab.spool
            .claimed_dir()
            .join("ndt7/2026-01-01/log.txt")
            .exists()
    );
}

#[test]
fn empty_directories_of_old_dates_go_and_others_stay() {
    let dir = common::tempdir();
    let lab = Lab::new(dir.path(), Form::Tgz);
    let today = jiff::Timestamp::now()
        .to_zoned(jiff::tz::TimeZone::UTC)
        .date();
    let today = format!("ndt7/{}", groma_spool::date_dir(today));
    let old_days = ["ndt7/2020/01/01", "ndt7/2020/02/02", "ndt7/2020/02/03"];
    for day in old_days.into_iter().chain([today.as_str()]) {
        fs::create_dir_all(lab.spool.path().join(day)).unwrap();
    }
    fs::write(lab.spool.path().join("ndt7/2020/02/03/bad name"), "x").unwrap();
    let age = |path: &str| {
        let two_days_ago = std::time::SystemTime::now() - Duration::from_hours(48);
        File::open(lab.spool.path().join(path))
            .unwrap()
            .set_times(common::both_times(two_days_ago))
            .unwrap();
    };
    for path in [
        "ndt7/2020/01/01",
        "ndt7/2020/02/03",
        "ndt7/2020/01",
        "ndt7/2020",
        today.as_str(),
    ] {
        age(path);
    }
    Running::start(lab.config(), Arc::new(lab.store()))
        .stop()
        .unwrap();
    let exists = |path: &str| lab.spool.path().join(path).exists();
    assert!(!exists("ndt7/2020/01/01"));
    assert!(exists("ndt7/2020/02/02"), "it was used lately");
    assert!(exists("ndt7/2020/02/03"), "it is not empty");
    assert!(exists(&today));
    age("ndt7/2020/01");
    Running::start(lab.config(), Arc::new(lab.store()))
        .stop()
        .unwrap();
    assert!(!exists("ndt7/2020/01") && exists("ndt7/2020"));
}

#[test]
fn an_overflow_of_the_kernels_queue_loses_nothing() {
    let limit = fs::read_to_string("/proc/sys/fs/inotify/max_queued_events").unwrap();
    let limit: usize = limit.trim().parse().unwrap();
    if limit > 50_000 {
        println!("skipped: the kernel's queue of {limit} events is too long to fill here");
        return;
    }
    let dir = common::tempdir();
    let mut lab = Lab::new(dir.path(), Form::Tgz);
    let day = lab.spool.path().join(DAY);
    fs::create_dir_all(&day).unwrap();
    let mut registry = prometheus_client::registry::Registry::default();
    let publisher =
        groma_publish::Publisher::open(lab.config(), Arc::new(lab.store()), &mut registry).unwrap();
    for number in 0..limit + 1000 {
        let name = format!("{number}.json");
        // Two steps per file, so that the events do not all say the same.
        fs::write(day.join(&name), "{}").unwrap();
        lab.written.insert(format!("{DAY}/{name}"), b"{}".to_vec());
    }
    publisher
        .run(Arc::new(std::sync::atomic::AtomicBool::new(true)))
        .unwrap();
    lab.assert_exactly_once();
}

#[test]
fn bundles_keep_to_their_limits_and_the_sums_agree() {
    let dir = common::tempdir();
    let mut lab = Lab::new(dir.path(), Form::Tgz);
    for number in 0..25 {
        lab.write(&format!("{DAY}/{number}.json"), &[b' '; 100]);
    }
    let mut config = lab.config();
    config.max_members = 10;
    let running = Running::start(config, Arc::new(lab.store()));
    let state =
        |state: &str| format!("groma_publish_files_total{{datatype=\"ndt7\",state=\"{state}\"}}");
    wait_for("delivery", || running.metric(&state("published")) >= 25);
    assert_eq!(running.metric(&state("spooled")), 25);
    assert_eq!(
        running.metric("groma_publish_pending_files{datatype=\"ndt7\"}"),
        0
    );
    assert_eq!(
        running.metric("pusher_files_added_total{datatype=\"ndt7\"}"),
        25
    );
    assert_eq!(
        running.metric("pusher_tarfiles_successful_uploads_total{datatype=\"ndt7\"}"),
        running.metric("pusher_bytes_per_tarfile_count{datatype=\"ndt7\"}")
    );
    running.stop().unwrap();
    lab.assert_exactly_once();
    let mut per_object = std::collections::BTreeMap::new();
    for file in lab.arrived() {
        *per_object.entry(file.object).or_insert(0) += 1;
    }
    assert!(
        per_object.len() >= 3 && per_object.values().all(|members| *members <= 10),
        "{per_object:?}"
    );
}

#[test]
fn limits_of_nothing_make_bundles_of_one_file() {
    let dir = common::tempdir();
    let mut lab = Lab::new(dir.path(), Form::Jsonl);
    lab.write_some("a", 5);
    let mut config = lab.config();
    config.max_members = 0;
    config.flush_bytes = 0;
    Running::start(config, Arc::new(lab.store()))
        .stop()
        .unwrap();
    lab.assert_exactly_once();
    let objects: std::collections::BTreeSet<_> =
        lab.arrived().into_iter().map(|file| file.object).collect();
    assert_eq!(objects.len(), 5);
}

#[test]
fn a_directory_swapped_for_a_link_during_the_walk_leads_nowhere() {
    let dir = common::tempdir();
    let mut lab = Lab::new(dir.path(), Form::Tgz);
    let outside = dir.path().join("outside");
    fs::create_dir(&outside).unwrap();
    for number in 0..50 {
        lab.write(&format!("{DAY}/inside-{number}.json"), b"{}");
        fs::write(outside.join(format!("outside-{number}.json")), "[]").unwrap();
    }
    let day = lab.spool.path().join(DAY);
    let kept = lab.spool.path().join(".kept");
    for _ in 0..20 {
        let running = Running::start(lab.config(), Arc::new(lab.store()));
        for _ in 0..50 {
            fs::rename(&day, &kept).unwrap();
            symlink(&outside, &day).unwrap();
            std::thread::yield_now();
            fs::remove_file(&day).unwrap();
            fs::rename(&kept, &day).unwrap();
        }
        running.stop().unwrap();
    }
    lab.assert_exactly_once();
    assert_eq!(fs::read_dir(&outside).unwrap().count(), 50);
}

/// `GROMA_EMPTY_DIRS` is how many, 2,000 unless it says otherwise.
#[test]
fn any_number_of_empty_directories_is_walked() {
    let count: usize =
        std::env::var("GROMA_EMPTY_DIRS").map_or(2000, |count| count.parse().unwrap());
    let dir = common::tempdir();
    let mut lab = Lab::new(dir.path(), Form::Tgz);
    let month = lab.spool.path().join("ndt7/2026/02");
    fs::create_dir_all(&month).unwrap();
    for number in 0..count {
        fs::create_dir(month.join(number.to_string())).unwrap();
    }
    lab.write(&format!("{DAY}/a.json"), b"{}");
    Running::start(lab.config(), Arc::new(lab.store()))
        .stop()
        .unwrap();
    lab.assert_exactly_once();
    assert_eq!(fs::read_dir(&month).unwrap().count(), count);
}
