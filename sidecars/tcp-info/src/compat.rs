//! The flags and environment variables of M-Lab's tcp-info, so that a pod's manifest needs no change.

use std::path::{Path, PathBuf};

use groma_service::{FlagNames, GoFlagError, GoFlags, value_error};

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

const FLAGS: &FlagNames = &[
    ("output", false),
    ("tcpinfo.eventsocket", false),
    ("exclude-srcport", false),
    ("exclude-dstip", false),
    ("uuid-prefix-file", false),
    ("anonymize.ip", false),
    ("prometheusx.listen-address", false),
    // Accepted and of no effect: how often to poll at most, and a Go trace.
    ("reps", false),
    ("trace", true),
];

/// Reads arguments in Go's syntax (`-x=v`, `-x v`, `--x v`); for a flag that is not given the environment is asked
/// (`-tcpinfo.eventsocket` is `TCPINFO_EVENTSOCKET`). The command line wins.
pub fn parse(
    arguments: &[String],
    environment: impl Fn(&str) -> Option<String>,
) -> Result<Compat, GoFlagError> {
    let flags = GoFlags::parse(arguments, FLAGS, environment)?;
    let last = |flag| flags.last(flag);
    let output = PathBuf::from(last("output").unwrap_or_else(|| ".".to_owned()));
    Ok(Compat {
        output,
        event_socket: last("tcpinfo.eventsocket").map(PathBuf::from),
        excluded_local_ports: list("exclude-srcport", &flags.list("exclude-srcport"))?,
        excluded_remotes: list("exclude-dstip", &flags.list("exclude-dstip"))?,
        uuid_prefix_file: last("uuid-prefix-file").map(PathBuf::from),
        anonymize: match last("anonymize.ip") {
            Some(mode) => mode.parse().map_err(value_error("anonymize.ip"))?,
            None => Anonymize::None,
        },
        listen_address: last("prometheusx.listen-address")
            .unwrap_or_else(|| "127.0.0.1:9990".to_owned()),
    })
}

impl Compat {
    /// Returns the experiment's directory and name: the parent of `-output`, which must end in `tcpinfo`.
    pub fn experiment(&self) -> Result<(&Path, groma_spool::Name), GoFlagError> {
        let error = |reason: String| GoFlagError::Value {
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

    /// Returns the whole namespace without the exclusions, as M-Lab's recorder has it.
    pub fn scope(&self) -> Scope {
        Scope::Whole {
            excluded_local_ports: self.excluded_local_ports.clone(),
            excluded_remotes: self.excluded_remotes.clone(),
        }
    }
}

/// M-Lab's recorder ignores items that it cannot read, and then records connections that the operator excluded.
fn list<T: std::str::FromStr<Err: std::fmt::Display>>(
    flag: &'static str,
    items: &[String],
) -> Result<Vec<T>, GoFlagError> {
    let read = |item: &String| {
        item.parse()
            .map_err(|error| value_error(flag)(format!("{item:?}: {error}")))
    };
    items.iter().map(read).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(line: &str, environment: &[(&str, &str)]) -> Result<Compat, GoFlagError> {
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
