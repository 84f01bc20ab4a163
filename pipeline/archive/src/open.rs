//! Opening an archive by where it is: a directory, or a bucket's URL.

use std::ffi::OsStr;
use std::fmt;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use crate::{LocalStore, Store, StoreError, check_name};

/// Where an archive is.
#[derive(Clone, PartialEq, Eq)]
pub enum Location {
    /// A directory of this machine.
    Directory(PathBuf),
    /// A bucket, or the part of it below a prefix.
    Bucket {
        /// Who keeps it.
        kind: Kind,
        /// Its name.
        bucket: String,
        /// What stands before all object names, without slashes at its ends; empty for the whole bucket.
        prefix: String,
    },
    /// Objects that a web server gives by their names, below this URL.
    Web(String),
}

impl fmt::Debug for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Location::Directory(path) => f.debug_tuple("Directory").field(path).finish(),
            Location::Bucket {
                kind,
                bucket,
                prefix,
            } => write!(f, "Bucket({}://{bucket}/{prefix})", kind.scheme()),
            Location::Web(url) => f.debug_tuple("Web").field(&shown(url)).finish(),
        }
    }
}

/// The keepers of buckets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Amazon S3, and what speaks like it (`AWS_ENDPOINT_URL`): `s3://`.
    S3,
    /// Google Cloud Storage: `gs://`.
    Gcs,
}

/// How an archive is opened.
#[derive(Clone)]
pub struct Opening {
    /// A directory that is missing is made, and what writers that died have left there is cleared.
    pub create: bool,
    /// A bucket that overwrites although it was told not to is used all the same: whether a name is taken is then
    /// asked before each put, and of two writers of one name the later wins.
    pub weak: bool,
    /// A bucket that moves no byte for so long has failed.
    pub stall: Duration,
    /// Names and values of the environment, in which credentials and endpoints are looked for.
    pub variables: Vec<(String, String)>,
}

impl fmt::Debug for Opening {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The variables hold credentials.
        f.debug_struct("Opening")
            .field("create", &self.create)
            .field("weak", &self.weak)
            .field("stall", &self.stall)
            .finish_non_exhaustive()
    }
}

impl Opening {
    /// For reading, with the environment of the process.
    pub fn to_read() -> Opening {
        let variables = std::env::vars_os()
            .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
            .collect();
        Opening {
            create: false,
            weak: false,
            stall: Duration::from_mins(1),
            variables,
        }
    }

    /// The value of a variable of the environment, unless it is empty.
    #[cfg(feature = "gcs")]
    pub(crate) fn variable(&self, wanted: &str) -> Option<&str> {
        let found = self.variables.iter().find(|(name, _)| name == wanted);
        found
            .map(|(_, value)| value.as_str())
            .filter(|value| !value.is_empty())
    }

    /// For putting and reading, with the environment of the process.
    pub fn to_write() -> Opening {
        Opening {
            create: true,
            ..Opening::to_read()
        }
    }
}

impl Kind {
    /// The scheme of its URLs.
    pub fn scheme(self) -> &'static str {
        match self {
            Kind::S3 => "s3",
            Kind::Gcs => "gs",
        }
    }

    /// The cargo feature that brings it.
    fn feature(self) -> &'static str {
        match self {
            Kind::S3 => "s3",
            Kind::Gcs => "gcs",
        }
    }
}

impl Location {
    /// Reads a path, `file://…`, `s3://bucket/prefix`, `gs://bucket/prefix` or `https://…`.
    pub fn parse(text: &str) -> Result<Location, StoreError> {
        let refuse = |reason: &str| StoreError::url(text, reason);
        let Some((scheme, rest)) = text.split_once("://") else {
            return match text {
                "" => Err(refuse("it is empty")),
                path => Ok(Location::Directory(PathBuf::from(path))),
            };
        };
        let kind = match scheme {
            "file" => {
                let path = rest.strip_prefix("localhost").unwrap_or(rest);
                return match unescaped(path) {
                    Some(bytes) if bytes.starts_with(b"/") => {
                        Ok(Location::Directory(OsStr::from_bytes(&bytes).into()))
                    }
                    _ => Err(refuse("a file URL has an absolute path: file:///archive")),
                };
            }
            "http" | "https" => return Ok(Location::Web(text.to_owned())),
            "s3" => Kind::S3,
            "gs" => Kind::Gcs,
            _ => {
                return Err(refuse(
                    "an archive is a directory, file://, s3://, gs:// or https://",
                ));
            }
        };
        let (bucket, prefix) = rest.split_once('/').unwrap_or((rest, ""));
        let is_bucket = |c: char| c.is_ascii_alphanumeric() || "-._:".contains(c);
        if bucket.is_empty() || !bucket.chars().all(is_bucket) {
            return Err(refuse("it names no bucket"));
        }
        let prefix = prefix.trim_end_matches('/');
        if !prefix.is_empty() && check_name(prefix).is_err() {
            return Err(refuse("the prefix is not made of plain parts"));
        }
        Ok(Location::Bucket {
            kind,
            bucket: bucket.to_owned(),
            prefix: prefix.to_owned(),
        })
    }
}

