//! Rows per second, for information: `cargo test -p groma-load --release -- --ignored --nocapture rows_per_second`.

use std::time::Instant;

use crate::support::{Lab, REAL_OBJECT, real_archive};

/// Loads of the same archive, so that one measurement is longer than a blink.
const ROUNDS: u64 = 20;

#[test]
#[ignore = "prints a number and asserts nothing about it"]
#[allow(clippy::print_stdout, reason = "printing is what it is for")]
fn rows_per_second() {
    let Some(archive) = real_archive() else {
        return;
    };
    let lab = Lab::new();
    lab.put(REAL_OBJECT, &archive);
    let start = Instant::now();
    let mut rows = 0;
    for round in 0..ROUNDS {
        let lake = groma_load::Lake::new(lab.store.root().join("..").join(round.to_string()));
        let loaded = lab
            .loader_into(lake)
            .load_object(REAL_OBJECT, None)
            .unwrap();
        rows += loaded.rows;
        if round == 0 {
            let size = loaded.path.metadata().unwrap().len();
            println!(
                "{} bytes of archive, {size} bytes of Parquet",
                archive.len()
            );
        }
    }
    let seconds = start.elapsed().as_secs_f64();
    println!(
        "{rows} rows in {seconds:.2} s: {:.0} rows/s",
        rows as f64 / seconds
    );
}
