//! Load jobs: what appends the rows of an object, exactly once.
//!
//! `BigQuery` makes no second job of an id that it has had, and the rows of a job are there all together or not at all. An
//! object's first job for a table has an id that follows from both, and the next one only comes when that one is over and
//! left nothing: because it failed, or because somebody removed its rows. Whoever is killed, asks twice or loads at the same
//! time therefore comes to the same job.
//!
//! `BigQuery` forgets jobs after six months; what is in the table itself is looked at before and is not forgotten.

use std::path::Path;
use std::time::Instant;

use groma_archive::hex;
use jiff::civil::Date;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use crate::BigQueryError;
use crate::client::{Client, expect, is_quota, passes, words};
use crate::table::TableName;

/// Longest wait between two looks at a job, in looks of the first, which is a fifth of a second.
const LONGEST_LOOK: u32 = 25;

/// `BigQuery` itself ends a load job after six hours.
const LONGEST_JOB_S: u32 = 6 * 60 * 60;

/// Tries of one object and table that failed for reasons that pass, after which it is given up for now.
const MOST_FAILURES: u32 = 5;

/// Rows of one object for one table.
#[derive(Clone, Copy)]
pub(crate) struct Part<'a> {
    pub(crate) table: &'a TableName,
    pub(crate) location: &'a str,
    pub(crate) object: &'a str,
    pub(crate) date: Date,
    /// The table had them when it was first asked.
    pub(crate) is_known: bool,
}

/// A job as `BigQuery` reports it.
struct Job(Value);

impl Job {
    fn is_done(&self) -> bool {
        self.0["status"]["state"] == "DONE"
    }

    fn error(&self) -> Option<&Value> {
        let error = &self.0["status"]["errorResult"];
        (!error.is_null()).then_some(error)
    }

    /// The error with what it was about; by itself it only counts.
    fn reason(&self, error: &Value) -> String {
        let details = self.0["status"]["errors"].as_array();
        let mut said = vec![words(error)];
        for detail in details.into_iter().flatten().take(3) {
            let detail = words(detail);
            if !said.contains(&detail) {
                said.push(detail);
            }
        }
        said.join(": ")
    }

    /// The date of the rows, as we labelled it.
    fn date(&self) -> Option<Date> {
        let label = self.0["configuration"]["labels"]["date"].as_str();
        label?.parse().ok()
    }
}

impl Client {
    /// The number of the part's next job, not before this one; none if its rows are there. Waits for jobs that run.
    pub(crate) fn next_attempt(
        &self,
        part: Part<'_>,
        mut attempt: u32,
    ) -> Result<Option<u32>, BigQueryError> {
        let mut invalid = None;
        loop {
            let id = self.job_id(part, attempt);
            let Some(job) = self.look(&id, part.location)? else {
                return match invalid {
                    Some(error) if !self.again => Err(error),
                    // Its job is forgotten.
                    _ if attempt == 1 && part.is_known => Ok(None),
                    _ => Ok(Some(attempt)),
                };
            };
            let job = self.wait(&id, part, job)?;
            invalid = match job.error() {
                None if self.is_there(part, &job)? => return Ok(None),
                Some(error) if error["reason"] == "invalid" => Some(BigQueryError::Invalid {
                    reason: job.reason(error),
                    job: id,
                }),
                // Failed for another reason, or its rows were removed since.
                _ => None,
            };
            attempt += 1;
        }
    }

    /// Appends a part's rows, JSON lines in gzip, by this job or a later one, unless they are there; says whether that took
    /// a job of ours.
    pub(crate) fn append(
        &self,
        part: Part<'_>,
        mut attempt: u32,
        rows: &Path,
    ) -> Result<bool, BigQueryError> {
        let mut failures = 0;
        loop {
            let Some(next) = self.next_attempt(part, attempt)? else {
                return Ok(false);
            };
            attempt = next;
            let id = self.job_id(part, attempt);
            let reason = if self.insert(&id, part, rows)? {
                let job = self.wait(&id, part, self.looked(&id, part)?)?;
                let Some(error) = job.error() else {
                    return Ok(true);
                };
                let reason = job.reason(error);
                if is_quota(error) {
                    return Err(BigQueryError::Quota { reason });
                }
                if !passes(error) {
                    return Err(BigQueryError::Job { job: id, reason });
                }
                reason
            } else {
                // It came between the two, if it is there when it is looked for next.
                "there is a job of this id, and BigQuery does not find it".to_owned()
            };
            failures += 1;
            if failures > MOST_FAILURES {
                return Err(BigQueryError::Job { job: id, reason });
            }
            std::thread::sleep(self.second * 2_u32.pow(failures));
        }
    }

