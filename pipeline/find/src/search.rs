//! Finds tests by what they measured, without SQL; of each file only the needed columns are read.

use std::net::IpAddr;
use std::path::{Path, PathBuf};

use arrow_json::LineDelimitedWriter;
use groma_lake::Table;
use groma_lake_store::{LakeStore, guarded};
use jiff::Timestamp;
use jiff::civil::Date;
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::{
    ArrowReaderMetadata, ArrowReaderOptions, ParquetRecordBatchReaderBuilder,
};
use parquet::basic::LogicalType;
use parquet::errors::ParquetError;
use parquet::schema::types::{ColumnDescriptor, SchemaDescriptor};
use serde::Serialize;
use serde_json::Value;

use crate::lake::{days, for_each_file};
use crate::pages::Pages;
use crate::{FindError, Network};

/// The columns that a search reads of a table with the second one, the throughput. [`Shape`] has those of other tables.
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

/// The tests that are wanted; a test must match every condition that is given.
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
    /// The most tests wanted; the newest are returned.
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
    /// The time of the test (RFC 3339), as measured.
    pub test_time: Option<String>,
    /// `download` or `upload`.
    pub direction: Option<&'static str>,
    /// Mean throughput in Mbit/s.
    pub mean_throughput_mbps: Option<f64>,
    /// Minimum round-trip time in ms.
    pub min_rtt_ms: Option<f64>,
    /// The share of bytes that were retransmitted.
    pub loss_rate: Option<f64>,
    /// The client's address.
    pub client_ip: Option<String>,
}

/// The result of a search.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Searched {
    /// The tests, newest first.
    pub tests: Vec<Test>,
    /// There are more than the limit.
    pub more: bool,
    /// Table files that could not be read.
    pub unreadable: Vec<PathBuf>,
}

/// Searches live and sealed dates of the lake, newest test first.
pub fn search(lake: impl Into<LakeStore>, query: &Query) -> Result<Searched, FindError> {
    let lake = lake.into();
    let mut searched = Searched::default();
    // One more than is wanted shows that there are more.
    let wanted = query.limit.saturating_add(1);
    let days = days(&lake)?;
    for of_date in days.chunk_by(|(one, _), (next, _)| one == next) {
        let date = of_date[0].0;
        let too_old = query.since.is_some_and(|since| date < since);
        if too_old || query.until.is_some_and(|until| date > until) {
            continue;
        }
        // Files are in the order in which objects were archived, so that each of them may hold the newest test.
        let mut newest = Newest::of(wanted.saturating_sub(searched.tests.len()));
        for (_, table) in of_date {
            of_table(table, date, query, &mut newest, &mut searched.unreadable)?;
        }
        searched.tests.append(&mut newest.into_tests());
        if searched.tests.len() > query.limit {
            searched.tests.truncate(query.limit);
            searched.more = true;
            break;
        }
    }
    Ok(searched)
}

fn of_table(
    table: &Table,
    date: Date,
    query: &Query,
    newest: &mut Newest,
    unreadable: &mut Vec<PathBuf>,
) -> Result<(), FindError> {
    let mut of_this = Newest::of(newest.most);
    let mut seen: Vec<PathBuf> = Vec::new();
    let mut damaged = Vec::new();
    for_each_file(table, date, &mut damaged, &mut |file, _| {
        if seen.iter().any(|path| path == file) {
            // The date began again, because a sealer replaced files.
            seen.clear();
            of_this = Newest::of(newest.most);
        }
        seen.push(file.to_owned());
        read(file, table, date, query, &mut of_this)?;
        Ok(true)
    })?;
    of_this
        .into_tests()
        .into_iter()
        .for_each(|test| newest.add(test));
    unreadable.append(&mut damaged);
    Ok(())
}

/// The newest tests of a date, in memory for about twice as many as are wanted.
struct Newest {
    most: usize,
    tests: Vec<(Option<Timestamp>, Test)>,
}

impl Newest {
    fn of(most: usize) -> Newest {
        Newest {
            most,
            tests: Vec::new(),
        }
    }

    fn add(&mut self, test: Test) {
        let time = test.test_time.as_deref().and_then(|time| time.parse().ok());
        self.tests.push((time, test));
        if self.tests.len() > self.most.saturating_mul(2).max(1000) {
            self.cut();
        }
    }

    /// Tests without a time come last; the id makes the order of two of one time always the same.
    fn cut(&mut self) {
        self.tests
            .sort_by(|(left_time, left), (right_time, right)| {
                right_time
                    .cmp(left_time)
                    .then_with(|| left.id.cmp(&right.id))
            });
        self.tests.truncate(self.most);
    }

