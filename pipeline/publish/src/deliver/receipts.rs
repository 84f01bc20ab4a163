//! Receipts: where each published file went, found by its name or UUID without reading them all.
//!
//! Beside `<state>/receipts/YYYY-MM-DD/<id>.json` is `<id>.keys`: 8 bytes of magic, then 12 bytes for each key of each
//! member, sorted: the first 8 bytes of the key's SHA-256 and the member's number, big-endian. Its keys are a member's file
//! name, and the part of a UUID that can be recognised in a file name: `<boot time>_<cookie>`. A look-up
//! reads a few dozen bytes per bundle; a receipt without its keys is read whole.

use std::fs::File;
use std::io::{self, Write as _};
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use groma_disk::{Disk, Entry, Taken};
use groma_spool::is_plausible;
use jiff::civil::Date;
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::PublishError;
use crate::files::{remove_dir, visible_entries};
use crate::seal::journal::{Bundle, STATE_MODE, read_json};

pub(crate) const RECEIPTS_DIR: &str = "receipts";
const MAGIC: &[u8; 8] = b"gromkey1";
const ENTRY_BYTES: usize = 12;
/// The largest number of receipts that a look-up returns.
const FOUND_MAX: usize = 1_000;

/// Where a file went.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Receipt {
    /// Path below the experiment's directory: `<datatype>/YYYY/MM/DD/<file>`.
    pub file: String,
    /// Name of the object that holds it.
    pub object: String,
    /// Its name there: the tar member's name, or `Archiver.Filename` of its line.
    pub member: String,
    /// SHA-256 of the file as it was picked up, in hex.
    pub sha256: String,
    /// When the archive had it.
    pub published_at: Timestamp,
}

/// The file or UUID to look up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Wanted {
    /// Those of a file: its name, or its path from any directory on.
    File(String),
    /// Those of all files whose names hold this connection UUID, set off by `.`, `_` or an end.
    Uuid(String),
}

impl Wanted {
    fn key(&self) -> Option<&str> {
        match self {
            Wanted::File(path) => path.rsplit('/').next(),
            Wanted::Uuid(uuid) => uuid_tails(uuid).next(),
        }
    }

    /// Reports whether key files contain it. Otherwise every receipt is read: for a UUID that does not end in
    /// `_<boot time>_<cookie>`.
    pub fn has_key(&self) -> bool {
        self.key().is_some()
    }

    fn is(&self, path: &str) -> bool {
        match self {
            Wanted::File(wanted) => path
                .strip_suffix(wanted.trim_start_matches('/'))
                .is_some_and(|before| before.is_empty() || before.ends_with('/')),
            Wanted::Uuid(uuid) => path.match_indices(uuid.as_str()).any(|(at, _)| {
                let (before, after) = (&path[..at], &path[at + uuid.len()..]);
                before.ends_with(['/', '.', '_'])
                    && (after.is_empty() || after.starts_with(['.', '_']))
            }),
        }
    }
}

/// The receipts of what is wanted in a publisher's state directory, which may be at work: newest day first, at most a
/// thousand.
pub fn find_receipts(state_dir: &Path, wanted: &Wanted) -> Result<Vec<Receipt>, PublishError> {
    let key = wanted.key().map(hash);
    let mut found = Vec::new();
    for day in newest_first(&state_dir.join(RECEIPTS_DIR))? {
        for path in newest_first(&day)? {
            if path.extension().is_none_or(|end| end != "json") {
                continue;
            }
            if let Some(key) = key
                && let Some(false) = has_key(&path.with_extension("keys"), key)
            {
                continue;
            }
            match read_json(&path) {
                Ok(bundle) => found.extend(bundle.iter().flat_map(|bundle| of(bundle, wanted))),
                Err(error) => tracing::warn!(%error, "a receipt cannot be read"),
            }
            if found.len() >= FOUND_MAX {
                found.truncate(FOUND_MAX);
                return Ok(found);
            }
        }
    }
    Ok(found)
}

fn of(bundle: &Bundle, wanted: &Wanted) -> Vec<Receipt> {
    let (Some(object), Some(published_at)) = (bundle.objects.first(), bundle.published_at) else {
        return Vec::new();
    };
    let members = bundle.members.iter();
    let wanted = members.filter(|member| wanted.is(&member.path));
    wanted
        .map(|member| Receipt {
            file: member.path.clone(),
            object: object.name.clone(),
            member: member.name.clone(),
            sha256: member.sha256.clone(),
            published_at,
        })
        .collect()
}

