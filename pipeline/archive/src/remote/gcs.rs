//! Google Cloud Storage, by its JSON API.
//!
//! Putting is one request of two parts, the object's description and its bytes, with `ifGenerationMatch=0`: it appears
//! whole or not at all, and only where there was none. Credentials are those of `object_store`: application default
//! credentials, a service account's file, or the instance's metadata server.
//! <https://cloud.google.com/storage/docs/json_api/v1/objects/insert>

use std::sync::Arc;
use std::time::Duration;

use base64::prelude::{BASE64_STANDARD, Engine as _};
use bytes::Bytes;
use futures_util::{Stream, StreamExt as _, TryStreamExt as _, stream};
use http::{HeaderValue, Method, StatusCode, header};
use object_store::gcp::{GcpCredentialProvider, GoogleCloudStorageBuilder, GoogleConfigKey};
use object_store::{ClientOptions, RetryConfig};
use reqwest::{Client, Request, Response};
use serde::Deserialize;
use serde::de::DeserializeOwned;

use super::body::Sent;
use super::protocol::Protocol;
use super::{Answer, BucketStore, Failure, Held, http as client};
use crate::open::shown;
use crate::{Opening, Store, StoreError};

const HOST: &str = "https://storage.googleapis.com";

/// The archive in a bucket.
pub(crate) fn open(
    bucket: &str,
    prefix: &str,
    opening: &Opening,
) -> Result<impl Store + use<>, StoreError> {
    client::install_tls();
    let gcs = configure(bucket, opening).map_err(super::failed("open", bucket))?;
    Ok(BucketStore::new(Arc::new(gcs), prefix, opening.weak))
}

