//! Objects on a web server: read by name, and nothing else.

use std::io::Read;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use futures_util::TryStreamExt as _;
use http::{HeaderValue, Method, StatusCode, header};
use reqwest::{Client, Request, Response};

use super::{Failure, bridge, failed, http as client};
use crate::url::{encode_path, shown};
use crate::{Opening, Put, Stat, Store, StoreError, check_name};

/// A web server whose paths below `base` are names of objects.
pub(crate) struct Web(Arc<Inner>);

struct Inner {
    base: String,
    /// The query of every URL: the signature of a presigned URL. Messages never contain it.
    query: Option<String>,
    http: Client,
    stall: Duration,
}

/// Opens the objects below an `http://…` or `https://…`.
pub(crate) fn open(base: &str, opening: &Opening) -> Result<Web, StoreError> {
    let http = client::web_client().map_err(failed("open", &shown(base)))?;
    let base = base.split_once('#').map_or(base, |(plain, _)| plain);
    let (base, query) = match base.split_once('?') {
        Some((base, query)) => (base, Some(query.to_owned())),
        None => (base, None),
    };
    Ok(Web(Arc::new(Inner {
        query,
        base: base.trim_end_matches('/').to_owned(),
        http,
        stall: opening.stall,
    })))
}

impl Web {
    fn ask(
        &self,
        method: Method,
        operation: &'static str,
        name: &str,
    ) -> Result<Option<Response>, StoreError> {
        check_name(name).map_err(|source| StoreError::Name {
            name: name.to_owned(),
            source,
        })?;
        let inner = Arc::clone(&self.0);
        let mut url = format!("{}/{}", inner.base, encode_path(name));
        if let Some(query) = &inner.query {
            url = format!("{url}?{query}");
        }
        let answer = bridge::wait(async move { inner.ask(method, &url).await });
        answer
            .and_then(|answer| answer)
            .map_err(failed(operation, &self.url(name)))
    }

    fn refuse(operation: &'static str, name: &str) -> StoreError {
        failed(operation, name)(Failure::new(
            "a web server only gives objects by their names",
        ))
    }
}

impl Inner {
    async fn ask(&self, method: Method, url: &str) -> Result<Option<Response>, Failure> {
        let url = url.parse().map_err(|_| Failure::new("it is no URL"))?;
        let mut request = Request::new(method, url);
        let plain = HeaderValue::from_static("identity");
        request.headers_mut().insert(header::ACCEPT_ENCODING, plain);
        let answer = client::ask(&self.http, request, self.stall).await?;
        match answer.status() {
            StatusCode::OK => Ok(Some(answer)),
            StatusCode::NOT_FOUND => Ok(None),
            status if status.is_redirection() && status != StatusCode::NOT_MODIFIED => {
                Err(refused_redirect(&answer))
            }
            _ => Err(client::refusal(answer, self.stall).await),
        }
    }
}

/// A redirect that was not followed, with the host that it leads to.
fn refused_redirect(answer: &Response) -> Failure {
    let to = answer.headers().get(header::LOCATION);
    let to = to.and_then(|to| to.to_str().ok()).map(shown);
    Failure::lasting(format!(
        "the server redirects to {}; only redirects within one host are followed",
        to.as_deref().unwrap_or("another place")
    ))
}

impl Store for Web {
    fn put_new(&self, name: &str, _: &Path) -> Result<Put, StoreError> {
        Err(Web::refuse("put", name))
    }

    fn stat(&self, name: &str) -> Result<Option<Stat>, StoreError> {
        // A presigned URL is good for the one method that was signed.
        let method = match self.0.query {
            Some(_) => Method::GET,
            None => Method::HEAD,
        };
        let Some(answer) = self.ask(method, "stat", name)? else {
            return Ok(None);
        };
        let length = answer.headers().get(header::CONTENT_LENGTH);
        let size_bytes = length.and_then(|value| value.to_str().ok()?.parse().ok());
        let untold = || failed("stat", name)(Failure::new("the server does not tell the size"));
        Ok(Some(Stat {
            size_bytes: size_bytes.ok_or_else(untold)?,
            sha256: None,
        }))
    }

    fn open(&self, name: &str) -> Result<Box<dyn Read + Send>, StoreError> {
        let missing = || failed("read", name)(Failure::new("no such object"));
        let answer = self.ask(Method::GET, "read", name)?.ok_or_else(missing)?;
        let stream = answer.bytes_stream().map_err(Failure::of_client);
        let reader = bridge::reader(stream, self.0.stall).map_err(failed("read", name))?;
        Ok(Box::new(reader))
    }

    fn list(&self, prefix: &str) -> Result<Vec<String>, StoreError> {
        Err(Web::refuse("list", prefix))
    }

    /// Returns the URL without user, password and query, which must not appear in rows and messages.
    fn url(&self, name: &str) -> String {
        format!("{}/{}", shown(&self.0.base), encode_path(name))
    }
}
