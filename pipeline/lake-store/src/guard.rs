//! The boundary to the readers of Parquet, which may panic on a damaged file.

use std::panic::{AssertUnwindSafe, catch_unwind};

use parquet::errors::ParquetError;

/// Runs a reader of a table file and returns a panic in it as an error, so that a damaged file costs itself and not the thread
/// that reads it.
///
/// The reader must own what it changes: after a panic nothing of it may be used again.
pub fn guarded<T, E: From<ParquetError>>(read: impl FnOnce() -> Result<T, E>) -> Result<T, E> {
    catch_unwind(AssertUnwindSafe(read)).unwrap_or_else(|panic| {
        let text = panic
            .downcast_ref::<String>()
            .map(String::as_str)
            .or_else(|| panic.downcast_ref::<&str>().copied());
        let reason = text
            .unwrap_or("no reason")
            .chars()
            .take(300)
            .collect::<String>();
        Err(ParquetError::General(format!("the reader failed on a damaged file: {reason}")).into())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_of_a_reader_is_an_error() {
        let error = guarded::<(), ParquetError>(|| panic!("index out of bounds")).unwrap_err();
        assert!(error.to_string().contains("index out of bounds"), "{error}");
        assert_eq!(guarded::<u8, ParquetError>(|| Ok(1)).unwrap(), 1);
    }
}
