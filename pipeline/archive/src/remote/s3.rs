//! Amazon S3 and what speaks like it.
//!
//! Credentials, signatures and reading are those of `object_store`. Listing is our own, and putting: one request, so that an
//! object appears whole or not at all, with `If-None-Match: *`, its checksums in the head, and the body streamed from the
//! file.
//! <https://docs.aws.amazon.com/AmazonS3/latest/API/API_PutObject.html>

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use base64::prelude::{BASE64_STANDARD, Engine as _};
use bytes::Bytes;
use futures_util::{Stream, TryStreamExt as _};
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};
use object_store::aws::{AmazonS3, AmazonS3Builder, AmazonS3ConfigKey as Key, AwsAuthorizer};
use object_store::client::{ClientConfigKey, HttpRequest, HttpRequestBody};
use object_store::path::Path;
use object_store::{ClientOptions, ObjectStoreExt as _, RetryConfig};
use reqwest::{Client, Response};

use super::body::Sent;
use super::listing::Page;
use super::protocol::Protocol;
use super::{Answer, BucketStore, Failure, Held, http as client};
use crate::url::{encode, encode_path, shown};
use crate::{Location, Opening, Provider, Store, StoreError, hex};

/// The largest object of one request. Larger objects need several requests, for which not every provider has the condition.
const PUT_MAX_BYTES: u64 = 5 * 1024 * 1024 * 1024;

/// A bucket of `object_store`, configured as every bucket of Groma is, for what [`Store`] does not offer.
#[derive(Clone)]
pub struct S3Bucket {
    /// The client. Its calls are futures of Tokio's; [`wait`](super::wait) runs them from code that blocks.
    pub client: Arc<AmazonS3>,
    /// The bucket.
    pub bucket: String,
    /// The prefix of every name, without slashes at its ends.
    pub prefix: String,
    /// The endpoint without credentials, if the provider is not Amazon.
    pub endpoint: Option<String>,
}

impl fmt::Debug for S3Bucket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "s3://{}/{}", self.bucket, self.prefix)
    }
}

/// Opens the bucket of an `s3://bucket/prefix` with the usual environment (`AWS_ACCESS_KEY_ID`, `AWS_SECRET_ACCESS_KEY`,
/// `AWS_SESSION_TOKEN`, `AWS_REGION`, `AWS_ENDPOINT_URL`, web identity, role of the container or the instance). Nothing is
/// asked of it yet.
pub fn bucket(url: &str, opening: &Opening) -> Result<S3Bucket, StoreError> {
    let Location::Bucket {
        provider: Provider::S3,
        bucket,
        prefix,
    } = Location::parse(url)?
    else {
        return Err(StoreError::url(url, "it is no s3:// URL"));
    };
    let (client, settings) = build(&bucket, opening)?;
    Ok(S3Bucket {
        client: Arc::new(client),
        bucket,
        prefix,
        endpoint: (!settings.is_amazon).then_some(settings.base),
    })
}

/// The archive in a bucket.
pub(crate) fn open(
    bucket: &str,
    prefix: &str,
    opening: &Opening,
) -> Result<impl Store + use<>, StoreError> {
    let (library, settings) = build(bucket, opening)?;
    let s3 = S3 {
        library,
        http: client::client().map_err(super::failed("open", bucket))?,
        bucket: bucket.to_owned(),
        settings,
        stall: opening.stall,
    };
    Ok(BucketStore::new(Arc::new(s3), prefix, opening.weak))
}

fn build(bucket: &str, opening: &Opening) -> Result<(AmazonS3, Settings), StoreError> {
    client::install_tls();
    let (builder, settings) = configure(bucket, opening).map_err(super::failed("open", bucket))?;
    let client = builder
        .build()
        .map_err(|error| super::failed("open", bucket)(Failure::of_library(&error)))?;
    Ok((client, settings))
}

