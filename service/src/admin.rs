//! The admin port: metrics and health over HTTP.

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::Query;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use prometheus_client::encoding::text::encode;
use prometheus_client::registry::Registry;
use tokio::net::TcpListener;

use crate::{Lifecycle, Phase};

/// The content type of `/metrics` (`OpenMetrics` 1.0, section "Text format").
pub const OPENMETRICS_CONTENT_TYPE: &str =
    "application/openmetrics-text; version=1.0.0; charset=utf-8";

// A keep-alive connection of a scraper must not hold up the end of the process.
const CLOSING_TIME: Duration = Duration::from_secs(1);

/// A page of a service's own on its admin port.
#[derive(Clone)]
pub struct Page {
    /// Its path, such as `/receipts`.
    pub path: &'static str,
    /// What it answers to the parameters of a GET request. It may block.
    pub answer: Arc<Answer>,
}

/// From parameters to an HTTP status and a JSON text.
pub type Answer = dyn Fn(&Parameters) -> (u16, String) + Send + Sync;

/// The decoded parameters of a request; of one that is repeated the last counts.
pub type Parameters = BTreeMap<String, String>;

/// [`serve_admin_with`] no pages of its own.
pub async fn serve_admin(
    listener: TcpListener,
    registry: Arc<Registry>,
    lifecycle: Lifecycle,
) -> io::Result<()> {
    serve_admin_with(listener, registry, lifecycle, Vec::new()).await
}

/// Serves the admin port until the lifecycle is stopped.
///
/// - `/metrics`: the registry in `OpenMetrics` text.
/// - `/health`: 200, or 500 from lame duck on, with an empty body, as ndt-server:
///   what M-Lab's locate service asks to decide whether to send clients.
/// - `/alive`: 200 as long as the process runs; for a liveness probe, which must not
///   kill a lame duck.
/// - `/ready`: 200 in [`Phase::Ready`] while every part works, else 503. The body names the phase, then
///   `<part>: <reason>` for each part that cannot work, one per line.
///
/// An error is one of the listening socket.
pub async fn serve_admin_with(
    listener: TcpListener,
    registry: Arc<Registry>,
    lifecycle: Lifecycle,
    pages: Vec<Page>,
) -> io::Result<()> {
    let routes = pages.into_iter().fold(
        routes(registry, lifecycle.clone()),
        |routes, Page { path, answer }| {
            routes.route(path, get(move |Query(asked)| page(answer, asked)))
        },
    );
    let stopped = {
        let lifecycle = lifecycle.clone();
        async move {
            lifecycle.reached(Phase::Stopped).await;
        }
    };
    let serving = axum::serve(listener, routes).with_graceful_shutdown(stopped);
    let overdue = async {
        lifecycle.reached(Phase::Stopped).await;
        tokio::time::sleep(CLOSING_TIME).await;
    };
    tokio::select! {
        served = serving.into_future() => served,
        () = overdue => Ok(()),
    }
}

fn routes(registry: Arc<Registry>, lifecycle: Lifecycle) -> Router {
    let for_ready = lifecycle.clone();
    Router::new()
        .route("/metrics", get(move || async move { metrics(&registry) }))
        .route(
            "/health",
            get(move || async move { health(lifecycle.phase()) }),
        )
        .route("/ready", get(move || async move { ready(&for_ready) }))
        .route("/alive", get(|| async { StatusCode::OK }))
}

async fn page(answer: Arc<Answer>, asked: Parameters) -> Response {
    let answered = tokio::task::spawn_blocking(move || answer(&asked)).await;
    let (status, json) = answered.unwrap_or_else(|_| (500, "{}".to_owned()));
    let status = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    (status, [(header::CONTENT_TYPE, "application/json")], json).into_response()
}

fn metrics(registry: &Registry) -> Response {
    let mut text = String::new();
    match encode(&mut text, registry) {
        Ok(()) => ([(header::CONTENT_TYPE, OPENMETRICS_CONTENT_TYPE)], text).into_response(),
        Err(source) => {
            tracing::error!(%source, "encode metrics");
            StatusCode::INTERNAL_SERVER_ERROR.into_response()
        }
    }
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
