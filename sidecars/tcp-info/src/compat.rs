//! The flags and environment variables of M-Lab's tcp-info, so that a pod's manifest needs no change.

use std::path::{Path, PathBuf};

use groma_service::env_name;

use crate::{Anonymize, Prefix, Scope};

/// What M-Lab's flags say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Compat {
    /// `-output`: the datatype's directory, `<spool>/<experiment>/tcpinfo`.
    pub output: PathBuf,
    /// `-tcpinfo.eventsocket`.
    pub event_socket: Option<PathBuf>,
    /// `-exclude-srcport`, given several times or with commas: local ports. All 16 bits of them.
    pub excluded_local_ports: Vec<u16>,
    /// `-exclude-dstip`: remote addresses; prefixes are taken too.
    pub excluded_remotes: Vec<Prefix>,
    /// `-uuid-prefix-file`.
    pub uuid_prefix_file: Option<PathBuf>,
    /// `-anonymize.ip`.
    pub anonymize: Anonymize,
    /// `-prometheusx.listen-address`.
    pub listen_address: String,
}

/// Flags that mean nothing.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CompatError {
    /// A flag that tcp-info does not have.
    #[error("unknown flag {0}")]
    Unknown(String),
    /// A flag without its value.
    #[error("flag -{0} needs a value")]
    NoValue(String),
    /// A value that cannot be used. M-Lab's recorder ignores those, and so records what it was told not to.
    #[error("flag -{flag}: {reason}")]
    Value {
        /// The flag, without its hyphen.
        flag: &'static str,
        /// What is wrong.
        reason: String,
    },
}

const FLAGS: [&str; 9] = [
    "output",
    "tcpinfo.eventsocket",
    "exclude-srcport",
    "exclude-dstip",
    "uuid-prefix-file",
    "anonymize.ip",
    "prometheusx.listen-address",
    // Accepted and of no effect: how often to poll at most, and a Go trace.
    "reps",
    "trace",
];

/// Reads arguments in Go's syntax (`-x=v`, `-x v`, `--x v`); for a flag that is not given the environment is asked
/// (`-tcpinfo.eventsocket` is `TCPINFO_EVENTSOCKET`). The command line wins.
pub fn parse(
    arguments: &[String],
    environment: impl Fn(&str) -> Option<String>,
) -> Result<Compat, CompatError> {
    let given = split(arguments)?;
    let values = |flag: &'static str| -> Vec<String> {
        let mut values: Vec<_> = given
            .iter()
            .filter(|(name, _)| *name == flag)
            .map(|(_, value)| value.clone())
            .collect();
        if values.is_empty() {
            values.extend(environment(&env_name(flag)));
        }
        values
    };
    let last = |flag| values(flag).pop().filter(|value| !value.is_empty());
    let output = PathBuf::from(last("output").unwrap_or_else(|| ".".to_owned()));
    Ok(Compat {
        output,
        event_socket: last("tcpinfo.eventsocket").map(PathBuf::from),
        excluded_local_ports: list("exclude-srcport", &values("exclude-srcport"))?,
        excluded_remotes: list("exclude-dstip", &values("exclude-dstip"))?,
        uuid_prefix_file: last("uuid-prefix-file").map(PathBuf::from),
        anonymize: match last("anonymize.ip") {
            Some(mode) => mode.parse().map_err(value_error("anonymize.ip"))?,
            None => Anonymize::None,
        },
        listen_address: last("prometheusx.listen-address").unwrap_or_else(|| ":9990".to_owned()),
    })
}

impl Compat {
    /// The experiment's directory and name: what stands above `-output`, which must end in `tcpinfo`.
    pub fn experiment(&self) -> Result<(&Path, groma_spool::Name), CompatError> {
        let error = |reason: String| CompatError::Value {
            flag: "output",
            reason,
        };
        let shape = || {
            error(format!(
                "{} is not <spool>/<experiment>/tcpinfo",
                self.output.display()
            ))
        };
        if self.output.file_name().is_none_or(|name| name != "tcpinfo") {
            return Err(shape());
        }
        let dir = self.output.parent().ok_or_else(shape)?;
        let name = dir
            .file_name()
            .and_then(|name| name.to_str())
            .ok_or_else(shape)?;
        Ok((
            dir,
            name.parse()
                .map_err(|reason: groma_spool::NameError| error(reason.to_string()))?,
        ))
    }

