//! Rows gathered and decoded into Arrow record batches.

use std::sync::Arc;

use arrow_array::RecordBatch;
use arrow_json::ReaderBuilder;
use arrow_json::reader::Decoder;
use arrow_schema::{ArrowError, SchemaRef};
use serde_json::Value;

use crate::Limits;

/// A row waiting for its batch, with what its caller wants back if Arrow refuses it.
struct Waiting<T> {
    row: Value,
    tag: T,
}

/// Gathers rows up to the limits, then decodes them together.
pub(crate) struct Batcher<T> {
    schema: SchemaRef,
    limits: Limits,
    waiting: Vec<Waiting<T>>,
    bytes: usize,
}

/// A decoded batch and the rows that could not be.
pub(crate) struct Decoded<T> {
    pub(crate) batches: Vec<RecordBatch>,
    pub(crate) refused: Vec<(T, String)>,
}

impl<T> Batcher<T> {
    pub(crate) fn new(schema: SchemaRef, limits: Limits) -> Self {
        Batcher {
            schema,
            limits,
            waiting: Vec::new(),
            bytes: 0,
        }
    }

    /// Adds a row of `bytes` bytes of JSON; true when it is time to [`Batcher::take`].
    pub(crate) fn push(&mut self, row: Value, bytes: usize, tag: T) -> bool {
        self.waiting.push(Waiting { row, tag });
        self.bytes += bytes;
        self.waiting.len() >= self.limits.batch_rows || self.bytes >= self.limits.batch_bytes
    }

    /// Decodes what waits. Should Arrow refuse the batch, each row is tried alone, so that one cannot take the others along.
    pub(crate) fn take(&mut self) -> Result<Decoded<T>, ArrowError> {
        let waiting = std::mem::take(&mut self.waiting);
        self.bytes = 0;
        let mut decoded = Decoded {
            batches: Vec::new(),
            refused: Vec::new(),
        };
        let mut together = self.decoder()?;
        let rows: Vec<&Value> = waiting.iter().map(|w| &w.row).collect();
        if let Ok(batch) = decode(&mut together, &rows) {
            decoded.batches.extend(batch);
            return Ok(decoded);
        }
        for Waiting { row, tag } in waiting {
            match decode(&mut self.decoder()?, &[&row]) {
                Ok(batch) => decoded.batches.extend(batch),
                Err(error) => decoded.refused.push((tag, error.to_string())),
            }
        }
        Ok(decoded)
    }

    fn decoder(&self) -> Result<Decoder, ArrowError> {
        ReaderBuilder::new(Arc::clone(&self.schema))
            .with_batch_size(self.limits.batch_rows)
            .build_decoder()
    }
}

fn decode(decoder: &mut Decoder, rows: &[&Value]) -> Result<Option<RecordBatch>, ArrowError> {
    decoder.serialize(rows)?;
    decoder.flush()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow_schema::{DataType, Field, Schema};
    use serde_json::json;

    use arrow_array::RecordBatch;

    use super::Batcher;
    use crate::Limits;

    #[test]
    fn one_bad_row_does_not_take_the_others_along() {
        let schema = Schema::new(vec![Field::new("n", DataType::Int64, true)]);
        let mut batcher = Batcher::new(Arc::new(schema), Limits::default());
        for (tag, value) in [json!(1), json!("x"), json!(3)].into_iter().enumerate() {
            assert!(!batcher.push(json!({ "n": value }), 8, tag));
        }
        let decoded = batcher.take().unwrap();
        assert_eq!(
            decoded
                .batches
                .iter()
                .map(RecordBatch::num_rows)
                .sum::<usize>(),
            2
        );
        assert_eq!(decoded.refused.len(), 1);
        assert_eq!(decoded.refused[0].0, 1);
    }

    #[test]
    fn closes_a_batch_at_either_limit() {
        let schema = Arc::new(Schema::new(vec![Field::new("n", DataType::Int64, true)]));
        let limits = Limits {
            batch_rows: 2,
            batch_bytes: 100,
            ..Limits::default()
        };
        let mut batcher = Batcher::new(Arc::clone(&schema), limits);
        assert!(!batcher.push(json!({"n": 1}), 1, ()));
        assert!(batcher.push(json!({"n": 2}), 1, ()));
        batcher.take().unwrap();
        assert!(batcher.push(json!({"n": 3}), 100, ()));
    }
}