/// Puts the receipt of a bundle on record, durably, and its keys before it.
pub(crate) fn record(
    disk: &Disk,
    state_dir: &Path,
    bundle: &Bundle,
    published_at: Timestamp,
) -> Result<(), PublishError> {
    let day = published_at.to_zoned(TimeZone::UTC).date();
    let dir = state_dir.join(RECEIPTS_DIR).join(day.to_string());
    disk.create_dirs(state_dir, &dir, 0o700)
        .map_err(PublishError::io("create", &dir))?;
    let keys = dir.join(format!("{}.keys", bundle.id));
    // The receipt's own sync of the directory makes the name durable.
    disk.create_file(Entry::path(&keys), STATE_MODE, Taken::Replace)
        .and_then(|mut file| {
            file.write_all(&keys_of(bundle))?;
            file.sync()
        })
        .map_err(PublishError::io("write keys of receipt", &keys))?;
    let path = dir.join(format!("{}.json", bundle.id));
    disk.rewrite_durable(&path, &bundle.to_json(), STATE_MODE)
        .map_err(PublishError::io("write receipt", &path))
}

/// Removes the receipts of days that are longer ago than `kept` at `now`. Those that an impossible clock has dated stay.
pub(crate) fn expire(
    disk: &Disk,
    state_dir: &Path,
    now: Timestamp,
    kept: Duration,
) -> Result<(), PublishError> {
    let kept = SignedDuration::try_from(kept).unwrap_or(SignedDuration::MAX);
    let Ok(last) = now.checked_sub(kept) else {
        return Ok(());
    };
    let last = last.to_zoned(TimeZone::UTC).date();
    for day in visible_entries(&state_dir.join(RECEIPTS_DIR))? {
        let name = day.file_name().and_then(|name| name.to_str());
        if name
            .and_then(|name| name.parse::<Date>().ok())
            .is_some_and(|day| day < last && is_possible(day))
        {
            remove_dir(disk, &day)?;
            tracing::info!(day = %day.display(), "receipts expired");
        }
    }
    Ok(())
}

fn is_possible(day: Date) -> bool {
    let time = day.to_zoned(TimeZone::UTC).map(|day| day.timestamp());
    time.is_ok_and(is_plausible)
}

fn keys_of(bundle: &Bundle) -> Vec<u8> {
    let mut entries = Vec::new();
    for (number, member) in bundle.members.iter().enumerate() {
        let file = member.path.rsplit('/').next().unwrap_or(&member.path);
        for key in uuid_tails(file).chain([file]) {
            let mut entry = [0; ENTRY_BYTES];
            entry[..8].copy_from_slice(&hash(key).to_be_bytes());
            entry[8..].copy_from_slice(&(number as u32).to_be_bytes());
            entries.push(entry);
        }
    }
    entries.sort_unstable();
    let mut bytes = MAGIC.to_vec();
    bytes.extend(entries.into_iter().flatten());
    bytes
}

fn hash(key: &str) -> u64 {
    let digest = Sha256::digest(key.as_bytes());
    u64::from_be_bytes(*digest.first_chunk().expect("a digest has 32 bytes"))
}

/// Returns whether a key file contains a key; `None` if it cannot be read.
fn has_key(path: &Path, key: u64) -> Option<bool> {
    let search = || -> io::Result<Option<bool>> {
        let file = File::open(path)?;
        let mut magic = [0; MAGIC.len()];
        file.read_exact_at(&mut magic, 0)?;
        let bytes = file.metadata()?.len().saturating_sub(magic.len() as u64);
        if magic != *MAGIC || !bytes.is_multiple_of(ENTRY_BYTES as u64) {
            return Ok(None);
        }
        let at = |number: u64| -> io::Result<u64> {
            let mut found = [0; 8];
            file.read_exact_at(
                &mut found,
                (MAGIC.len() as u64) + number * ENTRY_BYTES as u64,
            )?;
            Ok(u64::from_be_bytes(found))
        };
        let (mut low, mut high) = (0, bytes / ENTRY_BYTES as u64);
        while low < high {
            let middle = u64::midpoint(low, high);
            match at(middle)?.cmp(&key) {
                std::cmp::Ordering::Equal => return Ok(Some(true)),
                std::cmp::Ordering::Less => low = middle + 1,
                std::cmp::Ordering::Greater => high = middle,
            }
        }
        Ok(Some(false))
    };
    search().ok().flatten()
}

