//! Creates missing tables and adds missing columns.

use groma_schema::{Field, Mode, Schema};
use serde_json::{Value, json};

use crate::BigQueryError;
use crate::client::{Client, expect};

/// Concurrent changes of a table after which an attempt to change it is given up.
const MOST_RACES: usize = 5;

/// A table, by its names.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct TableName {
    pub(crate) dataset: String,
    pub(crate) table: String,
}

impl TableName {
    /// Another table of the dataset.
    pub(crate) fn beside(&self, table: &str) -> TableName {
        TableName {
            dataset: self.dataset.clone(),
            table: table.to_owned(),
        }
    }
}

impl Client {
    /// Where the dataset's data are, and so where its jobs run.
    pub(crate) fn location(&self, dataset: &str) -> Result<String, BigQueryError> {
        let path = self.path(&format!("datasets/{dataset}"));
        let thing = format!("{}:{dataset}", self.project);
        let reply = self.get("look for dataset", &thing, &path)?;
        if reply.status == 404 {
            return Err(BigQueryError::NoDataset { dataset: thing });
        }
        let body = expect("look for dataset", &thing, reply)?;
        Ok(body["location"].as_str().unwrap_or("US").to_owned())
    }

    /// The name as people and SQL know it.
    pub(crate) fn full(&self, name: &TableName) -> String {
        format!("{}.{}.{}", self.project, name.dataset, name.table)
    }

    /// Makes the table, partitioned by `date`, or adds missing columns; additional columns are left alone.
    pub(crate) fn ensure(
        &self,
        name: &TableName,
        schema: &Schema,
        description: &str,
    ) -> Result<(), BigQueryError> {
        let full = self.full(name);
        let tables = self.path(&format!("datasets/{}/tables", name.dataset));
        let path = format!("{tables}/{}", name.table);
        for _ in 0..MOST_RACES {
            let reply = self.get("look for table", &full, &path)?;
            let (operation, reply) = if reply.status == 404 {
                let table = self.new_table(name, schema, description);
                let create = || self.api.post(&tables, &table);
                ("create table", self.ask("create table", &full, create)?)
            } else {
                let table = expect("look for table", &full, reply)?;
                let mut columns = table["schema"]["fields"].clone();
                if !add_missing(&mut columns, &schema.fields, "", &full)? {
                    return Ok(());
                }
                let change = json!({"schema": {"fields": columns}});
                // Two that add different columns would each take away the other's.
                let tag = table["etag"].as_str().unwrap_or("*");
                let add = || self.api.patch(&path, tag, &change);
                ("add columns to", self.ask("add columns to", &full, add)?)
            };
            match reply.status {
                200 => return Ok(()),
                // Somebody else was faster, maybe with the same.
                409 | 412 => {}
                _ => return expect(operation, &full, reply).map(drop),
            }
        }
        Err(BigQueryError::Unreachable {
            operation: "change table",
            thing: full,
            reason: "it changes all the time".to_owned(),
        })
    }

    fn new_table(&self, name: &TableName, schema: &Schema, description: &str) -> Value {
        let by = if schema.fields.iter().any(|field| field.name == "id") {
            "id"
        } else {
            "object"
        };
        json!({
            "tableReference": {"projectId": self.project, "datasetId": name.dataset, "tableId": name.table},
            "description": description,
            "schema": {"fields": schema.to_bigquery()},
            "timePartitioning": {"type": "DAY", "field": "date"},
            "clustering": {"fields": [by]},
        })
    }
}

/// Adds the columns that are missing in `columns`, and returns whether there were any.
fn add_missing(
    columns: &mut Value,
    wanted: &[Field],
    parent: &str,
    table: &str,
) -> Result<bool, BigQueryError> {
    if !columns.is_array() {
        *columns = json!([]);
    }
    let columns = columns.as_array_mut().expect("it was made one");
    let mut is_changed = false;
    for field in wanted {
        let path = format!("{parent}{}", field.name);
        let same = |column: &&mut Value| {
            let name = column["name"].as_str().unwrap_or_default();
            name.eq_ignore_ascii_case(&field.name)
        };
        let Some(column) = columns.iter_mut().find(same) else {
            let one = Schema {
                fields: vec![field.clone().with_mode(addable(field.mode))],
            };
            columns.push(one.to_bigquery()[0].take());
            is_changed = true;
            continue;
        };
        check_same(column, field, &path, table)?;
        if !field.fields.is_empty() {
            let parent = format!("{path}.");
            is_changed |= add_missing(&mut column["fields"], &field.fields, &parent, table)?;
        }
    }
    Ok(is_changed)
}

