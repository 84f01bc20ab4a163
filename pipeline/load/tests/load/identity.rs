//! Objects that are not what their names say, and objects that are not complete.

use std::fs::{self, File};
use std::io::Write as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use groma_load::{LoadError, Loaded};

use crate::support::{Lab, PROBE_LINES, PROBE_OBJECT, errors, gzip, rows, tar};

const ROWS: usize = 20;

fn whole_tar() -> Vec<u8> {
    let members: Vec<(String, String)> = (0..ROWS)
        .map(|n| (format!("{n}.json"), format!(r#"{{"Count": {n}}}"#)))
        .collect();
    let members: Vec<(&str, &[u8])> = members
        .iter()
        .map(|(name, body)| (name.as_str(), body.as_bytes()))
        .collect();
    tar(&members)
}

fn whole_lines() -> Vec<u8> {
    let line = |n| {
        format!("{{\"archiver\":{{\"Filename\":\"{n}.json\"}},\"raw\":{{\"Count\":{n}}}}}\n")
            .into_bytes()
    };
    (0..ROWS).flat_map(line).collect()
}

fn replace(lab: &Lab, name: &str, body: &[u8]) {
    let path = lab.store.root().join(name);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, body).unwrap();
}

fn load(lab: &Lab, name: &str) -> Loaded {
    lab.loader().load_object(name, None).unwrap()
}

/// Loads damaged bytes, sees that they stay damaged, and that the whole object comes in their place.
fn assert_damaged_until_whole(name: &str, damaged: &[u8], reason: &str, whole: &[u8]) {
    let lab = Lab::new();
    replace(&lab, name, damaged);
    let first = load(&lab, name);
    assert!(first.damaged && !first.already, "{reason}: {first:?}");
    let told = errors(&lab.lake(), name);
    assert!(
        told.iter().any(|(_, _, of)| of.contains(reason)),
        "{reason}: {told:?}"
    );
    let again = load(&lab, name);
    assert!(again.damaged && again.already, "{reason}: {again:?}");
    replace(&lab, name, whole);
    let then = load(&lab, name);
    assert!(then.replaced && !then.damaged, "{reason}: {then:?}");
    assert_eq!((then.rows, rows(&then.path).len()), (ROWS as u64, ROWS));
    assert!(load(&lab, name).already);
}

#[test]
fn a_damaged_object_is_replaced_when_it_is_whole() {
    let html = b"<!DOCTYPE html><html><body>Sign in to the hotel's network</body></html>";
    let (tgz, jsonl) = (gzip(&whole_tar()), gzip(&whole_lines()));
    for (name, whole) in [(PROBE_OBJECT, &tgz), (PROBE_LINES, &jsonl)] {
        for (damaged, reason) in [
            (&b""[..], "empty"),
            (html, "HTML"),
            (b"\n  <html>", "HTML"),
            (b"PK\x03\x04", "not an archive"),
            (&gzip(b"")[..0], "empty"),
            (&whole[..1], "not an archive"),
            (&whole[..whole.len() / 2], "truncated"),
            (&whole[..whole.len() - 8], "truncated"),
            (&whole[..whole.len() - 1], "truncated"),
        ] {
            assert_damaged_until_whole(name, damaged, reason, whole);
        }
    }
    let tar = whole_tar();
    // Between two members, with and without compression around the tar, which cannot know.
    for cut in [0, 1024, 2048] {
        let reason = "no end mark";
        assert_damaged_until_whole(PROBE_OBJECT, &gzip(&tar[..cut]), reason, &tgz);
    }
    assert_damaged_until_whole(PROBE_OBJECT, &tar[..2048], "no end mark", &tgz);
    let behind = [&tar[..], b"data behind the end"].concat();
    assert_damaged_until_whole(PROBE_OBJECT, &gzip(&behind), "behind its end mark", &tgz);
}

#[test]
fn a_body_that_was_packed_twice_or_unpacked_on_its_way_is_read() {
    for (name, plain) in [(PROBE_OBJECT, whole_tar()), (PROBE_LINES, whole_lines())] {
        for body in [gzip(&plain), plain.clone(), gzip(&gzip(&plain))] {
            let lab = Lab::new();
            replace(&lab, name, &body);
            let loaded = load(&lab, name);
            assert_eq!(
                (loaded.rows, loaded.errors, loaded.damaged),
                (ROWS as u64, 0, false)
            );
        }
    }
}

#[test]
fn tars_in_one_object_are_all_read() {
    let other = tar(&[("x.json", b"{}"), ("y.json", b"{}")]);
    for body in [
        [gzip(&whole_tar()), gzip(&other)].concat(),
        gzip(&[whole_tar(), other.clone()].concat()),
        gzip(&[whole_tar(), vec![0; 9216], other.clone(), vec![0; 700]].concat()),
    ] {
        let lab = Lab::new();
        replace(&lab, PROBE_OBJECT, &body);
        let loaded = load(&lab, PROBE_OBJECT);
        assert_eq!((loaded.rows, loaded.errors), (ROWS as u64 + 2, 0));
    }
}

#[test]
fn a_member_that_is_twice_in_an_object_is_one_row_and_an_error() {
    let lab = Lab::new();
    let twice = tar(&[("a.json", b"{\"Count\":1}"), ("a.json", b"{\"Count\":2}")]);
    replace(&lab, PROBE_OBJECT, &gzip(&twice));
    let loaded = load(&lab, PROBE_OBJECT);
    assert_eq!((loaded.rows, loaded.errors, loaded.damaged), (1, 1, false));
    assert_eq!(rows(&loaded.path)[0]["raw"]["Count"], 1);
    assert!(
        errors(&lab.lake(), PROBE_OBJECT)[0]
            .2
            .starts_with("member-once")
    );
}

#[test]
fn a_line_without_a_file_name_is_an_error() {
    let lab = Lab::new();
    let lines = b"{\"archiver\":{},\"raw\":{}}\n{\"raw\":{}}\n";
    replace(&lab, PROBE_LINES, &gzip(lines));
    assert_eq!(load(&lab, PROBE_LINES).errors, 2);
    for (_, _, reason) in errors(&lab.lake(), PROBE_LINES) {
        assert!(reason.contains("Archiver.Filename"), "{reason}");
    }
}

#[test]
fn the_last_whole_line_before_damage_is_a_row() {
    let lines = gzip(&whole_lines());
    let lab = Lab::new();
    replace(&lab, PROBE_LINES, &[&lines[..], b"garbage"].concat());
    let loaded = load(&lab, PROBE_LINES);
    assert_eq!(
        (loaded.rows, loaded.errors, loaded.damaged),
        (ROWS as u64, 1, true)
    );
    // The same without a line feed behind the last line.
    let mut plain = whole_lines();
    plain.pop();
    let lab = Lab::new();
    replace(&lab, PROBE_LINES, &[&gzip(&plain)[..], b"garbage"].concat());
    assert_eq!(load(&lab, PROBE_LINES).rows, ROWS as u64);
}

#[test]
fn an_object_with_other_bytes_does_not_replace_whole_rows() {
    let lab = Lab::new();
    replace(&lab, PROBE_OBJECT, &gzip(&whole_tar()));
    let path = load(&lab, PROBE_OBJECT).path;
    let before = fs::read(&path).unwrap();
    replace(&lab, PROBE_OBJECT, &gzip(&tar(&[("x.json", b"{}")])));
    let refused = lab.loader().load_object(PROBE_OBJECT, None).unwrap_err();
    assert!(matches!(refused, LoadError::OtherBytes { .. }), "{refused}");
    assert!(refused.is_permanent());
    assert!(fs::read(&path).unwrap() == before);
}

#[test]
fn other_bytes_of_the_same_size_are_found_by_the_time_of_the_object() {
    let lab = Lab::new();
    let body = |count: u8| tar(&[("x.json", format!(r#"{{"Count": {count}}}"#).as_bytes())]);
    // Without compression, so that both have one size.
    let name = PROBE_OBJECT.strip_suffix(".tgz").unwrap().to_owned() + ".tar";
    assert_eq!(body(1).len(), body(2).len());
    replace(&lab, &name, &body(1));
    let path = load(&lab, &name).path;
    let before = fs::read(&path).unwrap();
    let object = lab.store.root().join(&name);
    let later = std::time::SystemTime::now() + Duration::from_mins(1);
    let touch = || {
        File::options()
            .write(true)
            .open(&object)
            .unwrap()
            .set_modified(later)
    };
    touch().unwrap();
    assert!(
        load(&lab, &name).already,
        "a copy with another time is the same object"
    );
    replace(&lab, &name, &body(2));
    touch().unwrap();
    for _ in 0..2 {
        let refused = lab.loader().load_object(&name, None).unwrap_err();
        assert!(matches!(refused, LoadError::OtherBytes { .. }), "{refused}");
    }
    assert!(fs::read(&path).unwrap() == before);
}

#[test]
fn a_file_that_is_still_being_written_is_not_read() {
    let whole = gzip(&whole_tar());
    let lab = Lab::new();
    // A writer holds the file open: also a single load refuses it.
    replace(&lab, PROBE_OBJECT, b"");
    let path = lab.store.root().join(PROBE_OBJECT);
    let mut writer = File::options().append(true).open(&path).unwrap();
    writer.write_all(&whole[..whole.len() / 2]).unwrap();
    let refused = lab.loader().load_object(PROBE_OBJECT, None).unwrap_err();
    assert!(matches!(refused, LoadError::Changing { .. }), "{refused}");
    assert!(!refused.is_permanent());
    // Nobody holds this one open, but it ends early and is young.
    replace(&lab, PROBE_LINES, &gzip(&whole_lines())[..50]);
    let later = "lab/probe1/2024/05/07/20240507T070809.000000Z-probe1-mlab1-lga0t-lab.tgz";
    let other = "lab/probe1/2024/05/07/20240507T080809.000000Z-probe1-mlab1-lga0t-lab.tgz";
    replace(&lab, later, &whole);

    let stop = Arc::new(AtomicBool::new(false));
    let lake = lab.lake();
    let live = |date: &str, stem: &str| {
        let [experiment, datatype] = ["lab", "probe1"].map(|name| name.parse().unwrap());
        lake.live_path(&experiment, &datatype, date.parse().unwrap(), stem)
    };
    let stem = |name: &str| {
        let file = name.rsplit('/').next().unwrap();
        file.trim_end_matches(".tgz")
            .trim_end_matches(".jsonl.gz")
            .to_owned()
    };
    let [growing, cut] = [PROBE_OBJECT, PROBE_LINES].map(|name| live("2024-05-06", &stem(name)));
    let wait_for = |path: &std::path::Path| {
        for _ in 0..600 {
            if path.exists() {
                return;
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        panic!("{} never came", path.display());
    };
    let loader = lab.loader().watching(lab.store.root());
    std::thread::scope(|scope| {
        let following = scope.spawn(|| loader.follow(Arc::clone(&stop)));
        // The sweep at the start takes names in their order, so that it has passed the two.
        wait_for(&live("2024-05-07", &stem(later)));
        replace(&lab, other, &whole);
        wait_for(&live("2024-05-07", &stem(other)));
        assert!(!growing.exists() && !cut.exists());
        writer.write_all(&whole[whole.len() / 2..]).unwrap();
        drop(writer);
        replace(&lab, PROBE_LINES, &gzip(&whole_lines()));
        wait_for(&growing);
        wait_for(&cut);
        stop.store(true, Ordering::Relaxed);
        following.join().unwrap().unwrap();
    });
    assert_eq!((rows(&growing).len(), rows(&cut).len()), (ROWS, ROWS));
}
