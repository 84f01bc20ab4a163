//! Spool files under power cuts.

use std::fs;
use std::io;
use std::path::Path;

use groma_disk::Disk;
use groma_disk::power::{check, needless_syncs};
use groma_spool::{ExperimentDir, SpoolError, SpoolPath};

const BODY: [u8; 5000] = [b'x'; 5000];

fn path() -> SpoolPath {
    "ndt7/2026/11/22/test.json".parse().unwrap()
}

fn open(disk: &Disk, root: &Path) -> io::Result<ExperimentDir> {
    let dir = ExperimentDir::open_on(disk.clone(), root.join("ndt"), "ndt".parse().unwrap());
    dir.map_err(|error: SpoolError| error.source)
}

fn whole_or_absent(root: &Path, is_done: bool) -> Result<(), String> {
    match fs::read(root.join("ndt/ndt7/2026/11/22/test.json")) {
        Ok(found) if found == BODY => Ok(()),
        Ok(found) => Err(format!("half a file: {} bytes", found.len())),
        Err(_) if is_done => Err("a durable file is lost".to_owned()),
        Err(_) => Ok(()),
    }
}

#[test]
fn a_result_is_whole_and_durable_under_its_name_or_not_there() {
    let write = |disk: &Disk, root: &Path| {
        let written = open(disk, root)?.write(&path(), &BODY);
        written.map(drop).map_err(|error| error.source)
    };
    check(write, whole_or_absent).unwrap();
    assert_eq!(needless_syncs(write, whole_or_absent), [""; 0]);
}

#[test]
fn a_result_in_reserved_room_is_whole_and_durable_or_not_there() {
    let write = |disk: &Disk, root: &Path| {
        let dir = open(disk, root)?;
        let mut room = dir
            .reserve(&"ndt7".parse().unwrap(), 10_000)
            .map_err(|error| error.source)?;
        let written = room.write(&path(), &BODY);
        written.map(drop).map_err(|error| error.source)
    };
    check(write, whole_or_absent).unwrap();
    assert_eq!(needless_syncs(write, whole_or_absent), [""; 0]);
}
