//! The HTTP endpoint: each query runs in a worker process.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use anyhow::Context as _;
use axum::Router;
use axum::extract::{RawQuery, State};
use axum::http::header::{self, HeaderName, HeaderValue};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse as _, Response};
use axum::routing::post;
use groma_service::{HttpLimits, host_name, serve_http, until_signal};
use tokio::net::TcpListener;
use tokio::sync::Semaphore;

use crate::format::Format;
use crate::worker::{Outcome, Workers};

/// Longest query, in bytes.
const QUERY_BYTES: usize = 64 << 10;
/// Time to send the head of a request, and again to send the query.
const REQUEST_TIME: Duration = Duration::from_secs(10);
/// Time to read the answer.
const ANSWER_TIME: Duration = Duration::from_mins(2);
/// Connections at one time, and of one client.
const CONNECTIONS: usize = 512;
const CONNECTIONS_PER_CLIENT: usize = 256;

/// How many rows of a page are not finite numbers.
const NOT_FINITE: HeaderName = HeaderName::from_static("x-not-finite");
/// Whether rows are missing at the end.
const TRUNCATED: HeaderName = HeaderName::from_static("x-truncated");

/// The clients that may ask, and the number of queries at one time.
#[derive(Debug, Clone)]
pub struct Policy {
    /// Host names of the endpoint beside addresses and `localhost`.
    pub hosts: Vec<String>,
    /// Origins of web pages that may ask, such as `https://charts.example`.
    pub origins: Vec<String>,
    /// Queries that run at one time.
    pub running: usize,
    /// Queries that wait for their turn.
    pub waiting: usize,
}

struct Endpoint {
    workers: Workers,
    policy: Policy,
    turns: Semaphore,
    /// Queries that run or wait.
    admitted: AtomicUsize,
}

/// Serves until SIGINT or SIGTERM.
pub fn serve(listen: SocketAddr, workers: Workers, policy: Policy) -> anyhow::Result<()> {
    workers.check().context("start a first worker")?;
    let runtime = tokio::runtime::Runtime::new().context("start the runtime")?;
    runtime.block_on(async {
        let listener = TcpListener::bind(listen)
            .await
            .with_context(|| format!("listen on {listen}"))?;
        println!("listening on http://{}", listener.local_addr()?);
        let limits = limits(&workers, &policy);
        let turns = Semaphore::new(policy.running.max(1));
        let endpoint = Endpoint {
            workers,
            policy,
            turns,
            admitted: AtomicUsize::new(0),
        };
        let app = Router::new()
            .route("/", post(answer).options(preflight))
            .with_state(Arc::new(endpoint));
        let stop = async {
            until_signal().await;
        };
        serve_http(listener, app, limits, stop).await;
        Ok(())
    })
}

fn limits(workers: &Workers, policy: &Policy) -> HttpLimits {
    // Every query before this one may take its whole time.
    let rounds = 1 + policy.waiting / policy.running.max(1);
    let rounds = u32::try_from(rounds).unwrap_or(u32::MAX);
    let queries = workers.timeout.saturating_mul(rounds.saturating_add(1));
    HttpLimits {
        connections: CONNECTIONS,
        connections_per_client: CONNECTIONS_PER_CLIENT,
        request_time: REQUEST_TIME,
        body_bytes: QUERY_BYTES,
        connection_time: queries.saturating_add(ANSWER_TIME),
        keep_alive: false,
    }
}

async fn answer(
    State(endpoint): State<Arc<Endpoint>>,
    headers: HeaderMap,
    RawQuery(parameters): RawQuery,
    query: String,
) -> Response {
    let origin = match endpoint.policy.allowed_origin(&headers) {
        Ok(origin) => origin,
        Err(reason) => return error(StatusCode::FORBIDDEN, reason),
    };
    let format = match parameters.as_deref() {
        Some("format=csv") => Format::Csv,
        None | Some("format=json" | "") => Format::Json,
        Some(_) => return error(StatusCode::BAD_REQUEST, "the format is json or csv"),
    };
    let mut response = run(&endpoint, query, format).await;
    if let Some(origin) = origin {
        let headers = response.headers_mut();
        headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin);
        headers.insert(header::VARY, HeaderValue::from_static("origin"));
    }
    response
}

/// The question of a browser whether a page of another origin may ask (Fetch standard, "CORS-preflight fetch").
async fn preflight(State(endpoint): State<Arc<Endpoint>>, headers: HeaderMap) -> Response {
    match endpoint.policy.allowed_origin(&headers) {
        Ok(Some(origin)) => {
            let headers = [
                (header::ACCESS_CONTROL_ALLOW_ORIGIN, origin),
                (
                    header::ACCESS_CONTROL_ALLOW_METHODS,
                    HeaderValue::from_static("POST"),
                ),
                (
                    header::ACCESS_CONTROL_ALLOW_HEADERS,
                    HeaderValue::from_static("content-type"),
                ),
                (header::VARY, HeaderValue::from_static("origin")),
            ];
            (StatusCode::NO_CONTENT, headers).into_response()
        }
        Ok(None) => StatusCode::NO_CONTENT.into_response(),
        Err(reason) => error(StatusCode::FORBIDDEN, reason),
    }
}

