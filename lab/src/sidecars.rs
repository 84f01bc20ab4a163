//! The sidecars of a lab.

use groma_ndt7::server::Server;
use groma_spool::ExperimentDir;
use groma_tcp_info::{Admission, Collector, Config, Namespace, Scope};
use groma_uuid::Prefix;
use prometheus_client::registry::Registry;

use crate::{LabConfig, LabDirs, LabError, Off};

/// Records the connections to the measurement server. A lab shares its machine, so
/// only the server's own ports count. Connections of admitted tests are published in
/// full, the others as rows without address. A machine that cannot do it loses this
/// part alone.
pub(crate) fn tcp_info(
    experiment: &ExperimentDir,
    prefix: Prefix,
    server: &Server,
    lab: &LabConfig,
    dirs: &LabDirs,
    registry: &mut Registry,
) -> Result<Result<Collector, Off>, LabError> {
    let name = experiment.experiment().as_str();
    let ports = server
        .local_addrs()
        .iter()
        .map(|local| local.address.port())
        .collect();
    let namespace = Namespace {
        path: None,
        scope: Scope::Ports(ports),
    };
    let socket = dirs.event_socket();
    if let Some(run) = socket.parent() {
        std::fs::create_dir_all(run).map_err(|source| LabError::Directory {
            path: run.to_owned(),
            source,
        })?;
    }
    let mut config = Config::new(
        experiment.clone(),
        dirs.tcp_info_state(name),
        prefix,
        vec![namespace],
    );
    config.event_socket = Some(socket);
    config.admission = Admission::Announced;
    config.unadmitted.batch_age = lab.flush_age;
    let tls_ports = server.local_addrs().iter().filter(|local| local.secure);
    config.unadmitted.tls_ports = tls_ports.map(|local| local.address.port()).collect();
    Ok(Collector::start(config, registry).map_err(|error| Off {
        part: "tcp-info",
        lost: format!("connections are not traced while they are measured ({error})"),
        remedy: "a kernel with CONFIG_INET_TCP_DIAG (modprobe tcp_diag)".to_owned(),
    }))
}
