//! Archives of hundreds of megabytes, in the memory of some.

use std::fs::File;
use std::io::{BufWriter, Write as _};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex};

use flate2::Compression;
use flate2::write::GzEncoder;
use groma_archive::LocalStore;
use groma_load::{Lake, Progress};

use crate::support::{PROBE_OBJECT, loader_of};

const ROOT: &str = "GROMA_TEST_ROOT";
/// Megabytes of the archive, where it is to be as large as they get; without it as many as take a few seconds.
const MEGABYTES: &str = "GROMA_TEST_LARGE_MB";

/// The memory that a loader may use: a row group (16 MB, and its columns before encoding), a batch (8 MB), a member, and the
/// program itself with its libraries and allocator.
const PEAK_BYTES: u64 = 80 << 20;

/// The loader whose memory is measured; a process of its own, because others would be measured with it.
#[test]
#[ignore = "started by the tests of this module"]
fn child() {
    let root = std::env::var(ROOT).unwrap();
    let root = Path::new(&root);
    let store = LocalStore::existing(root.join("archive")).unwrap();
    let told: Arc<Mutex<Vec<Progress>>> = Arc::default();
    let telling = Arc::clone(&told);
    let loader = loader_of(Arc::new(store), Lake::new(root.join("lake")))
        .telling(move |_, progress| telling.lock().unwrap().push(progress));
    let loaded = loader.load_object(PROBE_OBJECT, None).unwrap();
    let told = told.lock().unwrap();
    let last = told.last().unwrap();
    assert!(told.is_sorted_by(|a, b| a.read_bytes < b.read_bytes));
    let size = last.object_bytes.unwrap();
    assert!(last.read_bytes <= size && last.read_bytes + (2 << 20) > size);
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let peak = status.lines().find(|line| line.starts_with("VmHWM:"));
    let kilobytes = peak.unwrap().split_whitespace().nth(1).unwrap();
    let report = format!("{} {} {kilobytes}", loaded.rows, loaded.errors);
    std::fs::write(root.join("report"), report).unwrap();
}

/// Text of which nothing repeats within a window of gzip.
fn noise() -> String {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let alphabet = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        char::from(alphabet[(state >> 58) as usize])
    };
    (0..4 << 20).map(|_| next()).collect()
}

/// Writes an archive of members of this size and returns their number.
fn write(path: &Path, megabytes: usize, member_bytes: usize) -> usize {
    let noise = noise();
    let members = (megabytes << 20).div_ceil(member_bytes);
    // Nothing is gained by compressing noise.
    let file = GzEncoder::new(
        BufWriter::new(File::create(path).unwrap()),
        Compression::none(),
    );
    let mut tar = tar::Builder::new(file);
    for number in 0..members {
        let text = (0..member_bytes).step_by(noise.len()).map(|begin| {
            let length = noise.len().min(member_bytes - begin);
            let from = (number * 7919) % (noise.len() - length + 1);
            &noise[from..from + length]
        });
        let text: String = text.collect();
        let body = format!(r#"{{"UUID": "{number}-{text}", "Count": {number}}}"#);
        let mut header = tar::Header::new_ustar();
        header.set_size(body.len() as u64);
        header.set_mode(0o644);
        tar.append_data(&mut header, format!("{number}.json"), body.as_bytes())
            .unwrap();
    }
    let file = tar.into_inner().unwrap().finish().unwrap();
    file.into_inner().unwrap().flush().unwrap();
    members
}

/// Loads an archive of such members in a process of its own, which keeps within the bound.
fn load(megabytes: usize, member_bytes: usize, peak_bytes: u64) {
    let megabytes = std::env::var(MEGABYTES).map_or(megabytes, |text| text.parse().unwrap());
    let dir = tempfile::tempdir().unwrap();
    let object = dir.path().join("archive").join(PROBE_OBJECT);
    std::fs::create_dir_all(object.parent().unwrap()).unwrap();
    let members = write(&object, megabytes, member_bytes);
    assert!(object.metadata().unwrap().len() > (megabytes << 20) as u64);
    let child = Command::new(std::env::current_exe().unwrap())
        .args(["large::child", "--exact", "--ignored"])
        .env(ROOT, dir.path())
        .stdout(Stdio::null())
        .status();
    assert!(child.unwrap().success());
    let report = std::fs::read_to_string(dir.path().join("report")).unwrap();
    let numbers: Vec<u64> = report
        .split(' ')
        .map(|text| text.parse().unwrap())
        .collect();
    let &[rows, errors, peak_kilobytes] = &numbers[..] else {
        panic!("{report}")
    };
    assert_eq!((rows, errors), (members as u64, 0));
    let peak = peak_kilobytes << 10;
    println!(
        "{megabytes} MB in members of {member_bytes} bytes: peak of {} MB",
        peak >> 20
    );
    assert!(peak <= peak_bytes, "{peak} bytes");
}

#[test]
fn many_members_take_the_memory_of_a_row_group() {
    load(120, 16 << 10, PEAK_BYTES);
}

#[test]
fn large_members_take_ten_times_their_own_memory_besides() {
    let member = 8 << 20;
    // As text of its row, in the row group (up to three of them), compressed, as least and greatest of its column, and rooms
    // that grow by doubling; the archive has twenty.
    load(160, member, PEAK_BYTES + 10 * member as u64);
}
