//! The consent of a person: the policy, generated from the manifest and the sidecars that are attached.

use std::fmt::Write as _;

use groma_schema::{Field, Privacy, Schema};

use crate::document::ConsentEntry;
use crate::{Manifest, ManifestError, Sidecar};

/// The longest version, in bytes.
const VERSION_BYTES: usize = 32;

/// The policy to which a person agrees.
#[derive(Debug, Clone)]
pub struct Consent {
    /// Where the policy can be read.
    pub policy_url: String,
    /// The version of the policy: that of the manifest, then `-` and the tag of each attached sidecar and of the operator,
    /// as in `2-tcpinfo1`. A client that showed the policy sends this. 1 to 32 of `A-Z a-z 0-9 . _ -`, and not `not-sent`,
    /// which marks results without consent.
    pub policy_version: String,
    /// The policy in lines, for the person that tests: the stored data, their purpose and retention, the controller, and
    /// how to have an address anonymised.
    pub text: String,
    own: ConsentEntry,
    tags: Vec<String>,
}

impl Consent {
    /// Whether a client that sends this version has agreed to at least this policy: it names the same version of the
    /// manifest, and all sidecars that are attached, perhaps others too.
    pub fn accepts(&self, version: &str) -> bool {
        let Some(tags) = version.strip_prefix(&self.own.policy_version) else {
            return false;
        };
        let sent: Vec<&str> = match tags.strip_prefix('-') {
            Some(tags) => tags.split('-').collect(),
            None if tags.is_empty() => Vec::new(),
            None => return false,
        };
        sent.iter().all(|tag| !tag.is_empty())
            && self.tags.iter().all(|tag| sent.contains(&tag.as_str()))
    }

    /// Returns the reason for the experiment.
    pub(crate) fn purpose(&self) -> Option<&str> {
        self.own.purpose.as_deref()
    }

    pub(crate) fn new(own: ConsentEntry) -> Self {
        Self {
            policy_url: own.policy_url.clone(),
            policy_version: own.policy_version.clone(),
            text: String::new(),
            own,
            tags: Vec::new(),
        }
    }
}

impl Manifest {
    /// The manifest with the policy of an experiment that these sidecars record.
    ///
    /// Errors: the version of the policy gets too long.
    pub fn attach(mut self, sidecars: &[Sidecar]) -> Result<Self, ManifestError> {
        let mut tags: Vec<String> = sidecars.iter().map(Sidecar::tag).collect();
        tags.extend(self.operator.as_ref().map(crate::Operator::tag));
        tags.sort();
        let mut version = self.consent.own.policy_version.clone();
        for tag in &tags {
            version.push('-');
            version.push_str(tag);
        }
        check_version(&version).map_err(|reason| ManifestError::Value {
            key: "consent.policy_version".to_owned(),
            reason,
        })?;
        self.consent.text = policy(&self, sidecars);
        self.consent.policy_version = version;
        self.consent.tags = tags;
        Ok(self)
    }
}

impl Manifest {
    /// The manifest with the policy that a host generated from it and from the sidecars and the operator's policy that it
    /// added: the version, whose tags follow that of the manifest, and the text.
    ///
    /// Errors: the version is malformed or belongs to another manifest.
    pub fn with_policy(mut self, version: &str, text: String) -> Result<Self, ManifestError> {
        let refused = |reason| ManifestError::Value {
            key: "consent.policy_version".to_owned(),
            reason,
        };
        check_version(version).map_err(refused)?;
        let own = &self.consent.own.policy_version;
        let tags = match version.strip_prefix(own.as_str()) {
            Some("") => Vec::new(),
            Some(tags) if tags.starts_with('-') => {
                tags[1..].split('-').map(str::to_owned).collect()
            }
            _ => return Err(refused(format!("{version:?} is not a version of {own:?}"))),
        };
        self.consent.text = text;
        version.clone_into(&mut self.consent.policy_version);
        self.consent.tags = tags;
        Ok(self)
    }
}

