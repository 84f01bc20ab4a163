//! Tables for a warehouse, in which rows have the values of the path.

use groma_schema::{Field, Mode, Schema, Type};

use crate::LoadDatatype;
use crate::table::Table;

const ID: &str =
    "Key of the measurement, mostly the UUID of its connection: what rows of other tables join on.";
const SUMMARY: &str = "Summary of the measurement.";
const DATE: &str = "Date of the archive directory, in UTC, by which the table is partitioned.";
const OBJECT: &str = "Archive object that the row was loaded from, without directories and endings; the name of its file in the lake.";

impl LoadDatatype {
    /// The table of this datatype for a warehouse: the columns of the lake's files, with the descriptions of the schema, behind
    /// the two that are in the path there, `date` and `object`.
    pub fn warehouse_schema(&self) -> Schema {
        let table = Table::new(self.clone());
        let columns = Schema::from_arrow(table.schema.fields());
        let mut fields = place();
        fields.extend(
            columns
                .expect("tables are made of the types of schemas")
                .fields,
        );
        let described = self.schema.table().fields;
        for field in &mut fields {
            describe(field, &described);
            // Datatypes that put parts of the measurement elsewhere than under `raw`.
            describe(field, &self.schema.fields);
            match field.name.as_str() {
                "id" => field.description = Some(ID.to_owned()),
                "a" => {
                    for field in &mut field.fields {
                        describe(field, &self.schema.fields);
                    }
                    field.description = Some(SUMMARY.to_owned());
                }
                _ => {}
            }
        }
        Schema { fields }
    }
}

/// The table, for a warehouse, of what could not be made a row: the lines of the lake's error lists.
pub fn errors_schema() -> Schema {
    let text = |name: &str, description: &str| Field {
        description: Some(description.to_owned()),
        ..Field::new(name, Type::String)
    };
    let mut fields = place();
    fields.extend([
        text(
            "datatype",
            "Experiment and datatype of the object, separated by a slash.",
        ),
        text(
            "member",
            "Name of the member in the object; empty when the object itself is damaged.",
        ),
        Field {
            description: Some("Line from 1, in objects of JSON lines.".to_owned()),
            ..Field::new("line", Type::Integer)
        },
        text("reason", "Why it is no row."),
    ]);
    Schema { fields }
}

fn place() -> Vec<Field> {
    let column = |name: &str, kind: Type, description: &str| Field {
        description: Some(description.to_owned()),
        ..Field::new(name, kind)
    };
    vec![
        column("date", Type::Date, DATE).with_mode(Mode::Required),
        // Rows that a person loads have none.
        column("object", Type::String, OBJECT),
    ]
}

/// Gives a column, and those below it, the descriptions of the one of the same name and type.
fn describe(field: &mut Field, described: &[Field]) {
    let same = |of: &&Field| of.name.eq_ignore_ascii_case(&field.name) && of.kind == field.kind;
    let Some(of) = described.iter().find(same) else {
        return;
    };
    if field.description.is_none() {
        field.description.clone_from(&of.description);
    }
    for below in &mut field.fields {
        describe(below, &of.fields);
    }
}
