//! Reads and checks `experiment.toml`.

use std::fs;
use std::io::{self, Read as _};
use std::path::Path;

use toml::de::{DeTable, DeValue};

use crate::check::{MOST_UNADMITTED_BYTES, Rules};
use crate::document::Document;
use crate::read::Check;
use crate::{Admission, Consent, FORMAT, Manifest, ManifestError, Problems};

/// The largest manifest, in bytes.
const MANIFEST_BYTES: u64 = 64 * 1024;
/// The largest file that a manifest names, in bytes.
const FILE_BYTES: u64 = 4 * 1024 * 1024;

/// Reads a regular file of at most `most_bytes`: opening a pipe waits, and a device never ends.
fn read_small(path: &Path, most_bytes: u64) -> io::Result<String> {
    let refused = |reason: String| Err(io::Error::new(io::ErrorKind::InvalidInput, reason));
    if !fs::metadata(path)?.is_file() {
        return refused("it is not a regular file".to_owned());
    }
    let mut text = String::new();
    fs::File::open(path)?
        .take(most_bytes + 1)
        .read_to_string(&mut text)?;
    if text.len() as u64 > most_bytes {
        return refused(format!("it is larger than {most_bytes} bytes"));
    }
    Ok(text)
}

impl Manifest {
    /// Reads `experiment.toml` and the files that it names, with paths relative to it.
    ///
    /// Errors: the file cannot be read, or it has problems, which the error lists all.
    pub fn load(path: &Path) -> Result<Self, ManifestError> {
        let text = read_small(path, MANIFEST_BYTES).map_err(|source| ManifestError::Read {
            path: path.to_owned(),
            source,
        })?;
        let dir = path.parent().unwrap_or(Path::new("")).to_owned();
        Self::parse(&text, |name| read_small(&dir.join(name), FILE_BYTES))
    }

    /// Reads a manifest from text; `read_file` returns the text of a file beside it.
    pub fn parse(
        text: &str,
        read_file: impl Fn(&str) -> io::Result<String>,
    ) -> Result<Self, ManifestError> {
        let mut check = Check::new(text);
        let (root, errors) = DeTable::parse_recoverable(text);
        for error in &errors {
            check.add(&error.span().unwrap_or(0..0), "", error.message());
        }
        let manifest = if errors.is_empty() {
            read(&root, &mut check, read_file)
        } else {
            None
        };
        match manifest {
            Some(manifest) if check.problems.is_empty() => manifest.attach(&[]),
            _ => {
                let mut problems = check.problems;
                problems.sort_by_key(|problem| problem.line);
                Err(ManifestError::Problems(Problems(problems)))
            }
        }
    }
}

fn read(
    root: &toml::Spanned<DeTable<'_>>,
    check: &mut Check<'_>,
    read_file: impl Fn(&str) -> io::Result<String>,
) -> Option<Manifest> {
    if let Some(value) = root.get_ref().get("manifest") {
        let Some(format) = format_of(value.get_ref()) else {
            let reason = format!("this program reads format 1 and format {FORMAT}");
            check.add(&value.span(), "manifest", reason);
            return None;
        };
        check.format = format;
    }
    let document = Document::read_root(root, check);
    check.begin_rules();
    let mut rules = Rules {
        root,
        check,
        read_file,
    };
    let (datatypes, client_metadata) = rules.apply(&document);
    Some(Manifest {
        format: document.manifest,
        name: document.name,
        version: document.version,
        title: document.title,
        documentation_url: document.documentation_url,
        launch_date: document.launch_date,
        max_test_bytes: document.max_test_bytes,
        objectives: document.objectives,
        owner: document.owner,
        contacts: document.contacts,
        source: document.source,
        run: document.run,
        probes: document.probes,
        allocation: document.allocation,
        egress: document.egress,
        embargo: document.embargo,
        ports: document.port,
        datatypes,
        results: document.results,
        client_metadata,
        admission: document.admission.unwrap_or(Admission::Announced),
        unadmitted_bytes: document.unadmitted_bytes.unwrap_or(MOST_UNADMITTED_BYTES),
        consent: Consent::new(document.consent),
        metrics: document.metrics,
        operator: None,
    })
}

fn format_of(value: &DeValue<'_>) -> Option<u32> {
    let DeValue::Integer(number) = value else {
        return None;
    };
    let format = u32::from_str_radix(number.as_str(), number.radix()).ok()?;
    (1..=FORMAT).contains(&format).then_some(format)
}