/// Opens the archive at a path or URL; see [`Location::parse`]. Of a bucket nothing is asked yet.
///
/// Credentials come from where each keeper's own tools take them: the `AWS_…` variables, a web identity, a container's
/// or an instance's role; Google's application default credentials.
pub fn open(url: &str, opening: &Opening) -> Result<Box<dyn Store>, StoreError> {
    match Location::parse(url)? {
        Location::Directory(root) if opening.create => Ok(Box::new(LocalStore::open(root)?)),
        Location::Directory(root) => Ok(Box::new(LocalStore::existing(root)?)),
        Location::Bucket {
            kind,
            bucket,
            prefix,
        } => open_bucket(kind, &bucket, &prefix, opening),
        #[cfg(feature = "remote")]
        Location::Web(base) => Ok(Box::new(crate::remote::web::open(&base, opening)?)),
        #[cfg(not(feature = "remote"))]
        Location::Web(_) => Err(StoreError::NotBuilt {
            scheme: "https",
            feature: "s3",
        }),
    }
}

/// Opens an archive to put into it, and refuses one that overwrites unless that is allowed (see [`Opening::weak`]). One
/// that does not answer yet is asked again before the first object is put.
pub fn open_to_put(url: &str, weak: bool) -> Result<Arc<dyn Store>, StoreError> {
    let opening = Opening {
        weak,
        ..Opening::to_write()
    };
    let store = open(url, &opening)?;
    match store.probe() {
        Err(error @ StoreError::Overwrites { .. }) => return Err(error),
        Err(error) => {
            tracing::warn!(%error, "the archive does not answer; what is closed waits until it does");
        }
        Ok(()) => {}
    }
    Ok(Arc::from(store))
}

#[cfg_attr(
    not(feature = "remote"),
    expect(unused_variables, reason = "there is nothing to open")
)]
fn open_bucket(
    kind: Kind,
    bucket: &str,
    prefix: &str,
    opening: &Opening,
) -> Result<Box<dyn Store>, StoreError> {
    match kind {
        #[cfg(feature = "s3")]
        Kind::S3 => Ok(Box::new(crate::remote::s3::open(bucket, prefix, opening)?)),
        #[cfg(feature = "gcs")]
        Kind::Gcs => Ok(Box::new(crate::remote::gcs::open(bucket, prefix, opening)?)),
        #[allow(unreachable_patterns, reason = "the features decide")]
        _ => Err(StoreError::NotBuilt {
            scheme: kind.scheme(),
            feature: kind.feature(),
        }),
    }
}

/// A URL as an error may show it: without user, password, query and fragment. In doubt it shows less.
pub fn shown(url: &str) -> String {
    let (scheme, rest) = match url.split_once("://") {
        Some((scheme, rest)) => (format!("{scheme}://"), rest),
        None => (String::new(), url),
    };
    let end = rest.find(['?', '#']).unwrap_or(rest.len());
    let (plain, query) = rest.split_at(end);
    match plain.rsplit_once('@') {
        Some((_, plain)) => format!("{scheme}{plain}"),
        // The mark may stand in a password.
        None if query.contains('@') && plain.contains(':') => format!("{scheme}…"),
        None => format!("{scheme}{plain}"),
    }
}

