//! Objects of a local archive under power cuts.

use std::fs;
use std::io;
use std::path::Path;

use groma_archive::{LocalStore, Put, Store as _, StoreError};
use groma_disk::Disk;
use groma_disk::power::{check, needless_syncs};

const BODY: [u8; 5000] = [b'x'; 5000];

fn failed(error: StoreError) -> io::Error {
    match error {
        StoreError::Io { source, .. } => source,
        error => io::Error::other(error.to_string()),
    }
}

#[test]
fn an_object_is_whole_and_durable_or_not_there() {
    let body = tempfile::NamedTempFile::new().unwrap();
    fs::write(body.path(), BODY).unwrap();
    let put = |disk: &Disk, root: &Path| {
        let store = LocalStore::open_on(disk.clone(), root.join("archive")).map_err(failed)?;
        let put = store.put_new("a/b/object", body.path()).map_err(failed)?;
        assert_eq!(put, Put::Created);
        Ok(())
    };
    let holds = |root: &Path, is_done| match fs::read(root.join("archive/a/b/object")) {
        Ok(found) if found == BODY => Ok(()),
        Ok(found) => Err(format!("half an object: {} bytes", found.len())),
        Err(_) if is_done => Err("a durable object is lost".to_owned()),
        Err(_) => Ok(()),
    };
    check(put, holds).unwrap();
    assert_eq!(needless_syncs(put, holds), [""; 0]);
}
