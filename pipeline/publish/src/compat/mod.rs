//! The flags and environment variables of M-Lab's pusher and jostler, so that a pod's manifest needs no change.

mod jostler;
mod pusher;
#[cfg(test)]
mod tests;

use std::fmt::Display;
use std::path::PathBuf;

use groma_names::{HostName, Node};
use groma_service::{GoFlagError, GoFlags, value_error};
use groma_spool::{ExperimentDir, Name, SpoolError};

use crate::{Config, DatatypeConfig};

/// The program whose flags are read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Program {
    /// Any file into tar files.
    Pusher,
    /// JSON files into JSON lines.
    Jostler,
}

impl std::str::FromStr for Program {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Program, &'static str> {
        match text {
            "pusher" => Ok(Program::Pusher),
            "jostler" => Ok(Program::Jostler),
            _ => Err("M-Lab's publishers are pusher and jostler"),
        }
    }
}

/// What M-Lab's flags say.
#[derive(Clone, Debug)]
pub struct Compat {
    /// `gs://` and the bucket; a directory or another URL, where the flag has one.
    pub archive: String,
    /// `-prometheusx.listen-address`.
    pub listen_address: String,
    /// `-dry_run`: start, and stop at once.
    pub is_dry_run: bool,
    /// Flags of the command line that need nothing done.
    pub without_effect: Vec<&'static str>,
    directory: PathBuf,
    experiment: Name,
    datatypes: Vec<DatatypeConfig>,
    node: Node,
    adjust: Adjust,
}

/// Other differences from [`Config::new`].
#[derive(Clone, Debug, Default)]
struct Adjust {
    data_prefix: Option<String>,
    organization: Option<String>,
    leaves_tables: bool,
    flush_age: std::time::Duration,
    flush_bytes: u64,
    settle: std::time::Duration,
    grace: Option<std::time::Duration>,
    metadata: Vec<(String, String)>,
}

/// Reads arguments in Go's syntax; for a flag that is not given the environment is asked. The command line wins.
pub fn parse(
    program: Program,
    arguments: &[String],
    environment: impl Fn(&str) -> Option<String>,
) -> Result<Compat, GoFlagError> {
    match program {
        Program::Pusher => pusher::read(&GoFlags::parse(arguments, pusher::FLAGS, environment)?),
        Program::Jostler => jostler::read(&GoFlags::parse(arguments, jostler::FLAGS, environment)?),
    }
}

impl Compat {
    /// The publisher's configuration. Both of M-Lab's programs keep nothing between two runs; without a directory for
    /// that it is hidden in the experiment's, which outlives a pod.
    pub fn config(&self, state_dir: Option<PathBuf>) -> Result<Config, SpoolError> {
        let spool = ExperimentDir::open(&self.directory, self.experiment.clone())?;
        let state_dir = state_dir.unwrap_or_else(|| self.directory.join(".groma-publish"));
        let mut config = Config::new(spool, state_dir, self.node.clone());
        let adjust = self.adjust.clone();
        config.datatypes.clone_from(&self.datatypes);
        config.data_prefix = adjust.data_prefix.unwrap_or(config.data_prefix);
        config.organization = adjust.organization;
        config.puts_tables = !adjust.leaves_tables;
        config.flush_age = adjust.flush_age;
        config.flush_bytes = adjust.flush_bytes;
        config.settle = adjust.settle;
        config.grace = adjust.grace.unwrap_or(config.grace);
        config.metadata = adjust.metadata;
        Ok(config)
    }
}

/// The archive that a flag for a bucket means.
fn bucket(value: String) -> String {
    if value.contains("://") || value.starts_with(['/', '.']) {
        value
    } else {
        format!("gs://{value}")
    }
}

/// A flag without which nothing can be done.
fn needed<E: Fn(&str) -> Option<String>>(
    flags: &GoFlags<E>,
    flag: &'static str,
) -> Result<String, GoFlagError> {
    let missing = || value_error(flag)("it must be given");
    flags.last(flag).ok_or_else(missing)
}

fn name(flag: &'static str, text: &str) -> Result<Name, GoFlagError> {
    text.parse()
        .map_err(|error| value_error(flag)(format!("{text:?}: {error}")))
}

fn node(flag: &'static str, text: &str) -> Result<Node, GoFlagError> {
    let host: HostName = text.parse().map_err(value_error(flag))?;
    Ok(host.node().clone())
}

/// A value, or the content of the file that it names behind `@`, without the white space around it.
fn or_file(flag: &'static str, value: &str) -> Result<String, GoFlagError> {
    let Some(path) = value.strip_prefix('@') else {
        return Ok(value.to_owned());
    };
    let failed = |error: &dyn Display| value_error(flag)(format!("read {path}: {error}"));
    match std::fs::read_to_string(path) {
        Ok(text) => Ok(text.trim().to_owned()),
        Err(error) => Err(failed(&error)),
    }
}

/// At least one of a list.
fn not_empty<T>(flag: &'static str, items: Vec<T>) -> Result<Vec<T>, GoFlagError> {
    if items.is_empty() {
        return Err(value_error(flag)("at least one must be given"));
    }
    Ok(items)
}
