//! Arguments in the syntax of M-Lab's programs, so that a pod's manifest needs no change.

use crate::env_name;

/// Arguments that mean nothing.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum GoFlagError {
    /// A flag that the program does not have.
    #[error("unknown flag {0}")]
    Unknown(String),
    /// A flag without its value.
    #[error("flag -{0} needs a value")]
    NoValue(String),
    /// A value that cannot be used.
    #[error("flag -{flag}: {reason}")]
    Value {
        /// The flag, without its hyphen.
        flag: &'static str,
        /// The reason.
        reason: String,
    },
}

/// The values that flags were given, on the command line or else in the environment (`-archive_size_threshold` is
/// `ARCHIVE_SIZE_THRESHOLD`).
#[derive(Debug, Clone)]
pub struct GoFlags<E> {
    given: Vec<(&'static str, String)>,
    environment: E,
}

/// The flags of a program: their names, and of those whether they are switches, which need no value.
pub type FlagNames = [(&'static str, bool)];

impl<E: Fn(&str) -> Option<String>> GoFlags<E> {
    /// Splits arguments in Go's syntax: `-x=v`, `-x v`, `--x v`; `-x` alone for a switch.
    pub fn parse(
        arguments: &[String],
        names: &'static FlagNames,
        environment: E,
    ) -> Result<Self, GoFlagError> {
        let mut given = Vec::new();
        let mut rest = arguments.iter();
        while let Some(argument) = rest.next() {
            let unknown = || GoFlagError::Unknown(argument.clone());
            let text = argument.strip_prefix('-').ok_or_else(unknown)?;
            let text = text.strip_prefix('-').unwrap_or(text);
            let (name, value) = match text.split_once('=') {
                Some((name, value)) => (name, Some(value.to_owned())),
                None => (text, None),
            };
            let (flag, is_switch) = names
                .iter()
                .find(|(flag, _)| *flag == name)
                .ok_or_else(unknown)?;
            let value = match value {
                None if *is_switch => Some("true".to_owned()),
                None => rest.next().cloned(),
                value => value,
            };
            let value = value.ok_or_else(|| GoFlagError::NoValue(name.to_owned()))?;
            given.push((*flag, value));
        }
        Ok(Self { given, environment })
    }

    /// Which of these flags the command line gave.
    pub fn given(&self, flags: &[&'static str]) -> Vec<&'static str> {
        let is_given = |flag: &&&str| self.given.iter().any(|(name, _)| name == *flag);
        flags.iter().filter(is_given).copied().collect()
    }

    /// All values of a flag, in their order; of the environment one.
    pub fn all(&self, flag: &'static str) -> Vec<String> {
        let of_flag = self.given.iter().filter(|(name, _)| *name == flag);
        let mut values: Vec<_> = of_flag.map(|(_, value)| value.clone()).collect();
        if values.is_empty() {
            values.extend((self.environment)(&env_name(flag)));
        }
        values
    }

    /// All values of a flag that may be given several times, or once with commas.
    pub fn list(&self, flag: &'static str) -> Vec<String> {
        let values = self.all(flag);
        let items = values.iter().flat_map(|value| value.split(','));
        let items = items.map(str::trim).filter(|item| !item.is_empty());
        items.map(str::to_owned).collect()
    }

    /// The last value of a flag, unless it is empty.
    pub fn last(&self, flag: &'static str) -> Option<String> {
        self.all(flag).pop().filter(|value| !value.is_empty())
    }

    /// The last value, read by `read`; `default` if there is none.
    pub fn read<T, F: std::fmt::Display>(
        &self,
        flag: &'static str,
        default: T,
        read: impl FnOnce(&str) -> Result<T, F>,
    ) -> Result<T, GoFlagError> {
        self.last(flag)
            .map_or(Ok(default), |value| read(&value).map_err(value_error(flag)))
    }
}

/// Reads a switch as Go does.
pub fn parse_switch(text: &str) -> Result<bool, &'static str> {
    match text {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Ok(true),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Ok(false),
        _ => Err("neither true nor false"),
    }
}

/// Says of which flag an error is.
pub fn value_error<F: std::fmt::Display>(flag: &'static str) -> impl Fn(F) -> GoFlagError {
    move |error| GoFlagError::Value {
        flag,
        reason: error.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NAMES: &FlagNames = &[("a", false), ("b.c", false), ("v", true)];

    type Environment = fn(&str) -> Option<String>;

    fn parse(line: &str) -> Result<GoFlags<Environment>, GoFlagError> {
        let arguments: Vec<String> = line.split_whitespace().map(str::to_owned).collect();
        GoFlags::parse(&arguments, NAMES, |name| {
            (name == "B_C").then(|| "of the environment".to_owned())
        })
    }

    #[test]
    fn go_syntax_is_understood_and_the_command_line_wins() {
        let flags = parse("-a=1,2 --a 3 -v").unwrap();
        assert_eq!(flags.list("a"), ["1", "2", "3"]);
        assert_eq!(flags.last("b.c").unwrap(), "of the environment");
        assert_eq!(flags.given(&["a", "b.c", "v"]), ["a", "v"]);
        assert_eq!(flags.read("v", false, parse_switch), Ok(true));
        assert_eq!(parse("-b.c x").unwrap().last("b.c").unwrap(), "x");
        assert_eq!(
            parse("-v=false").unwrap().read("v", true, parse_switch),
            Ok(false)
        );
    }

    #[test]
    fn what_cannot_be_meant_is_refused() {
        assert_eq!(
            parse("-x=1").unwrap_err(),
            GoFlagError::Unknown("-x=1".to_owned())
        );
        assert_eq!(
            parse("a").unwrap_err(),
            GoFlagError::Unknown("a".to_owned())
        );
        assert_eq!(
            parse("-a").unwrap_err(),
            GoFlagError::NoValue("a".to_owned())
        );
        let error = parse("-a=x")
            .unwrap()
            .read("a", 1, str::parse::<u32>)
            .unwrap_err();
        assert!(error.to_string().starts_with("flag -a: "), "{error}");
    }
}
