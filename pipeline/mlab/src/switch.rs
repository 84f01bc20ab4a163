//! Counters of a site's switch: `switch`, the two versions of DISCO.

use std::collections::BTreeMap;

use arrow_schema::{DataType, Field, Fields, TimeUnit};
use jiff::civil::Date;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use groma_load::Batch;
use groma_load::Traits;
use groma_load::{Datatype, Measurement, Rule, base_name, record};

/// One row per instant.
pub(crate) const ONE_INSTANT: Rule = Rule {
    name: "one-instant",
    what: "The samples of all metrics with the same timestamp are one row, with id <machine>-<site>-<timestamp>.",
    why: "As M-Lab.",
};

/// The first version's clock.
pub(crate) const V1_CLOCK: Rule = Rule {
    name: "v1-clock",
    what: "In .json files (version 1) the last sample of a metric is left out and timestamps are 10 s later.",
    why: "That collector stamped an interval with its beginning, and its last interval was not over.",
};

/// The local counters that were not.
pub(crate) const LOCAL_OCTETS: Rule = Rule {
    name: "local-octets",
    what: "a.SwitchOctetsLocalRx and Tx and their Counter columns are 0 for rows dated 2020-09-10 to 2022-01-18; raw keeps what was written.",
    why: "As M-Lab: the collector of that time computed these two wrongly.",
};

/// A bad line is one bad line.
pub(crate) const BAD_LINE: Rule = Rule {
    name: "bad-line",
    what: "A line that cannot be read is an error of its own; the other lines become rows.",
    why: "M-Lab drops the whole file.",
};

/// Counters that a switch does not have.
pub(crate) const ZERO: Rule = Rule {
    name: "zero",
    what: "An INTEGER of a that the file has no metric for reads 0.",
    why: "As M-Lab, whose sums rely on it.",
};

/// Every way in which a row differs from its file.
const RULES: &[Rule] = &[ONE_INSTANT, V1_CLOCK, LOCAL_OCTETS, BAD_LINE, ZERO];

/// Most instants of one file: a day of them every ten seconds, ten times over.
const MOST_ROWS: usize = 86_400;

/// [`LOCAL_OCTETS`], first and last day.
const LOCAL_OCTETS_WRONG: std::ops::RangeInclusive<Date> =
    Date::constant(2020, 9, 10)..=Date::constant(2022, 1, 18);

/// [`ZERO`].
const TRAITS: Traits = Traits {
    zero_filled: &["a"],
    aliases: &[],
    ignored: &[],
};

/// Seconds by which version 1 is early.
const V1_SECONDS: i64 = 10;

#[derive(Deserialize, Serialize)]
struct Metric {
    metric: String,
    hostname: String,
    #[serde(default)]
    experiment: String,
    #[serde(default)]
    sample: Vec<Sample>,
}

#[derive(Clone, Deserialize, Serialize)]
struct Sample {
    timestamp: i64,
    #[serde(default)]
    value: f64,
    #[serde(default)]
    counter: i64,
}

/// Counters of switches: `switch`.
#[derive(Debug)]
pub(crate) struct Switch;

impl Datatype for Switch {
    fn rules(&self) -> &'static [Rule] {
        RULES
    }

    fn columns(&self, fields: Fields) -> Vec<Field> {
        vec![record("a", summary_fields()), record("raw", fields)]
    }

    fn traits(&self) -> Traits {
        TRAITS
    }

    fn wants(&self, member: &str) -> bool {
        is_wanted(member)
    }

    fn append(&self, source: &Measurement<'_>, batch: &mut Batch) -> Result<(), String> {
        append(source, batch)
    }
}

fn is_wanted(member: &str) -> bool {
    let name = base_name(member);
    let stem = name.strip_suffix(".gz").unwrap_or(name);
    stem.ends_with(".json") || stem.ends_with(".jsonl")
}

/// The columns of `a`: where, when, and for every metric its delta in ten seconds and its counter.
pub(super) fn summary_fields() -> Fields {
    let time = DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()));
    let mut fields = vec![
        Field::new("Machine", DataType::Utf8, true),
        Field::new("Site", DataType::Utf8, true),
        Field::new("CollectionTime", time, true),
    ];
    for what in ["Octets", "Unicast", "Broadcast", "Errors", "Discards"] {
        for side in ["Uplink", "Local"] {
            for way in ["Rx", "Tx"] {
                for end in ["Counter", ""] {
                    let name = format!("Switch{what}{side}{way}{end}");
                    fields.push(Field::new(name, DataType::Int64, true));
                }
            }
        }
    }
    fields.into()
}

