//! `groma find`: which tests were like this?

use std::process::ExitCode;

use groma_find::{Network, Query, Searched, search};
use groma_lake_store::LakeStore;
use groma_service::visible;
use jiff::civil::Date;

use super::place::Place;
use crate::output::{self, say};

/// Find tests by what they measured, over live and sealed dates, newest first.
///
/// Exit code 0 if there are any, 1 if there are none.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// From this date on (UTC).
    #[arg(long, value_name = "YYYY-MM-DD")]
    since: Option<Date>,

    /// To this date, included.
    #[arg(long, value_name = "YYYY-MM-DD")]
    until: Option<Date>,

    /// Of clients in this network.
    #[arg(long, value_name = "ADDRESS/BITS")]
    client_net: Option<Network>,

    /// With at least this mean throughput.
    #[arg(long, value_name = "MBIT/S")]
    min_mbps: Option<f64>,

    /// With at most this mean throughput.
    #[arg(long, value_name = "MBIT/S")]
    max_mbps: Option<f64>,

    /// The most tests to print.
    #[arg(long, value_name = "NUMBER", default_value_t = 100)]
    limit: usize,

    #[command(flatten)]
    place: Place,

    /// Print JSON.
    #[arg(long)]
    json: bool,
}

pub(crate) fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let lake = args
        .place
        .lake
        .clone()
        .unwrap_or_else(|| args.place.dir.join("lake").into());
    super::place::check_lake(&lake, "--dir or --lake")?;
    let searched = find(args, &lake)?;
    if args.json {
        output::json(&searched)?;
    } else {
        print(&searched);
    }
    Ok(if searched.tests.is_empty() {
        ExitCode::from(output::FAILED)
    } else {
        ExitCode::SUCCESS
    })
}

fn find(args: &Args, lake: &LakeStore) -> anyhow::Result<Searched> {
    let query = Query {
        since: args.since,
        until: args.until,
        client_net: args.client_net,
        min_mbps: args.min_mbps,
        max_mbps: args.max_mbps,
        limit: args.limit,
    };
    Ok(search(lake.clone(), &query)?)
}

fn print(searched: &Searched) {
    for test in &searched.tests {
        let rate = test
            .mean_throughput_mbps
            .map_or_else(|| "-".to_owned(), output::mbps);
        let rtt = test
            .min_rtt_ms
            .map_or_else(|| "-".to_owned(), |rtt| format!("{rtt:.3} ms"));
        let when = test
            .test_time
            .clone()
            .unwrap_or_else(|| test.date.to_string());
        // Rows come from archives of any origin: no value may break the line.
        say!(
            "{:<27} {:<8} {rate:>12} {rtt:>12}  {:<15} {}",
            visible(&when),
            test.direction.unwrap_or("-"),
            visible(test.client_ip.as_deref().unwrap_or("-")),
            visible(&test.id)
        );
    }
    if searched.more {
        say!("and more; --limit raises how many are shown");
    }
    for file in &searched.unreadable {
        say!("could not be read: {}", visible(&file.to_string_lossy()));
    }
}
