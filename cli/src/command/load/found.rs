//! Where an archive begins in a path or URL, and which of its objects that names.

use std::path::{Path, PathBuf};

use anyhow::Context as _;
use groma_archive::{Location, Opening, Store, StoreError};
use groma_load::Loader;
use groma_names::ObjectName;

/// An archive that is read.
pub(super) struct Archive {
    pub(super) store: Box<dyn Store>,
    /// Where it is a directory.
    pub(super) root: Option<PathBuf>,
}

/// An archive, and those of its objects that were named.
pub(super) struct Found {
    pub(super) archive: Archive,
    pub(super) names: Vec<String>,
    /// One object was named itself.
    pub(super) is_object: bool,
}

pub(super) fn open(text: &str) -> anyhow::Result<Archive> {
    let root = match Location::parse(text)? {
        Location::Directory(root) => Some(root),
        _ => None,
    };
    let store = groma_archive::open(text, &Opening::to_read())?;
    Ok(Archive { store, root })
}

/// The archive that a path or URL belongs to, and the objects that it names.
pub(super) fn objects(text: &str) -> anyhow::Result<Found> {
    match Location::parse(text)? {
        Location::Directory(path) => in_directory(&path),
        Location::Bucket {
            provider,
            bucket,
            prefix,
        } => in_bucket(&format!("{}://{bucket}", provider.scheme()), &prefix),
        Location::Web(url) => {
            let from = url.find("://").map_or(0, |at| at + 3);
            let plain = url.split_once('#').map_or(&*url, |(plain, _)| plain);
            // The query of a presigned URL belongs to the requests, and to no name.
            let (plain, query) = match plain.split_once('?') {
                Some((plain, query)) => (plain, Some(query)),
                None => (plain, None),
            };
            let (base, name) = split(plain, from)
                .ok_or_else(|| StoreError::url(&url, "it does not end in the name of an object"))?;
            let base = query.map_or_else(|| base.to_owned(), |query| format!("{base}?{query}"));
            Ok(Found {
                archive: open(&base)?,
                names: vec![name.to_owned()],
                is_object: true,
            })
        }
    }
}

fn in_directory(path: &Path) -> anyhow::Result<Found> {
    let path = path
        .canonicalize()
        .with_context(|| format!("open {}", path.display()))?;
    let text = path
        .to_str()
        .with_context(|| format!("{} is not UTF-8", path.display()))?;
    if path.is_dir() {
        let archive = open(text)?;
        let names = archive.store.list("")?;
        return Ok(Found {
            archive,
            names,
            is_object: false,
        });
    }
    let (root, name) = split(text, 0)
        .or_else(|| text.rsplit_once('/'))
        .with_context(|| format!("{text} is no object"))?;
    Ok(Found {
        archive: open(if root.is_empty() { "/" } else { root })?,
        names: vec![name.to_owned()],
        is_object: true,
    })
}

/// Finds the object that a prefix names, or the objects below it. The names there show where the archive begins in the bucket.
fn in_bucket(bucket: &str, prefix: &str) -> anyhow::Result<Found> {
    let below = |root: &str| match root {
        "" => bucket.to_owned(),
        root => format!("{bucket}/{root}"),
    };
    let is_object = ends_in_name(prefix);
    let keys = match (is_object, prefix) {
        (true, _) => vec![prefix.to_owned()],
        (false, "") => open(bucket)?.store.list("")?,
        (false, _) => open(bucket)?.store.list(&format!("{prefix}/"))?,
    };
    let slashed: Vec<String> = keys.iter().map(|key| format!("/{key}")).collect();
    let Some((root, _)) = slashed.iter().find_map(|key| split(key, 0)) else {
        return Ok(Found {
            archive: open(&below(prefix))?,
            names: Vec::new(),
            is_object: false,
        });
    };
    let names = slashed
        .iter()
        .filter_map(|key| key.strip_prefix(root)?.strip_prefix('/'))
        .map(str::to_owned)
        .collect();
    Ok(Found {
        archive: open(&below(root.trim_start_matches('/')))?,
        names,
        is_object,
    })
}

/// Archive and object of a path or URL: as much of its end as makes an object's name is the name. Nothing before `from`
/// belongs to it.
fn split(text: &str, from: usize) -> Option<(&str, &str)> {
    let slashes = text.match_indices('/').map(|(at, _)| at);
    slashes
        .filter(|&at| at >= from)
        .map(|at| (&text[..at], &text[at + 1..]))
        .find(|(_, name)| name.parse::<ObjectName>().is_ok())
}

/// Whether the last part looks like a file of an archive, in whatever directory.
fn ends_in_name(key: &str) -> bool {
    let file = key.rsplit('/').next().unwrap_or(key);
    Loader::datatype_of(file).is_some()
}
