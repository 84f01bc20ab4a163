use crate::field::{Field, Mode, Schema, Type};
use arrow_schema::{DataType, Field as ArrowField, Fields, TimeUnit};
use std::sync::Arc;

/// Digits of `BigQuery`'s NUMERIC, and how many of them stand after the point.
const NUMERIC: DataType = DataType::Decimal128(38, 9);

impl Schema {
    /// The Arrow columns. All are nullable, since any engine must be able to read rows older than a column; instants have
    /// microseconds, `BigQuery`'s precision, because not every reader of Parquet takes nanoseconds.
    pub fn to_arrow(&self) -> Fields {
        fields(&self.fields)
    }
}

fn fields(fields: &[Field]) -> Fields {
    fields
        .iter()
        .map(|field| ArrowField::new(&field.name, data_type(field), true))
        .collect()
}

fn data_type(field: &Field) -> DataType {
    let one = match field.kind {
        Type::String => DataType::Utf8,
        Type::Bytes => DataType::Binary,
        Type::Integer => DataType::Int64,
        Type::Float => DataType::Float64,
        Type::Boolean => DataType::Boolean,
        Type::Timestamp => DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into())),
        Type::Date => DataType::Date32,
        Type::Time => DataType::Time64(TimeUnit::Microsecond),
        Type::Datetime => DataType::Timestamp(TimeUnit::Microsecond, None),
        Type::Numeric => NUMERIC,
        Type::Record => DataType::Struct(fields(&field.fields)),
    };
    match field.mode {
        Mode::Repeated => DataType::List(Arc::new(ArrowField::new_list_field(one, true))),
        Mode::Nullable | Mode::Required => one,
    }
}
