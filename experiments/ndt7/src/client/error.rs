//! Why a test did not come to its end.

use std::io;

use hyper::StatusCode;

use crate::protocol::Direction;

/// Why a test did not come to its end.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// The configuration names no server.
    #[error("no server to test with")]
    NoServer,
    /// A server is named in a way that cannot be understood.
    #[error("server {server:?} is neither host:port nor a ws:// or wss:// URL")]
    Server {
        /// As it was given, without its query, which may hold an access token.
        server: String,
    },
    /// The certificates to believe cannot be used.
    #[error("load trusted certificates: {reason}")]
    Trust {
        /// The reason.
        reason: String,
    },
    /// No TCP connection.
    #[error("connect to {server}: {source}")]
    Connect {
        /// The server.
        server: String,
        /// The error of the system.
        source: io::Error,
    },
    /// No TLS over the connection, for instance because the certificate is not believed.
    #[error("speak TLS with {server}: {source}")]
    Tls {
        /// The server.
        server: String,
        /// The error of TLS.
        source: io::Error,
    },
    /// The server does not speak TLS on this port.
    #[error("{server} answers without TLS; use ws://{server}")]
    NoTls {
        /// The server.
        server: String,
    },
    /// The server answered, but not with a WebSocket of ndt7.
    #[error("open WebSocket on {server}: {reason}")]
    Handshake {
        /// The server.
        server: String,
        /// The fault of the answer.
        reason: String,
    },
    /// The server refused the test: 401 without a good token, 403 without consent, 503 without room.
    #[error("{server} refused the test: {status}{}{text}", if text.is_empty() { "" } else { ": " })]
    Refused {
        /// The server.
        server: String,
        /// The status of its answer.
        status: StatusCode,
        /// The beginning of the body of its answer.
        text: String,
    },
    /// The server published a description that cannot be used.
    #[error("read the policy of {server}: {reason}")]
    Description {
        /// The server.
        server: String,
        /// The fault of the answer.
        reason: String,
    },
    /// Connection and handshake took longer than 7 s.
    #[error("{server} did not open a test within 7 s")]
    HandshakeTimeout {
        /// The server.
        server: String,
    },
    /// The server did not end the test within 15 s.
    #[error("{direction} did not end within 15 s")]
    Timeout {
        /// The test.
        direction: Direction,
    },
    /// The server ended the test before any load had moved, so that it has no result.
    #[error("{direction} measured nothing: the server ended it before any data had moved")]
    NoLoad {
        /// The test.
        direction: Direction,
    },
    /// The connection was lost during the test.
    #[error("{direction} broke off: the connection was lost")]
    Lost {
        /// The test.
        direction: Direction,
    },
    /// The server broke the protocol during the test.
    #[error("{direction} broke off: the server sent {violation}")]
    Protocol {
        /// The test.
        direction: Direction,
        /// The violation.
        violation: String,
    },
    /// The server closed the WebSocket with a code other than success.
    #[error("{direction} broke off: the server closed it with code {code}")]
    Closed {
        /// The test.
        direction: Direction,
        /// The code, RFC 6455 section 7.4.
        code: u16,
    },
}

impl ClientError {
    /// Returns whether no test began, so that another server may be asked.
    pub fn is_before_test(&self) -> bool {
        matches!(
            self,
            Self::NoServer
                | Self::Server { .. }
                | Self::Trust { .. }
                | Self::Connect { .. }
                | Self::Tls { .. }
                | Self::NoTls { .. }
                | Self::Handshake { .. }
                | Self::Refused { .. }
                | Self::Description { .. }
                | Self::HandshakeTimeout { .. }
        )
    }

    /// Returns whether the server's certificate is the reason: it is not signed by a trusted one, expired, or for another name.
    pub fn is_about_certificate(&self) -> bool {
        let Self::Tls { source, .. } = self else {
            return false;
        };
        let inner = source
            .get_ref()
            .and_then(|inner| inner.downcast_ref::<rustls::Error>());
        matches!(inner, Some(rustls::Error::InvalidCertificate(_)))
    }
}
