//! The ports of hosted experiments: choices, conflicts, free numbers.

use std::io;
use std::net::{IpAddr, SocketAddr, TcpListener, UdpSocket};
use std::str::FromStr;

use groma_manifest::{Manifest, Transport};

use crate::ComposeError;

/// A choice of the operator: the number of a port, instead of the one in the manifest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PortChoice {
    /// `<experiment>/<name of the port>`.
    pub socket: String,
    /// The number; 0 takes a free one.
    pub port: u16,
}

impl FromStr for PortChoice {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let usage =
            || format!("{text:?} is not EXPERIMENT/PORT=NUMBER, for instance latency/echo=4000");
        let (socket, port) = text.split_once('=').ok_or_else(usage)?;
        let (experiment, name) = socket.split_once('/').ok_or_else(usage)?;
        if experiment.is_empty() || name.is_empty() {
            return Err(usage());
        }
        Ok(Self {
            socket: socket.to_owned(),
            port: port.parse().map_err(|_| usage())?,
        })
    }
}

/// A port of a hosted experiment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct HostedPort {
    pub(crate) name: String,
    pub(crate) service: String,
    pub(crate) transport: Transport,
    pub(crate) port: u16,
}

/// The sockets that are wanted so far.
#[derive(Debug, Default)]
pub(crate) struct Wanted(Vec<(String, Transport, u16)>);

impl Wanted {
    /// Adds a socket of a fixed number, or returns the conflict.
    pub(crate) fn add(
        &mut self,
        socket: String,
        transport: Transport,
        port: u16,
    ) -> Result<(), ComposeError> {
        if port == 0 {
            return Ok(());
        }
        let other = self
            .0
            .iter()
            .find(|(_, its, number)| (*its, *number) == (transport, port));
        if let Some((first, _, _)) = other {
            return Err(ComposeError::SamePort {
                first: first.clone(),
                second: socket,
                transport: match transport {
                    Transport::Tcp => "TCP",
                    Transport::Udp => "UDP",
                },
                port,
            });
        }
        self.0.push((socket, transport, port));
        Ok(())
    }
}

/// Returns the ports of an experiment with the numbers that the operator chose. Choices that were used are removed.
pub(crate) fn ports_of(manifest: &Manifest, choices: &mut Vec<PortChoice>) -> Vec<HostedPort> {
    let mut ports = Vec::new();
    for port in &manifest.ports {
        let name = port.name.clone().unwrap_or_default();
        let socket = format!("{}/{name}", manifest.name);
        let mut number = port.port;
        choices.retain(|choice| {
            let is_this = choice.socket == socket;
            if is_this {
                number = choice.port;
            }
            !is_this
        });
        ports.push(HostedPort {
            name,
            service: port.service.clone(),
            transport: port.protocol,
            port: number,
        });
    }
    ports
}

/// Checks that the port can be used, and replaces 0 by a free number.
///
/// The socket is closed again, because the experiment opens its own.
pub(crate) fn check(
    experiment: &str,
    port: &mut HostedPort,
    listen: IpAddr,
) -> Result<(), ComposeError> {
    let address = SocketAddr::new(listen, port.port);
    let bound = free(address, port.transport).map_err(|source| ComposeError::Listen {
        socket: format!("{experiment}/{}", port.name),
        address,
        source,
    })?;
    port.port = bound.port();
    Ok(())
}

/// Opens a socket at `address`, closes it, and returns its address.
pub(crate) fn free(address: SocketAddr, transport: Transport) -> io::Result<SocketAddr> {
    match transport {
        // The standard library sets SO_REUSEADDR, so connections of an earlier run do not block the port.
        Transport::Tcp => TcpListener::bind(address)?.local_addr(),
        Transport::Udp => UdpSocket::bind(address)?.local_addr(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_choice_names_experiment_port_and_number() {
        let choice: PortChoice = "latency/echo=4000".parse().unwrap();
        assert_eq!(
            (choice.socket.as_str(), choice.port),
            ("latency/echo", 4000)
        );
        for bad in [
            "latency=4000",
            "latency/echo",
            "/echo=1",
            "a/=1",
            "a/b=70000",
            "",
        ] {
            assert!(bad.parse::<PortChoice>().is_err(), "{bad}");
        }
    }

    #[test]
    fn two_sockets_of_one_number_and_transport_are_a_conflict() {
        let mut wanted = Wanted::default();
        wanted.add("a/x".into(), Transport::Tcp, 4000).unwrap();
        wanted.add("b/x".into(), Transport::Udp, 4000).unwrap();
        wanted.add("b/y".into(), Transport::Tcp, 0).unwrap();
        wanted.add("c/y".into(), Transport::Tcp, 0).unwrap();
        let error = wanted
            .add("b/z".into(), Transport::Tcp, 4000)
            .unwrap_err()
            .to_string();
        assert!(
            error.contains("a/x and b/z both want TCP port 4000"),
            "{error}"
        );
    }
}
