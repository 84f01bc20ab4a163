//! Lakes in buckets: the engine reads no bucket, so that `groma mirror` keeps a copy on this machine, and the engine is let
//! at nothing but that.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;
use std::time::Duration;

use anyhow::{Context as _, bail};

/// How long replaced files stay in the copy for queries that run, in minutes.
const LINGER_MINUTES: &str = "5";

/// Where a lake in a bucket is copied to, and how much of it.
#[derive(Debug, Clone, clap::Args)]
#[command(next_help_heading = "Lakes in buckets")]
pub struct CopyArgs {
    /// Where copies of lakes in buckets are kept [default: groma-sql in the user's cache directory].
    #[arg(long, env = "GROMA_SQL_CACHE", value_name = "DIR")]
    cache: Option<PathBuf>,
    /// The most bytes of a copy; a lake that needs more is not read.
    #[arg(long, value_name = "SIZE", default_value = "10GB")]
    cache_size: String,
    /// Copy the dates from this one on (UTC): the lake then has no others. Each choice of dates has a copy of its own.
    #[arg(long, value_name = "YYYY-MM-DD")]
    since: Option<String>,
    /// Copy the dates to this one, included.
    #[arg(long, value_name = "YYYY-MM-DD")]
    until: Option<String>,
    /// The program groma, built with the feature s3 [default: beside this program, else on PATH].
    #[arg(long, env = "GROMA_PROGRAM", value_name = "FILE")]
    groma: Option<PathBuf>,
}

/// A lake in a bucket and its copy.
#[derive(Debug, Clone)]
pub struct Copy {
    program: PathBuf,
    arguments: Vec<OsString>,
    dir: PathBuf,
}

/// Returns the directory of a lake, and its copy if the lake is in a bucket, which is copied first.
///
/// # Errors
///
/// If the directory does not exist or is not a lake, or a bucket cannot be copied.
pub fn directory(lake: &str, args: &CopyArgs) -> anyhow::Result<(PathBuf, Option<Copy>)> {
    if let Some(path) = lake
        .strip_prefix("file://")
        .or_else(|| (!lake.contains("://")).then_some(lake))
    {
        if args.since.is_some() || args.until.is_some() {
            bail!(
                "--since and --until say what is copied of a bucket, and {lake} is a directory: ask it with WHERE date …"
            );
        }
        crate::root::check(Path::new(path))?;
        return Ok((path.into(), None));
    }
    if !lake.starts_with("s3://") {
        bail!("{lake} is no lake; name a directory or s3://BUCKET/PREFIX");
    }
    let copy = Copy::new(lake, args)?;
    copy.update()?;
    Ok((copy.dir.clone(), Some(copy)))
}

impl Copy {
    fn new(lake: &str, args: &CopyArgs) -> anyhow::Result<Copy> {
        let cache = match &args.cache {
            Some(cache) => cache.clone(),
            None => user_cache().context("name a directory for the copy with --cache")?,
        };
        let keeper = ["AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL", "AWS_ENDPOINT"].map(std::env::var);
        let keeper = keeper.into_iter().flatten().find(|url| !url.is_empty());
        let dir = cache.join(place(lake, keeper.as_deref(), args));
        std::fs::create_dir_all(&dir).with_context(|| format!("create {}", dir.display()))?;
        let mut arguments: Vec<OsString> = ["mirror", "--lake", lake, "--most", &args.cache_size]
            .map(OsString::from)
            .into();
        arguments.extend(["--linger", LINGER_MINUTES, "--to"].map(OsString::from));
        arguments.push(dir.clone().into());
        for (flag, date) in [("--since", &args.since), ("--until", &args.until)] {
            if let Some(date) = date {
                arguments.extend([flag.into(), date.into()]);
            }
        }
        Ok(Copy {
            program: args.groma.clone().unwrap_or_else(program),
            arguments,
            dir,
        })
    }

    /// Makes the copy what the lake is now.
    fn update(&self) -> anyhow::Result<()> {
        let program = self.program.display();
        let output = Command::new(&self.program)
            .args(&self.arguments)
            // Its lake is named above.
            .env_remove("GROMA_LAKE")
            .output()
            .with_context(|| {
                format!("run {program}, which copies lakes from buckets; name it with --groma")
            })?;
        if !output.status.success() {
            let told = String::from_utf8_lossy(&output.stderr);
            bail!("copy the lake to this machine: {}", told.trim());
        }
        Ok(())
    }

    /// Updates the copy at this interval until the process ends.
    pub fn keep(self, every: Duration) {
        thread::spawn(move || {
            loop {
                thread::sleep(every);
                // Queries are answered of the copy as it is.
                if let Err(error) = self.update() {
                    eprintln!("groma-sql: {error:#}");
                }
            }
        });
    }
}

