//! Limits for the memory of one load.

/// Bounds on what a hostile or merely unusual object can make the loader hold at once.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Largest member, before and after gunzip, in bytes. M-Lab's parser uses 200 MiB too.
    pub member_bytes: u64,
    /// Most JSON values (numbers, strings, objects, …) in one member, and most column slots that it may fill: `[0,0,0,…` costs
    /// thirty times its text once parsed, and `[{},{},{},…` a slot in every column of that record.
    pub member_values: u64,
    /// Rows decoded together.
    pub batch_rows: usize,
    /// JSON bytes of rows decoded together; a single larger row makes a batch of its own.
    pub batch_bytes: usize,
    /// Encoded bytes after which a Parquet row group is closed.
    pub row_group_bytes: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Limits {
            member_bytes: 200 << 20,
            member_values: 4_000_000,
            batch_rows: 256,
            batch_bytes: 8 << 20,
            row_group_bytes: 16 << 20,
        }
    }
}

/// An upper bound of the number of JSON values in `json`, without parsing it: every value except the first is after one of
/// these characters. Text that holds them only makes the bound larger.
pub(crate) fn values_at_most(json: &[u8]) -> u64 {
    1 + json
        .iter()
        .filter(|byte| matches!(byte, b',' | b'[' | b'{' | b':'))
        .count() as u64
}

#[cfg(test)]
mod tests {
    use super::values_at_most;

    #[test]
    fn counts_at_least_the_values() {
        assert_eq!(values_at_most(b"7"), 1);
        assert!(values_at_most(br#"{"a":[1,2,{"b":null}]}"#) >= 6);
    }
}
