//! Why a bucket failed, in words that hold no credential.

use std::error::Error;
use std::fmt;

use crate::open::shown;

/// The reason of a failure. It never has a URL's query, a header or a whole answer in it, for these may hold signatures
/// and tokens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure(String);

impl Failure {
    /// In words of our own.
    pub(crate) fn new(reason: impl Into<String>) -> Failure {
        Failure(reason.into())
    }

    /// What the client says, with its causes, and without the URL.
    pub(crate) fn of_client(error: reqwest::Error) -> Failure {
        Failure(chain(&error.without_url()))
    }

    /// What the library says, with the answers of the server cut down to their codes, and URLs to what may be shown.
    pub fn of_library(error: &object_store::Error) -> Failure {
        Failure(without_secrets(&without_answers(&chain(error))))
    }

    /// An answer that is none of those expected: its status, and the code and message of its XML or JSON.
    pub(crate) fn of_answer(status: http::StatusCode, body: &str) -> Failure {
        let code = between(body, "<Code>", "</Code>");
        let message = between(body, "<Message>", "</Message>").or_else(|| json_message(body));
        let mut reason = format!("the store answers {status}");
        for part in [code, message].into_iter().flatten() {
            reason.push_str(": ");
            reason.extend(
                part.chars()
                    .take(300)
                    .map(|c| if c.is_control() { ' ' } else { c }),
            );
        }
        Failure(reason)
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Error for Failure {}

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

/// A text with everything from its first `<` to its last `>` cut out, the code in there apart.
fn without_answers(text: &str) -> String {
    let (Some(begin), Some(end)) = (text.find('<'), text.rfind('>')) else {
        return text.to_owned();
    };
    if end < begin {
        return text.to_owned();
    }
    let code = between(text, "<Code>", "</Code>").unwrap_or("…");
    format!("{}{code}{}", &text[..begin], &text[end + 1..])
}

/// A text with its URLs as they may be shown.
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
        assert_eq!(
            without_answers(&format!("403: {xml} - end")),
            "403: SignatureDoesNotMatch - end"
        );
        assert_eq!(
            without_secrets("GET (https://u:p@host/x?sig=1): \"s3://b\" failed"),
            "GET (https://host/x): \"s3://b\" failed"
        );
        assert_eq!(
            without_answers("plain > text < here"),
            "plain > text < here"
        );
    }
}