/// The values of the environment that this module's own requests need.
struct Settings {
    region: String,
    /// URL of the bucket, without a slash at its end.
    base: String,
    /// Nobody signs.
    anonymous: bool,
    /// The provider is Amazon, whose SHA-256 of an object is checked against its bytes.
    is_amazon: bool,
    /// Encryption at rest that the environment asks for.
    encryption: HeaderMap,
}

fn configure(bucket: &str, opening: &Opening) -> Result<(AmazonS3Builder, Settings), Failure> {
    let mut builder = AmazonS3Builder::new();
    for (name, value) in &opening.variables {
        if name.starts_with("AWS_")
            && let Ok(key) = name.to_ascii_lowercase().parse()
        {
            // Requests are signed; a user and password beside that are of no use, and would be shown in logs.
            builder = match key {
                Key::Endpoint | Key::S3Endpoint => builder.with_config(key, shown(value)),
                _ => builder.with_config(key, value),
            };
        }
    }
    let builder = builder.with_bucket_name(bucket);
    let value = |key: Key| {
        builder
            .get_config_value(&key)
            .filter(|text| !text.is_empty())
    };
    let is_set = |key: Key| value(key).is_some_and(|text| ["true", "1"].contains(&text.as_str()));
    let region = value(Key::Region)
        .or_else(|| value(Key::DefaultRegion))
        .unwrap_or_else(|| "us-east-1".to_owned());
    let endpoint = value(Key::S3Endpoint).or_else(|| value(Key::Endpoint));
    let virtual_hosted = is_set(Key::VirtualHostedStyleRequest);
    let base = match (&endpoint, virtual_hosted) {
        (Some(endpoint), true) => endpoint.trim_end_matches('/').to_owned(),
        (Some(endpoint), false) => format!("{}/{bucket}", endpoint.trim_end_matches('/')),
        (None, true) => format!("https://{bucket}.s3.{region}.amazonaws.com"),
        (None, false) => format!("https://s3.{region}.amazonaws.com/{bucket}"),
    };
    let mut encryption = HeaderMap::new();
    for (key, name) in [
        ("aws_server_side_encryption", "x-amz-server-side-encryption"),
        (
            "aws_sse_kms_key_id",
            "x-amz-server-side-encryption-aws-kms-key-id",
        ),
        (
            "aws_sse_bucket_key_enabled",
            "x-amz-server-side-encryption-bucket-key-enabled",
        ),
    ] {
        if let Some(given) = key.parse().ok().and_then(value) {
            let unfit = |_| Failure::new(format!("{} is no header", key.to_ascii_uppercase()));
            let given = HeaderValue::from_str(&given).map_err(unfit)?;
            encryption.insert(HeaderName::from_static(name), given);
        }
    }
    if !is_set(Key::SkipSignature) {
        check_credentials(opening)?;
    }
    let settings = Settings {
        anonymous: is_set(Key::SkipSignature),
        is_amazon: endpoint.is_none(),
        encryption,
        base,
        region: region.clone(),
    };
    // An http:// endpoint allows plain HTTP.
    let allow_http = endpoint.is_some_and(|endpoint| endpoint.starts_with("http://"))
        || is_set(Key::Client(ClientConfigKey::AllowHttp));
    let options = ClientOptions::new()
        .with_allow_http(allow_http)
        .with_connect_timeout(Duration::from_secs(10))
        .with_timeout_disabled()
        .with_read_timeout(opening.stall);
    // The caller retries, and knows for how long.
    let retry = RetryConfig {
        max_retries: 2,
        retry_timeout: opening.stall,
        ..RetryConfig::default()
    };
    let builder = builder
        .with_region(region)
        .with_client_options(options)
        .with_retry(retry);
    Ok((builder, settings))
}

/// The variable that allows asking the instance's metadata service for the credentials of its role.
const INSTANCE_ROLE: &str = "GROMA_S3_INSTANCE_ROLE";

