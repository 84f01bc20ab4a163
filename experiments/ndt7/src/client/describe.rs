//! Asks a server for its description, with the policy that a person sees before a test.

use groma_manifest::{DESCRIPTION_BYTES, DESCRIPTION_PATH, Description};
use http_body_util::{BodyExt as _, Empty, Limited};
use hyper::body::Bytes;
use hyper::client::conn::http1;
use hyper::header::{CONNECTION, HOST, USER_AGENT};
use hyper::{Request, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

use super::ClientError;
use super::connect::{HANDSHAKE_WAIT, Stream, stream};
use super::target::Target;
use crate::protocol::transport::Transport;

/// Returns the description within 7 s; `None` from a server that answers and publishes none.
pub(crate) async fn describe(
    target: &Target,
    tls: Option<&TlsConnector>,
) -> Result<Option<Description>, ClientError> {
    let asking = async {
        match stream(target, tls, None).await? {
            Stream::Plain(tcp) => ask(tcp, target).await,
            Stream::Tls(tls) => ask(*tls, target).await,
        }
    };
    timeout(HANDSHAKE_WAIT, asking).await.unwrap_or_else(|_| {
        Err(ClientError::HandshakeTimeout {
            server: target.authority.clone(),
        })
    })
}

async fn ask<S: Transport>(stream: S, target: &Target) -> Result<Option<Description>, ClientError> {
    let failed = |reason: String| ClientError::Description {
        server: target.authority.clone(),
        reason,
    };
    let request = Request::get(DESCRIPTION_PATH)
        .header(HOST, &target.authority)
        .header(CONNECTION, "close")
        .header(
            USER_AGENT,
            concat!("groma-ndt7/", env!("CARGO_PKG_VERSION")),
        )
        .body(Empty::<Bytes>::new())
        .map_err(|error| failed(error.to_string()))?;
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream))
        .await
        .map_err(|error| failed(error.to_string()))?;
    let asking = async move {
        let response = sender
            .send_request(request)
            .await
            .map_err(|error| failed(error.to_string()))?;
        if response.status() != StatusCode::OK {
            return Ok(None);
        }
        let body = Limited::new(response.into_body(), DESCRIPTION_BYTES).collect();
        let body = body.await.map_err(|error| failed(error.to_string()))?;
        Description::parse(&body.to_bytes())
            .map(Some)
            .map_err(|error| failed(error.to_string()))
    };
    tokio::pin!(asking);
    tokio::pin!(connection);
    // The connection must be driven for the request to make progress. It may end before the answer was read.
    tokio::select! {
        answer = &mut asking => answer,
        _ = &mut connection => asking.await,
    }
}
