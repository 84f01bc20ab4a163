//! Load jobs: what appends the rows of an object, exactly once.
//!
//! `BigQuery` makes no second job of an id that it has had, and the rows of a job are there all together or not at all. An
//! object's first job for a table has an id that follows from both, and the next one only comes when that one is over and
//! left nothing: because it failed, or because somebody removed its rows. Whoever is killed, asks twice or loads at the same
//! time therefore comes to the same job.
//!
//! `BigQuery` forgets jobs after six months; what is in the table itself is looked at before and is not forgotten.

use std::collections::HashSet;
use std::path::Path;
use std::time::{Duration, Instant};

use jiff::civil::Date;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use crate::BigQueryError;
use crate::client::{Client, again, expect, passes, words};
use crate::table::TableName;

/// First and longest wait between two looks at a job.
const LOOKS: (Duration, Duration) = (Duration::from_millis(200), Duration::from_secs(5));

/// `BigQuery` itself ends a load job after six hours.
const LONGEST_JOB: Duration = Duration::from_hours(6);

/// Jobs of one object and table that failed for reasons that pass, after which it is given up for now.
const MOST_FAILURES: usize = 5;

/// Names of objects that come in one answer.
const PAGE_ROWS: u32 = 10_000;

/// Rows of one object for one table.
pub(crate) struct Append<'a> {
    pub(crate) table: &'a TableName,
    pub(crate) location: &'a str,
    pub(crate) object: &'a str,
    pub(crate) date: Date,
    /// JSON lines in gzip.
    pub(crate) rows: &'a Path,
}

/// A job as `BigQuery` tells of it.
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
    /// Appends the rows unless they are there; says whether that took a job.
    pub(crate) fn append(&self, append: &Append<'_>) -> Result<bool, BigQueryError> {
        let mut failures = 0;
        let mut attempt = 1;
        loop {
            let id = job_id(&self.full(append.table), append.object, attempt);
            let (job, is_ours) = match self.look(&id, append.location)? {
                Some(job) => (job, false),
                None if self.insert(&id, append)? => (self.looked(&id, append)?, true),
                // It came between the two.
                None => continue,
            };
            let job = self.wait(&id, append, job)?;
            match job.error() {
                None if is_ours || self.is_there(append, &job)? => return Ok(is_ours),
                Some(error) if is_ours && (!passes(error) || failures == MOST_FAILURES) => {
                    let reason = job.reason(error);
                    return Err(BigQueryError::Job { job: id, reason });
                }
                Some(_) if is_ours => {
                    failures += 1;
                    std::thread::sleep(LOOKS.1);
                }
                // Failed for another loader, or its rows were removed since.
                _ => {}
            }
            attempt += 1;
        }
    }

    /// Whether the rows of a job that succeeded are still there.
    fn is_there(&self, append: &Append<'_>, job: &Job) -> Result<bool, BigQueryError> {
        let is_at = |date| -> Result<bool, BigQueryError> {
            let objects = self.objects(append.table, append.location, date)?;
            Ok(objects.contains(append.object))
        };
        match job.date().filter(|date| *date != append.date) {
            Some(other) if is_at(other)? => Err(BigQueryError::OtherDate {
                object: append.object.to_owned(),
                table: self.full(append.table),
                asked: append.date,
                other,
            }),
            _ => is_at(append.date),
        }
    }

    /// Asks for a new job; false if there is one of this id.
    fn insert(&self, id: &str, append: &Append<'_>) -> Result<bool, BigQueryError> {
        let TableName { dataset, table } = append.table;
        let job = json!({
            "jobReference": {"projectId": self.project, "jobId": id, "location": append.location},
            "configuration": {
                "labels": {"date": append.date.to_string()},
                "load": {
                    "destinationTable": {"projectId": self.project, "datasetId": dataset, "tableId": table},
                    "sourceFormat": "NEWLINE_DELIMITED_JSON",
                    "createDisposition": "CREATE_NEVER",
                    "writeDisposition": "WRITE_APPEND",
                },
            },
        });
        let path = format!("/upload{}", self.path("jobs?uploadType=multipart"));
        let reply = again("insert load job", id, || {
            self.api.upload(&path, &job, append.rows)
        })?;
        if reply.status == 409 {
            return Ok(false);
        }
        expect("insert load job", id, reply)?;
        Ok(true)
    }

    fn look(&self, id: &str, location: &str) -> Result<Option<Job>, BigQueryError> {
        let path = self.path(&format!("jobs/{id}?location={location}"));
        let reply = self.get("look for job", id, &path)?;
        if reply.status == 404 {
            return Ok(None);
        }
        Ok(Some(Job(expect("look for job", id, reply)?)))
    }

    fn looked(&self, id: &str, append: &Append<'_>) -> Result<Job, BigQueryError> {
        let job = self.look(id, append.location)?;
        job.ok_or_else(|| unknown(id, "BigQuery took it and does not know it now"))
    }

    fn wait(&self, id: &str, append: &Append<'_>, mut job: Job) -> Result<Job, BigQueryError> {
        let (mut pause, longest) = LOOKS;
        let begin = Instant::now();
        while !job.is_done() {
            if begin.elapsed() > LONGEST_JOB {
                return Err(unknown(id, "it does not end"));
            }
            std::thread::sleep(pause);
            pause = (pause * 2).min(longest);
            job = self.looked(id, append)?;
        }
        Ok(job)
    }

    /// The objects that have rows in the table under a date.
    pub(crate) fn objects(
        &self,
        table: &TableName,
        location: &str,
        date: Date,
    ) -> Result<HashSet<String>, BigQueryError> {
        let full = self.full(table);
        let query = json!({
            "query": format!("SELECT DISTINCT object FROM `{full}` WHERE date = '{date}'"),
            "useLegacySql": false,
            "useQueryCache": false,
            "location": location,
            "maxResults": PAGE_ROWS,
        });
        let path = self.path("queries");
        let operation = "ask for the objects of";
        let reply = again(operation, &full, || self.api.post(&path, &query))?;
        let mut answer = expect(operation, &full, reply)?;
        let mut objects = HashSet::new();
        loop {
            let rows = answer["rows"].as_array();
            let names = rows.into_iter().flatten();
            objects.extend(names.filter_map(|row| Some(row["f"][0]["v"].as_str()?.to_owned())));
            let is_complete = answer["jobComplete"] != false;
            let token = answer["pageToken"].as_str();
            let Some(next) = next_page(&answer, is_complete, token) else {
                return Ok(objects);
            };
            let path = self.path(&format!(
                "queries/{next}location={location}&maxResults={PAGE_ROWS}"
            ));
            answer = expect(operation, &full, self.get(operation, &full, &path)?)?;
        }
    }
}

