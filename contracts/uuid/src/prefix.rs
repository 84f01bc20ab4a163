//! The prefix file: written once per boot, read by every process of the node.

use std::fmt;
use std::fs;
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use crate::Uuid;
use crate::boot::{boot_id, boot_time_s, machine_name};

/// Boot times further apart than this are hardly one boot and a clock that was set.
const ANOTHER_BOOT_S: u64 = 3600;

/// `<name>_<boot time>`: what all UUIDs of one machine in one boot begin with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Prefix(String);

/// Why a prefix could not be read or made.
#[derive(Debug, thiserror::Error)]
pub enum PrefixError {
    /// The file could not be read.
    #[error("read UUID prefix file {path}: {source}")]
    Read {
        /// The prefix file.
        path: PathBuf,
        /// The error of the system.
        source: io::Error,
    },
    /// The file could not be written.
    #[error("write UUID prefix file {path}: {source}")]
    Write {
        /// The prefix file.
        path: PathBuf,
        /// The error of the system.
        source: io::Error,
    },
    /// The file holds something that cannot begin a file name.
    #[error("UUID prefix file {path} holds {text:?}, which is no <name>_<boot time>")]
    Malformed {
        /// The prefix file.
        path: PathBuf,
        /// Its content, cut to 64 characters.
        text: String,
    },
    /// The file was made in another boot, so that its UUIDs may have been given before.
    #[error(
        "UUID prefix file {path} was made before this machine booted: socket cookies begin again at every boot, so that \
         UUIDs would repeat; make the file anew once per boot (or remove it and {path}.boot_id, if nothing makes it)"
    )]
    OtherBoot {
        /// The prefix file.
        path: PathBuf,
    },
    /// The boot time or the boot id could not be read.
    #[error("read the boot time of this machine: {0}")]
    Boot(#[source] io::Error),
}

