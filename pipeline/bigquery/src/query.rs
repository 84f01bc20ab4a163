//! The rows that a table already has.

use std::collections::HashMap;

use jiff::civil::Date;
use serde_json::{Value, json};

use crate::BigQueryError;
use crate::client::{Client, expect};
use crate::table::TableName;

/// Rows that come in one answer.
const PAGE_ROWS: u32 = 10_000;

/// The dates under which each object has rows: one, unless rows were written by other means.
pub(crate) type Objects = HashMap<String, Vec<Date>>;

impl Client {
    /// The objects that have rows in the table from one date to another. It costs what two columns of these dates have.
    pub(crate) fn objects(
        &self,
        table: &TableName,
        location: &str,
        (first, last): (Date, Date),
    ) -> Result<Objects, BigQueryError> {
        let full = self.full(table);
        let query = json!({
            "query": format!("SELECT DISTINCT object, date FROM `{full}` WHERE date BETWEEN '{first}' AND '{last}'"),
            "useLegacySql": false,
            "useQueryCache": false,
            "location": location,
            "maxResults": PAGE_ROWS,
        });
        let path = self.path("queries");
        let operation = "ask for the objects of";
        let reply = self.ask(operation, &full, || self.api.post(&path, &query))?;
        let mut answer = expect(operation, &full, reply)?;
        let mut objects = Objects::new();
        loop {
            let rows = answer["rows"].as_array().into_iter().flatten();
            for (object, date) in rows.filter_map(object_and_date) {
                objects.entry(object).or_default().push(date);
            }
            let Some(next) = next_page(&answer) else {
                return Ok(objects);
            };
            let path = self.path(&format!(
                "queries/{next}location={location}&maxResults={PAGE_ROWS}"
            ));
            answer = expect(operation, &full, self.get(operation, &full, &path)?)?;
        }
    }
}

/// `NULL`s are of rows that others wrote.
fn object_and_date(row: &Value) -> Option<(String, Date)> {
    let text = |column: usize| row["f"][column]["v"].as_str();
    Some((text(0)?.to_owned(), text(1)?.parse().ok()?))
}

/// The rest of the path of what comes after this answer of a query.
fn next_page(answer: &Value) -> Option<String> {
    let job = answer["jobReference"]["jobId"].as_str()?;
    match answer["pageToken"].as_str() {
        _ if answer["jobComplete"] == false => Some(format!("{job}?")),
        // A token is text for URLs.
        Some(token) if !token.is_empty() => Some(format!("{job}?pageToken={token}&")),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::fake;

    #[test]
    fn objects_of_all_pages_come_with_their_dates() {
        let row = |object: &str, date: &str| json!({"f": [{"v": object}, {"v": date}]});
        let mut pages = vec![
            json!({"jobReference": {"jobId": "q"}, "rows": [row("b", "2020-03-18"), row("a", "2020-03-19")]}),
            json!({"jobReference": {"jobId": "q"}, "rows": [row("a", "2020-03-18")], "pageToken": "t"}),
            json!({"jobReference": {"jobId": "q"}, "jobComplete": false}),
        ];
        let (client, log) = fake::client(move |_| (200, pages.pop().unwrap()));
        let table = TableName {
            dataset: "d".to_owned(),
            table: "t".to_owned(),
        };
        let date = |day| Date::constant(2020, 3, day);
        let objects = client.objects(&table, "EU", (date(1), date(31))).unwrap();
        assert_eq!(objects["a"], [date(18), date(19)]);
        assert_eq!(objects["b"], [date(18)]);
        let log = log.lock().unwrap();
        assert!(
            log[2].contains("queries/q?pageToken=t&location=EU"),
            "{log:?}"
        );
    }
}
