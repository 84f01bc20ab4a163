//! `BigQuery`'s REST API, as far as loading needs it.
//!
//! <https://cloud.google.com/bigquery/docs/reference/rest>

use std::time::Duration;

use groma_archive::remote::{Failure, google::Api, google::Reply};
use serde_json::Value;

use crate::BigQueryError;

/// Waits before a request that may pass is sent again.
const AGAIN_S: [u64; 6] = [1, 2, 4, 8, 16, 32];

/// Reasons for which `BigQuery`'s own clients try again.
const PASSING: [&str; 5] = [
    "backendError",
    "internalError",
    "rateLimitExceeded",
    "jobBackendError",
    "jobInternalError",
];

/// Words of an error are cut to so many characters.
const REASON_CHARS: usize = 1000;

/// A project at an endpoint.
pub(crate) struct Client {
    pub(crate) api: Api,
    pub(crate) project: String,
}

impl Client {
    /// The path of something in the project.
    pub(crate) fn path(&self, rest: &str) -> String {
        format!("/bigquery/v2/projects/{}/{rest}", self.project)
    }

    pub(crate) fn get(
        &self,
        operation: &'static str,
        thing: &str,
        path: &str,
    ) -> Result<Reply, BigQueryError> {
        again(operation, thing, || self.api.get(path))
    }
}

/// Sends a request until its answer is one that lasts, for about a minute. The request has to be one that may be sent twice.
pub(crate) fn again(
    operation: &'static str,
    thing: &str,
    once: impl Fn() -> Result<Reply, Failure>,
) -> Result<Reply, BigQueryError> {
    let mut pauses = AGAIN_S.iter();
    loop {
        let reply = once();
        let passes = match &reply {
            Ok(reply) => may_pass(reply),
            Err(_) => true,
        };
        match (passes, pauses.next()) {
            (true, Some(&pause)) => {
                tracing::debug!(operation, thing, ?reply, "tried again");
                std::thread::sleep(Duration::from_secs(pause));
            }
            _ => {
                return reply.map_err(|failure| BigQueryError::Unreachable {
                    operation,
                    thing: thing.to_owned(),
                    reason: failure.to_string(),
                });
            }
        }
    }
}

fn may_pass(reply: &Reply) -> bool {
    let is_passing = reply.status >= 500 || [408, 429].contains(&reply.status);
    is_passing || reply.status == 403 && passes(&reply.body["error"]["errors"][0])
}

/// Whether an error, of an answer or of a job, is one that may pass.
pub(crate) fn passes(error: &Value) -> bool {
    let reason = error["reason"].as_str().unwrap_or_default();
    PASSING.contains(&reason)
}

/// The body of an answer that is what was asked for.
pub(crate) fn expect(
    operation: &'static str,
    thing: &str,
    reply: Reply,
) -> Result<Value, BigQueryError> {
    if reply.status == 200 {
        return Ok(reply.body);
    }
    let reason = words(&reply.body["error"]);
    Err(BigQueryError::Refused {
        operation,
        thing: thing.to_owned(),
        status: reply.status,
        reason,
    })
}

/// What an error says.
pub(crate) fn words(error: &Value) -> String {
    let message = error["message"].as_str().unwrap_or("no reason");
    let letters = message.chars().take(REASON_CHARS);
    letters
        .map(|c| if c.is_control() { ' ' } else { c })
        .collect()
}
