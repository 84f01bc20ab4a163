//! Which object names an archive accepts.

/// The rule that an object name violates.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    /// Nothing to name, or an empty part: a leading, doubled or trailing slash.
    #[error("a part is empty")]
    EmptyPart,
    /// `.`, `..` or a hidden name; hidden names are the store's own.
    #[error("a part begins with a dot")]
    LeadingDot,
    /// A control character, NUL included.
    #[error("it has a control character")]
    Control,
    /// More than 1024 bytes (the limit of Cloud Storage), or a part over 255 bytes (the limit of Linux file systems).
    #[error("it is too long")]
    TooLong,
}

const NAME_MAX_BYTES: usize = 1024;
const PART_MAX_BYTES: usize = 255;

/// Accepts names that mean the same in a bucket and in a directory: non-empty parts joined by `/`, none hidden,
/// no control character, at most 1024 bytes with parts of at most 255.
pub fn check_name(name: &str) -> Result<(), NameError> {
    if name.len() > NAME_MAX_BYTES {
        return Err(NameError::TooLong);
    }
    if name.chars().any(char::is_control) {
        return Err(NameError::Control);
    }
    name.split('/').try_for_each(|part| match part {
        "" => Err(NameError::EmptyPart),
        _ if part.starts_with('.') => Err(NameError::LeadingDot),
        _ if part.len() > PART_MAX_BYTES => Err(NameError::TooLong),
        _ => Ok(()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names() {
        let long_part = "x".repeat(256);
        let long_name = "abc/".repeat(256) + "d";
        let cases = [
            (
                "ndt/ndt7/2020/03/18/20200318T003853.425987Z-ndt7-mlab3-syd03-ndt.tgz",
                Ok(()),
            ),
            ("a", Ok(())),
            ("autoload/v2/tables/ndt/ndt7.table.json", Ok(())),
            ("", Err(NameError::EmptyPart)),
            ("/etc/passwd", Err(NameError::EmptyPart)),
            ("a//b", Err(NameError::EmptyPart)),
            ("a/", Err(NameError::EmptyPart)),
            ("a/../../b", Err(NameError::LeadingDot)),
            ("./a", Err(NameError::LeadingDot)),
            (".tmp/a", Err(NameError::LeadingDot)),
            ("a/.hidden", Err(NameError::LeadingDot)),
            ("a\0b", Err(NameError::Control)),
            ("a\nb", Err(NameError::Control)),
            (long_part.as_str(), Err(NameError::TooLong)),
            (long_name.as_str(), Err(NameError::TooLong)),
        ];
        for (name, expected) in cases {
            assert_eq!(check_name(name), expected, "{name:?}");
        }
    }
}