    /// Whether the rows of a job that succeeded are still there.
    fn is_there(&self, part: Part<'_>, job: &Job) -> Result<bool, BigQueryError> {
        let is_at = |date| -> Result<bool, BigQueryError> {
            let objects = self.objects(part.table, part.location, (date, date))?;
            Ok(objects.contains_key(part.object))
        };
        match job.date().filter(|date| *date != part.date) {
            Some(other) if is_at(other)? => Err(BigQueryError::OtherDate {
                object: part.object.to_owned(),
                table: self.full(part.table),
                asked: part.date,
                other,
            }),
            _ => is_at(part.date),
        }
    }

    /// Asks for a new job; false if there is one of this id.
    fn insert(&self, id: &str, part: Part<'_>, rows: &Path) -> Result<bool, BigQueryError> {
        let TableName { dataset, table } = part.table;
        let job = json!({
            "jobReference": {"projectId": self.project, "jobId": id, "location": part.location},
            "configuration": {
                "labels": {"date": part.date.to_string()},
                "load": {
                    "destinationTable": {"projectId": self.project, "datasetId": dataset, "tableId": table},
                    "sourceFormat": "NEWLINE_DELIMITED_JSON",
                    "createDisposition": "CREATE_NEVER",
                    "writeDisposition": "WRITE_APPEND",
                },
            },
        });
        let path = format!("/upload{}", self.path("jobs?uploadType=multipart"));
        let reply = self.ask("insert load job", id, || self.api.upload(&path, &job, rows))?;
        if reply.status == 409 {
            return Ok(false);
        }
        expect("insert load job", id, reply)?;
        Ok(true)
    }

    fn job_id(&self, part: Part<'_>, attempt: u32) -> String {
        job_id(&self.full(part.table), part, attempt)
    }

    fn look(&self, id: &str, location: &str) -> Result<Option<Job>, BigQueryError> {
        let path = self.path(&format!("jobs/{id}?location={location}"));
        let reply = self.get("look for job", id, &path)?;
        if reply.status == 404 {
            return Ok(None);
        }
        Ok(Some(Job(expect("look for job", id, reply)?)))
    }

    /// Looks for a job that was taken.
    fn looked(&self, id: &str, part: Part<'_>) -> Result<Job, BigQueryError> {
        let job = self.look(id, part.location)?;
        job.ok_or_else(|| unknown(id, "BigQuery took it and does not know it now"))
    }

    fn wait(&self, id: &str, part: Part<'_>, mut job: Job) -> Result<Job, BigQueryError> {
        let first = self.second / 5;
        let mut pause = first;
        let begin = Instant::now();
        while !job.is_done() {
            if begin.elapsed() > self.second * LONGEST_JOB_S {
                return Err(unknown(id, "it does not end"));
            }
            std::thread::sleep(pause);
            pause = (pause * 2).min(first * LONGEST_LOOK);
            job = self.looked(id, part)?;
        }
        Ok(job)
    }
}

fn unknown(id: &str, reason: &str) -> BigQueryError {
    BigQueryError::Unreachable {
        operation: "wait for load job",
        thing: id.to_owned(),
        reason: reason.to_owned(),
    }
}

