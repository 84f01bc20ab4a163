//! One input: loaded, and taken through the bare steps.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use groma_archive::LocalStore;
use groma_load::{Lake, LoadDatatype, Loaded, Loader};
use groma_mlab::load_datatype;
use groma_schema::Schema;

use crate::bare::{self, Steps};
use crate::clock::{CpuTime, forget_peak, peak_bytes};

const NDT7: &str = include_str!("../../../experiments/ndt7/schema/ndt7.json");

/// The columns of a [`row`].
pub(crate) const HEADING: &str = "\
| input | rows | plain MB | lake MB | rows/s | MB/s | rows/s by the clock | peak MB | unpack ms | parse ms | write ms | load ms | bare/load | per item |
|---|---|---|---|---|---|---|---|---|---|---|---|---|---|";

/// An archive object to load.
pub(crate) struct Case {
    pub(crate) title: String,
    object: String,
}

impl Case {
    pub(crate) fn new(title: &str, object: String) -> Case {
        Case {
            title: title.to_owned(),
            object,
        }
    }
}

/// One load, with its file.
struct Run {
    cpu: Duration,
    clock: Duration,
    loaded: Loaded,
}

/// Loads the object for `seconds` of CPU time, but once at least, takes it through the bare steps as often, and prints the means.
pub(crate) fn row(
    case: &Case,
    store: &LocalStore,
    dir: &Path,
    seconds: f64,
) -> anyhow::Result<String> {
    let object = store.root().join(&case.object);
    let (experiment, datatype) = Loader::datatype_of(&case.object).context("a data object")?;
    let schema = match datatype.as_str() {
        "ndt7" => NDT7,
        other => groma_schema::datatype(other).context("a datatype with a schema")?,
    };
    let datatype = load_datatype(experiment, datatype, Schema::parse(schema)?);
    let is_json = datatype.datatype.as_str() != "pcap";
    let lake_dir = dir.join("lake");
    let (mut load, mut bare, mut clock, mut rounds, mut peak) =
        (Duration::ZERO, Duration::ZERO, Duration::ZERO, 0, 0);
    let mut parts = Steps::default();
    let rows = loop {
        let _ = std::fs::remove_dir_all(&lake_dir);
        forget_peak()?;
        let run = load_once(&case.object, store, &lake_dir, datatype.clone())?;
        // Later rounds begin with what the bare steps left in the heap.
        if rounds == 0 {
            peak = peak_bytes()?;
        }
        let steps = bare::steps(&object, &run.loaded.path, is_json)?;
        rounds += 1;
        load += run.cpu;
        clock += run.clock;
        bare += steps.sum();
        parts.unpack += steps.unpack;
        parts.parse += steps.parse;
        parts.write += steps.write;
        parts.plain_bytes = steps.plain_bytes;
        if load.as_secs_f64() >= seconds {
            break run.loaded;
        }
    };
    let items = items(&rows.path)?;
    let lake_bytes = std::fs::metadata(&rows.path)?.len() as f64;
    std::fs::remove_dir_all(&lake_dir)?;
    let per_round = |time: Duration| time.as_secs_f64() / f64::from(rounds);
    let (count, megabytes) = (rows.rows as f64, parts.plain_bytes as f64 / 1e6);
    let millis = |time: Duration| 1e3 * per_round(time);
    let per_item = items.map_or_else(String::new, |(what, items)| {
        format!("{:.2} µs/{what}", 1e6 * per_round(load) / items as f64)
    });
    Ok(format!(
        "| {} | {count} | {megabytes:.1} | {:.1} | {:.0} | {:.0} | {:.0} | {:.0} | {:.1} | {:.1} | {:.1} | {:.1} | {:.2} | {per_item} |",
        case.title,
        lake_bytes / 1e6,
        count / per_round(load),
        megabytes / per_round(load),
        count / per_round(clock),
        peak as f64 / 1e6,
        millis(parts.unpack),
        millis(parts.parse),
        millis(parts.write),
        millis(load),
        bare.as_secs_f64() / load.as_secs_f64(),
    ))
}

fn load_once(
    object: &str,
    store: &LocalStore,
    lake: &Path,
    datatype: LoadDatatype,
) -> anyhow::Result<Run> {
    let loader = Loader::new(Arc::new(store.clone()), Lake::new(lake), vec![datatype]);
    let (before, began) = (CpuTime::now(), Instant::now());
    let loaded = loader.load_object(object, None)?;
    let run = Run {
        cpu: before.elapsed(),
        clock: began.elapsed(),
        loaded,
    };
    ensure!(
        run.loaded.rows > 0 && run.loaded.errors == 0,
        "{object} loads with errors"
    );
    Ok(run)
}

/// The repeated items of a row of the table: snapshots or packets.
fn items(table: &Path) -> anyhow::Result<Option<(&'static str, u64)>> {
    use arrow_array::cast::AsArray as _;
    use arrow_array::types::Int64Type;
    let file = std::fs::File::open(table)?;
    let reader = parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder::try_new(file)?;
    let (mut snapshots, mut packets) = (0, 0);
    for batch in reader.build()? {
        let batch = batch?;
        if let Some(list) = batch
            .column_by_name("raw")
            .and_then(|raw| raw.as_struct().column_by_name("Snapshots"))
        {
            snapshots += list.as_list::<i32>().values().len() as u64;
        }
        if let Some(column) = batch
            .column_by_name("a")
            .and_then(|a| a.as_struct().column_by_name("Packets"))
        {
            packets += column
                .as_primitive::<Int64Type>()
                .iter()
                .flatten()
                .map(i64::unsigned_abs)
                .sum::<u64>();
        }
    }
    Ok([("snapshot", snapshots), ("packet", packets)]
        .into_iter()
        .find(|(_, count)| *count > 0))
}
