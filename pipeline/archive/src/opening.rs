//! The settings with which an archive is opened.

use std::fmt;
use std::time::Duration;

/// The settings with which an archive is opened.
#[derive(Clone)]
pub struct Opening {
    /// Creates a missing directory, and removes the unfinished files of writers that died.
    pub create: bool,
    /// Accepts a bucket that overwrites objects in spite of the condition on a put. The store then checks the name before each
    /// put; if two writers put the same name at once, the later one wins.
    pub weak: bool,
    /// A request to a bucket fails if no byte moves for this time.
    pub stall: Duration,
    /// Names and values of the environment variables with credentials and endpoints.
    pub variables: Vec<(String, String)>,
}

impl fmt::Debug for Opening {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The variables contain credentials.
        f.debug_struct("Opening")
            .field("create", &self.create)
            .field("weak", &self.weak)
            .field("stall", &self.stall)
            .finish_non_exhaustive()
    }
}

impl Opening {
    /// Returns the settings for reading, with the environment of the process.
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

    /// Returns the value of an environment variable, unless it is empty.
    #[cfg(feature = "gcs")]
    pub(crate) fn variable(&self, wanted: &str) -> Option<&str> {
        let found = self.variables.iter().find(|(name, _)| name == wanted);
        found
            .map(|(_, value)| value.as_str())
            .filter(|value| !value.is_empty())
    }

    /// Returns the settings for putting and reading, with the environment of the process.
    pub fn to_write() -> Opening {
        Opening {
            create: true,
            ..Opening::to_read()
        }
    }
}
