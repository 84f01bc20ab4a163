//! The recorder as a sidecar that a node starts in its own process.

use std::sync::LazyLock;

use groma_manifest::Sidecar as Declaration;
use groma_schema::Schema;
use groma_sidecar::{Running, Setup, Sidecar, Unavailable};
use groma_spool::Name;
use prometheus_client::registry::Registry;

use crate::{Admission, Collector, Config, Namespace, Scope};

/// The connection recorder. It records the ports of the experiment in the network namespace of the process.
#[derive(Debug, Clone, Copy, Default)]
pub struct TcpInfo;

static DECLARATION: LazyLock<Declaration> = LazyLock::new(|| {
    Declaration::parse(include_str!("../sidecar.toml")).expect("a test reads the declaration")
});

impl Sidecar for TcpInfo {
    fn declaration(&self) -> &Declaration {
        &DECLARATION
    }

    fn schema(&self, datatype: &Name) -> Option<Schema> {
        let is_own = DECLARATION.datatypes.contains(datatype);
        let text = groma_schema::datatype(datatype.as_str()).filter(|_| is_own)?;
        Some(Schema::parse(text).expect("a test reads every built-in schema"))
    }

    fn start(
        &self,
        setup: Setup,
        registry: &mut Registry,
    ) -> Result<Box<dyn Running>, Unavailable> {
        let unavailable = |reason: &dyn std::fmt::Display| Unavailable {
            lost: format!("connections are not traced while they are measured ({reason})"),
            remedy: "a kernel with CONFIG_INET_TCP_DIAG (modprobe tcp_diag)".to_owned(),
        };
        if let Some(run) = setup.event_socket.parent() {
            std::fs::create_dir_all(run).map_err(|error| unavailable(&error))?;
        }
        let declared = &DECLARATION.transports;
        let ports = setup.ports.iter();
        let ports = ports.filter(|(transport, _)| declared.contains(transport));
        let namespace = Namespace {
            path: None,
            scope: Scope::Ports(ports.map(|(_, port)| *port).collect()),
        };
        let mut config = Config::new(setup.spool, setup.state_dir, setup.prefix, vec![namespace]);
        config.event_socket = Some(setup.event_socket);
        config.admission = match setup.admission {
            groma_manifest::Admission::Announced => Admission::Announced,
            groma_manifest::Admission::FirstPayload => Admission::FirstPayload {
                policy_version: setup.policy_version,
            },
        };
        config.unadmitted.most_bytes = setup.unadmitted_bytes;
        config.unadmitted.batch_age = setup.flush_age;
        let collector = Collector::start(config, registry).map_err(|error| unavailable(&error))?;
        Ok(Box::new(collector))
    }
}

impl Running for Collector {
    fn is_running(&self) -> bool {
        Collector::is_running(self)
    }

    fn finish(self: Box<Self>) {
        Collector::finish(*self);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_declaration_names_what_is_published_and_how_long_addresses_are_kept() {
        let declaration = TcpInfo.declaration();
        let names: Vec<String> = declaration.datatypes.iter().map(Name::to_string).collect();
        assert_eq!(names, ["tcpinfo", "unadmitted"]);
        for name in &declaration.datatypes {
            assert!(TcpInfo.schema(name).is_some(), "{name}");
        }
        assert!(TcpInfo.schema(&"ndt5".parse().unwrap()).is_none());
        let hours = u64::from(declaration.unadmitted.as_ref().unwrap().hours);
        assert_eq!(hours * 3600, crate::unadmitted::KEEP_SECONDS);
    }
}