fn configure(bucket: &str, opening: &Opening) -> Result<Gcs, Failure> {
    let variable = |wanted: &str| {
        let found = opening.variables.iter().find(|(name, _)| name == wanted);
        found
            .map(|(_, value)| value.as_str())
            .filter(|value| !value.is_empty())
    };
    let emulator = variable("STORAGE_EMULATOR_HOST").map(|host| {
        if host.contains("://") {
            host.trim_end_matches('/').to_owned()
        } else {
            format!("http://{host}")
        }
    });
    let mut builder = GoogleCloudStorageBuilder::new();
    if let Some(path) = variable("SERVICE_ACCOUNT") {
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
    let credentials = if emulator.is_some() || is_anonymous {
        None
    } else {
        let options = ClientOptions::new().with_timeout(Duration::from_secs(30));
        // Who asks us tries again by itself.
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
        Some(Arc::clone(built.credentials()))
    };
    Ok(Gcs {
        host: emulator.unwrap_or_else(|| HOST.to_owned()),
        http: client::client()?,
        credentials,
        bucket: bucket.to_owned(),
        stall: opening.stall,
    })
}

struct Gcs {
    host: String,
    http: Client,
    /// None where nobody asks for them.
    credentials: Option<GcpCredentialProvider>,
    bucket: String,
    stall: Duration,
}

/// What the API tells of an object; numbers come as text.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Object {
    size: String,
    generation: String,
    md5_hash: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Page {
    #[serde(default)]
    items: Vec<Named>,
    next_page_token: Option<String>,
}

#[derive(Deserialize)]
struct Named {
    name: String,
}

impl Gcs {
    async fn request(&self, method: Method, url: &str) -> Result<Request, Failure> {
        let url = url
            .parse()
            .map_err(|_| Failure::new(format!("{} is no URL", shown(&self.host))))?;
        let mut request = Request::new(method, url);
        if let Some(credentials) = &self.credentials {
            let credential = credentials.get_credential().await;
            let credential = credential.map_err(|error| Failure::of_library(&error))?;
            let value = HeaderValue::try_from(format!("Bearer {}", credential.bearer));
            let mut value = value.map_err(|_| Failure::new("the access token is no header"))?;
            value.set_sensitive(true);
            request.headers_mut().insert(header::AUTHORIZATION, value);
        }
        Ok(request)
    }

    fn object(&self, key: &str) -> String {
        let (host, bucket) = (&self.host, &self.bucket);
        format!(
            "{host}/storage/v1/b/{bucket}/o/{}",
            client::escaped(key, "")
        )
    }

    async fn ask(&self, url: &str) -> Result<Response, Failure> {
        let request = self.request(Method::GET, url).await?;
        client::ask(&self.http, request, self.stall).await
    }

    async fn json<T: DeserializeOwned>(&self, answer: Response) -> Result<T, Failure> {
        let text = client::text(answer, client::PAGE_BYTES, self.stall).await?;
        serde_json::from_str(&text)
            .map_err(|error| Failure::new(format!("read the answer: {error}")))
    }

    async fn refusal(&self, answer: Response) -> Failure {
        client::refusal(answer, self.stall).await
    }
}

impl Protocol for Gcs {
    async fn put(&self, key: &str, body: Sent, condition: bool) -> Result<Answer, Failure> {
        let description = serde_json::json!({
            "name": key,
            "md5Hash": BASE64_STANDARD.encode(body.md5),
        });
        // It cannot stand in the bytes by accident: it has their checksum in it.
        let boundary = format!("groma-{}", client::hex(&body.sha256));
        let content_type = client::content_type(key);
        let before = format!(
            "--{boundary}\r\nContent-Type: application/json; charset=UTF-8\r\n\r\n{description}\r\n\
             --{boundary}\r\nContent-Type: {content_type}\r\n\r\n"
        );
        let after = format!("\r\n--{boundary}--\r\n");
        let (host, bucket) = (&self.host, &self.bucket);
        let condition = if condition {
            "&ifGenerationMatch=0"
        } else {
            ""
        };
        let url = format!("{host}/upload/storage/v1/b/{bucket}/o?uploadType=multipart{condition}");
        let mut request = self.request(Method::POST, &url).await?;
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
        let answer = client::send(&self.http, request, &body.progress, self.stall).await?;
        match answer.status() {
            StatusCode::OK => {
                let object: Object = self.json(answer).await?;
                let is_ours = object.md5_hash == Some(BASE64_STANDARD.encode(body.md5))
                    && object.size == body.size_bytes.to_string();
                Ok(Answer::Created(is_ours.then_some(object.generation)))
            }
            status => Answer::of_refusal(status, self.refusal(answer).await),
        }
    }

    async fn head(&self, key: &str) -> Result<Option<Held>, Failure> {
        let url = format!("{}?fields=size,generation,md5Hash", self.object(key));
        let answer = self.ask(&url).await?;
        match answer.status() {
            StatusCode::OK => {
                let object: Object = self.json(answer).await?;
                let size_bytes = object.size.parse();
                Ok(Some(Held {
                    size_bytes: size_bytes.map_err(|_| Failure::new("the size is no number"))?,
                    tag: Some(object.generation),
                    sha256: None,
                }))
            }
            StatusCode::NOT_FOUND => Ok(None),
            _ => Err(self.refusal(answer).await),
        }
    }

    async fn get(
        &self,
        key: &str,
    ) -> Result<impl Stream<Item = Result<Bytes, Failure>> + Send + 'static, Failure> {
        let url = format!("{}?alt=media", self.object(key));
        let mut request = self.request(Method::GET, &url).await?;
        // Else an object that is marked as compressed comes decompressed.
        request
            .headers_mut()
            .insert(header::ACCEPT_ENCODING, HeaderValue::from_static("gzip"));
        let answer = client::ask(&self.http, request, self.stall).await?;
        match answer.status() {
            StatusCode::OK => Ok(answer.bytes_stream().map_err(Failure::of_client)),
            StatusCode::NOT_FOUND => Err(Failure::new("no such object")),
            _ => Err(self.refusal(answer).await),
        }
    }

    async fn list(&self, prefix: &str) -> Result<Vec<String>, Failure> {
        let (host, bucket) = (&self.host, &self.bucket);
        let first = format!(
            "{host}/storage/v1/b/{bucket}/o?fields=items(name),nextPageToken&prefix={}",
            client::escaped(prefix, "")
        );
        let mut url = first.clone();
        let mut keys = Vec::new();
        loop {
            let answer = self.ask(&url).await?;
            if answer.status() != StatusCode::OK {
                return Err(self.refusal(answer).await);
            }
            let page: Page = self.json(answer).await?;
            keys.extend(page.items.into_iter().map(|named| named.name));
            let Some(token) = page.next_page_token.filter(|token| !token.is_empty()) else {
                return Ok(keys);
            };
            url = format!("{first}&pageToken={}", client::escaped(&token, ""));
        }
    }

    fn url(&self, key: &str) -> String {
        format!("gs://{}/{key}", self.bucket)
    }

    fn stall(&self) -> Duration {
        self.stall
    }
}