    /// The whole namespace but for the exclusions, as M-Lab's recorder takes it.
    pub fn scope(&self) -> Scope {
        Scope::Whole {
            excluded_local_ports: self.excluded_local_ports.clone(),
            excluded_remotes: self.excluded_remotes.clone(),
        }
    }
}

fn split(arguments: &[String]) -> Result<Vec<(&'static str, String)>, CompatError> {
    let mut found = Vec::new();
    let mut rest = arguments.iter();
    while let Some(argument) = rest.next() {
        let unknown = || CompatError::Unknown(argument.clone());
        let text = argument.strip_prefix('-').ok_or_else(unknown)?;
        let text = text.strip_prefix('-').unwrap_or(text);
        let (name, value) = match text.split_once('=') {
            Some((name, value)) => (name, Some(value.to_owned())),
            None => (text, None),
        };
        let flag = FLAGS
            .into_iter()
            .find(|flag| *flag == name)
            .ok_or_else(unknown)?;
        // Go's boolean flags take no value from the next argument.
        let value = value.or_else(|| match flag {
            "trace" => Some("true".to_owned()),
            _ => rest.next().cloned(),
        });
        found.push((
            flag,
            value.ok_or_else(|| CompatError::NoValue(name.to_owned()))?,
        ));
    }
    Ok(found)
}

fn list<T: std::str::FromStr<Err: std::fmt::Display>>(
    flag: &'static str,
    values: &[String],
) -> Result<Vec<T>, CompatError> {
    let items = values
        .iter()
        .flat_map(|value| value.split(','))
        .filter(|item| !item.is_empty());
    items
        .map(|item| {
            item.trim()
                .parse()
                .map_err(|error| value_error(flag)(format!("{item:?}: {error}")))
        })
        .collect()
}

fn value_error<E: std::fmt::Display>(flag: &'static str) -> impl Fn(E) -> CompatError {
    move |error| CompatError::Value {
        flag,
        reason: error.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(line: &str, environment: &[(&str, &str)]) -> Result<Compat, CompatError> {
        let arguments: Vec<String> = line.split_whitespace().map(str::to_owned).collect();
        parse(&arguments, |name| {
            let found = environment.iter().find(|(key, _)| *key == name);
            found.map(|(_, value)| (*value).to_owned())
        })
    }

    #[test]
    fn the_production_line_is_understood() {
        let compat = read(
            "-output=/var/spool/ndt/tcpinfo --tcpinfo.eventsocket /run/e.sock -exclude-srcport=9100,9090 \
             -exclude-srcport 65535 -exclude-dstip=192.0.2.1,2001:db8::1 -uuid-prefix-file=/u/prefix -trace -reps=0",
            &[("ANONYMIZE_IP", "netblock"), ("OUTPUT", "/elsewhere"), ("PROMETHEUSX_LISTEN_ADDRESS", "10.0.0.1:9991")],
        )
        .unwrap();
        let (dir, name) = compat.experiment().unwrap();
        assert_eq!((dir, name.as_str()), (Path::new("/var/spool/ndt"), "ndt"));
        assert_eq!(compat.event_socket, Some(PathBuf::from("/run/e.sock")));
        assert_eq!(compat.excluded_local_ports, [9100, 9090, 65_535]);
        assert_eq!(compat.excluded_remotes.len(), 2);
        assert_eq!(
            (compat.anonymize, &compat.listen_address[..]),
            (Anonymize::Netblock, "10.0.0.1:9991")
        );
    }

    #[test]
    fn what_cannot_be_done_is_refused() {
        for line in [
            "-unknown=1",
            "output",
            "-output",
            "-exclude-srcport=65536",
            "-exclude-srcport=http",
            "-exclude-dstip=example.org",
            "-anonymize.ip=maybe",
        ] {
            assert!(read(line, &[]).is_err(), "{line}");
        }
        assert!(
            read("-output=/var/spool/ndt", &[])
                .unwrap()
                .experiment()
                .is_err()
        );
        assert!(
            read("-output=/var/spool/N-D/tcpinfo", &[])
                .unwrap()
                .experiment()
                .is_err()
        );
    }
}
