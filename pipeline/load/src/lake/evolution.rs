//! Whether rows of a schema fit a table that has rows already.

use groma_lake::{Day, Table as LakeTable};
use groma_lake_store::guarded;
use groma_schema::{IncompatibilityKind, Schema};
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;

use super::Lake;
use crate::LoadError;
use crate::table::Table;

/// How many files are tried for one that can be read.
const FILES: usize = 8;

impl Lake {
    /// Compares a table's schema with the columns of its newest file. A column of another type or mode is an error: engines
    /// that read all files of a table as one cannot read it then. Columns may be added and left out.
    pub(crate) fn check_evolution(&self, table: &Table) -> Result<(), LoadError> {
        let Some(old) = self.columns(table)? else {
            return Ok(());
        };
        let new = Schema::from_arrow(table.schema.fields())
            .expect("tables are made of the types of schemas");
        let Err(changes) = Schema::evolution(&old, &new) else {
            return Ok(());
        };
        let breaks = changes.into_iter().find(|change| {
            !matches!(
                change.kind,
                IncompatibilityKind::Removed | IncompatibilityKind::RequiredAddition
            )
        });
        match breaks {
            None => Ok(()),
            Some(change) => Err(LoadError::Evolution {
                experiment: table.experiment.to_string(),
                datatype: table.datatype.to_string(),
                change: change.to_string(),
            }),
        }
    }

    /// The columns of the newest file that can be read; `None` while the table has none.
    fn columns(&self, table: &Table) -> Result<Option<Schema>, LoadError> {
        let of = LakeTable::new(
            self.store().clone(),
            table.experiment.clone(),
            table.datatype.clone(),
        );
        let Some(date) = of.dates()?.pop() else {
            return Ok(None);
        };
        for path in Day::read(&of, date)?.files.iter().rev().take(FILES) {
            let Ok(file) = self.store().open_file(path) else {
                continue;
            };
            let reader = guarded(|| ParquetRecordBatchReaderBuilder::try_new(file));
            let schema = reader.ok().map(|reader| reader.schema().clone());
            if let Some(schema) = schema.and_then(|schema| Schema::from_arrow(schema.fields())) {
                return Ok(Some(schema));
            }
        }
        Ok(None)
    }
}
