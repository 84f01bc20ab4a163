//! File systems that a test mounts for itself: as root, and gone with the value.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// The kinds of file systems on which a node's directories may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A loop device with ext4.
    Ext4,
    /// A loop device with btrfs.
    Btrfs,
    /// An overlay of two directories.
    Overlay,
    /// Memory.
    Tmpfs,
    /// A directory seen through a FUSE program.
    Fuse,
}

impl Kind {
    /// Every kind.
    pub const ALL: [Kind; 5] = [
        Kind::Ext4,
        Kind::Btrfs,
        Kind::Overlay,
        Kind::Tmpfs,
        Kind::Fuse,
    ];
}

/// A mounted file system.
#[derive(Debug)]
pub struct Mount {
    at: PathBuf,
    /// The mounted file system, to mount it again.
    kind: Option<Kind>,
    base: PathBuf,
}

impl Mount {
    /// Mounts a new file system of a kind at `<base>/mnt`; other files of it are beside that. `None` if this machine or user
    /// cannot.
    pub fn new(kind: Kind, base: &Path) -> Option<Mount> {
        let mount = Mount {
            at: base.join("mnt"),
            kind: Some(kind),
            base: base.to_path_buf(),
        };
        fs::create_dir_all(&mount.at).ok()?;
        let image = base.join("image");
        let make = match kind {
            Kind::Ext4 => Some("mkfs.ext4"),
            Kind::Btrfs => Some("mkfs.btrfs"),
            _ => None,
        };
        if let Some(make) = make {
            fs::File::create(&image).ok()?.set_len(256 << 20).ok()?;
            run(Command::new(make).arg("-q").arg(&image))?;
        }
        for dir in ["lower", "upper", "work", "source"] {
            fs::create_dir_all(base.join(dir)).ok()?;
        }
        mount.mount()?;
        Some(mount)
    }

    /// Mounts a file system in memory at `at`, with options such as `size=1m`.
    pub fn tmpfs(at: &Path, options: &str) -> Option<Mount> {
        fs::create_dir_all(at).ok()?;
        run(Command::new("mount")
            .args(["-t", "tmpfs", "-o", options, "tmpfs"])
            .arg(at))?;
        Some(Mount::at(at))
    }

    /// Mounts the directory `source` at `at` as well.
    pub fn bind(source: &Path, at: &Path) -> Option<Mount> {
        fs::create_dir_all(at).ok()?;
        run(Command::new("mount").arg("--bind").arg(source).arg(at))?;
        Some(Mount::at(at))
    }

    fn at(at: &Path) -> Mount {
        Mount {
            at: at.to_path_buf(),
            kind: None,
            base: PathBuf::new(),
        }
    }

    /// Where it is mounted.
    pub fn path(&self) -> &Path {
        &self.at
    }

    /// Changes options of the mounted file system, such as `ro`.
    pub fn remount(&self, options: &str) -> Option<()> {
        run(Command::new("mount")
            .args(["-o", &format!("remount,{options}")])
            .arg(&self.at))
    }

    /// Unmounts the file system and mounts it again; a second mount in between gives it another device number.
    pub fn again(&self) -> Option<()> {
        run(Command::new("umount").arg(&self.at))?;
        let other = self.base.join("other");
        let other = Mount::tmpfs(&other, "size=64k");
        self.mount()?;
        drop(other);
        Some(())
    }

    fn mount(&self) -> Option<()> {
        let mut mount = Command::new("mount");
        let base = &self.base;
        match self.kind? {
            Kind::Ext4 | Kind::Btrfs => mount.args(["-o", "loop"]).arg(base.join("image")),
            Kind::Overlay => {
                let dir = |name: &str| base.join(name).display().to_string();
                let (lower, upper, work) = (dir("lower"), dir("upper"), dir("work"));
                let options = format!("lowerdir={lower},upperdir={upper},workdir={work}");
                mount.args(["-t", "overlay", "overlay", "-o", &options])
            }
            Kind::Tmpfs => mount.args(["-t", "tmpfs", "tmpfs"]),
            Kind::Fuse => {
                mount = Command::new("bindfs");
                mount.arg(base.join("source"))
            }
        };
        run(mount.arg(&self.at))
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        let _ = run(Command::new("umount").arg("-l").arg(&self.at));
    }
}

fn run(command: &mut Command) -> Option<()> {
    let silent = command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    silent.status().ok()?.success().then_some(())
}