fn append(source: &Measurement<'_>, batch: &mut Batch) -> Result<(), String> {
    let name = base_name(source.archiver.filename.as_deref().unwrap_or_default());
    let is_v1 = name.strip_suffix(".gz").unwrap_or(name).ends_with(".json");
    let metrics = read(source.bytes, is_v1, batch)?;
    let mut instants: BTreeMap<i64, Vec<(usize, Sample)>> = BTreeMap::new();
    for (at, metric) in metrics.iter().enumerate() {
        let keep = metric.sample.len() - usize::from(is_v1 && !metric.sample.is_empty());
        for sample in &metric.sample[..keep] {
            let mut sample = sample.clone();
            if is_v1 {
                sample.timestamp = sample.timestamp.saturating_add(V1_SECONDS);
            }
            instants
                .entry(sample.timestamp)
                .or_default()
                .push((at, sample));
        }
        if instants.len() > MOST_ROWS {
            return Err(format!("more than {MOST_ROWS} instants"));
        }
    }
    if instants.is_empty() {
        return Err("no samples".to_owned());
    }
    for (timestamp, samples) in &instants {
        append_instant(*timestamp, samples, &metrics, source, batch)?;
    }
    Ok(())
}

/// All metrics that can be read; objects one behind the other, on a line each.
fn read(bytes: &[u8], is_v1: bool, batch: &mut Batch) -> Result<Vec<Metric>, String> {
    if is_v1 && let Ok(list) = serde_json::from_slice::<Vec<Metric>>(bytes) {
        return Ok(list);
    }
    let mut metrics = Vec::new();
    let lines = bytes.split(|byte| *byte == b'\n');
    for (number, line) in lines
        .enumerate()
        .filter(|(_, line)| !line.trim_ascii().is_empty())
    {
        match serde_json::from_slice::<Metric>(line) {
            Ok(metric) => metrics.push(metric),
            Err(error) => batch.problem(format!("line {}: {error}", number + 1)),
        }
    }
    if metrics.is_empty() {
        return Err("no metric".to_owned());
    }
    Ok(metrics)
}

fn append_instant(
    timestamp: i64,
    samples: &[(usize, Sample)],
    metrics: &[Metric],
    source: &Measurement<'_>,
    batch: &mut Batch,
) -> Result<(), String> {
    let time = jiff::Timestamp::from_second(timestamp)
        .map_err(|_| format!("timestamp {timestamp} is no time"))?;
    let host = samples.first().map_or("", |(at, _)| &metrics[*at].hostname);
    let (machine, site) = machine_and_site(host)
        .ok_or_else(|| format!("hostname {host:.60} has no machine and site"))?;
    let mut a = Map::new();
    a.insert("Machine".to_owned(), machine.into());
    a.insert("Site".to_owned(), site.into());
    a.insert("CollectionTime".to_owned(), time.to_string().into());
    for (at, sample) in samples {
        let name = column_name(&metrics[*at].metric);
        let wrong =
            LOCAL_OCTETS_WRONG.contains(&source.date) && name.starts_with("SwitchOctetsLocal");
        let (delta, counter) = if wrong {
            (0, 0)
        } else {
            (sample.value as i64, sample.counter)
        };
        a.insert(format!("{name}Counter"), counter.into());
        a.insert(name, delta.into());
    }
    let raw: Vec<Value> = samples
        .iter()
        .map(|(at, sample)| {
            let Metric { metric, hostname, experiment, .. } = &metrics[*at];
            json!({"metric": metric, "hostname": hostname, "experiment": experiment, "sample": [sample]})
        })
        .collect();
    batch.put_value("a", &Value::Object(a))?;
    batch.put_value("raw", &json!({ "Metrics": raw }))?;
    let id = format!("{machine}-{site}-{timestamp}");
    batch.end_row(Some(&id), source.archiver);
    Ok(())
}

/// `mlab2-dfw07.mlab-oti…` and `mlab2.dfw07.measurement-lab…`, the two ages of M-Lab's names.
fn machine_and_site(host: &str) -> Option<(&str, &str)> {
    let (machine, rest) = host.split_once(['-', '.'])?;
    let site = rest.split('.').next()?;
    (!machine.is_empty() && !site.is_empty()).then_some((machine, site))
}

/// `switch.octets.uplink.rx` as `SwitchOctetsUplinkRx`.
fn column_name(metric: &str) -> String {
    metric
        .split('.')
        .map(|part| {
            let mut letters = part.chars();
            let first = letters.next().map(|letter| letter.to_ascii_uppercase());
            first.into_iter().chain(letters).collect::<String>()
        })
        .collect()
}
