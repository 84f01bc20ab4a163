//! The location of an archive: a directory, a bucket or a web server.

use std::ffi::OsStr;
use std::fmt;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

use crate::url::{decode, shown};
use crate::{StoreError, check_name};

/// The location of an archive.
#[derive(Clone, PartialEq, Eq)]
pub enum Location {
    /// A directory of this machine.
    Directory(PathBuf),
    /// A bucket, or the objects of a bucket below a prefix.
    Bucket {
        /// The provider of the bucket.
        provider: Provider,
        /// The name of the bucket.
        bucket: String,
        /// The prefix of all object names, without slashes at its ends; empty for the whole bucket.
        prefix: String,
    },
    /// Objects below this URL of a web server.
    Web(String),
}

impl fmt::Debug for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Location::Directory(path) => f.debug_tuple("Directory").field(path).finish(),
            Location::Bucket {
                provider,
                bucket,
                prefix,
            } => write!(f, "Bucket({}://{bucket}/{prefix})", provider.scheme()),
            Location::Web(url) => f.debug_tuple("Web").field(&shown(url)).finish(),
        }
    }
}

/// A provider of buckets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Provider {
    /// Amazon S3, or another store with its protocol (`AWS_ENDPOINT_URL`): `s3://`.
    S3,
    /// Google Cloud Storage: `gs://`.
    Gcs,
}

impl Provider {
    /// Returns the scheme of its URLs.
    pub fn scheme(self) -> &'static str {
        match self {
            Provider::S3 => "s3",
            Provider::Gcs => "gs",
        }
    }

    /// Returns the cargo feature that contains it.
    pub(crate) fn feature(self) -> &'static str {
        match self {
            Provider::S3 => "s3",
            Provider::Gcs => "gcs",
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
        let provider = match scheme {
            "file" => {
                let path = rest.strip_prefix("localhost").unwrap_or(rest);
                return match decode(path) {
                    Some(bytes) if bytes.starts_with(b"/") => {
                        Ok(Location::Directory(OsStr::from_bytes(&bytes).into()))
                    }
                    _ => Err(refuse("a file URL has an absolute path: file:///archive")),
                };
            }
            "http" | "https" => return Ok(Location::Web(text.to_owned())),
            "s3" => Provider::S3,
            "gs" => Provider::Gcs,
            _ => {
                return Err(refuse(
                    "an archive is a directory, file://, s3://, gs:// or https://",
                ));
            }
        };
        let (bucket, prefix) = rest.split_once('/').unwrap_or((rest, ""));
        let is_bucket = |c: char| c.is_ascii_alphanumeric() || "-._:".contains(c);
        if bucket.is_empty() || !bucket.chars().all(is_bucket) {
            return Err(refuse("it does not name a bucket"));
        }
        let prefix = prefix.trim_end_matches('/');
        if !prefix.is_empty() && check_name(prefix).is_err() {
            return Err(refuse("the prefix has an empty, hidden or `..` component"));
        }
        Ok(Location::Bucket {
            provider,
            bucket: bucket.to_owned(),
            prefix: prefix.to_owned(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bucket(provider: Provider, bucket: &str, prefix: &str) -> Location {
        Location::Bucket {
            provider,
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
            ("s3://bucket", Some(bucket(Provider::S3, "bucket", ""))),
            ("s3://bucket/", Some(bucket(Provider::S3, "bucket", ""))),
            (
                "s3://my.bucket/a/b/",
                Some(bucket(Provider::S3, "my.bucket", "a/b")),
            ),
            (
                "gs://pusher-mlab/x",
                Some(bucket(Provider::Gcs, "pusher-mlab", "x")),
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
}
