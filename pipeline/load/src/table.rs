//! The datatypes that a loader knows.

use std::sync::Arc;

use arrow_schema::SchemaRef;
use groma_schema::Schema;
use groma_spool::Name;

use crate::Rules;
use crate::row::table_schema;

/// A datatype that the loader knows.
#[derive(Clone, Debug)]
pub struct LoadDatatype {
    /// Experiment as the archive names it (`ndt`).
    pub experiment: Name,
    /// Datatype (`ndt7`).
    pub datatype: Name,
    /// Schema of the measurement, which becomes the column `raw`.
    pub schema: Schema,
    /// Rules beyond the schema.
    pub rules: Rules,
}

impl LoadDatatype {
    /// A datatype with the rules that we have for its name ([`Rules::for_datatype`]).
    pub fn new(experiment: Name, datatype: Name, schema: Schema) -> Self {
        let rules = Rules::for_datatype(datatype.as_str());
        LoadDatatype {
            experiment,
            datatype,
            schema,
            rules,
        }
    }
}

/// A datatype made ready.
pub(crate) struct Table {
    pub(crate) experiment: Name,
    pub(crate) datatype: Name,
    pub(crate) rules: Rules,
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
