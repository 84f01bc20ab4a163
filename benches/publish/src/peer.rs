//! The peer without guarantees: tar, the same compressor, rm and sync.

use std::fs::File;
use std::io;
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::Context as _;
use flate2::Compression;
use flate2::write::GzEncoder;

use crate::usage::Spent;

pub(crate) fn gzip(level: u32) -> anyhow::Result<()> {
    let mut encoder = GzEncoder::new(io::stdout().lock(), Compression::new(level));
    io::copy(&mut io::stdin().lock(), &mut encoder)?;
    let _ = encoder.finish()?;
    Ok(())
}

/// Archives a directory and removes it.
pub(crate) fn run(dir: &Path, level: u32) -> anyhow::Result<Spent> {
    let object = dir.with_extension("tgz");
    Spent::by(|| {
        let mut tar = Command::new("tar")
            .args(["-c", "--format=pax", "-C"])
            .arg(dir)
            .arg(".")
            .stdout(Stdio::piped())
            .spawn()
            .context("run tar")?;
        let pipe = tar.stdout.take().context("tar has no output")?;
        let status = Command::new(std::env::current_exe()?)
            .args(["gzip", &level.to_string()])
            .stdin(pipe)
            .stdout(File::create(&object)?)
            .status()?;
        anyhow::ensure!(status.success() && tar.wait()?.success(), "tar failed");
        let removed = Command::new("rm").arg("-r").arg(dir).status()?;
        let synced = Command::new("sync").arg("-f").arg(&object).status()?;
        anyhow::ensure!(removed.success() && synced.success(), "rm or sync failed");
        Ok(())
    })
}
