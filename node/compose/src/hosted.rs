//! An experiment in its own directory, with a manifest and a program.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use groma_manifest::{Manifest, Probes, Run, Transport};

use crate::ports::{HostedPort, check, free};
use crate::probe::Probe;
use crate::process::Program;
use crate::{ComposeError, Config, Endpoint};

/// An experiment in its own directory, with a manifest of format 2 whose `run.command` starts the server.
#[derive(Debug, Clone)]
pub struct Hosted {
    /// The absolute path of the manifest.
    path: PathBuf,
    manifest: Manifest,
    run: Run,
}

/// The name of the manifest in the directory.
const MANIFEST: &str = "experiment.toml";

/// The default of `run.stop_seconds`.
const STOP: Duration = Duration::from_secs(10);
/// The default of `probes.start_seconds`.
const START: Duration = Duration::from_secs(30);

impl Hosted {
    /// Reads the manifest in `dir` and checks that it defines how the experiment is started.
    pub fn load(dir: &Path) -> Result<Self, ComposeError> {
        let given = dir.join(MANIFEST);
        let path = std::path::absolute(&given).map_err(|source| ComposeError::Directory {
            path: given.clone(),
            source,
        })?;
        let manifest = Manifest::load(&path).map_err(|source| ComposeError::Manifest {
            path: path.clone(),
            source,
        })?;
        let missing = |missing| ComposeError::NotRunnable {
            path: path.clone(),
            missing,
        };
        let run = manifest.run.clone();
        let run = run.ok_or_else(|| missing("manifest = 2 and [run] command"))?;
        let program = run.command.first();
        let program = program.ok_or_else(|| missing("[run] command"))?;
        if !is_program(program, path.parent().unwrap_or(Path::new("/"))) {
            return Err(ComposeError::NoProgram {
                program: program.clone(),
                path,
            });
        }
        Ok(Self {
            path,
            manifest,
            run,
        })
    }

    /// Returns the manifest.
    pub fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    /// Finds free numbers for the ports that have none, checks the others, and returns the program with its environment.
    ///
    /// `manifest` has the policy of the attached sidecars.
    pub(crate) fn program(
        &self,
        manifest: &Manifest,
        ports: &mut [HostedPort],
        config: &Config,
    ) -> Result<(Program, Vec<Endpoint>), ComposeError> {
        let name = manifest.name.as_str();
        let (listen, dirs) = (config.listen, &config.dirs);
        for port in ports.iter_mut() {
            check(name, port, listen)?;
        }
        let any = SocketAddr::new(Ipv4Addr::LOCALHOST.into(), 0);
        let admin = free(any, Transport::Tcp).map_err(|source| ComposeError::Listen {
            socket: format!("{name}/admin"),
            address: any,
            source,
        })?;
        let mut endpoints: Vec<Endpoint> = ports
            .iter()
            .map(|port| Endpoint {
                name: port.name.clone(),
                service: port.service.clone(),
                address: SocketAddr::new(listen, port.port),
            })
            .collect();
        endpoints.push(Endpoint {
            name: "admin".to_owned(),
            service: "http".to_owned(),
            address: admin,
        });
        let seconds = |seconds: Option<u64>, default| seconds.map_or(default, Duration::from_secs);
        let probes = self.manifest.probes.as_ref();
        let program = Program {
            name: name.to_owned(),
            command: self.run.command.clone(),
            dir: self.path.parent().unwrap_or(Path::new("/")).to_owned(),
            data_dir: dirs.experiment(name),
            run_dir: dirs.run(name),
            environment: self.environment(manifest, ports, admin, config),
            probe: probe(probes, ports, listen, admin),
            start: seconds(probes.and_then(|it| it.start_seconds), START),
            stop: seconds(self.run.stop_seconds, STOP),
        };
        Ok((program, endpoints))
    }
}

/// The file with the text of the policy, in the experiment's `run` directory.
pub(crate) const POLICY_FILE: &str = "policy.txt";
/// The file with the description that the experiment can publish.
pub(crate) const DESCRIPTION_FILE: &str = "experiment.json";

impl Hosted {
    /// `docs/hosting.md` describes these variables.
    fn environment(
        &self,
        manifest: &Manifest,
        ports: &[HostedPort],
        admin: SocketAddr,
        config: &Config,
    ) -> BTreeMap<String, OsString> {
        let name = manifest.name.as_str();
        let dirs = &config.dirs;
        let run_dir = dirs.run(name);
        let mut environment: BTreeMap<String, OsString> = [
            ("GROMA_EXPERIMENT", name.into()),
            ("GROMA_DATADIR", dirs.experiment(name).into()),
            ("GROMA_UUID_PREFIX_FILE", dirs.uuid_prefix().into()),
            ("GROMA_EVENT_SOCKET", dirs.event_socket(name).into()),
            ("GROMA_MANIFEST", self.path.clone().into()),
            ("GROMA_LISTEN", config.listen.to_string().into()),
            ("GROMA_MAX_TESTS", config.max_tests.to_string().into()),
            (
                "GROMA_REQUIRE_POLICY",
                u8::from(config.require_policy).to_string().into(),
            ),
            ("GROMA_ADMIN_ADDRESS", admin.to_string().into()),
            (
                "GROMA_POLICY_VERSION",
                manifest.consent.policy_version.clone().into(),
            ),
            ("GROMA_POLICY_FILE", run_dir.join(POLICY_FILE).into()),
            (
                "GROMA_DESCRIPTION_FILE",
                run_dir.join(DESCRIPTION_FILE).into(),
            ),
        ]
        .map(|(name, value): (&str, OsString)| (name.to_owned(), value))
        .into();
        for port in ports {
            let variable = format!("GROMA_PORT_{}", port.name.to_ascii_uppercase());
            environment.insert(variable, port.port.to_string().into());
        }
        environment
    }
}

fn probe(
    probes: Option<&Probes>,
    ports: &[HostedPort],
    listen: IpAddr,
    admin: SocketAddr,
) -> Probe {
    let Some(probes) = probes else {
        return Probe::Runs;
    };
    if let Some(path) = &probes.ready_path {
        return Probe::Page(admin, path.clone());
    }
    let port = probes
        .ready_port
        .as_ref()
        .and_then(|name| ports.iter().find(|port| port.name == *name));
    match port {
        Some(port) => Probe::Port(SocketAddr::new(listen, port.port)),
        None => Probe::Runs,
    }
}

/// Returns whether a program exists and can be executed: in the directory of the manifest if it has a `/`, else in one of the directories of `PATH`.
fn is_program(program: &str, dir: &Path) -> bool {
    if program.contains('/') {
        return is_executable(&dir.join(program));
    }
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).any(|dir| is_executable(&dir.join(program)))
}

fn is_executable(path: &Path) -> bool {
    fs::metadata(path).is_ok_and(|it| it.is_file() && it.permissions().mode() & 0o111 != 0)
}
