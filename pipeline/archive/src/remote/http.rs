//! The client, and requests that end when nothing moves.

use std::time::{Duration, Instant};

use base64::prelude::{BASE64_STANDARD, Engine as _};
use http::{HeaderValue, StatusCode, header};
use reqwest::redirect::Policy;
use reqwest::{Client, Request, Response};

use super::Failure;
use super::body::Progress;
use crate::url::decode;

const CONNECT: Duration = Duration::from_secs(10);

/// Most of a page of names that is read.
pub(crate) const PAGE_BYTES: usize = 16 * 1024 * 1024;

/// Most of an error's answer that is read.
const REFUSAL_BYTES: usize = 16 * 1024;

/// Names the cryptography that the clients of this process use, unless it has done so already.
pub(crate) fn install_tls() {
    let _ = rustls::crypto::ring::default_provider().install_default();
}

/// A client that trusts the system's certificates, goes through the proxies of the environment, and follows no redirect:
/// a bucket that is elsewhere is a fault of the configuration.
pub(crate) fn client() -> Result<Client, Failure> {
    client_with(Policy::none())
}

/// The same for a web server, which may move an object within its host. A redirect to another host, or from TLS to none, is
/// not followed: credentials and signatures would go with it.
pub(crate) fn web_client() -> Result<Client, Failure> {
    client_with(Policy::custom(|attempt| {
        let to = attempt.url();
        let is_same = attempt.previous().last().is_some_and(|from| {
            from.host_str() == to.host_str()
                && from.port_or_known_default() == to.port_or_known_default()
                && from.scheme() == to.scheme()
        });
        if is_same && attempt.previous().len() <= MOST_REDIRECTS {
            attempt.follow()
        } else {
            attempt.stop()
        }
    }))
}

/// Most redirects of one request that are followed.
const MOST_REDIRECTS: usize = 5;

fn client_with(redirect: Policy) -> Result<Client, Failure> {
    install_tls();
    Client::builder()
        .connect_timeout(CONNECT)
        .redirect(redirect)
        .user_agent(concat!("groma/", env!("CARGO_PKG_VERSION")))
        .build()
        .map_err(Failure::of_client)
}

/// The pauses before the second and the third attempt after a temporary error, in milliseconds.
const AGAIN_MS: [u64; 2] = [100, 400];

/// Sends a request without a body, and again while the answer is one that passes (408, 429, 5xx) or none came; a third time
/// is the last, and none begins after `stall`.
pub(crate) async fn ask(
    client: &Client,
    request: Request,
    stall: Duration,
) -> Result<Response, Failure> {
    let begin = Instant::now();
    let once = || request.try_clone().expect("it has no body");
    for pause_ms in AGAIN_MS {
        let answer = send(client, once(), &Progress::begin(), stall).await;
        let passes = match &answer {
            Ok(answer) => may_pass(answer.status()),
            Err(_) => true,
        };
        if !passes || begin.elapsed() >= stall {
            return answer;
        }
        tokio::time::sleep(Duration::from_millis(pause_ms)).await;
    }
    send(client, once(), &Progress::begin(), stall).await
}

fn may_pass(status: StatusCode) -> bool {
    let limited = [StatusCode::REQUEST_TIMEOUT, StatusCode::TOO_MANY_REQUESTS];
    status.is_server_error() || limited.contains(&status)
}