/// Refuses an environment without credentials. The library would ask the metadata service of a cloud instance for some, at an
/// address that on other machines is unused or belongs to another service.
fn check_credentials(opening: &Opening) -> Result<(), Failure> {
    let has = |wanted: &str| {
        let mut variables = opening.variables.iter();
        variables.any(|(name, value)| name.eq_ignore_ascii_case(wanted) && !value.is_empty())
    };
    let is_named = has("AWS_ACCESS_KEY_ID")
        || has("AWS_WEB_IDENTITY_TOKEN_FILE")
        || has("AWS_CONTAINER_CREDENTIALS_RELATIVE_URI")
        || has("AWS_CONTAINER_CREDENTIALS_FULL_URI")
        || has("AWS_METADATA_ENDPOINT")
        || opening
            .variables
            .iter()
            .any(|(name, value)| name == INSTANCE_ROLE && ["1", "true"].contains(&value.as_str()));
    if is_named {
        return Ok(());
    }
    Err(Failure::lasting(format!(
        "there are no credentials for S3: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_SKIP_SIGNATURE=true for a \
         public bucket, or {INSTANCE_ROLE}=1 on an instance that has a role"
    )))
}

struct S3 {
    library: AmazonS3,
    http: Client,
    bucket: String,
    settings: Settings,
    stall: Duration,
}

impl S3 {
    /// A request for an object, signed, as [`S3::signed`].
    async fn request(
        &self,
        method: Method,
        key: &str,
        headers: HeaderMap,
        sha256: Option<[u8; 32]>,
    ) -> Result<reqwest::Request, Failure> {
        let url = format!("{}/{}", self.settings.base, encode_path(key));
        self.signed(method, &url, headers, sha256).await
    }

    /// A request, signed. `sha256` is that of the body; none means an empty one.
    async fn signed(
        &self,
        method: Method,
        url: &str,
        mut headers: HeaderMap,
        sha256: Option<[u8; 32]>,
    ) -> Result<reqwest::Request, Failure> {
        let mut request = HttpRequest::new(HttpRequestBody::empty());
        *request.method_mut() = method;
        *request.uri_mut() = url.parse().map_err(|error| {
            Failure::new(format!(
                "the endpoint {}: {error}",
                shown(&self.settings.base)
            ))
        })?;
        std::mem::swap(request.headers_mut(), &mut headers);
        if !self.settings.anonymous {
            let credential = self.library.credentials().get_credential().await;
            let credential = credential.map_err(|error| Failure::of_library(&error))?;
            AwsAuthorizer::new(&credential, "s3", &self.settings.region)
                .try_authorize(&mut request, sha256.as_ref().map(<[u8; 32]>::as_slice))
                .map_err(|error| Failure::of_library(&error))?;
        }
        let (parts, _) = request.into_parts();
        let url = url
            .parse()
            .map_err(|_| Failure::new(format!("{} is no URL", shown(&self.settings.base))))?;
        let mut request = reqwest::Request::new(parts.method, url);
        *request.headers_mut() = parts.headers;
        Ok(request)
    }

    async fn refusal(&self, answer: Response) -> Failure {
        if let Some(region) = header_text(&answer, "x-amz-bucket-region")
            && region != self.settings.region
        {
            return Failure::new(format!(
                "the bucket is in {region}, not in {}: set AWS_REGION",
                self.settings.region
            ));
        }
        client::refusal(answer, self.stall).await
    }
}