/// The version becomes part of every result, and a client sends it in a query.
pub(crate) fn check_version(version: &str) -> Result<(), String> {
    let well_formed = (1..=VERSION_BYTES).contains(&version.len())
        && version
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b"._-".contains(&b));
    if well_formed && version != "not-sent" {
        return Ok(());
    }
    Err(format!(
        "{version:?}, with the tags of the sidecars, must be 1 to {VERSION_BYTES} of A-Z a-z 0-9 . _ -, and not the word `not-sent`"
    ))
}

fn policy(manifest: &Manifest, sidecars: &[Sidecar]) -> String {
    let own = &manifest.consent.own;
    let mut text = String::new();
    let mut line = |words: std::fmt::Arguments<'_>| {
        // A String takes everything.
        let _ = writeln!(text, "{words}");
    };
    line(format_args!("{}.", manifest.title));
    if let Some(purpose) = &own.purpose {
        line(format_args!("Purpose: {}.", sentence(purpose)));
    }
    line(format_args!(
        "Stored of each test and published for everyone under {}:",
        manifest.source.data_license
    ));
    for datatype in &manifest.datatypes {
        line(format_args!(
            "- {}: {}.",
            datatype.name,
            revealed(&datatype.schema)
        ));
    }
    if !manifest.client_metadata.is_empty() {
        let keys: Vec<&str> = manifest
            .client_metadata
            .iter()
            .map(|rule| rule.key.as_str())
            .collect();
        line(format_args!(
            "- information that your program sends about itself, only these items: {}.",
            keys.join(", ")
        ));
    }
    for sidecar in sidecars {
        line(format_args!(
            "- {}: {}, {}.",
            sidecar.name,
            sentence(&sidecar.stored),
            sentence(&sidecar.purpose)
        ));
    }
    for sidecar in sidecars {
        if let Some(unadmitted) = &sidecar.unadmitted {
            line(format_args!(
                "Connections that do not become a test, refused ones included, are published without your address: {}. {} kept for {} hours for the operators of the server only, and then deleted.",
                sentence(&unadmitted.published),
                sentence(&unadmitted.private),
                unadmitted.hours
            ));
        }
    }
    let retention = own.retention.as_deref().unwrap_or(
        "published data are kept without limit; copies that others have made cannot be recalled",
    );
    line(format_args!("Kept for: {}.", sentence(retention)));
    line(format_args!(
        "Controller: {}, {}.",
        manifest.controller(),
        manifest.privacy_contact()
    ));
    let anonymize = own.anonymize.clone().unwrap_or_else(|| {
        format!(
            "write to {} and name the UUID of the test, which is shown with its result",
            manifest.privacy_contact()
        )
    });
    line(format_args!(
        "To have your address anonymised: {}.",
        sentence(&anonymize)
    ));
    if let Some(added) = manifest.operator.as_ref().and_then(|it| it.text.as_deref()) {
        line(format_args!("{}", added.trim()));
    }
    text.truncate(text.trim_end().len());
    text
}

fn sentence(words: &str) -> &str {
    words.trim().trim_end_matches('.')
}

/// Lists the data that the fields of a datatype reveal, by their privacy classes.
fn revealed(schema: &Schema) -> String {
    let mut words: Vec<&str> = Vec::new();
    for (class, what) in [
        (Privacy::ClientIp, "your public IP address and port"),
        (Privacy::ServerIp, "the address of the server"),
        (Privacy::RouterIp, "the addresses of routers on the way"),
        (Privacy::CityCoordinate, "the city of your address"),
    ] {
        if schema.fields.iter().any(|field| has(field, &class)) {
            words.push(what);
        }
    }
    words.push("the time");
    words.push("the technical measurements of the test");
    words.join(", ")
}

fn has(field: &Field, class: &Privacy) -> bool {
    field.privacy.as_ref() == Some(class) || field.fields.iter().any(|field| has(field, class))
}