/// The parts `<boot time>_<16 upper-case hex digits>` of a text.
fn uuid_tails(text: &str) -> impl Iterator<Item = &str> {
    const COOKIE: usize = 16;
    let is_hex = |byte: &u8| matches!(byte, b'0'..=b'9' | b'A'..=b'F');
    text.match_indices('_').filter_map(move |(at, _)| {
        let bytes = text.as_bytes();
        let end = at + 1 + COOKIE;
        let cookie = bytes.get(at + 1..end)?;
        let digits = bytes[..at]
            .iter()
            .rev()
            .take_while(|byte| byte.is_ascii_digit());
        let begin = at - digits.count();
        let is_tail = cookie.iter().all(is_hex)
            && !bytes.get(end).is_some_and(u8::is_ascii_alphanumeric)
            && begin < at
            && begin > 0
            && bytes[begin - 1] == b'_';
        is_tail.then(|| &text[begin..end])
    })
}

fn newest_first(dir: &Path) -> Result<Vec<PathBuf>, PublishError> {
    let mut paths = visible_entries(dir)?;
    paths.sort_unstable_by(|a, b| b.cmp(a));
    Ok(paths)
}

#[cfg(test)]
mod tests {
    use super::*;

    const UUID: &str = "ndt-knwp4_1583603744_000000000000590E";

    #[test]
    fn a_uuid_is_found_in_every_name_of_the_field() {
        let tail = "1583603744_000000000000590E";
        let wanted = Wanted::Uuid(UUID.to_owned());
        assert_eq!(wanted.key(), Some(tail));
        for name in [
            format!("ndt7-download-20200318T000657.568Z.{UUID}.json.gz"),
            format!("{UUID}.00000.jsonl.zst"),
            format!("20200318T000657Z_{UUID}.jsonl"),
            format!("{UUID}.pcap.gz"),
            UUID.to_owned(),
        ] {
            assert_eq!(uuid_tails(&name).collect::<Vec<_>>(), [tail], "{name}");
            assert!(wanted.is(&format!("tcpinfo/2020/03/18/{name}")), "{name}");
        }
        for name in [
            "a.json",
            "x_1583603744_000000000000590e.json",
            "_000000000000590E",
            "x_1_000000000000590E0.json",
        ] {
            assert_eq!(uuid_tails(name).count(), 0, "{name}");
        }
        assert!(!wanted.is(&format!("tcpinfo/2020/03/18/x{UUID}.json")));
    }

    #[test]
    fn a_file_is_wanted_by_its_name_or_path() {
        let path = "ndt7/2026/01/02/a.json";
        for wanted in ["a.json", "02/a.json", path, "/ndt7/2026/01/02/a.json"] {
            assert!(Wanted::File(wanted.to_owned()).is(path), "{wanted}");
        }
        for wanted in [
            "json",
            "2/a.json",
            "b.json",
            "/spool/ndt/ndt7/2026/01/02/a.json",
        ] {
            assert!(!Wanted::File(wanted.to_owned()).is(path), "{wanted}");
        }
    }

    proptest::proptest! {
        #[test]
        fn keys_are_found_and_no_others(names in proptest::collection::btree_set("[a-z]{1,6}", 1..50), other in "[A-Z]{1,6}") {
            let dir = tempfile::tempdir().unwrap();
            let path = dir.path().join("x.keys");
            let members: Vec<_> = names
                .iter()
                .map(|name| serde_json::json!({
                    "path": format!("ndt7/2026/01/02/{name}"), "member": "", "sha256": "",
                    "dev": 0, "inode": 0, "size_bytes": 0, "mtime_s": 0, "mtime_ns": 0,
                }))
                .collect();
            let bundle: Bundle = serde_json::from_value(serde_json::json!({
                "id": "x", "experiment": "ndt", "datatype": "ndt7", "date": "2026-01-02", "form": "tgz",
                "objects": [], "members": members,
            }))
            .unwrap();
            std::fs::write(&path, keys_of(&bundle)).unwrap();
            for name in &names {
                proptest::prop_assert_eq!(has_key(&path, hash(name)), Some(true));
            }
            proptest::prop_assert_eq!(has_key(&path, hash(&other)), Some(false));
            std::fs::write(&path, b"torn").unwrap();
            proptest::prop_assert_eq!(has_key(&path, hash(&other)), None);
        }
    }
}
