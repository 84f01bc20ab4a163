//! `groma new`: writes an experiment to start from.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context as _;
use clap::ValueEnum;
use groma_spool::Name;
use jiff::{ToSpan as _, Zoned};

use crate::output::say;

/// Write an experiment to start from: manifest, schema, server and client.
///
/// The result passes `groma manifest check` and runs under `groma up`. It measures round-trip times over TCP. The server
/// uses the SDK of its language; the client is a Python program.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The name of the experiment: a lower-case letter, then lower-case letters and digits.
    #[arg(value_name = "NAME")]
    name: Name,

    /// The language of the server.
    #[arg(long, value_enum, default_value_t = Language::Python)]
    language: Language,

    /// The directory to create; without it, NAME in the current directory.
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,

    /// The directory sdk/experiment of a Groma checkout, for --language rust; without it, that of the checkout from which
    /// this program was built.
    #[arg(long, value_name = "DIR")]
    sdk: Option<PathBuf>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Language {
    Python,
    Rust,
}

/// A file of a template: its path, and its text with placeholders.
type Template = (&'static str, &'static str);

const COMMON: [Template; 4] = [
    (
        "experiment.toml",
        include_str!("../../templates/common/experiment.toml"),
    ),
    (
        "@NAME@1.json",
        include_str!("../../templates/common/schema.json"),
    ),
    (
        "client.py",
        include_str!("../../templates/common/client.py"),
    ),
    (
        "README.md",
        include_str!("../../templates/common/README.md"),
    ),
];

const PYTHON: [Template; 2] = [
    (
        "server.py",
        include_str!("../../templates/python/server.py"),
    ),
    ("groma.py", include_str!("../../../sdk/python/groma.py")),
];

const RUST: [Template; 2] = [
    (
        "Cargo.toml",
        include_str!("../../templates/rust/Cargo.toml"),
    ),
    (
        "src/main.rs",
        include_str!("../../templates/rust/src/main.rs"),
    ),
];

/// How long before its launch an experiment is announced.
const DAYS_BEFORE_LAUNCH: i64 = 90;

pub(crate) fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let name = args.name.as_str();
    let dir = args.dir.clone().unwrap_or_else(|| PathBuf::from(name));
    let launch = Zoned::now().date().checked_add(DAYS_BEFORE_LAUNCH.days())?;
    let mut values = vec![
        ("@NAME@", name.to_owned()),
        ("@LAUNCH@", launch.to_string()),
    ];
    let own: &[Template] = match args.language {
        Language::Python => {
            values.extend([
                ("@RUN@", "command = [\"python3\", \"server.py\"]".to_owned()),
                ("@BUILD@", String::new()),
                (
                    "@SERVER@",
                    "`server.py`, `groma.py` | the server, and a copy of the SDK".to_owned(),
                ),
            ]);
            &PYTHON
        }
        Language::Rust => {
            let sdk = sdk(args)?;
            let run = format!(
                "build = [\"cargo\", \"build\", \"--release\"]\ncommand = [\"target/release/{name}\"]"
            );
            values.extend([
                ("@RUN@", run),
                (
                    "@BUILD@",
                    "Build it:\n\n    cargo build --release\n\n".to_owned(),
                ),
                ("@SERVER@", "`src/main.rs` | the server".to_owned()),
                ("@SDK@", sdk),
            ]);
            &RUST
        }
    };
    fs::create_dir(&dir)
        .with_context(|| format!("cannot create {}; choose another --dir", dir.display()))?;
    for (path, text) in COMMON.iter().chain(own) {
        // The SDK is copied as it is.
        let text = if *path == "groma.py" {
            (*text).to_owned()
        } else {
            filled(text, &values)
        };
        write(&dir.join(filled(path, &values)), &text)?;
    }
    say!("{} is ready. Next:\n", dir.display());
    if args.language == Language::Rust {
        say!("  (cd {} && cargo build --release)", dir.display());
    }
    say!("  groma manifest check {}", dir.display());
    say!("  groma up --experiment {}", dir.display());
    Ok(ExitCode::SUCCESS)
}

/// Returns the path of the Rust SDK for a `Cargo.toml`.
fn sdk(args: &Args) -> anyhow::Result<String> {
    let built_from = concat!(env!("CARGO_MANIFEST_DIR"), "/../sdk/experiment");
    let dir = args.sdk.as_deref().unwrap_or(Path::new(built_from));
    let found = fs::canonicalize(dir).with_context(|| {
        format!(
            "cannot find the Rust SDK in {}; name sdk/experiment of a Groma checkout with --sdk",
            dir.display()
        )
    })?;
    let text = found.to_str().context("the path of the SDK is not UTF-8")?;
    // A TOML text in quotes.
    Ok(text.replace('\\', "\\\\").replace('"', "\\\""))
}

fn filled(text: &str, values: &[(&str, String)]) -> String {
    values.iter().fold(text.to_owned(), |text, (key, value)| {
        text.replace(key, value)
    })
}

fn write(path: &Path, text: &str) -> anyhow::Result<()> {
    if let Some(dir) = path.parent() {
        fs::create_dir_all(dir).with_context(|| format!("cannot create {}", dir.display()))?;
    }
    fs::write(path, text).with_context(|| format!("cannot write {}", path.display()))
}
