//! Whether a hosted experiment takes tests.

use std::io::{Read as _, Write as _};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream};
use std::time::Duration;

/// How a process shows that it is ready.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Probe {
    /// It is ready as soon as it runs.
    Runs,
    /// A TCP port accepts connections.
    Port(SocketAddr),
    /// A GET request is answered with 200.
    Page(SocketAddr, String),
}

/// The longest wait for each step of a probe.
const PATIENCE: Duration = Duration::from_secs(2);

/// The most bytes that are read of an answer.
const ANSWER_BYTES: u64 = 1 << 20;

impl Probe {
    /// Asks the process once; an error is the reason for which it is not ready.
    pub(crate) fn ask(&self) -> Result<(), String> {
        match self {
            Self::Runs => Ok(()),
            Self::Port(address) => connect(*address).map(drop),
            Self::Page(address, path) => page(*address, path),
        }
    }
}

fn connect(address: SocketAddr) -> Result<TcpStream, String> {
    let reachable = reachable(address);
    TcpStream::connect_timeout(&reachable, PATIENCE)
        .map_err(|error| format!("it does not answer on {reachable}: {error}"))
}

/// An address that listens everywhere is asked on loopback.
fn reachable(address: SocketAddr) -> SocketAddr {
    let ip = match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    SocketAddr::new(ip, address.port())
}

fn page(address: SocketAddr, path: &str) -> Result<(), String> {
    let mut stream = connect(address)?;
    let failed = |error: std::io::Error| format!("it does not answer {path} on {address}: {error}");
    stream.set_read_timeout(Some(PATIENCE)).map_err(failed)?;
    stream.set_write_timeout(Some(PATIENCE)).map_err(failed)?;
    let request = format!("GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).map_err(failed)?;
    // The whole answer, because a server logs an error when its client leaves early.
    let mut answer = Vec::new();
    let read = stream.take(ANSWER_BYTES).read_to_end(&mut answer);
    // `HTTP/1.1 200`.
    let Some(status) = answer.get(..12) else {
        return Err(match read {
            Err(error) => failed(error),
            Ok(_) => format!("{path} on {address} has no answer of HTTP"),
        });
    };
    if &status[8..] == b" 200" {
        return Ok(());
    }
    let status = String::from_utf8_lossy(status);
    Err(format!(
        "{path} on {address} answers {}",
        groma_service::visible(&status)
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::TcpListener;

    fn answers(answer: &'static str) -> Result<(), String> {
        let server = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = server.local_addr().unwrap();
        let thread = std::thread::spawn(move || {
            let (mut stream, _) = server.accept().unwrap();
            let mut request = [0; 100];
            let count = stream.read(&mut request).unwrap();
            stream.write_all(answer.as_bytes()).unwrap();
            String::from_utf8_lossy(&request[..count]).into_owned()
        });
        let asked = Probe::Page(address, "/ready".to_owned()).ask();
        assert!(
            thread
                .join()
                .unwrap()
                .starts_with("GET /ready HTTP/1.1\r\n")
        );
        asked
    }

    #[test]
    fn only_200_is_ready() {
        assert_eq!(answers("HTTP/1.1 200 OK\r\n\r\n"), Ok(()));
        assert!(answers("HTTP/1.1 503 Full\r\n\r\n").is_err());
        assert!(answers("nonsense").is_err());
    }

    #[test]
    fn a_closed_port_is_not_ready() {
        let server = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = server.local_addr().unwrap();
        assert_eq!(Probe::Port(address).ask(), Ok(()));
        drop(server);
        assert!(Probe::Port(address).ask().is_err());
    }
}
