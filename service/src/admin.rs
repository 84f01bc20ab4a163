//! The admin port: metrics and health over HTTP.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
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

/// Serves the admin port until the lifecycle is stopped.
///
/// - `/metrics`: the registry in `OpenMetrics` text.
/// - `/health`: 200, or 500 from lame duck on, with an empty body, as ndt-server:
///   what M-Lab's locate service asks to decide whether to send clients.
/// - `/alive`: 200 as long as the process runs; for a liveness probe, which must not
///   kill a lame duck.
/// - `/ready`: 200 in [`Phase::Ready`] and 503 in every other phase; the body names the phase.
///
/// An error is one of the listening socket.
pub async fn serve_admin(
    listener: TcpListener,
    registry: Arc<Registry>,
    lifecycle: Lifecycle,
) -> io::Result<()> {
    let routes = routes(registry, lifecycle.clone());
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
        .route(
            "/ready",
            get(move || async move { ready(for_ready.phase()) }),
        )
        .route("/alive", get(|| async { StatusCode::OK }))
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

fn ready(phase: Phase) -> (StatusCode, &'static str) {
    let status = match phase {
        Phase::Ready => StatusCode::OK,
        _ => StatusCode::SERVICE_UNAVAILABLE,
    };
    (status, phase.as_str())
}
