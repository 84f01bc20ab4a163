//! Google Cloud Storage, by its JSON API.
//!
//! Putting is one request of two parts, the object's description and its bytes, with `ifGenerationMatch=0`: it appears
//! whole or not at all, and only where there was none.
//! <https://cloud.google.com/storage/docs/json_api/v1/objects/insert>

use std::sync::Arc;
use std::time::Duration;

use base64::prelude::{BASE64_STANDARD, Engine as _};
use bytes::Bytes;
use futures_util::{Stream, TryStreamExt as _};
use http::{HeaderValue, Method, StatusCode, header};
use serde::Deserialize;

use super::body::Sent;
use super::google::Google;
use super::protocol::Protocol;
use super::{Answer, BucketStore, Failure, Held, http as client};
use crate::url::encode;
use crate::{Opening, Store, StoreError};

const HOST: &str = "https://storage.googleapis.com";

/// The archive in a bucket.
pub(crate) fn open(
    bucket: &str,
    prefix: &str,
    opening: &Opening,
) -> Result<impl Store + use<>, StoreError> {
    let gcs = configure(bucket, opening).map_err(super::failed("open", bucket))?;
    Ok(BucketStore::new(Arc::new(gcs), prefix, opening.weak))
}

fn configure(bucket: &str, opening: &Opening) -> Result<Gcs, Failure> {
    let emulator = opening.variable("STORAGE_EMULATOR_HOST").map(|host| {
        if host.contains("://") {
            host.trim_end_matches('/').to_owned()
        } else {
            format!("http://{host}")
        }
    });
    let with_credentials = emulator.is_none();
    let host = emulator.unwrap_or_else(|| HOST.to_owned());
    Ok(Gcs {
        google: Google::open(host, with_credentials, bucket, opening)?,
        bucket: bucket.to_owned(),
    })
}

struct Gcs {
    google: Google,
    bucket: String,
}

/// The API's description of an object. Numbers are text.
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
    fn object(&self, key: &str) -> String {
        let (host, bucket) = (&self.google.host, &self.bucket);
        format!("{host}/storage/v1/b/{bucket}/o/{}", encode(key))
    }
}

impl Protocol for Gcs {
    async fn put(&self, key: &str, body: Sent, condition: bool) -> Result<Answer, Failure> {
        let description = serde_json::json!({
            "name": key,
            "md5Hash": BASE64_STANDARD.encode(body.md5),
        });
        let (host, bucket) = (&self.google.host, &self.bucket);
        let condition = if condition {
            "&ifGenerationMatch=0"
        } else {
            ""
        };
        let url = format!("{host}/upload/storage/v1/b/{bucket}/o?uploadType=multipart{condition}");
        let (size_bytes, md5) = (body.size_bytes, BASE64_STANDARD.encode(body.md5));
        let content_type = client::content_type(key);
        let answer = self.google.upload(&url, &description, content_type, body);
        let answer = answer.await?;
        match answer.status() {
            StatusCode::OK => {
                let object: Object = self.google.json(answer).await?;
                let is_ours = object.md5_hash == Some(md5) && object.size == size_bytes.to_string();
                Ok(Answer::Created(is_ours.then_some(object.generation)))
            }
            status => Answer::of_refusal(status, self.google.refusal(answer).await),
        }
    }

    async fn head(&self, key: &str) -> Result<Option<Held>, Failure> {
        let url = format!("{}?fields=size,generation,md5Hash", self.object(key));
        let answer = self.google.ask(&url).await?;
        match answer.status() {
            StatusCode::OK => {
                let object: Object = self.google.json(answer).await?;
                let size_bytes = object.size.parse();
                Ok(Some(Held {
                    size_bytes: size_bytes.map_err(|_| Failure::new("the size is no number"))?,
                    tag: Some(object.generation),
                    sha256: None,
                }))
            }
            StatusCode::NOT_FOUND => Ok(None),
            _ => Err(self.google.refusal(answer).await),
        }
    }

    async fn get(
        &self,
        key: &str,
    ) -> Result<impl Stream<Item = Result<Bytes, Failure>> + Send + 'static, Failure> {
        let url = format!("{}?alt=media", self.object(key));
        let mut request = self.google.request(Method::GET, &url).await?;
        // Else an object that is marked as compressed comes decompressed.
        request
            .headers_mut()
            .insert(header::ACCEPT_ENCODING, HeaderValue::from_static("gzip"));
        let answer = client::ask(&self.google.http, request, self.google.stall).await?;
        match answer.status() {
            StatusCode::OK => Ok(answer.bytes_stream().map_err(Failure::of_client)),
            StatusCode::NOT_FOUND => Err(Failure::new("no such object")),
            _ => Err(self.google.refusal(answer).await),
        }
    }

    async fn list(&self, prefix: &str) -> Result<Vec<String>, Failure> {
        let (host, bucket) = (&self.google.host, &self.bucket);
        let first = format!(
            "{host}/storage/v1/b/{bucket}/o?fields=items(name),nextPageToken&prefix={}",
            encode(prefix)
        );
        let mut url = first.clone();
        let mut keys = Vec::new();
        loop {
            let answer = self.google.ask(&url).await?;
            if answer.status() != StatusCode::OK {
                return Err(self.google.refusal(answer).await);
            }
            let page: Page = self.google.json(answer).await?;
            keys.extend(page.items.into_iter().map(|named| named.name));
            let Some(token) = page.next_page_token.filter(|token| !token.is_empty()) else {
                return Ok(keys);
            };
            url = format!("{first}&pageToken={}", encode(&token));
        }
    }

    fn url(&self, key: &str) -> String {
        format!("gs://{}/{key}", self.bucket)
    }

    fn stall(&self) -> Duration {
        self.google.stall
    }
}
