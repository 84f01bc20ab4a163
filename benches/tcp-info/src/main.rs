//! Measures tcp-info at 100, 1,000 and 10,000 sockets, beside the cheapest bare read of the same sockets.
//!
//! Two network namespaces and a cable between them; the server's end is recorded. The load is two processes of its own
//! on core 1: one holds the connections, the other sends a byte on a tenth of them every 10 ms, in turns. On core 0 run,
//! one after the other, the bare reads (a thread that asks the kernel every 10 ms and looks at nothing) and the
//! recorder with files and events. CPU time is that of the thread or of the process, the kernel's work in its name
//! included. Needs root and `ip`.
#![allow(clippy::print_stdout, reason = "the report is the purpose")]

mod load;
mod measure;

use std::alloc::System;
use std::time::Duration;

use clap::Parser;
use stats_alloc::{INSTRUMENTED_SYSTEM, StatsAlloc};

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

#[derive(Parser)]
#[command(about = "What tcp-info costs, beside the cheapest bare read of the same sockets")]
struct Arguments {
    /// Seconds per measurement.
    #[arg(long, default_value_t = 10)]
    seconds: u64,
    /// Numbers of sockets.
    #[arg(long, value_delimiter = ',', default_value = "100,1000,10000")]
    sockets: Vec<usize>,
    #[command(subcommand)]
    part: Option<load::Part>,
}

fn main() -> anyhow::Result<()> {
    let arguments = Arguments::parse();
    if let Some(part) = arguments.part {
        return part.run();
    }
    let seconds = Duration::from_secs(arguments.seconds);
    println!(
        "| sockets | bare read | CPU per read | recorder per poll | ratio | CPU of a core | interval | late | failed | bytes/record | records/s | changed/10 ms | allocations/poll | memory/flow | finishing/record |"
    );
    println!("|---|---|---|---|---|---|---|---|---|---|---|---|---|---|---|");
    for sockets in arguments.sockets {
        let row = measure::row(sockets, seconds)?;
        println!("{row}");
    }
    Ok(())
}
