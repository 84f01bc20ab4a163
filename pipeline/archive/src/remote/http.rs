//! The client, and requests that end when nothing moves.

use std::time::Duration;

use reqwest::redirect::Policy;
use reqwest::{Client, Request, Response};

use super::Failure;
use super::body::Progress;

const CONNECT: Duration = Duration::from_secs(10);

/// Most of an error's answer that is read.
const ANSWER_BYTES: usize = 16 * 1024;

/// Names the cryptography that the clients of this process use, unless it has done so already.
pub(crate) fn install_tls() {
    let _ = rustls::crypto::ring::default_provider().install_default();
}

/// A client that trusts the system's certificates, goes through the proxies of the environment, and follows no redirect:
/// a bucket that is elsewhere is a fault of the configuration.
pub(crate) fn client() -> Result<Client, Failure> {
    install_tls();
    Client::builder()
        .connect_timeout(CONNECT)
        .redirect(Policy::none())
        .user_agent(concat!("groma/", env!("CARGO_PKG_VERSION")))
        .build()
        .map_err(Failure::of_client)
}

/// Sends a request whose body tells its progress, and waits for the head of the answer. It fails when neither a byte was
/// taken nor the answer came for `stall`.
pub(crate) async fn send(
    client: &Client,
    request: Request,
    progress: &Progress,
    stall: Duration,
) -> Result<Response, Failure> {
    let mut answer = std::pin::pin!(client.execute(request));
    loop {
        let due = progress.last() + stall;
        tokio::select! {
            answer = &mut answer => return answer.map_err(Failure::of_client),
            () = tokio::time::sleep_until(due.into()) => {
                if progress.last() + stall <= due {
                    return Err(Failure::new(format!("nothing moved for {stall:?}")));
                }
            }
        }
    }
}

/// The beginning of an answer's body as text; what cannot be read is empty.
pub(crate) async fn text(mut answer: Response, stall: Duration) -> String {
    let mut body = Vec::new();
    while body.len() < ANSWER_BYTES
        && let Ok(Ok(Some(chunk))) = tokio::time::timeout(stall, answer.chunk()).await
    {
        body.extend_from_slice(&chunk);
    }
    String::from_utf8_lossy(&body).into_owned()
}
