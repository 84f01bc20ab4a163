//! From a server's name to an open WebSocket.

use std::net::SocketAddr;
use std::time::Duration;

use groma_sock::set_congestion_control;
use http_body_util::{BodyExt, Empty, Limited};
use hyper::body::{Bytes, Incoming};
use hyper::client::conn::http1;
use hyper::header::{
    CONNECTION, HOST, HeaderValue, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_KEY, SEC_WEBSOCKET_PROTOCOL,
    SEC_WEBSOCKET_VERSION, UPGRADE, USER_AGENT,
};
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use rustls::pki_types::ServerName;
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::ClientError;
use super::dial::dial;
use super::target::Target;
use crate::protocol::handshake::{accept_key, new_key};
use crate::protocol::transport::Transport;
use crate::protocol::{Direction, SUBPROTOCOL};

/// For connection, TLS and upgrade together, as in M-Lab's reference client.
pub(crate) const HANDSHAKE_WAIT: Duration = Duration::from_secs(7);
/// As much of a refusal's body as is shown to a person.
const REFUSAL_BYTES: usize = 1 << 10;

/// Both kinds of connection.
pub(crate) enum Stream {
    Plain(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
}

/// An open WebSocket.
pub(crate) struct Connection {
    pub(crate) stream: Stream,
    /// The bytes that arrived with the answer.
    pub(crate) first_bytes: Bytes,
    pub(crate) server: SocketAddr,
    pub(crate) client: SocketAddr,
}

/// Opens a test on a server within 7 s.
pub(crate) async fn connect(
    target: &Target,
    tls: Option<&TlsConnector>,
    congestion_control: Option<&str>,
    direction: Direction,
    query: &str,
) -> Result<Connection, ClientError> {
    let opening = open(target, tls, congestion_control, direction, query);
    timeout(HANDSHAKE_WAIT, opening).await.unwrap_or_else(|_| {
        Err(ClientError::HandshakeTimeout {
            server: target.authority.clone(),
        })
    })
}

/// Connects to a server, with TLS where its URL says so.
pub(crate) async fn stream(
    target: &Target,
    tls: Option<&TlsConnector>,
    congestion_control: Option<&str>,
) -> Result<Stream, ClientError> {
    let connect_error = |source| ClientError::Connect {
        server: target.authority.clone(),
        source,
    };
    let tcp = dial(&target.host, target.port)
        .await
        .map_err(connect_error)?;
    tcp.set_nodelay(true).map_err(connect_error)?;
    if let Some(name) = congestion_control {
        set_congestion_control(&tcp, name).map_err(connect_error)?;
    }
    let Some(tls) = tls.filter(|_| target.secure) else {
        return Ok(Stream::Plain(tcp));
    };
    let tls_error = |source| ClientError::Tls {
        server: target.authority.clone(),
        source,
    };
    let name = ServerName::try_from(target.host.clone())
        .map_err(|error| tls_error(std::io::Error::other(error)))?;
    let stream = tls.connect(name, tcp).await.map_err(|source| {
        if is_plain(&source) {
            ClientError::NoTls {
                server: target.authority.clone(),
            }
        } else {
            tls_error(source)
        }
    })?;
    Ok(Stream::Tls(Box::new(stream)))
}

impl Stream {
    /// The TCP connection below.
    fn tcp(&self) -> &TcpStream {
        match self {
            Self::Plain(tcp) => tcp,
            Self::Tls(tls) => tls.get_ref().0,
        }
    }
}

async fn open(
    target: &Target,
    tls: Option<&TlsConnector>,
    congestion_control: Option<&str>,
    direction: Direction,
    query: &str,
) -> Result<Connection, ClientError> {
    let connect_error = |source| ClientError::Connect {
        server: target.authority.clone(),
        source,
    };
    let stream = stream(target, tls, congestion_control).await?;
    let server = stream.tcp().peer_addr().map_err(connect_error)?;
    let client = stream.tcp().local_addr().map_err(connect_error)?;
    let (stream, first_bytes) = match stream {
        Stream::Plain(tcp) => {
            let upgraded = upgrade(tcp, target, direction, query).await;
            let (tcp, first_bytes) = upgraded.map_err(|error| without_tls(error, target))?;
            (Stream::Plain(tcp), first_bytes)
        }
        Stream::Tls(tls) => {
            let (tls, first_bytes) = upgrade(*tls, target, direction, query).await?;
            (Stream::Tls(Box::new(tls)), first_bytes)
        }
    };
    Ok(Connection {
        stream,
        first_bytes,
        server,
        client,
    })
}

/// Returns whether the other side answered TLS with bytes that are not TLS, such as an HTTP error.
fn is_plain(error: &std::io::Error) -> bool {
    let inner = error
        .get_ref()
        .and_then(|inner| inner.downcast_ref::<rustls::Error>());
    matches!(inner, Some(rustls::Error::InvalidMessage(_)))
}

/// A server that wants TLS answers a plain request with a TLS alert, which is not HTTP.
fn without_tls(error: ClientError, target: &Target) -> ClientError {
    match error {
        ClientError::Handshake { server, reason } if !target.secure => ClientError::Handshake {
            reason: format!("{reason}; if the server wants TLS, use wss://{server}"),
            server,
        },
        other => other,
    }
}

async fn upgrade<S: Transport>(
    stream: S,
    target: &Target,
    direction: Direction,
    query: &str,
) -> Result<(S, Bytes), ClientError> {
    let failed = |reason: String| ClientError::Handshake {
        server: target.authority.clone(),
        reason,
    };
    let key = new_key();
    let request =
        request(target, direction, query, &key).map_err(|error| failed(error.to_string()))?;
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream))
        .await
        .map_err(|error| failed(error.to_string()))?;
    let asking = async move {
        let mut response = sender
            .send_request(request)
            .await
            .map_err(|error| failed(error.to_string()))?;
        if response.status() != StatusCode::SWITCHING_PROTOCOLS {
            return Err(refused(target, response).await);
        }
        check(&response, &key).map_err(failed)?;
        hyper::upgrade::on(&mut response)
            .await
            .map_err(|error| failed(error.to_string()))
    };
    // The connection must be driven for the request to make progress; the request reports how it ends.
    let (upgraded, _) = tokio::join!(asking, connection.with_upgrades());
    let parts = upgraded?
        .downcast::<TokioIo<S>>()
        .expect("the connection was made of this type");
    Ok((parts.io.into_inner(), parts.read_buf))
}