impl Protocol for S3 {
    async fn put(&self, key: &str, body: Sent, condition: bool) -> Result<Answer, Failure> {
        if body.size_bytes > PUT_MAX_BYTES {
            return Err(Failure::new(format!(
                "{} bytes are more than the {PUT_MAX_BYTES} that S3 takes at once",
                body.size_bytes
            )));
        }
        let mut headers = self.settings.encryption.clone();
        if condition {
            headers.insert(header::IF_NONE_MATCH, HeaderValue::from_static("*"));
        }
        headers.insert(header::CONTENT_LENGTH, body.size_bytes.into());
        headers.insert(
            header::CONTENT_TYPE,
            HeaderValue::from_static(client::content_type(key)),
        );
        for (name, digest) in [
            ("content-md5", &body.md5[..]),
            ("x-amz-checksum-sha256", &body.sha256[..]),
        ] {
            let value = HeaderValue::try_from(BASE64_STANDARD.encode(digest));
            headers.insert(name, value.expect("base64 is made of visible letters"));
        }
        let mut request = self
            .request(Method::PUT, key, headers, Some(body.sha256))
            .await?;
        *request.body_mut() = Some(reqwest::Body::wrap_stream(body.stream));
        let answer = client::send(&self.http, request, &body.progress, self.stall).await?;
        match answer.status() {
            StatusCode::OK => {
                let tag = header_text(&answer, "etag").map(str::to_owned);
                // The ETag of an object from a single put is its MD5, unless a customer key encrypts the object.
                let is_ours = tag.as_deref() == Some(&format!("\"{}\"", hex(&body.md5)));
                Ok(Answer::Created(tag.filter(|_| is_ours)))
            }
            status => Answer::of_refusal(status, self.refusal(answer).await),
        }
    }

    async fn head(&self, key: &str) -> Result<Option<Held>, Failure> {
        let mut headers = HeaderMap::new();
        headers.insert("x-amz-checksum-mode", HeaderValue::from_static("ENABLED"));
        let request = self.request(Method::HEAD, key, headers, None).await?;
        let answer = client::ask(&self.http, request, self.stall).await?;
        match answer.status() {
            StatusCode::OK => {
                let size_bytes = header_text(&answer, "content-length")
                    .and_then(|text| text.parse().ok())
                    .ok_or_else(|| Failure::new("the store does not tell the size"))?;
                let sha256 = header_text(&answer, "x-amz-checksum-sha256")
                    .filter(|_| self.settings.is_amazon)
                    .and_then(|text| BASE64_STANDARD.decode(text).ok()?.try_into().ok());
                Ok(Some(Held {
                    size_bytes,
                    tag: header_text(&answer, "etag").map(str::to_owned),
                    sha256,
                }))
            }
            StatusCode::NOT_FOUND => Ok(None),
            StatusCode::FORBIDDEN => Err(Failure::new(
                "the store answers 403 Forbidden: s3:GetObject and s3:ListBucket are needed to see whether an object is \
                 there",
            )),
            _ => Err(self.refusal(answer).await),
        }
    }

    async fn get(
        &self,
        key: &str,
    ) -> Result<impl Stream<Item = Result<Bytes, Failure>> + Send + 'static, Failure> {
        let path = Path::parse(key).map_err(|error| Failure::new(error.to_string()))?;
        match self.library.get(&path).await {
            Ok(got) => Ok(got
                .into_stream()
                .map_err(|error| Failure::of_library(&error))),
            Err(object_store::Error::NotFound { .. }) => Err(Failure::new("no such object")),
            Err(object_store::Error::NotModified { .. }) => Err(Failure::not_modified()),
            Err(error) => Err(Failure::of_library(&error)),
        }
    }

    async fn list(&self, prefix: &str) -> Result<Vec<String>, Failure> {
        let (base, prefix) = (&self.settings.base, encode(prefix));
        let mut token = String::new();
        let mut keys = Vec::new();
        loop {
            let url = format!("{base}?list-type=2&prefix={prefix}{token}");
            let request = self.signed(Method::GET, &url, HeaderMap::new(), None);
            let answer = client::ask(&self.http, request.await?, self.stall).await?;
            if answer.status() != StatusCode::OK {
                return Err(self.refusal(answer).await);
            }
            let page = Page::parse(&client::text(answer, client::PAGE_BYTES, self.stall).await?)?;
            keys.extend(page.keys);
            let Some(next) = page.next else {
                return Ok(keys);
            };
            token = format!("&continuation-token={}", encode(&next));
        }
    }

    fn url(&self, key: &str) -> String {
        format!("s3://{}/{key}", self.bucket)
    }

    fn stall(&self) -> Duration {
        self.stall
    }
}

/// A header of an answer, if it is there and made of visible letters.
fn header_text<'a>(answer: &'a Response, name: &str) -> Option<&'a str> {
    answer.headers().get(name)?.to_str().ok()
}
