//! `BigQuery`'s REST API, as far as loading needs it.
//!
//! <https://cloud.google.com/bigquery/docs/reference/rest>

use std::time::Duration;

use groma_archive::remote::{Failure, google::Api, google::Reply, one_line};
use serde_json::Value;

use crate::BigQueryError;

/// Waits before a request that may pass is sent again, in seconds, or whatever [`Client::second`] is.
const AGAIN_S: [u32; 6] = [1, 2, 4, 8, 16, 32];

/// Reasons for which `BigQuery`'s own clients try again.
const PASSING: [&str; 5] = [
    "backendError",
    "internalError",
    "rateLimitExceeded",
    "jobBackendError",
    "jobInternalError",
];

/// The text of an error is cut to this many characters.
const REASON_CHARS: usize = 1000;

/// A project at an endpoint.
pub(crate) struct Client {
    pub(crate) api: Api,
    pub(crate) project: String,
    /// The unit of all pauses; tests have short ones.
    pub(crate) second: Duration,
    /// Whether another job is started although an earlier one found the rows invalid.
    pub(crate) again: bool,
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
        self.ask(operation, thing, || self.api.get(path))
    }

    /// Sends a request until its answer is one that lasts, for about a minute. The request has to be one that may be sent
    /// twice.
    pub(crate) fn ask(
        &self,
        operation: &'static str,
        thing: &str,
        once: impl Fn() -> Result<Reply, Failure>,
    ) -> Result<Reply, BigQueryError> {
        let mut pauses = AGAIN_S.iter();
        loop {
            let reply = once();
            let passes = match &reply {
                Ok(reply) => may_pass(reply),
                Err(failure) => !failure.is_lasting(),
            };
            match (passes, pauses.next()) {
                (true, Some(&pause)) => {
                    tracing::debug!(operation, thing, ?reply, "tried again");
                    std::thread::sleep(self.second * pause);
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

/// Whether an error, of an answer or of a job, is that of a quota.
pub(crate) fn is_quota(error: &Value) -> bool {
    error["reason"] == "quotaExceeded"
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
    if is_quota(&reply.body["error"]["errors"][0]) {
        return Err(BigQueryError::Quota { reason });
    }
    Err(BigQueryError::Refused {
        operation,
        thing: thing.to_owned(),
        status: reply.status,
        reason,
    })
}

/// Returns the text of an error.
pub(crate) fn words(error: &Value) -> String {
    let message = error["message"].as_str().unwrap_or("no reason");
    one_line(message, REASON_CHARS)
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use serde_json::json;

    use super::*;
    use crate::fake;

    #[test]
    fn only_what_may_pass_is_tried_again() {
        for (status, reason, requests) in [
            (503, "", 7),
            (429, "", 7),
            (403, "rateLimitExceeded", 7),
            (403, "accessDenied", 1),
            (404, "", 1),
        ] {
            let (client, log) =
                fake::client(move |_| (status, json!({"error": {"errors": [{"reason": reason}]}})));
            let reply = client.ask("ask", "it", || client.api.post("/", &json!({})));
            assert_eq!(reply.unwrap().status, status);
            assert_eq!(log.lock().unwrap().len(), requests, "{status} {reason}");
        }
    }

    #[test]
    fn a_url_that_is_none_is_tried_once() {
        let opening = groma_archive::Opening::to_read();
        let client = Client {
            api: Api::open("http://no host", &opening).unwrap(),
            project: "p".to_owned(),
            second: Duration::from_millis(1),
            again: false,
        };
        let tries = Cell::new(0);
        let reply = client.ask("ask", "it", || {
            tries.set(tries.get() + 1);
            client.api.post("/", &json!({}))
        });
        assert!(reply.unwrap_err().ends_run());
        assert_eq!(tries.get(), 1);
    }
}
