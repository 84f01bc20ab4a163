//! Starts and stops experiments with everything around them.

use std::fs;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use groma_archive::Store;
use groma_manifest::{Manifest, Operator, Transport};
use groma_names::Node as NodeName;
use groma_publish::{Config as PublishConfig, Form, RestartablePublisher};
use groma_service::{GaveUp, Lifecycle, Registries, RestartPolicy};
use groma_sidecar::{Running, Setup as SidecarSetup, Sidecar};
use groma_spool::ExperimentDir;
use groma_uuid::Prefix;
use prometheus_client::registry::Registry;
use tokio::sync::mpsc::UnboundedSender;

use crate::hosted::{DESCRIPTION_FILE, POLICY_FILE};
use crate::ports::{HostedPort, PortChoice, Wanted, ports_of};
use crate::process::Program;
use crate::{
    ComposeError, Dirs, Hosted, InProcess, RunningExperiment, Setup, Worker, attach,
    bundle_metadata, datatypes, leftover, published_datatypes,
};

/// The settings of a node.
#[derive(Clone)]
pub struct Config {
    /// The directories; absolute, because experiments run in their own directories.
    pub dirs: Dirs,
    /// The archive.
    pub store: Arc<dyn Store>,
    /// The organization in the names of JSON-line objects.
    pub organization: String,
    /// The bundle format of every datatype; `None` uses the format in its manifest.
    pub form: Option<Form>,
    /// A bundle is archived when its oldest file is this old.
    pub flush_age: Duration,
    /// A bundle is archived when it holds this many bytes.
    pub flush_bytes: u64,
    /// Bytes set aside on the disk, for all experiments together. While less than that is free beside them, no tests are
    /// admitted.
    pub reserve_bytes: u64,
    /// The address on which hosted experiments listen.
    pub listen: IpAddr,
    /// Numbers of ports instead of those in the manifests.
    pub ports: Vec<PortChoice>,
    /// Sockets that the process opens beside those of the experiments: a name, and the number.
    pub taken: Vec<(String, Transport, u16)>,
    /// Whether hosted experiments must refuse tests without the version of the accepted policy.
    pub require_policy: bool,
    /// The largest number of tests at one time of each hosted experiment.
    pub max_tests: usize,
    /// The operator, whose policy adds to those of the manifests.
    pub operator: Option<Operator>,
}

/// An address on which an experiment listens.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Endpoint {
    /// The name of the port in the manifest, or `admin`.
    pub name: String,
    /// The protocol.
    pub service: String,
    /// The address.
    pub address: SocketAddr,
}

/// A service that this machine cannot run.
#[derive(Debug, Clone, serde::Serialize)]
pub struct Off {
    /// The name of the service.
    pub part: String,
    /// The consequence of running without it.
    pub lost: String,
    /// The step that makes it available.
    pub remedy: String,
}

/// Running experiments, each with its sidecars and publisher.
pub struct Node {
    experiments: Vec<RunningSet>,
    off: Vec<Off>,
    lifecycle: Lifecycle,
}

/// One running experiment, with its sidecars and publisher.
struct RunningSet {
    manifest: Manifest,
    endpoints: Vec<Endpoint>,
    server: Server,
    sidecars: Vec<(String, Box<dyn Running>)>,
    publisher: Worker,
}

enum Server {
    InProcess(Box<dyn RunningExperiment>),
    Process {
        worker: Worker,
        was_ready: Arc<AtomicBool>,
        start: Duration,
        begun: Instant,
    },
}

/// A server that was started, and its sockets.
struct Started {
    server: Server,
    endpoints: Vec<Endpoint>,
    ports: Vec<(Transport, u16)>,
}

/// An experiment that was checked and has not started yet.
enum Plan<'a> {
    InProcess(&'a dyn InProcess),
    Process(&'a Hosted, Vec<HostedPort>),
}

impl Plan<'_> {
    fn manifest(&self) -> &Manifest {
        match self {
            Self::InProcess(experiment) => experiment.manifest(),
            Self::Process(experiment, _) => experiment.manifest(),
        }
    }
}

/// The state that all experiments of a node share while it starts.
struct Shared<'a> {
    config: &'a Config,
    sidecars: &'a [Box<dyn Sidecar>],
    prefix: Prefix,
    registries: &'a Registries,
    lifecycle: &'a Lifecycle,
    given_up: &'a UnboundedSender<GaveUp>,
    /// The share of the reserved bytes that each experiment gets.
    reserve_bytes: u64,
}

