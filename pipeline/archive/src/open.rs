//! Opens an archive by its path or URL.

use std::sync::Arc;

#[cfg(feature = "remote")]
use crate::remote;
use crate::{LocalStore, Location, Opening, Provider, Store, StoreError};

/// Opens the archive at a path or URL; see [`Location::parse`]. The function does not send a request to a bucket.
///
/// Credentials have the same sources as in the tools of each provider: the `AWS_…` variables, a web identity, the role of a
/// container or an instance; Google's application default credentials.
pub fn open(url: &str, opening: &Opening) -> Result<Box<dyn Store>, StoreError> {
    match Location::parse(url)? {
        Location::Directory(root) if opening.create => Ok(Box::new(LocalStore::open(root)?)),
        Location::Directory(root) => Ok(Box::new(LocalStore::existing(root)?)),
        Location::Bucket {
            provider,
            bucket,
            prefix,
        } => open_bucket(provider, &bucket, &prefix, opening),
        #[cfg(feature = "remote")]
        Location::Web(base) => Ok(Box::new(remote::web::open(&base, opening)?)),
        #[cfg(not(feature = "remote"))]
        Location::Web(_) => Err(StoreError::NotBuilt {
            scheme: "https",
            feature: "s3",
        }),
    }
}

/// Opens an archive for putting objects. A bucket that overwrites objects is an error unless that is allowed (see
/// [`Opening::weak`]). If the bucket does not answer now, the check is repeated before the first put.
pub fn open_to_put(url: &str, weak: bool) -> Result<Arc<dyn Store>, StoreError> {
    let opening = Opening {
        weak,
        ..Opening::to_write()
    };
    let store = open(url, &opening)?;
    match store.probe() {
        Err(error @ StoreError::Overwrites { .. }) => return Err(error),
        Err(error) => {
            tracing::warn!(%error, "the archive does not answer; closed files wait until it does");
        }
        Ok(()) => {}
    }
    Ok(Arc::from(store))
}

#[cfg_attr(
    not(feature = "remote"),
    expect(unused_variables, reason = "this build has no bucket support")
)]
fn open_bucket(
    provider: Provider,
    bucket: &str,
    prefix: &str,
    opening: &Opening,
) -> Result<Box<dyn Store>, StoreError> {
    match provider {
        #[cfg(feature = "s3")]
        Provider::S3 => Ok(Box::new(remote::s3::open(bucket, prefix, opening)?)),
        #[cfg(feature = "gcs")]
        Provider::Gcs => Ok(Box::new(remote::gcs::open(bucket, prefix, opening)?)),
        #[allow(unreachable_patterns, reason = "the features decide")]
        _ => Err(StoreError::NotBuilt {
            scheme: provider.scheme(),
            feature: provider.feature(),
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An error about an environment variable never contains its value.
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
            opening.stall = std::time::Duration::from_millis(100);
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
