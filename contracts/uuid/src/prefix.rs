//! The prefix file: written once per boot, read by every process of the node.

use std::fmt;
use std::fs;
use std::io::{self, Write as _};
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
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
        /// What the system said.
        source: io::Error,
    },
    /// The file could not be written.
    #[error("write UUID prefix file {path}: {source}")]
    Write {
        /// The prefix file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The file holds something that cannot begin a file name.
    #[error("UUID prefix file {path} holds {text:?}, which is no <name>_<boot time>")]
    Malformed {
        /// The prefix file.
        path: PathBuf,
        /// What stands in it, cut to 64 characters.
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
    /// A file of another boot is refused if `<path>.boot_id` stands beside it and tells
    /// so. Without that only the boot time in it can be compared; clocks are stepped, so
    /// a difference of more than an hour is a warning.
    pub fn read(path: &Path) -> Result<Self, PrefixError> {
        let prefix = Self::read_text(path)?;
        match fs::read_to_string(boot_id_path(path)) {
            Ok(known) => {
                let now = boot_id().map_err(PrefixError::Boot)?;
                if known.trim() != now {
                    let path = path.to_owned();
                    return Err(PrefixError::OtherBoot { path });
                }
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => prefix.warn_if_old(path),
            Err(source) => {
                let path = boot_id_path(path);
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
        let times = self.0.split('_').skip(1);
        let time = times.filter_map(|part| part.parse::<i64>().ok()).last()?;
        Some(time.abs_diff(boot_s))
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
    /// The boot id is kept beside the file (`<path>.boot_id`); when it differs
    /// from the kernel's, the machine has rebooted, its socket cookies begin
    /// again, and the prefix is made anew so that no UUID ever repeats. A prefix
    /// file without a boot id beside it was made by another tool, which owns it:
    /// it is used as it is.
    pub fn ensure(path: &Path, name: &str) -> Result<Self, PrefixError> {
        let id = boot_id().map_err(PrefixError::Boot)?;
        let id_path = boot_id_path(path);
        if path.exists() {
            match fs::read_to_string(&id_path) {
                Ok(known) if known.trim() == id => return Self::read(path),
                Ok(_) => {
                    tracing::info!(path = %path.display(), "new boot: making a new UUID prefix");
                }
                Err(_) => return Self::read(path),
            }
        }
        let prefix = Self(format!(
            "{name}_{}",
            boot_time_s().map_err(PrefixError::Boot)?
        ));
        // The boot id goes first: a crash in between leaves an old prefix with a
        // new id only if the prefix existed, so that one is taken away before.
        if let Err(error) = fs::remove_file(path)
            && error.kind() != io::ErrorKind::NotFound
        {
            return Err(PrefixError::Write {
                path: path.to_owned(),
                source: error,
            });
        }
        replace(&id_path, &id)?;
        replace(path, prefix.as_str())?;
        Ok(prefix)
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

    /// The prefix as it stands in the file.
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

fn boot_id_path(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".boot_id");
    PathBuf::from(name)
}

/// Writes a small world-readable file in one step, also over a read-only one.
fn replace(path: &Path, text: &str) -> Result<(), PrefixError> {
    let at = |source| PrefixError::Write {
        path: path.to_owned(),
        source,
    };
    if let Some(parent) = path.parent() {
        fs::create_dir_all(parent).map_err(at)?;
    }
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
        fs::remove_file(boot_id_path(&path)).unwrap();
        fs::write(boot_id_path(&path), "00000000-0000-0000-0000-000000000000").unwrap();
        let after = Prefix::ensure(&path, "rebooted").unwrap();
        assert!(after.as_str().starts_with("rebooted_"));
        assert_eq!(Prefix::read(&path).unwrap(), after);
        assert_eq!(Prefix::ensure(&path, "third").unwrap(), after);
    }

    #[test]
    fn a_file_of_another_boot_is_not_read() {
        let dir = folder();
        let path = dir.path().join("prefix");
        Prefix::ensure(&path, "lab").unwrap();
        Prefix::read(&path).unwrap();
        fs::remove_file(boot_id_path(&path)).unwrap();
        fs::write(boot_id_path(&path), "00000000-0000-0000-0000-000000000000").unwrap();
        let error = Prefix::read(&path).unwrap_err();
        assert!(matches!(error, PrefixError::OtherBoot { .. }), "{error}");
        assert!(error.to_string().contains("once per boot"), "{error}");
        fs::remove_file(boot_id_path(&path)).unwrap();
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
