//! A lake that an attacker may have written: nothing outside it is moved, read, copied or removed.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::time::Duration;

use groma_lake::{Day, LakeError, Wanted, mirror, seal};

use crate::support::{CLOSED, Lab, eager, now};

const SHA256: &str = "0000000000000000000000000000000000000000000000000000000000000000";

/// A lab with one loaded object and a file outside its lake.
fn lab(dir: &Path) -> Lab {
    let lab = Lab::new(&dir.join("lab"));
    fs::create_dir_all(&lab.root).unwrap();
    lab.put(CLOSED, 0, &["a".to_owned()]);
    lab.loader().sweep("").unwrap();
    fs::write(dir.join("outside"), b"outside").unwrap();
    lab
}

fn wanted() -> Wanted {
    Wanted {
        tables: Vec::new(),
        since: None,
        until: None,
        most_bytes: u64::MAX,
        linger: Duration::ZERO,
    }
}

/// An entry whose one part has these names.
fn entry(path: &str, staged: &str, stem: &str, merged: &str) -> String {
    serde_json::json!({
        "version": 1, "act": "compact", "objects_archived": null,
        "parts": [{
            "path": path, "staged": staged, "rows": 1, "size_bytes": 1, "sha256": SHA256,
            "merged": [merged], "sources": [{"stem": stem, "url": null, "rows": 1, "errors": 0}],
        }],
    })
    .to_string()
}

fn assert_refused(lab: &Lab, dir: &Path, text: &str, field: &str) {
    let log = lab.table().dir().join(format!("log/date={CLOSED}"));
    fs::create_dir_all(&log).unwrap();
    let file = log.join("000000.json");
    fs::write(&file, text).unwrap();
    let copy = dir.join("copy");
    let results = [
        seal(lab.place.clone(), now(), &eager(), None).map(drop),
        mirror(&lab.place, &copy, &wanted()).map(drop),
        Day::read(&lab.table(), CLOSED.parse().unwrap()).map(drop),
    ];
    for result in results {
        let error = result.unwrap_err().to_string();
        assert!(error.contains("000000.json"), "{error}");
        assert!(error.contains(field), "{error} does not name {field}");
    }
    assert_eq!(fs::read(dir.join("outside")).unwrap(), b"outside");
    assert!(!copy.join("lab/probe1/log").exists());
    fs::remove_file(&file).unwrap();
    fs::remove_dir_all(&copy).unwrap();
}

#[test]
fn a_log_entry_names_nothing_outside_its_date() {
    let dir = tempfile::tempdir().unwrap();
    let lab = lab(dir.path());
    let outside = dir.path().join("outside");
    let outside = outside.to_str().unwrap();
    let path = format!("live/date={CLOSED}/compact-000000-0.parquet");
    let staged = format!(".staged/lab.probe1.{CLOSED}.0.1-2-3");
    let (path, staged) = (path.as_str(), staged.as_str());
    let verbatim = r#"{"version":1,"act":"compact","objects_archived":null,"parts":[{"path":"../../../trv/moved_here","staged":"/tmp/outside-the-lake","rows":1,"size_bytes":1,"sha256":"00","merged":[],"sources":[]}]}"#;
    assert_refused(&lab, dir.path(), verbatim, "path");
    for (bad, field) in [
        (entry("../../../moved", staged, "s", "m"), "path"),
        (entry("/tmp/moved", staged, "s", "m"), "path"),
        (
            entry(
                "live/date=2024-05-05/compact-000000-0.parquet",
                staged,
                "s",
                "m",
            ),
            "path",
        ),
        (entry(path, outside, "s", "m"), "staged"),
        (entry(path, "../../outside", "s", "m"), "staged"),
        (entry(path, ".staged/../../outside", "s", "m"), "staged"),
        (
            entry(path, ".staged/lab.other.2024-05-06.0.1-2-3", "s", "m"),
            "staged",
        ),
        (
            entry(path, ".staged/lab.probe1.2024-05-06.1.1-2-3", "s", "m"),
            "staged",
        ),
        (entry(path, staged, "../../outside", "m"), "stem"),
        (entry(path, staged, "a\u{0}b", "m"), "stem"),
        (entry(path, staged, "s", "../x"), "merged"),
        (entry(path, staged, "s", ""), "merged"),
        (
            entry(path, staged, "s", "m").replace(SHA256, "../x"),
            "sha256",
        ),
        (
            entry(path, staged, "s", "m").replace("\"version\":1", "\"version\":9"),
            "version",
        ),
    ] {
        assert_refused(&lab, dir.path(), &bad, field);
    }
}

#[test]
fn symbolic_links_do_not_lead_out_of_a_lake() {
    let dir = tempfile::tempdir().unwrap();
    let lab = lab(dir.path());
    let copy = dir.path().join("copy");
    let live = lab.table().dir().join(format!("live/date={CLOSED}"));
    let loaded = fs::read_dir(&live).unwrap().next().unwrap().unwrap().path();
    let secret = dir.path().join("secret.parquet");
    fs::copy(&loaded, &secret).unwrap();
    let link = live.join("20240506T000001.000000Z-probe1-mlab1-lga0t-lab-data.parquet");

    // A data file that is a link.
    symlink(&secret, &link).unwrap();
    assert_leads_out(mirror(&lab.place, &copy, &wanted()).map(drop));
    assert_leads_out(seal(lab.place.clone(), now(), &eager(), None).map(drop));
    assert_eq!(lab.files("sealed", CLOSED), [""; 0]);
    fs::remove_file(&link).unwrap();

    // A directory of the table that is a link: what is sealed, compacted or logged would be written outside.
    let outside = dir.path().join("outside-dir");
    fs::create_dir(&outside).unwrap();
    for kind in ["log", "sealed", "keys"] {
        let link = lab.table().dir().join(kind);
        symlink(&outside, &link).unwrap();
        let sealed = seal(lab.place.clone(), now(), &eager(), None);
        // Keys are only a help: without them the date is sealed all the same.
        if kind != "keys" {
            assert_leads_out(sealed.map(drop));
        }
        assert_eq!(fs::read_dir(&outside).unwrap().count(), 0, "{kind}");
        fs::remove_file(&link).unwrap();
    }

    // A table and an experiment that are links.
    let table = lab.table().dir();
    fs::rename(&table, outside.join("probe1")).unwrap();
    symlink(outside.join("probe1"), &table).unwrap();
    assert_leads_out(seal(lab.place.clone(), now(), &eager(), None).map(drop));
    assert_leads_out(mirror(&lab.place, &copy, &wanted()).map(drop));
    assert!(lab.loader().sweep("").unwrap().failed.len() == 1);
    fs::remove_file(&table).unwrap();
    fs::rename(outside.join("probe1"), &table).unwrap();

    // A link that stays in the lake is followed.
    seal(lab.place.clone(), now(), &eager(), None).unwrap();
    mirror(&lab.place, &copy, &wanted()).unwrap();
    assert_eq!(lab.ids(CLOSED).len(), 1);
}

fn assert_leads_out(result: Result<(), LakeError>) {
    let error = result.unwrap_err().to_string();
    assert!(error.contains("leads out of the lake"), "{error}");
}