/// `groma` beside this program, or on `PATH`.
fn program() -> PathBuf {
    let this = std::env::current_exe().ok();
    let beside = this.and_then(|this| Some(this.parent()?.join("groma")));
    beside
        .filter(|beside| beside.is_file())
        .unwrap_or_else(|| "groma".into())
}

/// <https://specifications.freedesktop.org/basedir-spec/latest/>
fn user_cache() -> Option<PathBuf> {
    let absolute = |path: OsString| Some(PathBuf::from(path)).filter(|path| path.is_absolute());
    let named = std::env::var_os("XDG_CACHE_HOME").and_then(absolute);
    let cache = named.or_else(|| Some(Path::new(&std::env::var_os("HOME")?).join(".cache")));
    Some(cache?.join("groma-sql"))
}

/// Returns the directory of the copy in the cache. Each lake, each provider of a bucket of the same name, and each choice of
/// dates has its own, so that no query removes files that another one reads.
fn place(lake: &str, keeper: Option<&str>, args: &CopyArgs) -> PathBuf {
    let keeper = keeper.map_or("amazon".to_owned(), |url| {
        format!("at-{}", file_name(without_credentials(url)))
    });
    let date = |word: &str, date: &Option<String>| {
        let date = date.as_ref().map(|date| file_name(date));
        date.map(|date| format!("{word}-{date}"))
    };
    let dates: Vec<String> = [date("since", &args.since), date("until", &args.until)]
        .into_iter()
        .flatten()
        .collect();
    let dates = if dates.is_empty() {
        "all".to_owned()
    } else {
        dates.join("-")
    };
    [file_name(lake), keeper, dates].iter().collect()
}

/// Host and port of a URL. Some carry a user and a password, which belong in no name.
fn without_credentials(url: &str) -> &str {
    let (_, rest) = url.split_once("://").unwrap_or(("", url));
    rest.rsplit_once('@').map_or(rest, |(_, host)| host)
}

/// Returns a name that no other text has, except for slashes at its end.
fn file_name(lake: &str) -> String {
    let letter = |byte: u8| match byte {
        b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' => (byte as char).to_string(),
        _ => format!("_{byte:02x}"),
    };
    lake.trim_end_matches('/').bytes().map(letter).collect()
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn every_lake_has_a_name_of_its_own() {
        let names = ["s3://a/b", "s3://a_b", "s3://a-b", "s3://a/b/c", "s3://a/B"].map(file_name);
        let mut different = names.to_vec();
        different.sort();
        different.dedup();
        assert_eq!(different.len(), names.len(), "{names:?}");
        assert!(names.iter().all(|name| !name.contains(['/', '.'])));
        assert_eq!(file_name("s3://a/b/"), file_name("s3://a/b"));
    }

    fn args() -> CopyArgs {
        CopyArgs {
            cache: None,
            cache_size: "10GB".to_owned(),
            since: None,
            until: None,
            groma: None,
        }
    }

    #[test]
    fn every_choice_of_dates_and_every_keeper_has_a_copy_of_its_own() {
        let date = || Some("2024-05-01".to_owned());
        let choices = [
            (None, None),
            (date(), None),
            (None, date()),
            (date(), date()),
        ]
        .map(|(since, until)| CopyArgs {
            since,
            until,
            ..args()
        });
        let keepers = [None, Some("http://a:9000"), Some("http://b:9000")];
        let places: HashSet<PathBuf> = choices
            .iter()
            .flat_map(|args| keepers.map(|keeper| place("s3://a/b", keeper, args)))
            .collect();
        assert_eq!(places.len(), choices.len() * keepers.len(), "{places:?}");
        assert!(places.iter().all(|place| place.is_relative()
            && place.components().count() == 3
            && !place.to_string_lossy().contains("..")));
        let secret = place("s3://a/b", Some("http://user:word@a:9000"), &args());
        assert_eq!(secret, place("s3://a/b", keepers[1], &args()));
    }

    #[test]
    fn dates_are_of_buckets_alone() {
        let dir = tempfile::tempdir().unwrap();
        let lake = dir.path().to_str().unwrap();
        assert!(directory(lake, &args()).is_ok());
        let args = CopyArgs {
            since: Some("2024-05-01".to_owned()),
            ..args()
        };
        for lake in ["some/lake", "file:///some/lake"] {
            let refused = directory(lake, &args).unwrap_err().to_string();
            assert!(refused.contains("WHERE date"), "{refused}");
        }
    }
}
