//! The admin port: metrics and health over HTTP.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::{ConnectInfo, Query};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use tokio::net::TcpListener;

use crate::access::Access;
use crate::exposition::{self, OPENMETRICS_CONTENT_TYPE, PROMETHEUS_CONTENT_TYPE};
use crate::{HttpLimits, Lifecycle, Phase, Registries, serve_http};

/// Descriptors that an admin port may hold at one time: its connections and the listening socket. A service that
/// needs descriptors for its work must reserve these beside them.
pub const ADMIN_DESCRIPTORS: usize = LIMITS.connections + 1;

/// An admin port has a few scrapers and probes as clients, each with short requests.
const LIMITS: HttpLimits = HttpLimits {
    connections: 64,
    connections_per_client: 48,
    request_time: Duration::from_secs(10),
    body_bytes: 0,
    connection_time: Duration::from_mins(10),
    keep_alive: true,
};

/// An additional page of a service on its admin port, which only [`Access`] opens.
#[derive(Clone)]
pub struct Page {
    /// Its path, such as `/receipts`.
    pub path: &'static str,
    /// Returns the answer to the parameters of a GET request. It may block.
    pub answer: Arc<Answer>,
}

/// From parameters to an HTTP status and a JSON text.
pub type Answer = dyn Fn(&Parameters) -> (u16, String) + Send + Sync;

/// The decoded parameters of a request; the last value of a repeated parameter counts.
pub type Parameters = BTreeMap<String, String>;

/// Serves the admin port without additional pages, as [`serve_admin_with`].
pub async fn serve_admin(
    listener: TcpListener,
    registries: impl Into<Registries>,
    lifecycle: Lifecycle,
) {
    let (pages, access) = (Vec::new(), Access::default());
    serve_admin_with(listener, registries, lifecycle, pages, access).await;
}

/// Serves the admin port until the lifecycle is stopped.
///
/// - `/metrics`: the metrics in `OpenMetrics` or Prometheus text, as the `Accept` header says.
/// - `/health`: 200, or 500 from lame duck on, with an empty body, as ndt-server:
///   M-Lab's locate service asks it to decide whether to send clients.
/// - `/alive`: 200 as long as the process runs; for a liveness probe, which must not
///   kill a lame duck.
/// - `/ready`: 200 in [`Phase::Ready`] while every part works, else 503. The body names the phase, then
///   `<part>: <reason>` for each part that cannot work, one per line.
/// - `pages`: 403 for clients that `access` refuses.
///
/// Slow and idle clients are disconnected, and at most 64 connections are open at one time.
pub async fn serve_admin_with(
    listener: TcpListener,
    registries: impl Into<Registries>,
    lifecycle: Lifecycle,
    pages: Vec<Page>,
    access: Access,
) {
    let access = Arc::new(access);
    let app = pages.into_iter().fold(
        routes(registries.into(), lifecycle.clone()),
        |routes, page| routes.route(page.path, page_route(page.answer, Arc::clone(&access))),
    );
    let stopped = async {
        lifecycle.reached(Phase::Stopped).await;
    };
    serve_http(listener, app, LIMITS, stopped).await;
}

fn page_route(answer: Arc<Answer>, access: Arc<Access>) -> axum::routing::MethodRouter {
    get(
        move |ConnectInfo(peer): ConnectInfo<SocketAddr>,
              headers: HeaderMap,
              Query(parameters): Query<Parameters>| async move {
            if access.allows(peer.ip(), &headers) {
                page(answer, parameters).await
            } else {
                let reason =
                    "this page answers on loopback, or with the token of --admin-token-file\n";
                (StatusCode::FORBIDDEN, reason).into_response()
            }
        },
    )
}

fn routes(registries: Registries, lifecycle: Lifecycle) -> Router {
    let for_ready = lifecycle.clone();
    Router::new()
        .route(
            "/metrics",
            get(move |headers: HeaderMap| async move { metrics(&registries, &headers) }),
        )
        .route(
            "/health",
            get(move || async move { health(lifecycle.phase()) }),
        )
        .route("/ready", get(move || async move { ready(&for_ready) }))
        .route("/alive", get(|| async { StatusCode::OK }))
}

async fn page(answer: Arc<Answer>, parameters: Parameters) -> Response {
    let answered = tokio::task::spawn_blocking(move || answer(&parameters)).await;
    let (status, json) = answered.unwrap_or_else(|_| (500, "{}".to_owned()));
    let status = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    self::json(status, json)
}

fn json(status: StatusCode, text: String) -> Response {
    (status, [(header::CONTENT_TYPE, "application/json")], text).into_response()
}

fn metrics(registries: &Registries, headers: &HeaderMap) -> Response {
    let mut text = match registries.encode() {
        Ok(text) => text,
        Err(source) => {
            tracing::error!(%source, "cannot encode the metrics");
            return StatusCode::INTERNAL_SERVER_ERROR.into_response();
        }
    };
    let accept: Vec<&str> = headers
        .get_all(header::ACCEPT)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .collect();
    let content_type = if exposition::prefers_openmetrics(&accept.join(",")) {
        OPENMETRICS_CONTENT_TYPE
    } else {
        text = exposition::to_prometheus(&text);
        PROMETHEUS_CONTENT_TYPE
    };
    let headers = [
        (header::CONTENT_TYPE, content_type),
        (header::VARY, "accept"),
    ];
    (headers, text).into_response()
}

fn health(phase: Phase) -> StatusCode {
    match phase {
        Phase::Starting | Phase::Ready => StatusCode::OK,
        Phase::LameDuck | Phase::Stopped => StatusCode::INTERNAL_SERVER_ERROR,
    }
}

fn ready(lifecycle: &Lifecycle) -> (StatusCode, String) {
    let phase = lifecycle.phase();
    let faults = lifecycle.faulty_parts();
    let status = if phase == Phase::Ready && faults.is_empty() {
        StatusCode::OK
    } else {
        StatusCode::SERVICE_UNAVAILABLE
    };
    let lines = faults
        .into_iter()
        .map(|(part, reason)| format!("{part}: {reason}"));
    let lines: Vec<String> = [phase.as_str().to_owned()]
        .into_iter()
        .chain(lines)
        .collect();
    (status, lines.join("\n"))
}
