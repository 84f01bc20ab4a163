//! The views that a session may have.

use std::path::Path;

mod names;
pub mod table;

pub use names::names;

use names::has_file;

const TABLE: &str = include_str!("views/table.sql");
const ONCE: &str = include_str!("views/once.sql");
const PLACES: &str = include_str!("views/places.sql");
const NO_PLACES: &str = include_str!("views/no_places.sql");
const JOINED: &str = include_str!("views/joined.sql");
const BESIDE: &str = include_str!("views/beside.sql");
const LINKED: &str = include_str!("views/linked.sql");
const LINKED_PART: &str = include_str!("views/linked_part.sql");
const UNIFIED: &str = include_str!("views/unified.sql");

/// Every measurement once; the same under the next date, and under the one before.
const SHIFTS: [(&str, &str); 3] = [("once", "0"), ("eve", "1"), ("morrow", "-1")];

/// Servers write these texts where they do not know a UUID or its prefix. Rows with one of them are different tests.
const IS_ID: &str = "(id::VARCHAR NOT IN ('', 'ERROR_DISCOVERING_UUID', 'INVALID_UUID') AND NOT starts_with(id::VARCHAR, 'BADPREFIX') AND NOT contains(id::VARCHAR, '_BADBOOTTIME'))";

/// Types of an annotation's columns, for a lake without annotations.
const GEO: &str = "STRUCT(ContinentCode VARCHAR, CountryCode VARCHAR, CountryCode3 VARCHAR, CountryName VARCHAR, Region VARCHAR, Subdivision1ISOCode VARCHAR, Subdivision1Name VARCHAR, Subdivision2ISOCode VARCHAR, Subdivision2Name VARCHAR, MetroCode BIGINT, City VARCHAR, AreaCode BIGINT, PostalCode VARCHAR, Latitude DOUBLE, Longitude DOUBLE, AccuracyRadiusKm BIGINT, Missing BOOLEAN)";
const NETWORK: &str = "STRUCT(CIDR VARCHAR, ASNumber BIGINT, ASName VARCHAR, Missing BOOLEAN, Systems STRUCT(ASNs BIGINT[])[])";

/// Datatypes that are not about one connection of a test, so that nothing joins with them by UUID.
const NOT_OF_A_CONNECTION: [&str; 5] = [
    "annotation2",
    "hopannotation2",
    "nodeinfo1",
    "switch",
    "unadmitted",
];

/// The sidecars that record a test, the columns that count, and the order of several rows.
const SIDECARS: [(&str, &str, &str); 4] = [
    (
        "tcpinfo",
        "{Sequence: raw.Metadata.Sequence, SockID: a.SockID, FinalSnapshot: a.FinalSnapshot, Snapshots: raw.Snapshots}",
        "raw.Metadata.Sequence",
    ),
    ("scamper1", "raw", "raw.CycleStart.start_time"),
    ("scamper2", "raw", "raw.CycleStart.start_time"),
    ("pcap", "a", "date"),
];

/// The views of the ndt tests of both generations that a direction has.
const EXTENDED: [(&str, &str); 2] = [
    ("ndt7", include_str!("views/extended_ndt7.sql")),
    ("ndt5", include_str!("views/extended_ndt5.sql")),
];

/// Clients that watch the platform: on the server's own loopback, and the addresses that M-Lab's views know.
const IS_OAM: &str = "raw.ClientIP IN ('127.0.0.1', '::1', '23.228.128.99', '2605:a601:f1ff:fffe::99', '35.188.150.110', '35.192.37.249', '35.193.254.117', '35.202.153.90', '35.225.75.192', '45.56.98.222', '2600:3c03::f03c:91ff:fe33:819')";
const IS_PRIVATE: &str =
    r"regexp_matches(raw.ClientIP, '^(::ffff:)?(10\.|192\.168\.|172\.(1[6-9]|2[0-9]|3[01])\.)')";