    fn into_tests(mut self) -> Vec<Test> {
        self.cut();
        self.tests.into_iter().map(|(_, test)| test).collect()
    }
}

/// Adds the tests of a file that match.
fn read(
    path: &Path,
    table: &Table,
    date: Date,
    query: &Query,
    newest: &mut Newest,
) -> Result<(), String> {
    // A damaged file is an error, also where its reader panics.
    let read = || Ok(read_file(path, table, date, query, newest));
    guarded(read).unwrap_or_else(|error: ParquetError| Err(error.to_string()))
}

fn read_file(
    path: &Path,
    table: &Table,
    date: Date,
    query: &Query,
    newest: &mut Newest,
) -> Result<(), String> {
    let text = |error: &dyn std::fmt::Display| error.to_string();
    let file = table.store().open_file(path);
    let file = file.map_err(|error| text(&error))?;
    let metadata = ArrowReaderMetadata::load(&file, ArrowReaderOptions::default())
        .map_err(|error| text(&error))?;
    let schema = metadata.parquet_schema();
    let Some(shape) = Shape::of(schema, table) else {
        return Ok(());
    };
    let mask = ProjectionMask::leaves(schema, shape.leaves());
    let pages =
        Pages::of_columns(&file, metadata.metadata(), &mask).map_err(|error| text(&error))?;
    let batches = ParquetRecordBatchReaderBuilder::new_with_metadata(pages, metadata)
        .with_projection(mask)
        .build()
        .map_err(|error| text(&error))?;
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
            let test = shape.test(&row, table, date);
            if matches(&test, query) {
                newest.add(test);
            }
        }
    }
    Ok(())
}

/// The columns of a table that a search reads.
enum Shape {
    /// Those of [`COLUMNS`] that the table has.
    Throughput(Vec<usize>),
    /// The id, and of the fields of an experiment the first time and the first address of a client, if there are any.
    Other {
        id: usize,
        time: Option<(usize, Vec<String>)>,
        address: Option<(usize, Vec<String>)>,
    },
}

/// The last parts of the name of a column with the address of a client.
const ADDRESS_NAMES: [&[&str]; 3] = [&["ClientIP"], &["Client", "IP"], &["ClientAddress"]];

impl Shape {
    /// `None` for a table without tests: one of a sidecar, or one that belongs to no experiment.
    fn of(schema: &SchemaDescriptor, table: &Table) -> Option<Self> {
        let columns = schema.columns();
        let place = |name: &&str| {
            let wanted: Vec<&str> = name.split('.').collect();
            columns
                .iter()
                .position(|column| column.path().parts() == wanted)
        };
        if place(&COLUMNS[1]).is_some() {
            return Some(Self::Throughput(COLUMNS.iter().filter_map(place).collect()));
        }
        // The built-in datatypes say something about tests, and are none.
        if groma_schema::datatype(table.datatype().as_str()).is_some() {
            return None;
        }
        let first = |is_wanted: &dyn Fn(&ColumnDescriptor) -> bool| {
            let found = columns.iter().position(|column| {
                column.path().parts().first().is_some_and(|it| it == "raw") && is_wanted(column)
            })?;
            Some((found, columns[found].path().parts().to_vec()))
        };
        let is_time = |column: &ColumnDescriptor| {
            matches!(
                column.logical_type_ref(),
                Some(LogicalType::Timestamp { .. })
            )
        };
        let is_address = |column: &ColumnDescriptor| {
            let parts: Vec<&str> = column.path().parts().iter().map(String::as_str).collect();
            ADDRESS_NAMES.iter().any(|name| parts.ends_with(name))
        };
        Some(Self::Other {
            id: place(&COLUMNS[0])?,
            time: first(&is_time),
            address: first(&is_address),
        })
    }

    fn leaves(&self) -> Vec<usize> {
        match self {
            Self::Throughput(leaves) => leaves.clone(),
            Self::Other { id, time, address } => {
                let others = [time, address].into_iter().flatten();
                let others = others.map(|(leaf, _)| *leaf);
                std::iter::once(*id).chain(others).collect()
            }
        }
    }

    fn test(&self, row: &Value, table: &Table, date: Date) -> Test {
        let Self::Other { time, address, .. } = self else {
            return test(row, table, date);
        };
        let text = |column: &Option<(usize, Vec<String>)>| {
            let (_, path) = column.as_ref()?;
            let value = path.iter().try_fold(row, |value, part| value.get(part))?;
            value.as_str().map(str::to_owned)
        };
        Test {
            test_time: text(time),
            client_ip: text(address),
            ..test(row, table, date)
        }
    }
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