/// The rest of the path of what comes after this answer of a query.
fn next_page(answer: &Value, is_complete: bool, token: Option<&str>) -> Option<String> {
    let job = answer["jobReference"]["jobId"].as_str()?;
    match token {
        _ if !is_complete => Some(format!("{job}?")),
        // A token is text for URLs.
        Some(token) if !token.is_empty() => Some(format!("{job}?pageToken={token}&")),
        _ => None,
    }
}

fn unknown(id: &str, reason: &str) -> BigQueryError {
    BigQueryError::Unreachable {
        operation: "wait for load job",
        thing: id.to_owned(),
        reason: reason.to_owned(),
    }
}

/// The id of an object's job for a table: the object for people, and a checksum of both that makes it unique.
fn job_id(table: &str, object: &str, attempt: u32) -> String {
    let sum = Sha256::digest(format!("{table}\n{object}"));
    let sum = sum[..12]
        .iter()
        .fold(String::new(), |text, byte| text + &format!("{byte:02x}"));
    let plain = |c: char| if c.is_ascii_alphanumeric() { c } else { '_' };
    let object: String = object.chars().take(200).map(plain).collect();
    format!("groma_{object}_{sum}_{attempt}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_differ_by_table_object_and_attempt_and_have_plain_letters() {
        let ids = [
            job_id("p.d.t", "20200318T003853.425987Z-ndt7-mlab3-syd03-ndt", 1),
            job_id("p.d.t", "20200318T003853_425987Z-ndt7-mlab3-syd03-ndt", 1),
            job_id("p.e.t", "20200318T003853.425987Z-ndt7-mlab3-syd03-ndt", 1),
            job_id("p.d.t", "20200318T003853.425987Z-ndt7-mlab3-syd03-ndt", 2),
        ];
        assert_eq!(HashSet::from(ids.clone()).len(), ids.len(), "{ids:?}");
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
}