/// The values that fill the views of a direction.
const DIRECTIONS: [&[(&str, &str)]; 2] = [
    &[
        ("name", "downloads"),
        ("direction", "Download"),
        ("ndt5", "S2C"),
        ("bytes", "BytesAcked"),
        (
            "early_exit",
            "coalesce(list_contains([m.Name FOR m IN measured.ClientMetadata], 'early_exit'), false)",
        ),
        ("congestion_control", "a.CongestionControl"),
        ("loss_rate", "a.LossRate"),
    ],
    &[
        ("name", "uploads"),
        ("direction", "Upload"),
        ("ndt5", "C2S"),
        ("bytes", "BytesReceived"),
        ("early_exit", "false"),
        ("congestion_control", "'Unknown'"),
        ("loss_rate", "NULL::DOUBLE"),
    ],
];

/// A view that a session may have.
#[derive(Debug)]
pub struct View {
    /// Its name with its schema.
    pub name: String,
    /// The table whose files it reads or whose columns it lists.
    pub table: Option<String>,
    sql: String,
    parts: Vec<Part>,
    separator: &'static str,
}

/// A piece of a view that is left out when the view that it reads is not there.
#[derive(Debug)]
struct Part {
    reads: String,
    list: String,
    join: String,
}

impl View {
    fn new(schema: &str, name: &str, sql: String) -> View {
        View {
            name: format!("{schema}.{name}"),
            table: None,
            sql,
            parts: Vec::new(),
            separator: "",
        }
    }

    fn of(self, experiment: &str, table: &str) -> View {
        View {
            table: Some(format!("{experiment}.{table}")),
            ..self
        }
    }

    /// The statement that makes it of the parts that are there, with these values filled in.
    pub fn statement(&self, has: impl Fn(&str) -> bool, values: &[(&str, &str)]) -> String {
        let parts: Vec<&Part> = self.parts.iter().filter(|part| has(&part.reads)).collect();
        let lists: Vec<&str> = parts.iter().map(|part| part.list.as_str()).collect();
        let joins: String = parts.iter().map(|part| part.join.as_str()).collect();
        let lists = lists.join(self.separator);
        let sql = fill(&self.sql, &[("lists", &lists), ("parts", &joins)]);
        fill(&sql, values)
    }

    fn reads(&self, name: &str) -> bool {
        let is_name = |letter: char| letter.is_ascii_alphanumeric() || "_.".contains(letter);
        self.sql
            .split(|letter| !is_name(letter))
            .any(|word| word == name)
            || self.parts.iter().any(|part| part.reads == name)
    }
}

/// The views of a lake, each after those that it reads. For every table `<experiment>.<datatype>`; for tables about
/// connections also `…_joined`, with where both ends are; for those of tests `…_linked`, with what the sidecars recorded;
/// and where there are ndt's tests `ndt.unified_downloads` and `ndt.unified_uploads`. The views that these read are in
/// `<experiment>_intermediate`.
pub fn of_lake(lake: &Path) -> Vec<View> {
    let mut views = Vec::new();
    for experiment in names(lake) {
        let tables = tables(&lake.join(&experiment));
        for table in &tables {
            views.extend(of_table(&experiment, table));
        }
        let has_places = tables.iter().any(|table| table == "annotation2");
        let values = [
            ("geo", GEO),
            ("network", NETWORK),
            ("schema", experiment.as_str()),
            ("is_id", IS_ID),
        ];
        let places = if has_places { PLACES } else { NO_PLACES };
        let intermediate = format!("{experiment}_intermediate");
        views.push(View::new(&intermediate, "places", fill(places, &values)));
        views.extend(beside(&experiment, &tables));
        let is_of_connection = |table: &&String| !NOT_OF_A_CONNECTION.contains(&table.as_str());
        for table in tables.iter().filter(is_of_connection) {
            let joined = fill(JOINED, &[("schema", &experiment), ("table", table)]);
            let joined = View::new(&experiment, &format!("{table}_joined"), joined);
            views.push(joined.of(&experiment, table));
            if SIDECARS.iter().all(|sidecar| sidecar.0 != table) {
                views.push(linked(&experiment, table, &tables));
            }
        }
        if experiment == "ndt" {
            views.extend(unified(&tables));
        }
    }
    views
}

/// The experiments of a lake.
pub fn experiments(lake: &Path) -> Vec<String> {
    names(lake)
}