impl Node {
    /// Checks manifests, names and ports; then starts every experiment inside the runtime of the caller.
    ///
    /// Hosted experiments may still be starting when it returns; see [`Node::settled`]. `given_up` receives publishers
    /// that failed too often.
    pub fn start(
        config: &Config,
        in_process: &[Box<dyn InProcess>],
        hosted: &[Hosted],
        sidecars: &[Box<dyn Sidecar>],
        registries: &Registries,
        lifecycle: &Lifecycle,
        given_up: &UnboundedSender<GaveUp>,
    ) -> Result<Self, ComposeError> {
        let plans = plan(config, in_process, hosted)?;
        for plan in &plans {
            check_datatypes(plan.manifest(), sidecars)?;
        }
        let name = groma_uuid::machine_name().unwrap_or_else(|| config.organization.clone());
        let shared = Shared {
            config,
            sidecars,
            prefix: Prefix::ensure(&config.dirs.uuid_prefix(), &name)?,
            registries,
            lifecycle,
            given_up,
            reserve_bytes: config.reserve_bytes / (plans.len() as u64).max(1),
        };
        let mut node = Self {
            experiments: Vec::new(),
            off: Vec::new(),
            lifecycle: lifecycle.clone(),
        };
        for plan in plans {
            let running = shared.start(plan, &mut node.off)?;
            node.experiments.push(running);
        }
        Ok(node)
    }

    /// Returns the manifests of the experiments, with the policies of the attached sidecars.
    pub fn manifests(&self) -> impl Iterator<Item = &Manifest> {
        self.experiments.iter().map(|it| &it.manifest)
    }

    /// Returns the addresses of an experiment.
    pub fn endpoints(&self, experiment: &str) -> &[Endpoint] {
        self.experiments
            .iter()
            .find(|it| it.manifest.name.as_str() == experiment)
            .map_or(&[], |it| &it.endpoints)
    }

    /// Returns whether sidecars record an experiment.
    pub fn is_recorded(&self, experiment: &str) -> bool {
        self.experiments
            .iter()
            .any(|it| it.manifest.name.as_str() == experiment && !it.sidecars.is_empty())
    }

    /// The parts that this machine cannot run.
    pub fn off(&self) -> &[Off] {
        &self.off
    }