impl Prefix {
    /// Reads a prefix file, made by us or by M-Lab's `create-uuid-prefix-file`.
    /// A newline at its end is ignored, as M-Lab's Python port does.
    ///
    /// If `<path>.boot_id` exists beside the file and names another boot, the file is refused. Without that file only the
    /// boot time in the prefix can be compared. Clocks are stepped, so a difference of more than an hour is a warning.
    pub fn read(path: &Path) -> Result<Self, PrefixError> {
        let prefix = Self::read_text(path)?;
        match fs::read_to_string(beside(path, ".boot_id")) {
            Ok(known) => {
                let now = boot_id().map_err(PrefixError::Boot)?;
                if known.trim() != now {
                    let path = path.to_owned();
                    return Err(PrefixError::OtherBoot { path });
                }
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => prefix.warn_if_old(path),
            Err(source) => {
                let path = beside(path, ".boot_id");
                return Err(PrefixError::Read { path, source });
            }
        }
        Ok(prefix)
    }

    fn warn_if_old(&self, path: &Path) {
        let Ok(boot_s) = boot_time_s() else { return };
        if let Some(apart_s) = self.apart_s(boot_s).filter(|s| *s > ANOTHER_BOOT_S) {
            tracing::warn!(
                path = %path.display(), prefix = self.as_str(), boot_time_s = boot_s, apart_s,
                "the UUID prefix seems to be that of another boot: if it is, UUIDs repeat; make the file anew at every boot"
            );
        }
    }

    /// Seconds between the boot time in the prefix and that one; `None` if there is no
    /// number in it.
    fn apart_s(&self, boot_s: i64) -> Option<u64> {
        Some(self.boot_s()?.abs_diff(boot_s))
    }

    fn read_text(path: &Path) -> Result<Self, PrefixError> {
        let text = fs::read_to_string(path).map_err(|source| PrefixError::Read {
            path: path.to_owned(),
            source,
        })?;
        Self::parse(text.trim_end()).ok_or_else(|| PrefixError::Malformed {
            path: path.to_owned(),
            text: text.chars().take(64).collect(),
        })
    }

    /// Makes sure that `path` holds a prefix of the present boot and returns it.
    ///
    /// The boot id is kept beside the file (`<path>.boot_id`). If it differs from the kernel's, the machine has rebooted and
    /// its socket cookies begin again, so a new prefix is made. Its boot time is later than that of the last prefix, whatever
    /// the clock shows: a board without a battery may start at the same second every time. Where the clock cannot be right
    /// and no last prefix is known, the prefix ends in `_unsafe`. A prefix file without a boot id beside it was made by
    /// another tool, which owns it: it is used as it is.
    pub fn ensure(path: &Path, name: &str) -> Result<Self, PrefixError> {
        let id = boot_id().map_err(PrefixError::Boot)?;
        let boot_s = boot_time_s().map_err(PrefixError::Boot)?;
        Self::ensure_for(path, name, &id, boot_s)
    }

    fn ensure_for(path: &Path, name: &str, id: &str, boot_s: i64) -> Result<Self, PrefixError> {
        let id_path = beside(path, ".boot_id");
        // Two processes that start at once must agree.
        let _lock = lock(path)?;
        let mut last = None;
        if path.exists() {
            match fs::read_to_string(&id_path) {
                Ok(known) if known.trim() == id => return Self::read_text(path),
                Ok(_) => {
                    tracing::info!(path = %path.display(), "new boot: making a new UUID prefix");
                    // A damaged file is replaced all the same.
                    last = Self::read_text(path).ok();
                }
                Err(_) => return Self::read(path),
            }
        }
        let prefix = Self::after(last.as_ref(), name, boot_s);
        // The prefix goes first. A crash in between leaves the old boot id, and the next start makes a later prefix still.
        replace(path, prefix.as_str())?;
        replace(&id_path, id)?;
        Ok(prefix)
    }

    /// The prefix of a boot at `boot_s`, later than the last one.
    fn after(last: Option<&Self>, name: &str, boot_s: i64) -> Self {
        let last_s = last.and_then(Self::boot_s);
        let is_plausible =
            jiff::Timestamp::from_second(boot_s).is_ok_and(groma_spool::is_plausible);
        match last_s {
            Some(last_s) if boot_s <= last_s => {
                let next_s = last_s.saturating_add(1);
                tracing::warn!(
                    boot_s,
                    last_s,
                    "the clock shows an earlier boot than the last one: the UUID prefix follows the last one"
                );
                Self(format!("{name}_{next_s}"))
            }
            None if !is_plausible => {
                tracing::warn!(
                    boot_s,
                    "the clock cannot be right and no earlier UUID prefix is known: UUIDs may repeat after a reboot"
                );
                Self(format!("{name}_{boot_s}_unsafe"))
            }
            _ => Self(format!("{name}_{boot_s}")),
        }
    }

    /// The boot time in the prefix; `None` if the prefix has no number.
    fn boot_s(&self) -> Option<i64> {
        let parts = self.0.split('_').skip(1);
        parts.filter_map(|part| part.parse().ok()).last()
    }

    /// The prefix of last resort, for a process that was given no prefix file.
    ///
    /// Its UUIDs carry `_unsafe`: two processes that fall back may disagree by a
    /// second, and then their data cannot be joined. It warns loudly for that.
    pub fn fallback() -> Self {
        let text = match (machine_name(), boot_time_s()) {
            (None, _) => "BADPREFIX".to_owned(),
            (Some(name), Err(_)) => format!("{name}_BADBOOTTIME"),
            (Some(name), Ok(boot)) => format!("{name}_{boot}_unsafe"),
        };
        tracing::warn!(
            prefix = text,
            "no UUID prefix file was given: results cannot safely be joined with other data of this machine; \
             give every process the same file with --uuid-prefix-file"
        );
        Self(text)
    }

    /// The UUID of the connection whose socket has this cookie.
    pub fn uuid(&self, cookie: u64) -> Uuid {
        Uuid::from_parts(&self.0, cookie)
    }

    /// The prefix as the file has it.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    fn parse(text: &str) -> Option<Self> {
        let (name, boot) = text.split_once('_')?;
        let fits =
            !name.is_empty() && !boot.is_empty() && text.len() <= 128 && !text.starts_with('.');
        let safe = text
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.' | b'_'));
        (fits && safe && !text.contains("..")).then(|| Self(text.to_owned()))
    }
}

