//! Prints which tests of this run of `cargo test` were skipped, and why.

#[allow(clippy::print_stdout, reason = "this is its whole purpose")]
fn main() {
    let skipped = groma_tests::take_skipped();
    if skipped.is_empty() {
        println!("\nno test was skipped\n");
        return;
    }
    println!("\nskipped tests: {}", skipped.len());
    for (test, reason) in skipped {
        println!("  {test}: {reason}");
    }
    println!();
}