    /// Returns when every hosted experiment has answered its probe once, or has used up the time for its start.
    pub async fn settled(&self) {
        loop {
            let is_waiting = self.experiments.iter().any(|it| match &it.server {
                Server::InProcess(_) => false,
                Server::Process {
                    was_ready,
                    start,
                    begun,
                    ..
                } => !was_ready.load(Ordering::Acquire) && begun.elapsed() < *start,
            });
            if !is_waiting {
                return;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// Returns a part that ended by itself and does not start again, and reports it to `/ready`.
    pub fn ended_part(&self) -> Option<String> {
        let ended = self.experiments.iter().find_map(|it| {
            let name = &it.manifest.name;
            if let Server::InProcess(server) = &it.server
                && !server.is_running()
            {
                return Some(format!("the server of {name}"));
            }
            let sidecar = it.sidecars.iter().find(|(_, it)| !it.is_running());
            sidecar.map(|(sidecar, _)| format!("{sidecar} of {name}"))
        })?;
        self.lifecycle.failed(&ended, "it ended by itself");
        Some(ended)
    }

    /// Lets running tests end, for `grace` at most, then closes the files of the sidecars and publishes everything.
    ///
    /// Returns `false` if tests were still running after the grace time; they are lost.
    pub async fn stop(self, grace: Duration) -> bool {
        let mut servers = Vec::new();
        let mut others = Vec::new();
        for experiment in self.experiments {
            servers.push(tokio::spawn(stop_server(experiment.server, grace)));
            others.push((experiment.sidecars, experiment.publisher));
        }
        let mut complete = true;
        for server in servers {
            complete &= server.await.unwrap_or(false);
        }
        for (sidecars, publisher) in others {
            for (_, sidecar) in sidecars {
                // No test is left that could be announced.
                let _ = tokio::task::spawn_blocking(|| sidecar.finish()).await;
            }
            publisher.finish().await;
        }
        complete
    }
}

async fn stop_server(server: Server, grace: Duration) -> bool {
    match server {
        Server::InProcess(server) => server.drain(grace).await,
        Server::Process { worker, .. } => {
            worker.finish().await;
            true
        }
    }
}

/// The files of a sidecar are in the directory of the experiment, so no datatype of both may have one name.
fn check_datatypes(manifest: &Manifest, sidecars: &[Box<dyn Sidecar>]) -> Result<(), ComposeError> {
    for sidecar in sidecars {
        let recorded = sidecar.declaration().datatypes.iter();
        if let Some(name) = recorded
            .into_iter()
            .find(|name| manifest.datatype(name.as_str()).is_some())
        {
            return Err(ComposeError::SameDatatype {
                experiment: manifest.name.to_string(),
                datatype: name.to_string(),
                sidecar: sidecar.declaration().name.to_string(),
            });
        }
    }
    Ok(())
}

/// Checks everything that can be checked before a start.
fn plan<'a>(
    config: &Config,
    in_process: &'a [Box<dyn InProcess>],
    hosted: &'a [Hosted],
) -> Result<Vec<Plan<'a>>, ComposeError> {
    let mut wanted = Wanted::default();
    for (name, transport, port) in &config.taken {
        wanted.add(name.clone(), *transport, *port)?;
    }
    let mut names = Vec::new();
    let mut choices = config.ports.clone();
    let mut plans = Vec::new();
    for experiment in in_process {
        names.push(experiment.manifest().name.clone());
        for (name, transport, port) in experiment.wanted_ports() {
            let socket = format!("{}/{name}", experiment.manifest().name);
            wanted.add(socket, transport, port)?;
        }
        plans.push(Plan::InProcess(experiment.as_ref()));
    }
    for experiment in hosted {
        let manifest = experiment.manifest();
        if names.contains(&manifest.name) {
            return Err(ComposeError::SameName(manifest.name.to_string()));
        }
        names.push(manifest.name.clone());
        let name = manifest.name.as_str();
        // A process of an earlier run may have the ports.
        leftover::end(&config.dirs.run(name), &config.dirs.experiment(name));
        let mut ports = ports_of(manifest, &mut choices);
        for port in &mut ports {
            let socket = format!("{}/{}", manifest.name, port.name);
            wanted.add(socket, port.transport, port.port)?;
            if port.port != 0 {
                // A port that another process has is found before anything starts.
                crate::ports::check(manifest.name.as_str(), port, config.listen)?;
            }
        }
        plans.push(Plan::Process(experiment, ports));
    }
    match choices.first() {
        Some(choice) => Err(ComposeError::NoSuchPort(choice.socket.clone())),
        None => Ok(plans),
    }
}

impl Shared<'_> {
    fn start(&self, plan: Plan<'_>, off: &mut Vec<Off>) -> Result<RunningSet, ComposeError> {
        let manifest = plan.manifest();
        let manifest = match &self.config.operator {
            Some(operator) => manifest.clone().operated_by(operator.clone()),
            None => manifest.clone(),
        };
        let manifest = attach(manifest, self.sidecars)?;
        let name = manifest.name.as_str();
        let dirs = &self.config.dirs;
        let run_dir = dirs.run(name);
        let spool = ExperimentDir::open(dirs.experiment(name), manifest.name.clone())?;
        create_dir(&run_dir)?;
        let registries = self.registries.of_experiment(name);
        let publisher = self.publisher(&manifest, &spool, &registries)?;
        let started = match plan {
            Plan::InProcess(experiment) => self.in_process(experiment, &manifest, &registries)?,
            Plan::Process(experiment, mut ports) => {
                write(&run_dir.join(POLICY_FILE), &manifest.consent.text)?;
                write(
                    &run_dir.join(DESCRIPTION_FILE),
                    &manifest.description().to_json(),
                )?;
                for datatype in &manifest.datatypes {
                    spool.probe(&datatype.name)?;
                }
                spool.clear_abandoned()?;
                let (program, endpoints) =
                    experiment.program(&manifest, &mut ports, self.config)?;
                let sockets = ports
                    .iter()
                    .map(|port| (port.transport, port.port))
                    .collect();
                Started {
                    server: self.process(program)?,
                    endpoints,
                    ports: sockets,
                }
            }
        };
        let sidecars = self.sidecars(&manifest, &spool, &started.ports, &registries, off);
        Ok(RunningSet {
            manifest,
            endpoints: started.endpoints,
            server: started.server,
            sidecars,
            publisher,
        })
    }

    fn in_process(
        &self,
        experiment: &dyn InProcess,
        manifest: &Manifest,
        registries: &Registries,
    ) -> Result<Started, ComposeError> {
        let dirs = &self.config.dirs;
        let name = manifest.name.as_str();
        let mut registry = Registry::default();
        let setup = Setup {
            manifest: manifest.clone(),
            data_dir: dirs.experiment(name),
            prefix: self.prefix.clone(),
            event_socket: dirs.event_socket(name),
            lifecycle: self.lifecycle.clone(),
        };
        let server =
            experiment
                .start(setup, &mut registry)
                .map_err(|source| ComposeError::Experiment {
                    name: name.to_owned(),
                    source,
                })?;
        registries.set("experiment", registry);
        let endpoints = server.endpoints();
        let ports = endpoints
            .iter()
            .map(|it| (Transport::Tcp, it.address.port()));
        let ports = ports.collect();
        Ok(Started {
            server: Server::InProcess(server),
            endpoints,
            ports,
        })
    }

