use regex_lite::Regex;
use serde::{Deserialize, Serialize};

/// The privacy class of a field: what it may reveal about a person, a place or an operator's equipment.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Privacy {
    /// Somebody looked, and it reveals nothing.
    None,
    /// Address of the person who measures, with or without a port.
    ClientIp,
    /// Address of the measurement server.
    ServerIp,
    /// Address of a router on the way.
    RouterIp,
    /// Names and serial numbers of hardware and software on the server.
    Inventory,
    /// Latitude or longitude of a city, never of a house.
    CityCoordinate,
    /// Text that a third party chose, within bounds.
    Text(Text),
}

/// The bounds of a free text.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Text {
    /// Longest value, in Unicode characters.
    pub max_length: usize,
    /// The expression that the whole value must match.
    pub pattern: Pattern,
    /// Values that are refused although they match: the name of a secret, for instance. Neither case nor white space
    /// around a value counts.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub forbidden: Vec<String>,
}

impl Text {
    /// Whether `value` keeps to the length and to the pattern, and is not forbidden.
    pub fn accepts(&self, value: &str) -> bool {
        !self.is_too_long(value) && self.pattern.matches(value) && !self.forbids(value)
    }

    pub(crate) fn forbids(&self, value: &str) -> bool {
        let same = |word: &String| word.eq_ignore_ascii_case(value.trim());
        self.forbidden.iter().any(same)
    }

    pub(crate) fn is_too_long(&self, value: &str) -> bool {
        value.chars().nth(self.max_length).is_some()
    }
}

/// A regular expression that must match a value as a whole, as if it stood between `^` and `$`.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Pattern {
    source: String,
    regex: Regex,
}

impl Pattern {
    /// Compiles `source` (syntax of the `regex` crate without Unicode classes).
    pub fn new(source: &str) -> Result<Self, regex_lite::Error> {
        // Alone first: `a)(b` must not become valid by standing in our parentheses.
        Regex::new(source)?;
        let regex = Regex::new(&format!("^(?:{source})$"))?;
        Ok(Self {
            source: source.to_owned(),
            regex,
        })
    }

    /// The expression as the schema file has it.
    pub fn as_str(&self) -> &str {
        &self.source
    }

    /// Whether all of `value` matches.
    pub fn matches(&self, value: &str) -> bool {
        self.regex.is_match(value)
    }
}

impl PartialEq for Pattern {
    fn eq(&self, other: &Self) -> bool {
        self.source == other.source
    }
}

impl Eq for Pattern {}

impl TryFrom<String> for Pattern {
    type Error = regex_lite::Error;

    fn try_from(source: String) -> Result<Self, Self::Error> {
        Self::new(&source)
    }
}

impl From<Pattern> for String {
    fn from(pattern: Pattern) -> Self {
        pattern.source
    }
}