/// The bytes of percent-encoded text; `None` if an escape is cut short or no hex.
pub(crate) fn unescaped(path: &str) -> Option<Vec<u8>> {
    let mut bytes = Vec::new();
    let mut rest = path.bytes();
    while let Some(byte) = rest.next() {
        if byte != b'%' {
            bytes.push(byte);
            continue;
        }
        let digit = |byte: Option<u8>| char::from(byte?).to_digit(16);
        let (high, low) = (digit(rest.next())?, digit(rest.next())?);
        bytes.push((high * 16 + low) as u8);
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bucket(kind: Kind, bucket: &str, prefix: &str) -> Location {
        Location::Bucket {
            kind,
            bucket: bucket.to_owned(),
            prefix: prefix.to_owned(),
        }
    }

    #[test]
    fn locations() {
        let dir = |path: &str| Some(Location::Directory(PathBuf::from(path)));
        for (text, expected) in [
            ("archive", dir("archive")),
            ("/var/archive", dir("/var/archive")),
            ("file:///var/a%20b", dir("/var/a b")),
            ("file://localhost/x", dir("/x")),
            ("s3://bucket", Some(bucket(Kind::S3, "bucket", ""))),
            ("s3://bucket/", Some(bucket(Kind::S3, "bucket", ""))),
            (
                "s3://my.bucket/a/b/",
                Some(bucket(Kind::S3, "my.bucket", "a/b")),
            ),
            (
                "gs://pusher-mlab/x",
                Some(bucket(Kind::Gcs, "pusher-mlab", "x")),
            ),
            ("", None),
            ("file://relative", None),
            ("file:///a%2", None),
            ("s3://", None),
            ("s3:///key", None),
            ("s3://user@host/x", None),
            ("s3://bucket/../x", None),
            ("s3://bucket//x", None),
            ("ftp://host/x", None),
        ] {
            assert_eq!(Location::parse(text).ok(), expected, "{text:?}");
        }
    }

    #[test]
    fn what_is_shown_holds_no_secret() {
        for (url, expected) in [
            ("s3://bucket/a/b", "s3://bucket/a/b"),
            ("https://host:8080/x", "https://host:8080/x"),
            ("https://user:pw@host/x?sig=1#f", "https://host/x"),
            ("https://host/x?mail=a@b&sig=1", "https://host/x"),
            ("s3://AKIA:se/cret@bucket/x", "s3://bucket/x"),
            ("s3://AKIA:se?cret@bucket/x", "s3://…"),
            ("user:pw@host", "host"),
        ] {
            assert_eq!(shown(url), expected, "{url}");
        }
    }

    #[test]
    fn secrets_stay_out_of_errors() {
        for url in [
            "s3://AKIA:SECRET@bucket/x",
            "gs://bucket/a//b?token=SECRET",
            "ftp://user:SECRET@host/x",
            "file://relative?SECRET",
        ] {
            let error = Location::parse(url).unwrap_err();
            let text = format!("{error} {error:?}");
            assert!(!text.contains("SECRET"), "{text}");
        }
        let web = Location::parse("https://user:SECRET@host/x?sig=SECRET").unwrap();
        assert!(!format!("{web:?}").contains("SECRET"), "{web:?}");
    }

    /// Whatever of the environment is wrong, what is said of it holds nothing of its values.
    #[cfg(feature = "remote")]
    #[test]
    fn secrets_of_the_environment_stay_out_of_errors() {
        for (url, name, value) in [
            (
                "s3://b",
                "AWS_ENDPOINT_URL",
                "http://user:SECRET@127.0.0.1:1/?SECRET",
            ),
            ("s3://b", "AWS_ENDPOINT_URL", "http://user:SECRET@[::/"),
            ("s3://b", "AWS_ENDPOINT_URL", "no url SECRET@"),
            ("s3://b", "AWS_SERVER_SIDE_ENCRYPTION", "SECRET\n"),
            ("s3://b", "AWS_SSE_KMS_KEY_ID", "SECRET\u{1}"),
            (
                "gs://b",
                "STORAGE_EMULATOR_HOST",
                "http://user:SECRET@127.0.0.1:1",
            ),
            ("gs://b", "STORAGE_EMULATOR_HOST", "http://user:SECRET@[::"),
            ("https://user:SECRET@127.0.0.1:1/x?SECRET", "NONE", ""),
            ("https://user:SECRET@[::/x?SECRET", "NONE", ""),
        ] {
            let mut opening = Opening::to_write();
            opening.stall = Duration::from_millis(100);
            opening.variables = [
                ("AWS_ACCESS_KEY_ID", "SECRET"),
                ("AWS_SECRET_ACCESS_KEY", "SECRET"),
                ("AWS_SESSION_TOKEN", "SECRET"),
                (name, value),
            ]
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .into();
            let error = match open(url, &opening) {
                Ok(store) => store.stat("x").unwrap_err(),
                Err(error) => error,
            };
            let text = format!("{error} {error:?} {opening:?}");
            assert!(!text.contains("SECRET"), "{name}={value}: {text}");
        }
    }

    #[test]
    fn local_urls_lead_back() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().join("a b%é");
        let store = open(root.to_str().unwrap(), &Opening::to_write()).unwrap();
        let again = open(&store.url(""), &Opening::to_read()).unwrap();
        assert_eq!(again.url("x"), store.url("x"));
    }

    #[cfg(not(feature = "s3"))]
    #[test]
    fn a_build_without_buckets_says_which_has_them() {
        let Err(error) = open("s3://bucket", &Opening::to_read()) else {
            panic!("it opened");
        };
        assert!(error.to_string().contains("feature s3"), "{error}");
    }
}
