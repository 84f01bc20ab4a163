use crate::cursor::Cursor;
use crate::error::Fault;
use crate::label::is_lower_or_digit;
use std::fmt;

/// Where the autoloaded objects of one owner begin: `<prefix>[/<organization>]`.
///
/// The prefix `autoload/v1` is not followed by an organization; every other prefix is followed by exactly one.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Root {
    pub(crate) prefix: String,
    pub(crate) organization: Option<String>,
}

impl Root {
    pub(crate) fn new(prefix: &str, organization: Option<&str>) -> Result<Self, Fault> {
        let components = Cursor::new(prefix, 256, b"/")?.components()?;
        match (is_shared(&components), organization) {
            (true, Some(_)) => Err(Fault::new(
                "organization",
                prefix.len(),
                "autoload/v1 has none",
            )),
            (false, None) => Err(Fault::new(
                "organization",
                prefix.len(),
                "required outside autoload/v1",
            )),
            (true, None) => Ok(Self {
                prefix: prefix.to_owned(),
                organization: None,
            }),
            (false, Some(text)) => {
                // Read again what it prints as: a version in the place of the organization must not slip through.
                let whole = format!("{prefix}/{text}");
                let components = Cursor::new(&whole, 512, b"/")?.components()?;
                let root = Self::read(
                    &components,
                    Cursor {
                        text: "",
                        at: whole.len(),
                    },
                )?;
                if root.prefix == prefix {
                    Ok(root)
                } else {
                    Err(bad_organization(prefix.len()))
                }
            }
        }
    }

    /// Reads the directories above the experiment; `next` is where the experiment begins.
    pub(crate) fn read(components: &[Cursor<'_>], next: Cursor<'_>) -> Result<Self, Fault> {
        if is_shared(components) {
            return Ok(Self {
                prefix: join(components),
                organization: None,
            });
        }
        let [prefix @ .., last] = components else {
            return next.fault("prefix", "missing");
        };
        if prefix.is_empty()
            || (prefix.last().is_some_and(|c| c.text == "autoload") && is_version(last.text))
        {
            return next.fault("organization", "missing before the experiment");
        }
        Ok(Self {
            prefix: join(prefix),
            organization: Some(read_organization(*last)?),
        })
    }
}

pub(crate) fn read_organization(from: Cursor<'_>) -> Result<String, Fault> {
    let good = !from.text.is_empty() && from.text.bytes().all(is_lower_or_digit);
    if good {
        Ok(from.text.to_owned())
    } else {
        Err(bad_organization(from.at))
    }
}

fn bad_organization(at: usize) -> Fault {
    Fault::new("organization", at, "must match [a-z0-9]+")
}

pub(crate) fn join(components: &[Cursor<'_>]) -> String {
    components
        .iter()
        .map(|component| component.text)
        .collect::<Vec<_>>()
        .join("/")
}

fn is_shared(components: &[Cursor<'_>]) -> bool {
    components
        .windows(2)
        .any(|pair| (pair[0].text, pair[1].text) == ("autoload", "v1"))
}

fn is_version(text: &str) -> bool {
    text.strip_prefix('v')
        .is_some_and(|digits| !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit()))
}

impl fmt::Display for Root {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.prefix)?;
        self.organization
            .as_ref()
            .map_or(Ok(()), |organization| write!(f, "/{organization}"))
    }
}
