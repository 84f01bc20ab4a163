//! From a listening socket to an upgraded connection.

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::os::fd::AsFd;
use std::sync::Arc;
use std::time::Duration;

use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::upgrade::Parts;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};
use tokio_rustls::TlsAcceptor;

use super::Shared;
use super::http::{Slot, answer};
use super::test::{self, Connection};
use crate::protocol::channel::lock;
use crate::protocol::transport::Transport;

/// Room for a request head with a query of 4096 bytes and a browser's cookies.
const HEAD_BYTES: usize = 32 << 10;
/// After a failed accept, usually for want of descriptors, until the next attempt.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Accepts until `stop` is set, then waits for the connections that are left.
pub(crate) async fn accept_loop(
    shared: Arc<Shared>,
    listener: TcpListener,
    tls: Option<TlsAcceptor>,
    mut stop: watch::Receiver<bool>,
) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            () = stopped(&mut stop) => break,
            Some(_) = connections.join_next() => {}
            accepted = listener.accept() => match accepted {
                Ok((stream, client)) => {
                    let serving = serve(Arc::clone(&shared), stream, client, tls.clone(), stop.clone());
                    connections.spawn(async move {
                        if let Err(error) = serving.await {
                            tracing::debug!(%client, %error, "connection ended before its test");
                        }
                    });
                }
                Err(error) => {
                    tracing::warn!(%error, "accept connection");
                    sleep(ACCEPT_PAUSE).await;
                }
            },
        }
    }
    drop(listener);
    while connections.join_next().await.is_some() {}
}

async fn serve(
    shared: Arc<Shared>,
    stream: TcpStream,
    client: SocketAddr,
    tls: Option<TlsAcceptor>,
    mut stop: watch::Receiver<bool>,
) -> io::Result<()> {
    let permits = (
        shared.client_connections.try_acquire(client.ip()),
        shared.connections.try_acquire(),
    );
    let (Some(_of_client), Ok(_of_all)) = permits else {
        shared.metrics.refused_connection();
        return Ok(());
    };
    let _open = shared.metrics.open_connection();
    stream.set_nodelay(true)?;
    let peer = Peer {
        server: canonical(stream.local_addr()?),
        client: canonical(client),
        secure: tls.is_some(),
    };
    match tls {
        None => serve_http(&shared, stream, peer, stop).await,
        Some(tls) => {
            let handshake = timeout(shared.handshake_wait, tls.accept(stream));
            let stream = tokio::select! {
                () = stopped(&mut stop) => return Ok(()),
                stream = handshake => stream??,
            };
            serve_http(&shared, stream, peer, stop).await
        }
    }
}

/// The facts about a connection before its request.
struct Peer {
    server: SocketAddr,
    client: SocketAddr,
    secure: bool,
}

async fn serve_http<S: Transport>(
    shared: &Arc<Shared>,
    stream: S,
    peer: Peer,
    mut stop: watch::Receiver<bool>,
) -> io::Result<()> {
    let slot = Arc::new(Slot::new(None));
    let service = service_fn(|request| {
        let response = answer(shared, peer.client.ip(), request, &slot);
        async { Ok::<_, Infallible>(response) }
    });
    {
        let connection = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(shared.handshake_wait)
            .max_buf_size(HEAD_BYTES)
            .title_case_headers(true)
            .serve_connection(TokioIo::new(stream), service)
            .with_upgrades();
        let mut connection = std::pin::pin!(connection);
        let both_waits = shared.handshake_wait * 2;
        tokio::select! {
            served = timeout(both_waits, &mut connection) => served?.map_err(io::Error::other)?,
            () = stopped(&mut stop) => {
                connection.as_mut().graceful_shutdown();
                timeout(both_waits, connection).await?.map_err(io::Error::other)?;
            }
        }
    }
    let Some((upgrade, admitted)) = lock(&slot).take() else {
        return Ok(());
    };
    let upgraded = upgrade.await.map_err(io::Error::other)?;
    let Ok(Parts { io, read_buf, .. }) = upgraded.downcast::<TokioIo<S>>() else {
        return Err(io::Error::other(
            "the upgraded connection is of another type",
        ));
    };
    let stream = io.into_inner();
    let connection = Connection {
        socket: stream.tcp().as_fd().try_clone_to_owned()?,
        stream,
        first_bytes: read_buf,
        server: peer.server,
        client: peer.client,
        secure: peer.secure,
    };
    shared.metrics.upgrade(admitted.direction, true);
    test::run(shared, connection, admitted).await;
    Ok(())
}

async fn stopped(stop: &mut watch::Receiver<bool>) {
    // An error means that the server was dropped, which stops it too.
    let _ = stop.wait_for(|stop| *stop).await;
}

/// An IPv4 client of an IPv6 socket is still an IPv4 client.
fn canonical(address: SocketAddr) -> SocketAddr {
    SocketAddr::new(address.ip().to_canonical(), address.port())
}
