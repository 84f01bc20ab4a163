//! Requests and their replies, as M-Lab's ndt-server gives them.

use std::net::IpAddr;
use std::sync::{Arc, Mutex};

use groma_experiment::Refusal;
use groma_manifest::DESCRIPTION_PATH;
use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::header::{
    ACCESS_CONTROL_ALLOW_ORIGIN, CONNECTION, CONTENT_TYPE, HeaderName, HeaderValue,
    SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_PROTOCOL, SEC_WEBSOCKET_VERSION, UPGRADE,
    X_CONTENT_TYPE_OPTIONS,
};
use hyper::upgrade::OnUpgrade;
use hyper::{Method, Request, Response, StatusCode, Version};

use super::Shared;
use super::test::Admitted;
use crate::protocol::channel::lock;
use crate::protocol::handshake::{accept_key, upgrade_key};
use crate::protocol::{Direction, SUBPROTOCOL, query};

/// Where the service leaves an upgrade for the task of the connection.
pub(crate) type Slot = Mutex<Option<(OnUpgrade, Admitted)>>;

/// A reply that is not an upgrade.
#[derive(Debug, PartialEq, Eq)]
enum Refused {
    /// Nothing is served there.
    NotFound,
    /// Something is wrong with the test that is asked for; said without words.
    BadTest,
    /// The right subprotocol, but no upgrade.
    NoUpgrade,
    /// The right subprotocol, but not a GET.
    Method,
    /// As many tests of this client are running as it may have.
    TooMany,
    /// The SDK does not admit it.
    NotAdmitted(Refusal),
}

/// A request for a test, checked.
#[derive(Debug, PartialEq, Eq)]
struct Wanted {
    direction: Direction,
    query: Vec<(String, String)>,
    early_exit: bool,
    accept: String,
}

/// Answers one request. On an upgrade the admitted test goes to `slot`.
pub(crate) fn answer(
    shared: &Arc<Shared>,
    client: IpAddr,
    mut request: Request<Incoming>,
    slot: &Slot,
) -> Response<Full<Bytes>> {
    if request.uri().path() == DESCRIPTION_PATH {
        return description(shared, request.method());
    }
    let direction = Direction::from_path(request.uri().path());
    match accept(shared, client, &request) {
        Ok((accept, admitted)) => {
            *lock(slot) = Some((hyper::upgrade::on(&mut request), admitted));
            switching(&accept)
        }
        Err(refused) => {
            // These have metrics of their own.
            let not_now = matches!(refused, Refused::NotAdmitted(_) | Refused::TooMany);
            if let Some(direction) = direction.filter(|_| !not_now) {
                shared.metrics.upgrade(direction, false);
            }
            refused.response(shared)
        }
    }
}

/// Publishes the policy of this server. Scripts of every web page may read it.
fn description(shared: &Shared, method: &Method) -> Response<Full<Bytes>> {
    if method != Method::GET && method != Method::HEAD {
        return text(
            StatusCode::METHOD_NOT_ALLOWED,
            "Method Not Allowed\n".to_owned(),
        );
    }
    let mut response = text(StatusCode::OK, shared.experiment.description().to_owned());
    let headers = [
        (CONTENT_TYPE, "application/json"),
        (ACCESS_CONTROL_ALLOW_ORIGIN, "*"),
    ];
    for (name, value) in headers {
        response
            .headers_mut()
            .insert(name, HeaderValue::from_static(value));
    }
    response
}

fn accept<B>(
    shared: &Arc<Shared>,
    client: IpAddr,
    request: &Request<B>,
) -> Result<(String, Admitted), Refused> {
    let wanted = check(request)?;
    let Some(permit) = shared.client_tests.try_acquire(client) else {
        shared.metrics.refused_test();
        return Err(Refused::TooMany);
    };
    // Last, so that a bad request never counts as a running test.
    let test = shared
        .experiment
        .admit(&wanted.query)
        .map_err(Refused::NotAdmitted)?;
    let admitted = Admitted {
        test,
        direction: wanted.direction,
        early_exit: wanted.early_exit,
        permit,
    };
    Ok((wanted.accept, admitted))
}

