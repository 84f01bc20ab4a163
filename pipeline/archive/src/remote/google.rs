//! Google's JSON APIs: credentials, requests, and uploads of two parts.
//!
//! Credentials are those of `object_store`, for all of Google Cloud: application default credentials, a service account's
//! file, or the instance's metadata server.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::{StreamExt as _, stream};
use http::{HeaderValue, Method, StatusCode, header};
use object_store::gcp::{GcpCredentialProvider, GoogleCloudStorageBuilder, GoogleConfigKey};
use object_store::{ClientOptions, RetryConfig};
use reqwest::{Client, Request, Response};
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::body::{Body, Sent};
use super::{Failure, bridge, http as client};
use crate::url::shown;
use crate::{Opening, hex};

/// One of the APIs, at its host.
pub(crate) struct Google {
    pub(crate) host: String,
    pub(crate) http: Client,
    /// None for a store without authentication.
    credentials: Option<GcpCredentialProvider>,
    pub(crate) stall: Duration,
}

impl Google {
    /// The API at `host`, a URL without a slash at its end. `bucket` is only what the library wants to know before it looks
    /// for credentials.
    pub(crate) fn open(
        host: String,
        with_credentials: bool,
        bucket: &str,
        opening: &Opening,
    ) -> Result<Google, Failure> {
        client::install_tls();
        Ok(Google {
            host,
            http: client::client()?,
            credentials: if with_credentials {
                credentials(bucket, opening)?
            } else {
                None
            },
            stall: opening.stall,
        })
    }

    pub(crate) async fn request(&self, method: Method, url: &str) -> Result<Request, Failure> {
        let url = url
            .parse()
            .map_err(|_| Failure::lasting(format!("{} is no URL", shown(&self.host))))?;
        let mut request = Request::new(method, url);
        if let Some(credentials) = &self.credentials {
            let credential = credentials.get_credential().await;
            let credential = credential.map_err(|error| Failure::of_library(&error))?;
            let value = HeaderValue::try_from(format!("Bearer {}", credential.bearer));
            let mut value = value.map_err(|_| Failure::lasting("the access token is no header"))?;
            value.set_sensitive(true);
            request.headers_mut().insert(header::AUTHORIZATION, value);
        }
        Ok(request)
    }

    pub(crate) async fn ask(&self, url: &str) -> Result<Response, Failure> {
        let request = self.request(Method::GET, url).await?;
        client::ask(&self.http, request, self.stall).await
    }

    /// One request of two parts, a description and bytes: what they make appears whole or not at all.
    pub(crate) async fn upload(
        &self,
        url: &str,
        description: &Value,
        content_type: &str,
        body: Sent,
    ) -> Result<Response, Failure> {
        // The body cannot contain the boundary by accident, because the boundary contains the checksum of the body.
        let boundary = format!("groma-{}", hex(&body.sha256));
        let before = format!(
            "--{boundary}\r\nContent-Type: application/json; charset=UTF-8\r\n\r\n{description}\r\n\
             --{boundary}\r\nContent-Type: {content_type}\r\n\r\n"
        );
        let after = format!("\r\n--{boundary}--\r\n");
        let mut request = self.request(Method::POST, url).await?;
        let size_bytes = body.size_bytes + (before.len() + after.len()) as u64;
        let value = HeaderValue::try_from(format!("multipart/related; boundary={boundary}"));
        let headers = request.headers_mut();
        headers.insert(header::CONTENT_LENGTH, size_bytes.into());
        headers.insert(
            header::CONTENT_TYPE,
            value.expect("it is made of visible letters"),
        );
        let part = |text: String| stream::iter([Ok(Bytes::from(text))]);
        let parts = part(before).chain(body.stream).chain(part(after));
        *request.body_mut() = Some(reqwest::Body::wrap_stream(parts));
        client::send(&self.http, request, &body.progress, self.stall).await
    }

    pub(crate) async fn json<T: DeserializeOwned>(&self, answer: Response) -> Result<T, Failure> {
        let text = client::text(answer, client::PAGE_BYTES, self.stall).await?;
        serde_json::from_str(&text)
            .map_err(|error| Failure::new(format!("read the answer: {error}")))
    }

    pub(crate) async fn refusal(&self, answer: Response) -> Failure {
        client::refusal(answer, self.stall).await
    }
}

fn credentials(bucket: &str, opening: &Opening) -> Result<Option<GcpCredentialProvider>, Failure> {
    let mut builder = GoogleCloudStorageBuilder::new();
    if let Some(path) = opening.variable("SERVICE_ACCOUNT") {
        builder = builder.with_service_account_path(path);
    }
    for (name, value) in &opening.variables {
        if name.starts_with("GOOGLE_")
            && let Ok(key) = name.to_ascii_lowercase().parse()
        {
            builder = builder.with_config(key, value);
        }
    }
    let is_anonymous = builder
        .get_config_value(&GoogleConfigKey::SkipSignature)
        .is_some_and(|text| ["true", "1"].contains(&text.as_str()));
    if is_anonymous {
        return Ok(None);
    }
    let options = ClientOptions::new().with_timeout(Duration::from_secs(30));
    // The caller retries.
    let retry = RetryConfig {
        max_retries: 2,
        retry_timeout: opening.stall,
        ..RetryConfig::default()
    };
    let built = builder
        .with_bucket_name(bucket)
        .with_client_options(options)
        .with_retry(retry)
        .build();
    let built = built.map_err(|error| Failure::of_library(&error))?;
    Ok(Some(Arc::clone(built.credentials())))
}

