//! Files of a lake in a directory under power cuts.

use std::fs;
use std::io::{self, Write as _};
use std::path::Path;

use groma_disk::Disk;
use groma_disk::power::{check, needless_syncs};
use groma_lake_store::{Committed, LakeStore};

const BODY: [u8; 5000] = [b'x'; 5000];

fn whole_or_absent(root: &Path, is_done: bool) -> Result<(), String> {
    match fs::read(root.join("ndt/ndt7/live/date=2026-11-22/one.parquet")) {
        Ok(found) if found == BODY => Ok(()),
        Ok(found) => Err(format!("half a file: {} bytes", found.len())),
        Err(_) if is_done => Err("a durable file is lost".to_owned()),
        Err(_) => Ok(()),
    }
}

/// Runs each way to create a file of a lake.
fn test(create: impl Fn(&LakeStore, &Path) -> io::Result<()>) {
    let work = |disk: &Disk, root: &Path| {
        let lake = LakeStore::directory_on(disk.clone(), root);
        let target = root.join("ndt/ndt7/live/date=2026-11-22/one.parquet");
        create(&lake, &target)
    };
    check(work, whole_or_absent).unwrap();
    assert_eq!(needless_syncs(work, whole_or_absent), [""; 0]);
}

#[test]
fn a_file_that_is_written_in_pieces_is_whole_and_durable_or_not_there() {
    test(|lake, target| {
        let mut file = lake.new_file(target.to_owned())?;
        file.write_all(&BODY)?;
        assert_eq!(file.commit()?, Committed::Created);
        Ok(())
    });
}

#[test]
fn a_file_that_is_written_at_once_is_whole_and_durable_or_not_there() {
    test(|lake, target| lake.create(target, &BODY));
    test(|lake, target| lake.replace(target, &BODY));
}

#[test]
fn a_staged_file_is_in_place_or_still_staged() {
    let work = |disk: &Disk, root: &Path| {
        let lake = LakeStore::directory_on(disk.clone(), root);
        let staged = root.join("aside/staged");
        fs::create_dir(root.join("aside"))?;
        fs::write(&staged, BODY)?;
        lake.place(&staged, &root.join("ndt/one.parquet"))
    };
    let holds = |root: &Path, is_done: bool| {
        let placed = fs::read(root.join("ndt/one.parquet")).is_ok_and(|found| found == BODY);
        let staged = fs::read(root.join("aside/staged")).is_ok_and(|found| found == BODY);
        match (placed, staged) {
            (true, false) => Ok(()),
            (false, true) if !is_done => Ok(()),
            both => Err(format!("(placed, staged) is {both:?}")),
        }
    };
    check(work, holds).unwrap();
    assert_eq!(needless_syncs(work, holds), [""; 0]);
}