impl fmt::Display for Prefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The path with something after its name.
fn beside(path: &Path, end: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(end);
    PathBuf::from(name)
}

/// Locks the prefix file against other processes that make it. Only its owner may open the lock file.
fn lock(path: &Path) -> Result<fs::File, PrefixError> {
    let lock = beside(path, ".lock");
    let at = |source| PrefixError::Write {
        path: lock.clone(),
        source,
    };
    create_parent(&lock).map_err(at)?;
    let mut options = fs::OpenOptions::new();
    options.write(true).create(true).truncate(false).mode(0o600);
    let file = options.open(&lock).map_err(at)?;
    file.lock().map_err(at)?;
    Ok(file)
}

fn create_parent(path: &Path) -> io::Result<()> {
    match path.parent() {
        Some(parent) => fs::DirBuilder::new()
            .recursive(true)
            .mode(0o755)
            .create(parent),
        None => Ok(()),
    }
}

/// Writes a small world-readable file in one step, also over a read-only one.
fn replace(path: &Path, text: &str) -> Result<(), PrefixError> {
    let at = |source| PrefixError::Write {
        path: path.to_owned(),
        source,
    };
    create_parent(path).map_err(at)?;
    let mut temporary = path.as_os_str().to_owned();
    temporary.push(format!(".{}", std::process::id()));
    let temporary = PathBuf::from(temporary);
    let mut file = fs::OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o644)
        .open(&temporary)
        .map_err(at)?;
    file.write_all(text.as_bytes()).map_err(at)?;
    file.set_permissions(fs::Permissions::from_mode(0o444))
        .map_err(at)?;
    file.sync_all().map_err(at)?;
    fs::rename(&temporary, path).map_err(at)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folder() -> tempfile::TempDir {
        tempfile::tempdir().unwrap()
    }

    #[test]
    fn a_file_made_by_m_labs_tool_is_read_as_it_is() {
        let dir = folder();
        let path = dir.path().join("prefix");
        fs::write(&path, "ndt-kps5n_1619746702").unwrap();
        let prefix = Prefix::ensure(&path, "other").unwrap();
        assert_eq!(
            prefix.uuid(0x72_0DD1).as_str(),
            "ndt-kps5n_1619746702_0000000000720DD1"
        );
        assert_eq!(fs::read_to_string(&path).unwrap(), "ndt-kps5n_1619746702");
    }

    #[test]
    fn our_file_has_no_newline_and_stays_the_same_within_a_boot() {
        let dir = folder();
        let path = dir.path().join("uuid/prefix");
        let first = Prefix::ensure(&path, "lab").unwrap();
        let text = fs::read_to_string(&path).unwrap();
        assert_eq!(text, first.as_str());
        assert!(text.starts_with("lab_") && !text.ends_with('\n'));
        assert_eq!(Prefix::ensure(&path, "renamed").unwrap(), first);
        assert_eq!(Prefix::read(&path).unwrap(), first);
    }

    #[test]
    fn a_new_boot_id_makes_a_new_prefix() {
        let dir = folder();
        let path = dir.path().join("prefix");
        Prefix::ensure(&path, "lab").unwrap();
        fs::remove_file(beside(&path, ".boot_id")).unwrap();
        fs::write(
            beside(&path, ".boot_id"),
            "00000000-0000-0000-0000-000000000000",
        )
        .unwrap();
        let after = Prefix::ensure(&path, "rebooted").unwrap();
        assert!(after.as_str().starts_with("rebooted_"));
        assert_eq!(Prefix::read(&path).unwrap(), after);
        assert_eq!(Prefix::ensure(&path, "third").unwrap(), after);
    }

    #[test]
    fn boots_at_the_same_second_have_different_prefixes() {
        let dir = folder();
        let path = dir.path().join("prefix");
        let (boot_s, earlier_s) = (1_800_000_000, 946_684_800);
        let mut seen = std::collections::BTreeSet::new();
        for (boot, boot_s) in [boot_s, boot_s, earlier_s, boot_s, boot_s + 1, earlier_s]
            .into_iter()
            .enumerate()
        {
            let id = format!("boot-{boot}");
            let prefix = Prefix::ensure_for(&path, "lab", &id, boot_s).unwrap();
            let again = Prefix::ensure_for(&path, "lab", &id, boot_s).unwrap();
            assert_eq!(prefix, again, "it changed within a boot");
            assert!(seen.insert(prefix.to_string()), "{prefix} repeats");
        }
        assert!(seen.iter().all(|prefix| !prefix.contains("unsafe")));
    }

    #[test]
    fn a_clock_that_cannot_be_right_marks_the_first_prefix_as_unsafe() {
        let dir = folder();
        for boot_s in [-3600, 5, 946_684_800, 253_402_300_799] {
            let path = dir.path().join(format!("prefix{boot_s}"));
            let prefix = Prefix::ensure_for(&path, "lab", "boot-1", boot_s).unwrap();
            assert_eq!(prefix.as_str(), format!("lab_{boot_s}_unsafe"));
            let next = Prefix::ensure_for(&path, "lab", "boot-2", boot_s).unwrap();
            assert_ne!(next, prefix);
            assert!(Prefix::parse(next.as_str()).is_some());
        }
    }

    #[test]
    fn a_file_of_another_boot_is_not_read() {
        let dir = folder();
        let path = dir.path().join("prefix");
        Prefix::ensure(&path, "lab").unwrap();
        Prefix::read(&path).unwrap();
        fs::remove_file(beside(&path, ".boot_id")).unwrap();
        fs::write(
            beside(&path, ".boot_id"),
            "00000000-0000-0000-0000-000000000000",
        )
        .unwrap();
        let error = Prefix::read(&path).unwrap_err();
        assert!(matches!(error, PrefixError::OtherBoot { .. }), "{error}");
        assert!(error.to_string().contains("once per boot"), "{error}");
        fs::remove_file(beside(&path, ".boot_id")).unwrap();
        Prefix::read(&path).unwrap();
    }

    #[test]
    fn the_boot_time_is_found_in_every_form_of_a_prefix() {
        for (text, apart_s) in [
            ("ndt-kps5n_1619746702", Some(2)),
            ("ndt-kps5n_1619746702_unsafe", Some(2)),
            ("a_7_1619743000", Some(3700)),
            ("1619746700_1619746699", Some(1)),
            ("ndt_BADBOOTTIME", None),
        ] {
            let prefix = Prefix::parse(text).unwrap();
            assert_eq!(prefix.apart_s(1_619_746_700), apart_s, "{text}");
        }
    }

    #[test]
    fn a_trailing_newline_does_not_make_another_uuid() {
        let dir = folder();
        let path = dir.path().join("prefix");
        fs::write(&path, "ndt-a_1\n").unwrap();
        assert_eq!(Prefix::read(&path).unwrap().as_str(), "ndt-a_1");
    }

    #[test]
    fn what_cannot_stand_in_a_file_name_is_refused() {
        let dir = folder();
        let path = dir.path().join("prefix");
        for bad in ["", "no-boot-time", "a/b_1", "a b_1", "../x_1", "_1", "a_"] {
            fs::write(&path, bad).unwrap();
            assert!(Prefix::read(&path).is_err(), "{bad:?} was accepted");
        }
    }

    #[test]
    fn the_fallback_says_that_it_is_unsafe() {
        assert!(Prefix::fallback().as_str().ends_with("_unsafe"));
    }
}
