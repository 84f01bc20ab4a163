//! An HTTP/1.1 server that slow, numerous or hostile clients cannot exhaust.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::extract::{ConnectInfo, Request};
use axum::http::request::Parts;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use hyper::body::Body as _;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::{AbortHandle, JoinSet};
use tower_service::Service as _;

/// The limits of all clients together and of each.
#[derive(Debug, Clone, Copy)]
pub struct HttpLimits {
    /// Connections at one time. At the limit, a new connection replaces the one that has been idle for longest; an idle
    /// connection is one without a complete request. When none is idle, the new connection is closed.
    pub connections: usize,
    /// Connections at one time from one IPv4 address or one IPv6 /64, with the same rule.
    pub connections_per_client: usize,
    /// Time to send the head of a request, and again to send its body.
    pub request_time: Duration,
    /// Largest body of a request, in bytes; a larger one is answered with 413.
    pub body_bytes: usize,
    /// Time after which a connection is closed, whatever it does.
    pub connection_time: Duration,
    /// Whether a connection may carry several requests.
    pub keep_alive: bool,
}

/// How long answers may still be written once the server stops.
const CLOSING_TIME: Duration = Duration::from_secs(1);

/// The pause after a failed `accept`, for instance when the process has no descriptor left.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Serves `app` until `stop` completes, then closes idle connections and gives running requests one second.
///
/// Handlers find the client's address as [`ConnectInfo<SocketAddr>`]. A request reaches its handler only when its body
/// is complete, so that slow senders never hold a handler.
pub async fn serve_http(
    listener: TcpListener,
    app: Router,
    limits: HttpLimits,
    stop: impl Future<Output = ()>,
) {
    let table = Arc::new(Table::default());
    let (stopping, _) = watch::channel(false);
    let mut tasks = JoinSet::new();
    tokio::pin!(stop);
    loop {
        let accepted = tokio::select! {
            () = &mut stop => break,
            Some(_) = tasks.join_next() => continue,
            accepted = listener.accept() => accepted,
        };
        let (stream, peer) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                tracing::debug!(%error, "cannot accept a connection");
                tokio::time::sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        let Some(id) = table.admit(client_of(peer.ip()), &limits) else {
            continue;
        };
        let connection = Connection {
            id,
            peer,
            table: Arc::clone(&table),
            limits,
        };
        let closing = stopping.subscribe();
        let task = tasks.spawn(connection.run(stream, app.clone(), closing));
        table.started(id, task);
    }
    stopping.send_replace(true);
    let _ = tokio::time::timeout(CLOSING_TIME, async {
        while tasks.join_next().await.is_some() {}
    })
    .await;
}

/// Returns the part of an address that identifies a client: an IPv4 address, or the /64 of an IPv6 address. Providers give a
/// household at least a /64 (RFC 6177).
pub fn client_of(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V4(v4) => v4.into(),
        IpAddr::V6(v6) => IpAddr::V6((v6.to_bits() >> 64 << 64).into()),
    }
}

/// The open connections, in the order in which they became idle or were accepted.
#[derive(Debug, Default)]
struct Table {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    last_id: u64,
    last_turn: u64,
    open: BTreeMap<u64, Open>,
}

#[derive(Debug)]
struct Open {
    client: IpAddr,
    /// The turn in which it became idle; `None` while a handler works on a request.
    idle_since: Option<u64>,
    task: Option<AbortHandle>,
}

impl Table {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Makes room for one more connection of `client`, if need be by closing an idle one.
    fn admit(&self, client: IpAddr, limits: &HttpLimits) -> Option<u64> {
        let mut state = self.lock();
        let of_client = state
            .open
            .values()
            .filter(|open| open.client == client)
            .count();
        if of_client >= limits.connections_per_client {
            state.close_idle(|open| open.client == client)?;
        } else if state.open.len() >= limits.connections {
            state.close_idle(|_| true)?;
        }
        state.last_id += 1;
        let idle_since = Some(state.next_turn());
        let id = state.last_id;
        state.open.insert(
            id,
            Open {
                client,
                idle_since,
                task: None,
            },
        );
        Some(id)
    }

