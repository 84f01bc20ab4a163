use crate::field::{Field, Mode, Schema, Type};
use arrow_schema::{DataType, Field as ArrowField, Fields, TimeUnit};
use std::sync::Arc;

/// Digits of `BigQuery`'s NUMERIC, and the number of them after the point.
const NUMERIC: DataType = DataType::Decimal128(38, 9);

impl Schema {
    /// The Arrow columns. All are nullable, since any engine must be able to read rows older than a column; instants have
    /// microseconds, `BigQuery`'s precision, because not every reader of Parquet takes nanoseconds.
    pub fn to_arrow(&self) -> Fields {
        fields(&self.fields)
    }

    /// The schema that these Arrow columns are made from, without descriptions; `None` when a column's type is none that
    /// [`Schema::to_arrow`] gives.
    pub fn from_arrow(columns: &Fields) -> Option<Schema> {
        let fields = columns.iter().map(|column| field(column));
        Some(Schema {
            fields: fields.collect::<Option<_>>()?,
        })
    }
}

fn field(column: &ArrowField) -> Option<Field> {
    let (one, mode) = match column.data_type() {
        DataType::List(item) => (item.data_type(), Mode::Repeated),
        one => (one, Mode::Nullable),
    };
    let kind = match one {
        DataType::Utf8 => Type::String,
        DataType::Binary => Type::Bytes,
        DataType::Int64 => Type::Integer,
        DataType::Float64 => Type::Float,
        DataType::Boolean => Type::Boolean,
        DataType::Timestamp(TimeUnit::Microsecond, Some(_)) => Type::Timestamp,
        DataType::Timestamp(TimeUnit::Microsecond, None) => Type::Datetime,
        DataType::Date32 => Type::Date,
        DataType::Time64(TimeUnit::Microsecond) => Type::Time,
        one if *one == NUMERIC => Type::Numeric,
        DataType::Struct(fields) => {
            let fields = Schema::from_arrow(fields)?.fields;
            return Some(Field::record(column.name(), fields).with_mode(mode));
        }
        _ => return None,
    };
    Some(Field::new(column.name(), kind).with_mode(mode))
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