/// The answer of an API, also if it is an error.
#[derive(Debug)]
pub struct Reply {
    /// The HTTP status.
    pub status: u16,
    /// The body; null if it is not JSON.
    pub body: Value,
}

/// One of Google's JSON APIs, for callers that block. It holds no secret that it would show.
#[derive(Clone)]
pub struct Api(Arc<Google>);

impl Api {
    /// The API at `host`, such as `https://bigquery.googleapis.com`, with the credentials that the environment in `opening`
    /// names. Only `https://` gets them: without it anybody could read them, and emulators ask for none.
    pub fn open(host: &str, opening: &Opening) -> Result<Api, Failure> {
        let host = host.trim_end_matches('/').to_owned();
        let with_credentials = host.starts_with("https://");
        let google = Google::open(host, with_credentials, "none", opening)?;
        Ok(Api(Arc::new(google)))
    }

    /// Gets the resource at `path`. After a temporary error it tries again, up to three times in all.
    pub fn get(&self, path: &str) -> Result<Reply, Failure> {
        let (google, url) = (Arc::clone(&self.0), format!("{}{path}", self.0.host));
        bridge::wait(async move { google.reply(google.ask(&url).await?).await })?
    }

    /// Posts JSON, once.
    pub fn post(&self, path: &str, body: &Value) -> Result<Reply, Failure> {
        self.send(Method::POST, path, None, body)
    }

    /// Patches the resource at `path` with JSON, once, if it still has this entity tag (RFC 9110, section 13.1.1).
    pub fn patch(&self, path: &str, tag: &str, body: &Value) -> Result<Reply, Failure> {
        let tag = HeaderValue::try_from(tag);
        let tag = tag.map_err(|_| Failure::lasting("the entity tag is no header"))?;
        self.send(Method::PATCH, path, Some(tag), body)
    }

    fn send(
        &self,
        method: Method,
        path: &str,
        tag: Option<HeaderValue>,
        body: &Value,
    ) -> Result<Reply, Failure> {
        let (google, url) = (Arc::clone(&self.0), format!("{}{path}", self.0.host));
        let body = body.to_string();
        bridge::wait(async move {
            let mut request = google.request(method, &url).await?;
            let json = HeaderValue::from_static("application/json; charset=UTF-8");
            request.headers_mut().insert(header::CONTENT_TYPE, json);
            if let Some(tag) = tag {
                request.headers_mut().insert(header::IF_MATCH, tag);
            }
            *request.body_mut() = Some(body.into());
            let begin = super::body::Progress::begin();
            let answer = client::send(&google.http, request, &begin, google.stall).await?;
            google.reply(answer).await
        })?
    }

    /// Posts a description and a file as one request, once; the file is streamed.
    pub fn upload(&self, path: &str, description: &Value, file: &Path) -> Result<Reply, Failure> {
        let (google, url) = (Arc::clone(&self.0), format!("{}{path}", self.0.host));
        let body = Body::of_file(file);
        let body =
            body.map_err(|error| Failure::lasting(format!("{}: {error}", file.display())))?;
        let (sent, description) = (body.send(), description.clone());
        bridge::wait(async move {
            let answer = google.upload(&url, &description, "application/octet-stream", sent);
            google.reply(answer.await?).await
        })?
    }
}

impl Google {
    async fn reply(&self, answer: Response) -> Result<Reply, Failure> {
        let status = answer.status().as_u16();
        let text = client::text(answer, client::PAGE_BYTES, self.stall).await?;
        let body = serde_json::from_str(&text);
        match body {
            Err(error) if status == StatusCode::OK.as_u16() => {
                Err(Failure::new(format!("read the answer: {error}")))
            }
            body => Ok(Reply {
                status,
                body: body.unwrap_or_default(),
            }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_https_is_given_credentials() {
        let of_nobody = ("GOOGLE_SERVICE_ACCOUNT", "/nonexistent/key.json");
        let opening = Opening {
            variables: vec![(of_nobody.0.to_owned(), of_nobody.1.to_owned())],
            ..Opening::to_read()
        };
        for host in ["http://127.0.0.1:1/", "HTTP://127.0.0.1:1", "127.0.0.1:1"] {
            assert!(Api::open(host, &opening).is_ok(), "{host}");
        }
        let error = Api::open("https://bigquery.googleapis.com", &opening);
        assert!(error.is_err_and(|error| error.to_string().contains("/nonexistent/key.json")));
    }
}
