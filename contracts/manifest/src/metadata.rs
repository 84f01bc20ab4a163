//! The metadata of a client that may be stored.

use groma_schema::Pattern;

/// One parameter that clients may send and that is stored with the result.
///
/// The pattern must match the whole value. The metadata of a client is published
/// without limit, so only values that a rule allows are stored.
#[derive(Debug, Clone)]
pub struct MetadataRule {
    /// The parameter's name.
    pub key: String,
    /// The longest value in bytes.
    pub max_length: usize,
    pattern: Pattern,
}

impl MetadataRule {
    pub(crate) fn new(key: String, max_length: usize, pattern: Pattern) -> Self {
        Self {
            key,
            max_length,
            pattern,
        }
    }

    /// Whether a value may be stored.
    pub fn accepts(&self, value: &str) -> bool {
        value.len() <= self.max_length && self.pattern.matches(value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_must_match_from_end_to_end_and_fit() {
        let rule = MetadataRule::new(
            "client_os".into(),
            8,
            Pattern::new("[a-z]+|[0-9]+").unwrap(),
        );
        assert!(rule.accepts("linux"));
        for bad in ["linux1", "1linux", "", "linux\n", "abcdefghi"] {
            assert!(!rule.accepts(bad), "{bad:?} was accepted");
        }
    }
}