/// Those of the views that are named, and all that they read.
pub fn wanted(views: &[View], is_named: impl Fn(&str) -> bool) -> Vec<&View> {
    let mut wanted: Vec<&View> = Vec::new();
    for view in views.iter().rev() {
        let short = view.name.rsplit('.').next().unwrap_or_default();
        if is_named(short) || wanted.iter().any(|reader| reader.reads(&view.name)) {
            wanted.push(view);
        }
    }
    wanted.reverse();
    wanted
}

fn tables(experiment: &Path) -> Vec<String> {
    let mut tables = names(experiment);
    tables.retain(|datatype| is_table(&experiment.join(datatype)));
    tables
}

fn of_table(experiment: &str, table: &str) -> Vec<View> {
    // The column that distinguishes rows of one connection.
    let part = match table {
        "tcpinfo" => "raw.Metadata.Sequence",
        "scamper1" | "scamper2" => "raw.CycleStart.start_time",
        _ => "0",
    };
    let common = [
        ("schema", experiment),
        ("table", table),
        ("part", part),
        ("is_id", IS_ID),
    ];
    let intermediate = format!("{experiment}_intermediate");
    let mut views = vec![View::new(experiment, table, fill(TABLE, &common))];
    for (name, shift) in SHIFTS {
        let sql = fill(&fill(ONCE, &common), &[("name", name), ("shift", shift)]);
        views.push(View::new(&intermediate, &format!("{table}_{name}"), sql));
    }
    views
        .into_iter()
        .map(|view| view.of(experiment, table))
        .collect()
}

fn beside(experiment: &str, tables: &[String]) -> Vec<View> {
    let here = |(sidecar, _, _): &&(&str, &str, &str)| tables.iter().any(|table| table == sidecar);
    let view = |(sidecar, row, order): &(&str, &str, &str)| {
        let values = [
            ("schema", experiment),
            ("part", sidecar),
            ("row", row),
            ("order", order),
            ("is_id", IS_ID),
        ];
        let intermediate = format!("{experiment}_intermediate");
        View::new(
            &intermediate,
            &format!("{sidecar}_beside"),
            fill(BESIDE, &values),
        )
    };
    SIDECARS.iter().filter(here).map(view).collect()
}

fn linked(experiment: &str, table: &str, tables: &[String]) -> View {
    let sql = fill(LINKED, &[("schema", experiment), ("table", table)]);
    let mut view = View::new(experiment, &format!("{table}_linked"), sql);
    for (sidecar, _, _) in SIDECARS {
        if tables.iter().any(|table| table == sidecar) {
            let values = [("schema", experiment), ("part", sidecar)];
            view.parts.push(Part {
                reads: format!("{experiment}_intermediate.{sidecar}_beside"),
                list: fill(", {part}.{part}", &values),
                join: fill(LINKED_PART, &values),
            });
        }
    }
    view
}

fn unified(tables: &[String]) -> Vec<View> {
    let mut views = Vec::new();
    for direction in DIRECTIONS {
        let common = [("is_oam", IS_OAM), ("is_private", IS_PRIVATE)];
        let of_direction = |text: &str| fill(&fill(text, direction), &common);
        let mut view = View::new(
            "ndt",
            &of_direction("unified_{name}"),
            of_direction(UNIFIED),
        );
        view.separator = " UNION ALL BY NAME ";
        for (generation, text) in EXTENDED {
            if tables.iter().any(|table| table == generation) {
                let name = of_direction(&format!("extended_{generation}_{{name}}"));
                views.push(View::new("ndt_intermediate", &name, of_direction(text)));
                view.parts.push(Part {
                    reads: format!("ndt_intermediate.{name}"),
                    list: format!("SELECT * FROM ndt_intermediate.{name}"),
                    join: String::new(),
                });
            }
        }
        if !view.parts.is_empty() {
            views.push(view);
        }
    }
    views
}

fn is_table(folder: &Path) -> bool {
    has_file(&folder.join("live"), "parquet") || has_file(&folder.join("sealed"), "parquet")
}

pub(crate) fn fill(text: &str, values: &[(&str, &str)]) -> String {
    values.iter().fold(text.to_owned(), |text, (name, value)| {
        text.replace(&format!("{{{name}}}"), value)
    })
}
