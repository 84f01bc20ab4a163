//! The description that a server publishes about itself, with the policy that a person sees before a test.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use crate::Manifest;
use crate::consent::check_version;

/// The path at which a server publishes its description.
pub const DESCRIPTION_PATH: &str = "/.well-known/groma/experiment.json";

/// The largest description that a client reads, in bytes.
pub const DESCRIPTION_BYTES: usize = 256 * 1024;

/// The format of the description.
const FORMAT: u32 = 1;

/// The description of an experiment, as its server publishes it in JSON.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Description {
    /// The format: 1.
    pub description: u32,
    /// The name of the experiment.
    pub experiment: String,
    /// The version of its code.
    pub version: String,
    /// One line for people.
    pub title: String,
    /// The web page that documents it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub documentation_url: Option<String>,
    /// The largest number of bytes of a test.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_test_bytes: Option<u64>,
    /// The policy to which a person agrees.
    pub policy: PublishedPolicy,
}

/// The policy in a [`Description`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PublishedPolicy {
    /// The version, which a client sends after the person agreed.
    pub version: String,
    /// The text that is shown, in lines.
    pub text: String,
    /// The SHA-256 of the text in UTF-8, as 64 lower-case hexadecimal digits.
    pub sha256: String,
    /// The web page of the policy.
    pub url: String,
    /// The organisation that controls the data.
    pub controller: String,
    /// The mail address for questions about personal data.
    pub contact: String,
    /// The reason for the experiment.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub purpose: Option<String>,
    /// For each datatype, the reason for storing each field.
    #[serde(default)]
    pub purposes: BTreeMap<String, BTreeMap<String, String>>,
}

/// A description that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum DescriptionError {
    /// It is not JSON of this format.
    #[error("the server's description is malformed: {0}")]
    Json(#[from] serde_json::Error),
    /// It is too long.
    #[error("the server's description is longer than {DESCRIPTION_BYTES} bytes")]
    TooLong,
    /// It has another format.
    #[error("the server's description has format {0}; this program reads format {FORMAT}")]
    Format(u32),
    /// The policy cannot be one.
    #[error("the server's policy cannot be used: {0}")]
    Policy(String),
}

impl Manifest {
    /// Returns the description that the server of this experiment publishes.
    pub fn description(&self) -> Description {
        let consent = &self.consent;
        let purposes = self
            .datatypes
            .iter()
            .filter(|datatype| !datatype.purposes.is_empty())
            .map(|datatype| (datatype.name.to_string(), datatype.purposes.clone()));
        Description {
            description: FORMAT,
            experiment: self.name.to_string(),
            version: self.version.clone(),
            title: self.title.clone(),
            documentation_url: self.documentation_url.clone(),
            max_test_bytes: self.max_test_bytes,
            policy: PublishedPolicy {
                version: consent.policy_version.clone(),
                text: consent.text.clone(),
                sha256: sha256(&consent.text),
                url: consent.policy_url.clone(),
                controller: self.controller().to_owned(),
                contact: self.privacy_contact().to_owned(),
                purpose: consent.purpose().map(str::to_owned),
                purposes: purposes.collect(),
            },
        }
    }
}

impl Description {
    /// Returns the JSON text.
    pub fn to_json(&self) -> String {
        serde_json::to_string_pretty(self).expect("every key is a text")
    }

    /// Reads the answer of a server. The text of the policy must have the SHA-256 that the description names.
    pub fn parse(json: &[u8]) -> Result<Self, DescriptionError> {
        if json.len() > DESCRIPTION_BYTES {
            return Err(DescriptionError::TooLong);
        }
        let read: Self = serde_json::from_slice(json)?;
        if read.description != FORMAT {
            return Err(DescriptionError::Format(read.description));
        }
        check_version(&read.policy.version).map_err(DescriptionError::Policy)?;
        if read.policy.text.trim().is_empty() {
            return Err(DescriptionError::Policy("it has no text".to_owned()));
        }
        if read.policy.sha256 != sha256(&read.policy.text) {
            let reason = "its text does not have the SHA-256 that it names";
            return Err(DescriptionError::Policy(reason.to_owned()));
        }
        Ok(read)
    }
}

/// Returns the SHA-256 of a text in hexadecimal digits.
pub(crate) fn sha256(text: &str) -> String {
    let mut digits = String::new();
    for byte in Sha256::digest(text) {
        let _ = write!(digits, "{byte:02x}");
    }
    digits
}
