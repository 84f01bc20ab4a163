//! Why a bucket failed, in words that hold no credential.

use std::error::Error;
use std::fmt;

use crate::url::shown;

/// The reason of a failure. It never has a URL's query, a header or a whole answer in it, for these may hold signatures
/// and tokens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    reason: String,
    is_lasting: bool,
}

impl Failure {
    /// In words of our own.
    pub(crate) fn new(reason: impl Into<String>) -> Failure {
        Failure {
            reason: reason.into(),
            is_lasting: false,
        }
    }

    /// In words of our own, of what is the same however often it is tried.
    pub(crate) fn lasting(reason: impl Into<String>) -> Failure {
        Failure {
            reason: reason.into(),
            is_lasting: true,
        }
    }

    /// Whether trying again is of no use, as with a URL that is none, or credentials that the library itself tried again.
    pub fn is_lasting(&self) -> bool {
        self.is_lasting
    }

    /// Returns the client's error with its causes, without the URL.
    pub(crate) fn of_client(error: reqwest::Error) -> Failure {
        let is_lasting = error.is_builder();
        Failure {
            reason: chain(&error.without_url()),
            is_lasting,
        }
    }

    /// Returns the library's error. Answers of the server are reduced to their codes, URLs to the form that messages may show.
    pub fn of_library(error: &object_store::Error) -> Failure {
        if matches!(error, object_store::Error::NotModified { .. }) {
            return Failure::not_modified();
        }
        Failure::lasting(without_secrets(&without_answers(&chain(error))))
    }

    /// The answer 304, which is only right where a client has the object already and says so.
    pub(crate) fn not_modified() -> Failure {
        Failure::new(
            "the store answers 304 Not Modified although it was asked without a condition; a cache or proxy before it may be broken",
        )
    }

    /// An answer that is none of those expected: its status, and the code and message of its XML or JSON.
    pub(crate) fn of_answer(status: http::StatusCode, body: &str) -> Failure {
        if status == http::StatusCode::NOT_MODIFIED {
            return Failure::not_modified();
        }
        Failure::new(format!(
            "the store answers {status}{}",
            code_and_message(body)
        ))
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.reason)
    }
}

impl Error for Failure {}

/// As much of a stranger's text, with blanks for what would control a terminal or a log.
pub fn one_line(text: &str, most_chars: usize) -> String {
    let chars = text.chars().take(most_chars);
    chars
        .map(|c| if c.is_control() { ' ' } else { c })
        .collect()
}

fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        let next = error.to_string();
        if !text.contains(&next) {
            text.push_str(": ");
            text.push_str(&next);
        }
        source = error.source();
    }
    text
}

fn between<'a>(text: &'a str, begin: &str, end: &str) -> Option<&'a str> {
    let (_, rest) = text.split_once(begin)?;
    Some(rest.split_once(end)?.0)
}

/// `error.message`, as Google's answers have it; others have `error` itself a text.
fn json_message(body: &str) -> Option<&str> {
    let (_, rest) = body.split_once("\"message\"")?;
    let (_, rest) = rest.split_once('"')?;
    Some(rest.split_once('"')?.0)
}

/// Returns code and message of an answer as `: code: message`, without the missing ones.
fn code_and_message(body: &str) -> String {
    let code = between(body, "<Code>", "</Code>");
    let message = between(body, "<Message>", "</Message>").or_else(|| json_message(body));
    let mut told = String::new();
    for part in [code, message].into_iter().flatten() {
        told.push_str(": ");
        told.push_str(&one_line(part, 300));
    }
    told
}

/// Returns an error text of the library with each complete answer of the server replaced by its code and message.
fn without_answers(text: &str) -> String {
    const STATUS: &str = "status code: ";
    const ALONE: &str = "error response: ";
    let behind = |mark: &str| text.find(mark).map(|at| at + mark.len());
    let status = behind(STATUS).and_then(|at| Some(at + text[at..].find(": ")?));
    let alone = behind(ALONE).map(|at| at - ": ".len());
    match status.into_iter().chain(alone).min() {
        Some(end) => {
            let (plain, body) = text.split_at(end);
            format!("{plain}{}", code_and_message(body))
        }
        None => text.to_owned(),
    }
}

/// Returns a text whose URLs have the form that messages may show.
fn without_secrets(text: &str) -> String {
    let words = text.split_inclusive(|c: char| c.is_whitespace() || "\"'()<>`".contains(c));
    words
        .map(|word| {
            let url = word.trim_end_matches(|c: char| c.is_whitespace() || "\"'()<>`".contains(c));
            if url.contains("://") {
                shown(url) + &word[url.len()..]
            } else {
                word.to_owned()
            }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_give_code_and_message_and_no_more() {
        let xml = "<?xml version=\"1.0\"?><Error><Code>SignatureDoesNotMatch</Code><Message>The request signature we \
                   calculated</Message><AWSAccessKeyId>AKIA</AWSAccessKeyId><StringToSign>secret</StringToSign></Error>";
        let failure = Failure::of_answer(http::StatusCode::FORBIDDEN, xml).to_string();
        assert_eq!(
            failure,
            "the store answers 403 Forbidden: SignatureDoesNotMatch: The request signature we calculated"
        );
        let json = "{\"error\": {\"code\": 401, \"message\": \"Invalid Credentials\"}}";
        let failure = Failure::of_answer(http::StatusCode::UNAUTHORIZED, json).to_string();
        assert_eq!(
            failure,
            "the store answers 401 Unauthorized: Invalid Credentials"
        );
        let library = "GET x - Server returned non-2xx status code: 403 Forbidden: ";
        assert_eq!(
            without_answers(&format!("{library}{xml}")),
            format!("{library}SignatureDoesNotMatch: The request signature we calculated")
        );
        assert_eq!(
            without_answers(&format!("{library}authorization: secret")),
            library.trim_end_matches(": ")
        );
        assert_eq!(
            without_secrets("GET (https://u:p@host/x?sig=1): \"s3://b\" failed"),
            "GET (https://host/x): \"s3://b\" failed"
        );
        assert_eq!(
            without_answers(
                "GET x - Server returned error response: SlowDown, authorization: secret"
            ),
            "GET x - Server returned error response"
        );
        assert_eq!(without_answers("no answer: at all"), "no answer: at all");
    }
}