/// The id of an object's job for a table: the object for people, and a checksum that makes it unique. A dataset that was made
/// again elsewhere is another one.
fn job_id(table: &str, part: Part<'_>, attempt: u32) -> String {
    let sum = Sha256::digest(format!("{table}\n{}\n{}", part.location, part.object));
    let plain = |c: char| if c.is_ascii_alphanumeric() { c } else { '_' };
    let object: String = part.object.chars().take(200).map(plain).collect();
    format!("groma_{object}_{}_{attempt}", hex(&sum[..12]))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fake::{self, Asked};

    #[test]
    fn ids_differ_by_table_place_object_and_attempt_and_have_plain_letters() {
        let name = "20200318T003853.425987Z-ndt7-mlab3-syd03-ndt";
        let table = TableName {
            dataset: "d".to_owned(),
            table: "t".to_owned(),
        };
        let id = |full, location, object, attempt| {
            let part = Part {
                table: &table,
                location,
                object,
                date: Date::constant(2020, 3, 18),
                is_known: false,
            };
            job_id(full, part, attempt)
        };
        let ids = [
            id("p.d.t", "EU", name, 1),
            id("p.d.t", "EU", &name.replace('.', "_"), 1),
            id("p.e.t", "EU", name, 1),
            id("p.d.t", "US", name, 1),
            id("p.d.t", "EU", name, 2),
        ];
        let different = std::collections::HashSet::from(ids.clone());
        assert_eq!(different.len(), ids.len(), "{ids:?}");
        let is_plain = |c: char| c.is_ascii_alphanumeric() || c == '_';
        assert!(
            ids.iter()
                .all(|id| id.chars().all(is_plain) && id.len() < 1024)
        );
    }

    #[test]
    fn an_error_is_told_with_what_it_was_about() {
        let job = Job(
            json!({"status": {"state": "DONE", "errorResult": {"message": "too many errors"}, "errors": [
            {"message": "too many errors"}, {"message": "no such field: x"}]}}),
        );
        let error = job.error().unwrap();
        assert_eq!(job.reason(error), "too many errors: no such field: x");
    }

    /// What `append` makes of a server's answers, and how many jobs it asked for.
    fn append(
        is_known: bool,
        again: bool,
        answer: impl FnMut(&Asked) -> (u16, Value) + Send + 'static,
    ) -> (Result<bool, BigQueryError>, usize) {
        let (client, log) = fake::client(answer);
        let client = Client { again, ..client };
        let table = TableName {
            dataset: "d".to_owned(),
            table: "t".to_owned(),
        };
        let part = Part {
            table: &table,
            location: "EU",
            object: "object",
            date: Date::constant(2020, 3, 18),
            is_known,
        };
        let rows = tempfile::NamedTempFile::new().unwrap();
        let done = client.append(part, 1, rows.path());
        let log = log.lock().unwrap();
        let inserts = log.iter().filter(|line| line.starts_with("POST /upload"));
        (done, inserts.count())
    }

    fn failed_job(reason: &str) -> Value {
        json!({"status": {"state": "DONE", "errorResult": {"reason": reason, "message": "so"}}})
    }

    #[test]
    fn a_forgotten_job_is_not_done_again_where_its_rows_are() {
        let forgotten = |asked: &Asked| match asked.method.as_str() {
            "GET" => (404, json!({})),
            _ => (500, json!({})),
        };
        let (done, inserts) = append(true, false, forgotten);
        assert!(!done.unwrap());
        assert_eq!(inserts, 0);
    }

    #[test]
    fn an_id_that_is_taken_and_not_found_is_given_up() {
        let (done, inserts) = append(false, false, |asked| match asked.method.as_str() {
            "GET" => (404, json!({})),
            _ => (409, json!({})),
        });
        let error = done.unwrap_err().to_string();
        assert!(error.contains("does not find it"), "{error}");
        assert_eq!(inserts, 6);
    }

    #[test]
    fn invalid_rows_are_told_and_not_sent_unless_asked() {
        let once_invalid = |asked: &Asked| match asked.method.as_str() {
            "GET" if asked.path.contains("_1?") => (200, failed_job("invalid")),
            "GET" => (404, json!({})),
            _ => (
                403,
                json!({"error": {"message": "m", "errors": [{"reason": "quotaExceeded"}]}}),
            ),
        };
        let (done, inserts) = append(false, false, once_invalid);
        assert!(
            matches!(done, Err(BigQueryError::Invalid { .. })),
            "{done:?}"
        );
        assert_eq!(inserts, 0);
        // Sent again, it comes upon the end of a quota, which no other object would pass.
        let (done, inserts) = append(false, true, once_invalid);
        assert!(
            matches!(&done, Err(error @ BigQueryError::Quota { .. }) if error.ends_run()),
            "{done:?}"
        );
        assert_eq!(inserts, 1);
    }

    #[test]
    fn a_job_that_met_a_quota_is_followed_by_another() {
        let mut is_taken = false;
        let (done, inserts) = append(false, false, move |asked| match asked.method.as_str() {
            "GET" if asked.path.contains("_1?") => (200, failed_job("quotaExceeded")),
            "GET" if is_taken => (200, json!({"status": {"state": "DONE"}})),
            "GET" => (404, json!({})),
            _ => {
                is_taken = true;
                (200, json!({}))
            }
        });
        assert!(done.unwrap());
        assert_eq!(inserts, 1);
    }
}
