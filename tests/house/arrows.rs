//! The arrows between the rooms point one way.

use crate::crates::{Crate, crates};

/// Each room and the rooms that its crates may depend on.
const ROOMS: &[(&str, &[&str])] = &[
    ("contracts", &["contracts"]),
    ("kernel", &["kernel"]),
    ("service", &["contracts"]),
    ("sdk", &["contracts", "kernel", "service"]),
    ("experiments", &["contracts", "kernel", "service", "sdk"]),
    // A third-party experiment depends on the SDK alone.
    ("examples", &["sdk"]),
    ("pipeline", &["contracts", "kernel", "service", "pipeline"]),
    ("sidecars", &["contracts", "kernel", "service", "sdk"]),
    (
        "node",
        &["contracts", "kernel", "service", "sdk", "pipeline"],
    ),
    (
        "lab",
        &["contracts", "kernel", "service", "sdk", "pipeline", "node"],
    ),
    (
        "cli",
        &[
            "contracts",
            "kernel",
            "service",
            "sdk",
            "experiments",
            "sidecars",
            "pipeline",
            "node",
            "lab",
        ],
    ),
    (
        "benches",
        &[
            "contracts",
            "kernel",
            "service",
            "sdk",
            "experiments",
            "sidecars",
            "pipeline",
        ],
    ),
    ("tests", &[]),
];

/// Crates that every room except `kernel` may use. Contracts write durable files.
const EVERYWHERE: &[&str] = &["groma-disk"];

/// Returns the dependencies of a crate that the rules do not allow.
fn against_the_arrows(this: &Crate) -> Vec<String> {
    let Some((_, allowed)) = ROOMS.iter().find(|(room, _)| *room == this.room) else {
        return vec![format!("{} is in no known room", this.name)];
    };
    this.uses
        .iter()
        .filter(|used| {
            let is_everywhere = EVERYWHERE.contains(&used.name.as_str());
            !allowed.contains(&used.room.as_str()) && !is_everywhere
        })
        .map(|used| {
            format!(
                "{} ({}) uses {} ({})",
                this.name, this.room, used.name, used.room
            )
        })
        .collect()
}

#[test]
fn dependencies_follow_the_way_of_the_data() {
    let wrong: Vec<String> = crates().iter().flat_map(against_the_arrows).collect();
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn an_arrow_against_the_way_is_seen() {
    let wrong = Crate::example("pipeline", &["contracts", "experiments", "cli"]);
    assert_eq!(against_the_arrows(&wrong).len(), 2);
    let stranger = Crate::example("attic", &[]);
    assert_eq!(against_the_arrows(&stranger).len(), 1);
}

/// Folders whose code runs every experiment and sidecar, and must know none by name.
const GENERIC: [&str; 3] = ["node", "lab", "sdk/sidecar"];

#[test]
fn code_that_runs_every_experiment_names_none() {
    let mut named = Vec::new();
    let mut folders: Vec<_> = GENERIC
        .map(|folder| groma_tests::workspace().join(folder))
        .into();
    let mut files = 0;
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
                continue;
            }
            files += 1;
            let text = std::fs::read_to_string(&path).unwrap().to_lowercase();
            let words = ["ndt", "tcpinfo", "tcp_info", "tcp-info"];
            let found = words.iter().find(|word| text.contains(**word));
            named.extend(found.map(|word| format!("{}: {word}", path.display())));
        }
    }
    assert!(files > 20, "only {files} files were read");
    assert!(named.is_empty(), "{named:#?}");
}