/// Sends a request whose body reports its progress, and waits for the head of the answer. Fails if no byte moves and no answer
/// arrives for `stall`.
pub(crate) async fn send(
    client: &Client,
    mut request: Request,
    progress: &Progress,
    stall: Duration,
) -> Result<Response, Failure> {
    hide_password(&mut request)?;
    progress.moved();
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

/// Moves the user and password of a request's URL into the header that is made for them (RFC 7617): the client's own logs
/// show URLs, and never that header's value.
fn hide_password(request: &mut Request) -> Result<(), Failure> {
    let url = request.url_mut();
    let (user, password) = (url.username(), url.password());
    if user.is_empty() && password.is_none() {
        return Ok(());
    }
    let plain = |text: &str| {
        decode(text).ok_or_else(|| {
            Failure::lasting("the user or password of the URL is not percent-encoded")
        })
    };
    let both = [plain(user)?, plain(password.unwrap_or_default())?].join(&b':');
    let removed = url.set_username("").and_then(|()| url.set_password(None));
    removed.map_err(|()| Failure::lasting("the URL holds a password and no host"))?;
    let value = format!("Basic {}", BASE64_STANDARD.encode(both));
    let mut value = HeaderValue::try_from(value).expect("base64 is made of visible letters");
    value.set_sensitive(true);
    request
        .headers_mut()
        .entry(header::AUTHORIZATION)
        .or_insert(value);
    Ok(())
}

/// An answer's body as text, of which at most `most_bytes` are read.
pub(crate) async fn text(
    mut answer: Response,
    most_bytes: usize,
    stall: Duration,
) -> Result<String, Failure> {
    let mut body = Vec::new();
    while body.len() < most_bytes {
        let chunk = tokio::time::timeout(stall, answer.chunk()).await;
        let chunk = chunk.map_err(|_| Failure::new(format!("no byte came for {stall:?}")))?;
        match chunk.map_err(Failure::of_client)? {
            Some(chunk) => body.extend_from_slice(&chunk),
            None => break,
        }
    }
    Ok(String::from_utf8_lossy(&body).into_owned())
}

/// Returns the failure for an unexpected answer.
pub(crate) async fn refusal(answer: Response, stall: Duration) -> Failure {
    let status = answer.status();
    let body = text(answer, REFUSAL_BYTES, stall).await;
    Failure::of_answer(status, &body.unwrap_or_default())
}

/// The media type of an object, by its name.
pub(crate) fn content_type(key: &str) -> &'static str {
    match key.rsplit_once('.') {
        Some((_, "gz" | "tgz")) => "application/gzip",
        Some((_, "json")) => "application/json",
        _ => "application/octet-stream",
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read as _, Write as _};
    use std::net::TcpListener;

    use super::super::bridge::wait;
    use http::Method;

    use super::*;

    const STALL: Duration = Duration::from_secs(30);

    /// Answers each connection with the next of these statuses; gives the URL.
    fn server(statuses: &'static [u16]) -> String {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}/", listener.local_addr().unwrap());
        std::thread::spawn(move || {
            for status in statuses {
                let (mut stream, _) = listener.accept().unwrap();
                let _ = stream.read(&mut [0; 4096]);
                let head = format!(
                    "HTTP/1.1 {status} X\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
                );
                stream.write_all(head.as_bytes()).unwrap();
            }
        });
        url
    }

    fn request(url: &str) -> Request {
        Request::new(http::Method::GET, url.parse().unwrap())
    }

    #[test]
    fn answers_that_pass_are_asked_for_again_and_not_for_ever() {
        for (statuses, last) in [
            (&[200][..], 200),
            (&[503, 200], 200),
            (&[429, 408, 200], 200),
            (&[500, 500, 502, 200], 502),
            (&[404, 200], 404),
        ] {
            let request = request(&server(statuses));
            let client = client().unwrap();
            let answer = wait(async move { ask(&client, request, STALL).await });
            assert_eq!(answer.unwrap().unwrap().status(), last, "{statuses:?}");
        }
    }

    #[test]
    fn the_clock_begins_with_the_request() {
        let request = request(&server(&[200]));
        let client = client().unwrap();
        let since_before = Progress::begin();
        let answer = wait(async move {
            // As long as credentials may take to come.
            let stall = Duration::from_secs(2);
            tokio::time::sleep(stall).await;
            send(&client, request, &since_before, stall).await
        });
        assert!(answer.unwrap().is_ok());
    }

    #[test]
    fn a_password_leaves_the_url() {
        for (url, expected) in [
            ("http://host/x", None),
            ("http://us%40er:p%3Aw@host/x", Some("us@er:p:w")),
            ("http://user@host/x", Some("user:")),
            ("http://:pw@host/x", Some(":pw")),
        ] {
            let mut request = Request::new(Method::GET, url.parse().unwrap());
            hide_password(&mut request).unwrap();
            assert_eq!(request.url().as_str(), "http://host/x");
            let sent = request.headers().get(header::AUTHORIZATION);
            let expected = expected.map(|both| format!("Basic {}", BASE64_STANDARD.encode(both)));
            assert_eq!(sent.map(|sent| sent.to_str().unwrap()), expected.as_deref());
            assert!(sent.is_none_or(HeaderValue::is_sensitive));
        }
    }
}
