//! Columns into Arrow arrays.

use std::sync::Arc;

use arrow_array::{
    ArrayRef, BinaryArray, BooleanArray, Date32Array, Decimal128Array, Float64Array, Int64Array,
    ListArray, StringArray, StructArray, Time64MicrosecondArray, TimestampMicrosecondArray,
};
use arrow_buffer::{Buffer, OffsetBuffer};
use arrow_schema::{ArrowError, DataType, Field};

use super::{Column, List, Plain, Record, Text};

impl Column {
    /// All `rows` rows as an array of type `kind`, which is the one that the column was made from; the column is empty then.
    pub(crate) fn finish(&mut self, rows: usize, kind: &DataType) -> Result<ArrayRef, ArrowError> {
        self.pad(rows);
        Ok(match self {
            Column::Record(record) => Arc::new(record.finish(rows)?),
            Column::List(list) => Arc::new(list.finish(kind)?),
            Column::Text(text) => {
                let (offsets, bytes, valid) = text.take();
                Arc::new(StringArray::try_new(offsets, bytes, valid)?)
            }
            Column::Bytes(text) => {
                let (offsets, bytes, valid) = text.take();
                Arc::new(BinaryArray::try_new(offsets, bytes, valid)?)
            }
            Column::Integer(plain) => {
                let (values, valid) = plain.take();
                Arc::new(Int64Array::try_new(values.into(), valid)?)
            }
            Column::Float(plain) => {
                let (values, valid) = plain.take();
                Arc::new(Float64Array::try_new(values.into(), valid)?)
            }
            Column::Boolean(flags) => {
                let values = flags.values.finish();
                Arc::new(BooleanArray::new(values, flags.valid.finish()))
            }
            Column::Instant(plain) | Column::Datetime(plain) => {
                let (values, valid) = plain.take();
                let array = TimestampMicrosecondArray::try_new(values.into(), valid)?;
                Arc::new(array.with_data_type(kind.clone()))
            }
            Column::Time(plain) => {
                let (values, valid) = plain.take();
                Arc::new(Time64MicrosecondArray::try_new(values.into(), valid)?)
            }
            Column::Date(plain) => {
                let (values, valid) = plain.take();
                Arc::new(Date32Array::try_new(values.into(), valid)?)
            }
            Column::Decimal(plain) => {
                let (values, valid) = plain.take();
                let array = Decimal128Array::try_new(values.into(), valid)?;
                Arc::new(array.with_data_type(kind.clone()))
            }
        })
    }
}

impl List {
    fn finish(&mut self, kind: &DataType) -> Result<ListArray, ArrowError> {
        let DataType::List(item) = kind else {
            return Err(ArrowError::SchemaError(
                "a list column has a list type".to_owned(),
            ));
        };
        let items = self.end() as usize;
        let values = self.item.finish(items, item.data_type())?;
        let offsets = std::mem::replace(&mut self.offsets, vec![0]);
        ListArray::try_new(
            Arc::clone(item),
            OffsetBuffer::new(offsets.into()),
            values,
            None,
        )
    }
}

impl Record {
    /// All `rows` rows; the record is empty then.
    pub(crate) fn finish(&mut self, rows: usize) -> Result<StructArray, ArrowError> {
        let fields = self.arrow.clone();
        let arrays = fields
            .iter()
            .zip(&mut self.fields)
            .map(|(field, (_, column))| {
                let field: &Field = field;
                column.finish(rows, field.data_type())
            })
            .collect::<Result<Vec<_>, _>>()?;
        StructArray::try_new_with_length(fields, arrays, self.valid.finish(), rows)
    }
}

type Valid = Option<arrow_buffer::NullBuffer>;

impl<T> Plain<T> {
    fn take(&mut self) -> (Vec<T>, Valid) {
        // The next batch is as long as this one, or nearly.
        let room = Vec::with_capacity(self.values.len());
        (
            std::mem::replace(&mut self.values, room),
            self.valid.finish(),
        )
    }
}

impl Text {
    fn take(&mut self) -> (OffsetBuffer<i32>, Buffer, Valid) {
        let offsets = std::mem::replace(&mut self.offsets, vec![0]);
        let bytes = std::mem::take(&mut self.bytes);
        (
            OffsetBuffer::new(offsets.into()),
            Buffer::from_vec(bytes),
            self.valid.finish(),
        )
    }
}