    /// A process that fails again and again costs the others nothing, so it is never given up.
    fn process(&self, program: Program) -> Result<Server, ComposeError> {
        let was_ready = Arc::new(AtomicBool::new(false));
        let policy = RestartPolicy {
            give_up_after: u32::MAX,
            ..RestartPolicy::default()
        };
        let start = program.start;
        let stage = format!("experiment {}", program.name);
        let (lifecycle, ready) = (self.lifecycle.clone(), Arc::clone(&was_ready));
        let run = move |stop: &Arc<AtomicBool>| program.run(stop, &lifecycle, &ready);
        let given_up = self.given_up.clone();
        let worker = Worker::start(&stage, self.lifecycle, given_up, policy, run)
            .map_err(ComposeError::Thread)?;
        Ok(Server::Process {
            worker,
            was_ready,
            start,
            begun: Instant::now(),
        })
    }

    fn publisher(
        &self,
        manifest: &Manifest,
        spool: &ExperimentDir,
        registries: &Registries,
    ) -> Result<Worker, ComposeError> {
        let config = self.config;
        let name = manifest.name.as_str();
        let node = NodeName::third_party();
        let state = config.dirs.publish_state(name);
        let mut publish = PublishConfig::new(spool.clone(), state, node.clone());
        publish.organization = Some(config.organization.clone());
        publish.flush_age = config.flush_age;
        publish.flush_bytes = config.flush_bytes;
        publish.reserve_bytes = self.reserve_bytes;
        publish.lifecycle = Some(self.lifecycle.clone());
        // Every experiment and sidecar renames finished files into place.
        publish.settle = Duration::ZERO;
        publish.datatypes = published_datatypes(manifest, self.sidecars, config.form);
        publish.metadata = bundle_metadata(manifest, &node.to_string());
        let mut publisher =
            RestartablePublisher::open(publish, config.store.clone(), registries.clone())?;
        let stage = format!("publish {name}");
        let policy = RestartPolicy::default();
        let given_up = self.given_up.clone();
        Worker::start(&stage, self.lifecycle, given_up, policy, move |stop| {
            publisher.run(stop)
        })
        .map_err(ComposeError::Thread)
    }

    /// A machine that cannot run a sidecar loses this part alone.
    fn sidecars(
        &self,
        manifest: &Manifest,
        spool: &ExperimentDir,
        ports: &[(Transport, u16)],
        registries: &Registries,
        off: &mut Vec<Off>,
    ) -> Vec<(String, Box<dyn Running>)> {
        let name = manifest.name.as_str();
        let mut running = Vec::new();
        for sidecar in self.sidecars {
            if !datatypes::records(sidecar.as_ref(), manifest) {
                continue;
            }
            let declaration = sidecar.declaration();
            let sidecar_name = declaration.name.to_string();
            let state = declaration.state_dir.as_deref().unwrap_or(&sidecar_name);
            let setup = SidecarSetup {
                spool: spool.clone(),
                state_dir: self.config.dirs.sidecar_state(state, name),
                prefix: self.prefix.clone(),
                ports: ports.to_vec(),
                event_socket: self.config.dirs.event_socket(name),
                admission: manifest.admission,
                unadmitted_bytes: manifest.unadmitted_bytes,
                policy_version: manifest.consent.policy_version.clone(),
                flush_age: self.config.flush_age,
            };
            let mut registry = Registry::default();
            match sidecar.start(setup, &mut registry) {
                Ok(sidecar) => {
                    registries.set(&sidecar_name, registry);
                    running.push((sidecar_name, sidecar));
                }
                Err(unavailable) => off.push(Off {
                    part: sidecar_name,
                    lost: unavailable.lost,
                    remedy: unavailable.remedy,
                }),
            }
        }
        running
    }
}

fn create_dir(path: &Path) -> Result<(), ComposeError> {
    fs::create_dir_all(path).map_err(|source| ComposeError::Directory {
        path: path.to_owned(),
        source,
    })
}

fn write(path: &PathBuf, text: &str) -> Result<(), ComposeError> {
    fs::write(path, text).map_err(|source| ComposeError::Directory {
        path: path.clone(),
        source,
    })
}
