//! The datatypes that a loader knows.

use std::sync::Arc;

use arrow_schema::SchemaRef;
use groma_schema::Schema;
use groma_spool::Name;

use crate::row::table_schema;
use crate::{Datatype, JSON};

/// A datatype that the loader knows.
#[derive(Clone, Debug)]
pub struct LoadDatatype {
    /// Experiment as the archive names it (`ndt`).
    pub experiment: Name,
    /// Datatype (`ndt7`).
    pub datatype: Name,
    /// Schema of the measurement, which becomes the column `raw`.
    pub schema: Schema,
    /// Its rules beyond the schema.
    pub rules: &'static dyn Datatype,
}

impl LoadDatatype {
    /// Returns a datatype with nothing but a schema; see [`JSON`].
    pub fn new(experiment: Name, datatype: Name, schema: Schema) -> Self {
        LoadDatatype {
            experiment,
            datatype,
            schema,
            rules: JSON,
        }
    }
}

/// A datatype made ready.
pub(crate) struct Table {
    pub(crate) experiment: Name,
    pub(crate) datatype: Name,
    pub(crate) rules: &'static dyn Datatype,
    pub(crate) schema: SchemaRef,
}

impl Table {
    pub(crate) fn new(datatype: LoadDatatype) -> Table {
        let rules = datatype.rules;
        Table {
            experiment: datatype.experiment,
            datatype: datatype.datatype,
            rules,
            schema: Arc::new(table_schema(rules.columns(datatype.schema.to_arrow()))),
        }
    }
}
