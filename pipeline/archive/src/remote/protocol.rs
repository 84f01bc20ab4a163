//! The requests that each provider's module implements as futures. Callers of a bucket block on them.

use std::io::Read;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::{Stream, StreamExt};

use super::body::{Body, Sent};
use super::{Answer, Failure, Held, Remote, bridge};

/// The requests of one provider's protocol, as futures.
pub(super) trait Protocol: Send + Sync + 'static {
    fn put(
        &self,
        key: &str,
        body: Sent,
        condition: bool,
    ) -> impl Future<Output = Result<Answer, Failure>> + Send;
    fn head(&self, key: &str) -> impl Future<Output = Result<Option<Held>, Failure>> + Send;
    fn get(
        &self,
        key: &str,
    ) -> impl Future<
        Output = Result<impl Stream<Item = Result<Bytes, Failure>> + Send + 'static, Failure>,
    > + Send;
    fn list(&self, prefix: &str) -> impl Future<Output = Result<Vec<String>, Failure>> + Send;
    fn url(&self, key: &str) -> String;
    /// Returns the time without a byte after which a body has failed.
    fn stall(&self) -> Duration;
}

impl<P: Protocol> Remote for Arc<P> {
    fn put(&self, key: &str, body: &Body, condition: bool) -> Result<Answer, Failure> {
        let (protocol, key, sent) = (Arc::clone(self), key.to_owned(), body.send());
        bridge::wait(async move { P::put(&protocol, &key, sent, condition).await })?
    }

    fn head(&self, key: &str) -> Result<Option<Held>, Failure> {
        let (protocol, key) = (Arc::clone(self), key.to_owned());
        bridge::wait(async move { P::head(&protocol, &key).await })?
    }

    fn get(&self, key: &str) -> Result<Box<dyn Read + Send>, Failure> {
        let (protocol, key) = (Arc::clone(self), key.to_owned());
        let body =
            bridge::wait(async move { P::get(&protocol, &key).await.map(StreamExt::boxed) })??;
        Ok(Box::new(bridge::reader(body, self.stall())?))
    }

    fn list(&self, prefix: &str) -> Result<Vec<String>, Failure> {
        let (protocol, prefix) = (Arc::clone(self), prefix.to_owned());
        bridge::wait(async move { P::list(&protocol, &prefix).await })?
    }

    fn url(&self, key: &str) -> String {
        P::url(self, key)
    }
}
