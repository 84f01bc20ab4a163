//! The views that every session has.

use std::path::Path;

mod names;

use names::{has_file, names};

const IN_FORCE: &str = include_str!("views/in_force.sql");
const ALL_LIVE: &str = include_str!("views/all_live.sql");
const TABLE: &str = include_str!("views/table.sql");
const ONCE: &str = include_str!("views/once.sql");
const PLACES: &str = include_str!("views/places.sql");
const NO_PLACES: &str = include_str!("views/no_places.sql");
const JOINED: &str = include_str!("views/joined.sql");
const LINKED: &str = include_str!("views/linked.sql");
const LINKED_PART: &str = include_str!("views/linked_part.sql");
const UNIFIED: &str = include_str!("views/unified.sql");

/// Types of an annotation's columns, for a lake without annotations.
const GEO: &str = "STRUCT(ContinentCode VARCHAR, CountryCode VARCHAR, CountryCode3 VARCHAR, CountryName VARCHAR, Region VARCHAR, Subdivision1ISOCode VARCHAR, Subdivision1Name VARCHAR, Subdivision2ISOCode VARCHAR, Subdivision2Name VARCHAR, MetroCode BIGINT, City VARCHAR, AreaCode BIGINT, PostalCode VARCHAR, Latitude DOUBLE, Longitude DOUBLE, AccuracyRadiusKm BIGINT, Missing BOOLEAN)";
const NETWORK: &str = "STRUCT(CIDR VARCHAR, ASNumber BIGINT, ASName VARCHAR, Missing BOOLEAN, Systems STRUCT(ASNs BIGINT[])[])";

/// Datatypes that are not about one connection of a test, so that nothing joins with them by UUID.
const NOT_OF_A_CONNECTION: [&str; 4] = ["annotation2", "hopannotation2", "nodeinfo1", "switch"];

/// What is recorded beside a test, what of a row counts, and the order of several.
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

/// What the views of a direction are filled with.
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

/// The statements that make the views of a lake. For every table `<experiment>.<datatype>`; for tables about connections
/// also `…_joined`, with where both ends are; for those of tests `…_linked`, with what the sidecars recorded; and where
/// there are ndt's tests `ndt.unified_downloads` and `ndt.unified_uploads`. What these stand on is in
/// `<experiment>_intermediate`.
pub fn statements(lake: &Path) -> Vec<String> {
    let mut statements = Vec::new();
    for experiment in names(lake) {
        let folder = lake.join(&experiment);
        let tables: Vec<String> = names(&folder)
            .into_iter()
            .filter(|datatype| is_table(&folder.join(datatype)))
            .collect();
        statements.push(format!("CREATE SCHEMA IF NOT EXISTS {experiment}"));
        statements.push(format!(
            "CREATE SCHEMA IF NOT EXISTS {experiment}_intermediate"
        ));
        for table in &tables {
            statements.extend(of_table(&folder.join(table), &experiment, table));
        }
        let has_places = tables.iter().any(|table| table == "annotation2");
        statements.push(fill(
            if has_places { PLACES } else { NO_PLACES },
            &[("geo", GEO), ("network", NETWORK), ("schema", &experiment)],
        ));
        let is_of_connection = |table: &&String| !NOT_OF_A_CONNECTION.contains(&table.as_str());
        for table in tables.iter().filter(is_of_connection) {
            statements.push(fill(JOINED, &[("schema", &experiment), ("table", table)]));
            if SIDECARS.iter().all(|(sidecar, _, _)| sidecar != table) {
                statements.push(linked(&experiment, table, &tables));
            }
        }
        if experiment == "ndt" {
            statements.extend(unified(&tables));
        }
    }
    statements
}

fn of_table(folder: &Path, experiment: &str, table: &str) -> [String; 3] {
    let placed = if has_file(&folder.join("log"), "json") {
        IN_FORCE
    } else {
        ALL_LIVE
    };
    let root = folder.to_string_lossy().replace('\'', "''");
    let key = match table {
        "tcpinfo" => "id, raw.Metadata.Sequence",
        _ => "id",
    };
    let values = [
        ("schema", experiment),
        ("table", table),
        ("root", &root),
        ("key", key),
    ];
    [placed, TABLE, ONCE].map(|text| fill(text, &values))
}

fn linked(experiment: &str, table: &str, tables: &[String]) -> String {
    let (mut lists, mut parts) = (String::new(), String::new());
    for (sidecar, row, order) in SIDECARS {
        if tables.iter().any(|table| table == sidecar) {
            let values = [("row", row), ("order", order), ("part", sidecar)];
            lists += &fill(", {part}.{part}", &values);
            parts += &fill(LINKED_PART, &values);
        }
    }
    let values = [("lists", lists.as_str()), ("parts", &parts)];
    fill(
        &fill(LINKED, &values),
        &[("schema", experiment), ("table", table)],
    )
}

fn unified(tables: &[String]) -> Vec<String> {
    let generations: Vec<_> = EXTENDED
        .iter()
        .filter(|(generation, _)| tables.iter().any(|table| table == generation))
        .collect();
    if generations.is_empty() {
        return Vec::new();
    }
    let mut statements = Vec::new();
    for direction in DIRECTIONS {
        let common = [("is_oam", IS_OAM), ("is_private", IS_PRIVATE)];
        let of_direction = |text: &str| fill(&fill(text, direction), &common);
        let mut extended = Vec::new();
        for (generation, text) in &generations {
            statements.push(of_direction(text));
            extended.push(of_direction(&format!(
                "SELECT * FROM ndt_intermediate.extended_{generation}_{{name}}"
            )));
        }
        let extended = extended.join(" UNION ALL BY NAME ");
        statements.push(fill(&of_direction(UNIFIED), &[("extended", &extended)]));
    }
    statements
}

fn is_table(folder: &Path) -> bool {
    has_file(&folder.join("live"), "parquet") || has_file(&folder.join("sealed"), "parquet")
}

fn fill(text: &str, values: &[(&str, &str)]) -> String {
    values.iter().fold(text.to_owned(), |text, (name, value)| {
        text.replace(&format!("{{{name}}}"), value)
    })
}