/// The checks of ndt-server in their order, and those of the query that the specification asks for.
fn check<B>(request: &Request<B>) -> Result<Wanted, Refused> {
    let direction = Direction::from_path(request.uri().path()).ok_or(Refused::NotFound)?;
    let query = query::parse(request.uri().query().unwrap_or_default()).ok_or(Refused::BadTest)?;
    let early_exit = query.iter().find(|(key, _)| key == "early_exit");
    if early_exit.is_some_and(|(_, value)| value != "250") {
        return Err(Refused::BadTest);
    }
    let headers = request.headers();
    if headers
        .get(SEC_WEBSOCKET_PROTOCOL)
        .is_none_or(|protocol| protocol != SUBPROTOCOL)
    {
        return Err(Refused::BadTest);
    }
    let key = upgrade_key(headers).ok_or(Refused::NoUpgrade)?;
    if request.method() != Method::GET {
        return Err(Refused::Method);
    }
    if request.version() != Version::HTTP_11 {
        return Err(Refused::NoUpgrade);
    }
    Ok(Wanted {
        direction,
        early_exit: early_exit.is_some(),
        accept: accept_key(key),
        query,
    })
}

fn switching(accept: &str) -> Response<Full<Bytes>> {
    let accept = HeaderValue::from_str(accept).expect("base64 is a header value");
    let headers = [
        (UPGRADE, HeaderValue::from_static("websocket")),
        (CONNECTION, HeaderValue::from_static("Upgrade")),
        (SEC_WEBSOCKET_ACCEPT, accept),
        (
            SEC_WEBSOCKET_PROTOCOL,
            HeaderValue::from_static(SUBPROTOCOL),
        ),
    ];
    respond(StatusCode::SWITCHING_PROTOCOLS, headers, Bytes::new())
}

impl Refused {
    fn response(&self, shared: &Shared) -> Response<Full<Bytes>> {
        match self {
            Self::NotFound => text(StatusCode::NOT_FOUND, "404 page not found\n".to_owned()),
            Self::BadTest => empty(StatusCode::BAD_REQUEST),
            Self::NoUpgrade => {
                with_version(text(StatusCode::BAD_REQUEST, "Bad Request\n".to_owned()))
            }
            Self::Method => with_version(text(
                StatusCode::METHOD_NOT_ALLOWED,
                "Method Not Allowed\n".to_owned(),
            )),
            Self::TooMany => text(
                StatusCode::TOO_MANY_REQUESTS,
                "Too many tests are running from your address: try again when they have ended\n"
                    .to_owned(),
            ),
            Self::NotAdmitted(Refusal::PolicyNotAccepted) => {
                let consent = &shared.experiment.manifest().consent;
                text(
                    StatusCode::FORBIDDEN,
                    format!(
                        "Read the policy at {} and send policy_version={} in the query to accept it.\n",
                        consent.policy_url, consent.policy_version
                    ),
                )
            }
            Self::NotAdmitted(refusal) => empty(
                StatusCode::from_u16(refusal.http_status())
                    .unwrap_or(StatusCode::SERVICE_UNAVAILABLE),
            ),
        }
    }
}

fn empty(status: StatusCode) -> Response<Full<Bytes>> {
    respond(
        status,
        [(CONNECTION, HeaderValue::from_static("close"))],
        Bytes::new(),
    )
}

fn text(status: StatusCode, body: String) -> Response<Full<Bytes>> {
    let headers = [
        (CONNECTION, HeaderValue::from_static("close")),
        (
            CONTENT_TYPE,
            HeaderValue::from_static("text/plain; charset=utf-8"),
        ),
        (X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff")),
    ];
    respond(status, headers, Bytes::from(body))
}

/// The version of WebSocket that an upgrade should have asked for (RFC 6455, section 4.4).
fn with_version(mut response: Response<Full<Bytes>>) -> Response<Full<Bytes>> {
    let version = HeaderValue::from_static("13");
    response
        .headers_mut()
        .insert(SEC_WEBSOCKET_VERSION, version);
    response
}

fn respond(
    status: StatusCode,
    headers: impl IntoIterator<Item = (HeaderName, HeaderValue)>,
    body: Bytes,
) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(body));
    *response.status_mut() = status;
    response.headers_mut().extend(headers);
    response
}
