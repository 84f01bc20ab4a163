//! The client's metadata, and whether it accepted the policy.

use groma_manifest::Manifest;
use serde::{Deserialize, Serialize};

/// The name of the consent entry of the server's metadata, and of the client's parameter.
pub const POLICY_VERSION: &str = "policy_version";

/// The value of the consent entry when the client did not send the policy version of the manifest.
pub const POLICY_NOT_SENT: &str = "not-sent";

/// The most pairs of client metadata that one test keeps.
pub const MAX_PAIRS: usize = 32;

/// The maximum length of a client metadata key in bytes, even if a pattern allows longer keys.
pub const MAX_KEY_BYTES: usize = 64;

const ACCESS_TOKEN: &str = "access_token";
const SERVER_PREFIX: &str = "server_";

/// One entry of `ClientMetadata` or `ServerMetadata` of a result file, with M-Lab's keys.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct NameValue {
    /// The key.
    #[serde(rename = "Name")]
    pub name: String,
    /// The value.
    #[serde(rename = "Value")]
    pub value: String,
}

/// Why a pair of client metadata was dropped: the `reason` of the metric.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Dropped {
    /// No rule of the manifest allows the key.
    Key,
    /// The rule does not accept the value.
    Value,
    /// The key or the value is too long.
    Length,
    /// An earlier pair has the same key.
    Duplicate,
    /// The test has [`MAX_PAIRS`] already.
    Count,
    /// The policy version is not the one of the manifest.
    Policy,
}

impl Dropped {
    pub(crate) const ALL: [Self; 6] = [
        Self::Key,
        Self::Value,
        Self::Length,
        Self::Duplicate,
        Self::Count,
        Self::Policy,
    ];

    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Key => "key",
            Self::Value => "value",
            Self::Length => "length",
            Self::Duplicate => "duplicate",
            Self::Count => "count",
            Self::Policy => "policy",
        }
    }
}

/// Returns whether the platform itself uses the parameter, so that it is not metadata:
/// the access token is a secret, and consent is recorded once, by the server.
fn is_ours(key: &str) -> bool {
    key == ACCESS_TOKEN || key == POLICY_VERSION
}

/// Returns whether a manifest's rules would allow access tokens in published data.
pub(crate) fn allows_token(manifest: &Manifest) -> bool {
    manifest.metadata_rule(ACCESS_TOKEN).is_some()
}

/// The pairs that the manifest allows, in the order of the query; the others go to `dropped`.
pub(crate) fn client_metadata(
    query: &[(String, String)],
    manifest: &Manifest,
    mut dropped: impl FnMut(Dropped),
) -> Vec<NameValue> {
    let mut kept: Vec<NameValue> = Vec::new();
    for (key, value) in query.iter().filter(|(key, _)| !is_ours(key)) {
        match check(&kept, key, value, manifest) {
            Ok(()) => kept.push(NameValue {
                name: key.clone(),
                value: value.clone(),
            }),
            Err(reason) => dropped(reason),
        }
    }
    kept
}

fn check(kept: &[NameValue], key: &str, value: &str, manifest: &Manifest) -> Result<(), Dropped> {
    if key.len() > MAX_KEY_BYTES {
        return Err(Dropped::Length);
    }
    // ndt7 reserves the prefix for the server; a client must not set such keys.
    if key.starts_with(SERVER_PREFIX) {
        return Err(Dropped::Key);
    }
    let rule = manifest.metadata_rule(key).ok_or(Dropped::Key)?;
    if value.len() > rule.max_length {
        return Err(Dropped::Length);
    }
    if !rule.accepts(value) {
        return Err(Dropped::Value);
    }
    if kept.iter().any(|pair| pair.name == key) {
        return Err(Dropped::Duplicate);
    }
    if kept.len() == MAX_PAIRS {
        return Err(Dropped::Count);
    }
    Ok(())
}

/// The policy in a query.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Consent {
    /// The person accepted the policy of the manifest, or one that allows more.
    Given,
    /// Another value was sent, perhaps another version: this policy was not accepted.
    Other,
    /// Nothing was sent.
    NotSent,
}

impl Consent {
    /// Reads the first `policy_version` of the query.
    pub(crate) fn of(query: &[(String, String)], manifest: &Manifest) -> Self {
        let sent = query.iter().find(|(key, _)| key == POLICY_VERSION);
        match sent {
            Some((_, version)) if manifest.consent.accepts(version) => Self::Given,
            Some(_) => Self::Other,
            None => Self::NotSent,
        }
    }

    /// Returns the server's entry about consent. The published value is the manifest's version or a constant, never
    /// the client's text.
    pub(crate) fn entry(self, manifest: &Manifest) -> NameValue {
        let value = match self {
            Self::Given => &manifest.consent.policy_version,
            Self::Other | Self::NotSent => POLICY_NOT_SENT,
        };
        NameValue {
            name: POLICY_VERSION.to_owned(),
            value: value.to_owned(),
        }
    }
}