fn request(
    target: &Target,
    direction: Direction,
    query: &str,
    key: &str,
) -> Result<Request<Empty<Bytes>>, hyper::http::Error> {
    let own = target.query.as_deref().unwrap_or_default();
    let separator = if own.is_empty() || query.is_empty() {
        ""
    } else {
        "&"
    };
    let path = direction.path();
    Request::get(format!("{path}?{own}{separator}{query}"))
        .header(HOST, &target.authority)
        .header(CONNECTION, "Upgrade")
        .header(UPGRADE, "websocket")
        .header(SEC_WEBSOCKET_VERSION, "13")
        .header(SEC_WEBSOCKET_KEY, key)
        .header(SEC_WEBSOCKET_PROTOCOL, SUBPROTOCOL)
        .header(
            USER_AGENT,
            concat!("groma-ndt7/", env!("CARGO_PKG_VERSION")),
        )
        .body(Empty::new())
}

/// What RFC 6455, section 4.1, demands of the answer, and the subprotocol.
fn check(response: &Response<Incoming>, key: &str) -> Result<(), String> {
    let header = |name| response.headers().get(name).map(HeaderValue::as_bytes);
    if header(SEC_WEBSOCKET_ACCEPT) != Some(accept_key(key).as_bytes()) {
        return Err("the answer does not fit the key".to_owned());
    }
    if header(SEC_WEBSOCKET_PROTOCOL) != Some(SUBPROTOCOL.as_bytes()) {
        return Err("the server does not speak ndt7".to_owned());
    }
    Ok(())
}

async fn refused(target: &Target, response: Response<Incoming>) -> ClientError {
    let status = response.status();
    let body = Limited::new(response.into_body(), REFUSAL_BYTES)
        .collect()
        .await;
    let text = body.map_or_else(
        |_| String::new(),
        |body| printable(String::from_utf8_lossy(&body.to_bytes()).trim()),
    );
    ClientError::Refused {
        server: target.authority.clone(),
        status,
        text,
    }
}

/// A text of a server as it may be shown on a terminal, which obeys control characters.
fn printable(text: &str) -> String {
    text.replace(char::is_control, " ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_cannot_write_to_the_terminal() {
        assert_eq!(printable("no\u{1b}[2J\r\nroom"), "no [2J  room");
    }
}
