//! Tests by what they measured, without SQL: reading of each file only the columns that are asked about.

use std::net::IpAddr;
use std::path::{Path, PathBuf};

use arrow_json::LineDelimitedWriter;
use groma_lake::Table;
use groma_lake_store::LakeStore;
use jiff::civil::Date;
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::{
    ArrowReaderMetadata, ArrowReaderOptions, ParquetRecordBatchReaderBuilder,
};
use parquet::schema::types::SchemaDescriptor;
use serde::Serialize;
use serde_json::Value;

use crate::lake::{days, for_each_file};
use crate::pages::Pages;
use crate::{FindError, Network};

/// The leaf columns that a search reads; a table without the second holds no tests with a throughput.
const COLUMNS: [&str; 8] = [
    "id",
    "a.MeanThroughputMbps",
    "a.MinRTT",
    "a.LossRate",
    "a.TestTime",
    "raw.ClientIP",
    "raw.Download.UUID",
    "raw.Upload.UUID",
];

/// Which tests are wanted. Everything that is given must hold.
#[derive(Clone, Debug, Default)]
pub struct Query {
    /// From this date on (UTC).
    pub since: Option<Date>,
    /// To this date, included.
    pub until: Option<Date>,
    /// Of clients in this network.
    pub client_net: Option<Network>,
    /// With at least this mean throughput, in Mbit/s.
    pub min_mbps: Option<f64>,
    /// With at most this mean throughput, in Mbit/s.
    pub max_mbps: Option<f64>,
    /// The most tests wanted; the newest dates are searched first.
    pub limit: usize,
}

/// A test that was found.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Test {
    /// UUID of the connection.
    pub id: String,
    /// Its date (UTC).
    pub date: Date,
    /// Experiment.
    pub experiment: String,
    /// Datatype.
    pub datatype: String,
    /// When it took place (RFC 3339), as measured.
    pub test_time: Option<String>,
    /// `download` or `upload`.
    pub direction: Option<&'static str>,
    /// Mean throughput in Mbit/s.
    pub mean_throughput_mbps: Option<f64>,
    /// Minimum round-trip time in ms.
    pub min_rtt_ms: Option<f64>,
    /// Share of bytes that were sent again.
    pub loss_rate: Option<f64>,
    /// The client's address.
    pub client_ip: Option<String>,
}

/// What a search came to.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Searched {
    /// The tests, newest date first.
    pub tests: Vec<Test>,
    /// There are more than the limit.
    pub more: bool,
    /// Table files that could not be read.
    pub unreadable: Vec<PathBuf>,
}

/// Searches live and sealed dates of the lake at this place.
pub fn search(lake: impl Into<LakeStore>, query: &Query) -> Result<Searched, FindError> {
    let lake = lake.into();
    let mut searched = Searched::default();
    for (date, table) in days(&lake)? {
        let too_old = query.since.is_some_and(|since| date < since);
        if too_old || query.until.is_some_and(|until| date > until) {
            continue;
        }
        of_day(&table, date, query, &mut searched)?;
        if searched.tests.len() > query.limit {
            searched.tests.truncate(query.limit);
            searched.more = true;
            break;
        }
    }
    Ok(searched)
}

fn of_day(
    table: &Table,
    date: Date,
    query: &Query,
    searched: &mut Searched,
) -> Result<(), FindError> {
    // One more than is wanted tells that there are more.
    let wanted = query.limit.saturating_add(1);
    let mut found: Vec<Test> = Vec::new();
    let mut seen: Vec<PathBuf> = Vec::new();
    let mut unreadable = Vec::new();
    for_each_file(table, date, &mut unreadable, &mut |file, _| {
        if seen.is_empty() || seen.iter().any(|path| path == file) {
            // Begun again: another sealer replaced what was being read.
            seen.clear();
            found.clear();
        }
        seen.push(file.to_owned());
        let room = wanted.saturating_sub(searched.tests.len() + found.len());
        read(file, table, date, query, room, &mut found)?;
        Ok(searched.tests.len() + found.len() < wanted)
    })?;
    searched.tests.append(&mut found);
    searched.unreadable.append(&mut unreadable);
    Ok(())
}

/// Adds at most `room` tests of a file.
fn read(
    path: &Path,
    table: &Table,
    date: Date,
    query: &Query,
    room: usize,
    found: &mut Vec<Test>,
) -> Result<(), String> {
    let text = |error: &dyn std::fmt::Display| error.to_string();
    let file = table.store().open_file(path);
    let file = file.map_err(|error| text(&error))?;
    let metadata = ArrowReaderMetadata::load(&file, ArrowReaderOptions::default())
        .map_err(|error| text(&error))?;
    let schema = metadata.parquet_schema();
    let Some(leaves) = leaves(schema) else {
        return Ok(());
    };
    let mask = ProjectionMask::leaves(schema, leaves);
    let pages =
        Pages::of_columns(&file, metadata.metadata(), &mask).map_err(|error| text(&error))?;
    let batches = ParquetRecordBatchReaderBuilder::new_with_metadata(pages, metadata)
        .with_projection(mask)
        .build()
        .map_err(|error| text(&error))?;
    let most = found.len().saturating_add(room);
    for batch in batches {
        let batch = batch.map_err(|error| text(&error))?;
        let mut lines = Vec::new();
        let mut writer = LineDelimitedWriter::new(&mut lines);
        writer.write(&batch).map_err(|error| text(&error))?;
        writer.finish().map_err(|error| text(&error))?;
        for line in lines
            .split(|byte| *byte == b'\n')
            .filter(|line| !line.is_empty())
        {
            let row: Value = serde_json::from_slice(line).map_err(|error| text(&error))?;
            let test = test(&row, table, date);
            if found.len() < most && matches(&test, query) {
                found.push(test);
            }
        }
    }
    Ok(())
}

fn leaves(schema: &SchemaDescriptor) -> Option<Vec<usize>> {
    let place = |name: &&str| {
        let wanted: Vec<&str> = name.split('.').collect();
        schema
            .columns()
            .iter()
            .position(|column| column.path().parts() == wanted)
    };
    place(&COLUMNS[1])?;
    Some(COLUMNS.iter().filter_map(place).collect())
}

fn test(row: &Value, table: &Table, date: Date) -> Test {
    let text = |value: &Value| value.as_str().map(str::to_owned);
    let (a, raw) = (&row["a"], &row["raw"]);
    let direction = if raw["Download"]["UUID"].is_string() {
        Some("download")
    } else if raw["Upload"]["UUID"].is_string() {
        Some("upload")
    } else {
        None
    };
    Test {
        id: text(&row["id"]).unwrap_or_default(),
        date,
        experiment: table.experiment().to_string(),
        datatype: table.datatype().to_string(),
        test_time: text(&a["TestTime"]),
        direction,
        mean_throughput_mbps: a["MeanThroughputMbps"].as_f64(),
        min_rtt_ms: a["MinRTT"].as_f64(),
        loss_rate: a["LossRate"].as_f64(),
        client_ip: text(&raw["ClientIP"]),
    }
}

fn matches(test: &Test, query: &Query) -> bool {
    let in_net = |net: Network| {
        let address = test
            .client_ip
            .as_deref()
            .and_then(|ip| ip.parse::<IpAddr>().ok());
        address.is_some_and(|address| net.contains(address))
    };
    let mbps = test.mean_throughput_mbps;
    query.client_net.is_none_or(in_net)
        && query
            .min_mbps
            .is_none_or(|min| mbps.is_some_and(|mbps| mbps >= min))
        && query
            .max_mbps
            .is_none_or(|max| mbps.is_some_and(|mbps| mbps <= max))
}