/// Rows that are there already have no value of a new column.
fn addable(mode: Mode) -> Mode {
    match mode {
        Mode::Repeated => Mode::Repeated,
        _ => Mode::Nullable,
    }
}

fn check_same(column: &Value, field: &Field, path: &str, table: &str) -> Result<(), BigQueryError> {
    let text = |key: &str| column[key].as_str().unwrap_or_default();
    let kind = groma_schema::Type::from_name(text("type"));
    let is_list = text("mode").eq_ignore_ascii_case("REPEATED");
    if kind == Some(field.kind) && is_list == (field.mode == Mode::Repeated) {
        return Ok(());
    }
    Err(BigQueryError::Column {
        table: table.to_owned(),
        column: path.to_owned(),
        found: format!("{} {}", text("mode"), text("type"))
            .trim()
            .to_owned(),
        wanted: format!("{} {}", field.mode, field.kind),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fake;

    fn schema(text: &str) -> Schema {
        Schema::parse(text).unwrap()
    }

    #[test]
    fn only_what_is_missing_is_added_in_its_place() {
        let wanted = schema(
            r#"[{"name": "id", "type": "STRING"}, {"name": "raw", "type": "RECORD", "fields": [
                {"name": "A", "type": "INTEGER"},
                {"name": "L", "type": "RECORD", "mode": "REPEATED", "fields": [{"name": "B", "type": "FLOAT"}]}]}]"#,
        );
        let mut columns = json!([
            {"name": "Id", "type": "STRING"},
            {"name": "own", "type": "STRING", "policyTags": {}},
            {"name": "raw", "type": "STRUCT", "mode": "NULLABLE", "fields": [{"name": "a", "type": "INT64"}]},
        ]);
        assert!(add_missing(&mut columns, &wanted.fields, "", "t").unwrap());
        assert_eq!(columns.as_array().unwrap().len(), 3);
        assert_eq!(
            columns[1]["policyTags"],
            json!({}),
            "what is there stays as it is"
        );
        assert_eq!(columns[2]["fields"][1]["fields"][0]["name"], "B");
        assert_eq!(columns[2]["fields"][1]["mode"], "REPEATED");
        assert!(!add_missing(&mut columns, &wanted.fields, "", "t").unwrap());
    }

    #[test]
    fn a_column_of_another_kind_is_refused_by_its_path() {
        let wanted = schema(
            r#"[{"name": "raw", "type": "RECORD", "fields": [{"name": "A", "type": "INTEGER"}]}]"#,
        );
        for other in [
            json!({"name": "A", "type": "STRING"}),
            json!({"name": "A", "type": "INTEGER", "mode": "REPEATED"}),
        ] {
            let mut columns = json!([{"name": "raw", "type": "RECORD", "fields": [other]}]);
            let error = add_missing(&mut columns, &wanted.fields, "", "p.d.t").unwrap_err();
            assert!(error.to_string().contains("raw.A"), "{error}");
        }
    }

    #[test]
    fn of_two_that_add_columns_each_keeps_those_of_the_other() {
        let table = |etag: &str, columns: &[&str]| {
            let columns = columns
                .iter()
                .map(|name| json!({"name": name, "type": "STRING"}));
            json!({"etag": etag, "schema": {"fields": columns.collect::<Vec<_>>()}})
        };
        let mut states = vec![table("e2", &["id", "theirs"]), table("e1", &["id"])];
        let (client, log) = fake::client(move |asked| {
            let text = &asked.text;
            match asked.method.as_str() {
                "GET" => (200, states.pop().unwrap()),
                _ if text.contains("if-match: e1\r\n") => (412, json!({})),
                _ if text.contains("if-match: e2\r\n") && text.contains("theirs") => {
                    (200, json!({}))
                }
                _ => (400, json!({})),
            }
        });
        let name = TableName {
            dataset: "d".to_owned(),
            table: "t".to_owned(),
        };
        let wanted =
            schema(r#"[{"name": "id", "type": "STRING"}, {"name": "ours", "type": "STRING"}]"#);
        client.ensure(&name, &wanted, "").unwrap();
        assert_eq!(log.lock().unwrap().len(), 4);
    }
}