async fn run(endpoint: &Arc<Endpoint>, query: String, format: Format) -> Response {
    let Some(_admitted) = Admitted::new(endpoint) else {
        return error(
            StatusCode::SERVICE_UNAVAILABLE,
            "too many queries wait; try again",
        );
    };
    let Ok(_turn) = endpoint.turns.acquire().await else {
        return error(StatusCode::SERVICE_UNAVAILABLE, "the server stops");
    };
    let endpoint = Arc::clone(endpoint);
    let ran = tokio::task::spawn_blocking(move || endpoint.workers.run(&query, format)).await;
    match ran {
        Ok(outcome) => respond(outcome, format),
        Err(_) => error(
            StatusCode::INTERNAL_SERVER_ERROR,
            "the query could not be run",
        ),
    }
}

/// One of the queries that run or wait.
struct Admitted<'a>(&'a Endpoint);

impl<'a> Admitted<'a> {
    fn new(endpoint: &'a Endpoint) -> Option<Self> {
        let most = endpoint.policy.running.max(1) + endpoint.policy.waiting;
        let before = endpoint.admitted.fetch_add(1, Ordering::SeqCst);
        let admitted = Admitted(endpoint);
        (before < most).then_some(admitted)
    }
}

impl Drop for Admitted<'_> {
    fn drop(&mut self) {
        self.0.admitted.fetch_sub(1, Ordering::SeqCst);
    }
}

impl Policy {
    /// Refuses requests that a web page made a browser send, unless its origin may ask; that origin is returned.
    ///
    /// A page of any site can send a `POST` of plain text to a server on this machine, and can let its own name point here;
    /// the `Host` of the second is that name, and only addresses and known names pass.
    fn allowed_origin(&self, headers: &HeaderMap) -> Result<Option<HeaderValue>, &'static str> {
        let text = |name: HeaderName| headers.get(name).and_then(|value| value.to_str().ok());
        let host = text(header::HOST).unwrap_or_default();
        if !self.is_host(host) {
            return Err(
                "this Host is not one of the endpoint's; its operator can add it with --host",
            );
        }
        let Some(origin) = headers.get(header::ORIGIN) else {
            let site = text(HeaderName::from_static("sec-fetch-site"));
            return match site {
                Some("cross-site" | "same-site") => Err("web pages may not ask here"),
                _ => Ok(None),
            };
        };
        let name = origin.to_str().unwrap_or_default();
        let is_own =
            [format!("http://{host}"), format!("https://{host}")].contains(&name.to_owned());
        if is_own || self.origins.iter().any(|allowed| allowed == name) {
            return Ok(Some(origin.clone()));
        }
        Err(
            "web pages of this origin may not ask here; the operator can allow it with --allow-origin",
        )
    }

    fn is_host(&self, host: &str) -> bool {
        let name = host_name(host);
        let is_named = self
            .hosts
            .iter()
            .any(|allowed| allowed.eq_ignore_ascii_case(name));
        is_named || name.parse::<IpAddr>().is_ok() || name.eq_ignore_ascii_case("localhost")
    }
}

fn respond(outcome: anyhow::Result<Outcome>, format: Format) -> Response {
    match outcome {
        Ok(Outcome::Answer {
            body,
            is_cut,
            not_finite,
        }) => {
            let content_type = if format == Format::Csv {
                "text/csv; charset=utf-8"
            } else {
                "application/json"
            };
            let headers = [
                (header::CONTENT_TYPE, HeaderValue::from_static(content_type)),
                (
                    header::X_CONTENT_TYPE_OPTIONS,
                    HeaderValue::from_static("nosniff"),
                ),
                (
                    TRUNCATED,
                    HeaderValue::from_static(if is_cut { "true" } else { "false" }),
                ),
                (NOT_FINITE, HeaderValue::from(not_finite)),
            ];
            (headers, body).into_response()
        }
        Ok(Outcome::Refused(message)) => error(StatusCode::BAD_REQUEST, &message),
        Ok(Outcome::TooLong) => error(
            StatusCode::REQUEST_TIMEOUT,
            "the query took too long and was ended",
        ),
        Ok(Outcome::TooLarge) => error(StatusCode::PAYLOAD_TOO_LARGE, "the answer is too large"),
        Err(failure) => error(StatusCode::INTERNAL_SERVER_ERROR, &format!("{failure:#}")),
    }
}

fn error(status: StatusCode, message: &str) -> Response {
    let mut body = serde_json::json!({ "error": message.trim() }).to_string();
    body.push('\n');
    (status, [(header::CONTENT_TYPE, "application/json")], body).into_response()
}