    fn started(&self, id: u64, task: AbortHandle) {
        if let Some(open) = self.lock().open.get_mut(&id) {
            open.task = Some(task);
        }
    }

    fn set_idle(&self, id: u64, is_idle: bool) {
        let mut state = self.lock();
        let turn = state.next_turn();
        if let Some(open) = state.open.get_mut(&id) {
            open.idle_since = is_idle.then_some(turn);
        }
    }

    fn closed(&self, id: u64) {
        self.lock().open.remove(&id);
    }
}

impl State {
    fn next_turn(&mut self) -> u64 {
        self.last_turn += 1;
        self.last_turn
    }

    /// Closes the connection that has been idle for longest among those wanted.
    fn close_idle(&mut self, is_wanted: impl Fn(&Open) -> bool) -> Option<()> {
        let idle = self.open.iter().filter(|(_, open)| is_wanted(open));
        let oldest = idle
            .filter_map(|(id, open)| Some((open.idle_since?, *id)))
            .min()?;
        let closed = self.open.remove(&oldest.1)?;
        if let Some(task) = closed.task {
            task.abort();
        }
        Some(())
    }
}

struct Connection {
    id: u64,
    peer: SocketAddr,
    table: Arc<Table>,
    limits: HttpLimits,
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.table.closed(self.id);
    }
}

impl Connection {
    async fn run(self, stream: TcpStream, app: Router, mut stopping: watch::Receiver<bool>) {
        let limits = self.limits;
        let this = &self;
        let service = hyper::service::service_fn(move |request| {
            let app = app.clone();
            async move { Ok::<_, std::convert::Infallible>(this.answer(app, request).await) }
        });
        let serving = hyper::server::conn::http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(limits.request_time)
            .keep_alive(limits.keep_alive)
            .serve_connection(TokioIo::new(stream), service);
        tokio::pin!(serving);
        tokio::select! {
            // The client alone suffers from an error of its own connection.
            _ = serving.as_mut() => return,
            () = tokio::time::sleep(limits.connection_time) => return,
            _ = stopping.wait_for(|stopping| *stopping) => serving.as_mut().graceful_shutdown(),
        }
        let _ = serving.await;
    }

    async fn answer(&self, mut app: Router, request: Request<hyper::body::Incoming>) -> Response {
        let (parts, body) = request.into_parts();
        if !has_one_host(&parts) {
            return close(StatusCode::BAD_REQUEST);
        }
        // Without waiting for it, where its length is known.
        if body.size_hint().lower() > self.limits.body_bytes as u64 {
            return close(StatusCode::PAYLOAD_TOO_LARGE);
        }
        let body = to_bytes(Body::new(body), self.limits.body_bytes);
        let body = match tokio::time::timeout(self.limits.request_time, body).await {
            Ok(Ok(body)) => body,
            Ok(Err(_)) => return close(StatusCode::PAYLOAD_TOO_LARGE),
            Err(_) => return close(StatusCode::REQUEST_TIMEOUT),
        };
        let mut request = Request::from_parts(parts, Body::from(body));
        request.extensions_mut().insert(ConnectInfo(self.peer));
        self.table.set_idle(self.id, false);
        let answered = app.call(request).await;
        self.table.set_idle(self.id, true);
        answered.into_response()
    }
}

/// Returns whether at most one host is named, so that all checks look at the same one. A second `Host` header is an error (RFC
/// 9112, section 3.2), and a target with a host, as proxies get it, takes precedence over the header.
fn has_one_host(request: &Parts) -> bool {
    request.headers.get_all(header::HOST).iter().count() <= 1 && request.uri.host().is_none()
}

fn close(status: StatusCode) -> Response {
    (status, [("connection", "close")]).into_response()
}
