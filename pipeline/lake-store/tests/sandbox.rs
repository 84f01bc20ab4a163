//! A lake in a sandbox that refuses `RENAME_NOREPLACE` and hard links, as strict seccomp profiles and some network file
//! systems do.

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, Write as _};

use groma_disk::RENAME_LOCK;
use groma_lake_store::{Committed, LakeStore};
use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter,
    SeccompRule, apply_filter,
};

/// Makes a system call fail in this thread and in those that it starts.
fn refuse(call: i64, rules: Vec<SeccompRule>, error: i32) {
    let filter = SeccompFilter::new(
        BTreeMap::from([(call, rules)]),
        SeccompAction::Allow,
        SeccompAction::Errno(error.cast_unsigned()),
        std::env::consts::ARCH.try_into().unwrap(),
    );
    let program: BpfProgram = filter.unwrap().try_into().unwrap();
    apply_filter(&program).unwrap();
}

#[test]
fn a_lake_takes_new_files_and_replaces_none_where_links_are_refused() {
    let flags = SeccompCondition::new(
        4,
        SeccompCmpArgLen::Dword,
        SeccompCmpOp::Eq,
        u64::from(libc::RENAME_NOREPLACE),
    );
    let with_flags = SeccompRule::new(vec![flags.unwrap()]).unwrap();
    refuse(libc::SYS_renameat2, vec![with_flags], libc::EINVAL);
    refuse(libc::SYS_linkat, vec![], libc::EPERM);

    let dir = tempfile::tempdir().unwrap();
    let linked = fs::write(dir.path().join("a"), "")
        .and_then(|()| fs::hard_link(dir.path().join("a"), dir.path().join("b")));
    assert_eq!(
        linked.unwrap_err().kind(),
        io::ErrorKind::PermissionDenied,
        "the sandbox refuses nothing"
    );

    let lake = LakeStore::from(dir.path().join("lake"));
    let target = lake.root().join("ndt/ndt7/live/one");
    for (bytes, expected) in [
        ("first", Committed::Created),
        ("second", Committed::Existed),
    ] {
        let mut file = lake.new_file(target.clone()).unwrap();
        file.write_all(bytes.as_bytes()).unwrap();
        assert_eq!(file.commit().unwrap(), expected);
    }
    assert_eq!(fs::read_to_string(&target).unwrap(), "first");

    // The lock must keep its inode while other loaders may wait for it.
    lake.clear_abandoned().unwrap();
    assert!(lake.root().join(".tmp").join(RENAME_LOCK).exists());
}
