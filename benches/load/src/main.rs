//! `load-bench DIR`: loads archive objects on one core, beside the bare steps on the same bytes.
#![allow(clippy::print_stdout, reason = "the report is the purpose")]

mod bare;
mod clock;
mod lab;
mod measure;
mod perturb;

use std::path::{Path, PathBuf};

use anyhow::Context as _;
use clap::Parser;

use measure::Case;

/// The real archive object that the perturbed tests are made from.
const REAL: &str = "20200318T003853.425987Z-ndt7-mlab3-syd03-ndt.tgz";

#[derive(Parser)]
#[command(about = "Loads archive objects on one core, beside the bare steps on the same bytes")]
struct Arguments {
    /// The directory in which inputs are made and kept, and lakes are written and removed. `lab/` in it has the lab's files.
    dir: PathBuf,
    /// Tests of the archive that is made by perturbation.
    #[arg(long, default_value_t = 20_000)]
    tests: usize,
    /// CPU seconds for which small inputs are loaded again and again.
    #[arg(long, default_value_t = 5.0)]
    seconds: f64,
    /// Only inputs whose name contains this.
    #[arg(long, default_value = "")]
    only: String,
    /// Real measurements.
    #[arg(long, env = "GROMA_TEST_DATA", default_value = "../shared/data")]
    data: PathBuf,
}

fn main() -> anyhow::Result<()> {
    let arguments = Arguments::parse();
    let store = groma_archive::LocalStore::open(arguments.dir.join("archive"))?;
    let mut cases = Vec::new();
    let real = arguments.data.join("archives").join(REAL);
    if real.is_file() {
        cases.push(Case::new("ndt7 archive", put(&store, REAL, &real)?));
        let many = perturb::object(&arguments.dir, &real, arguments.tests)?;
        let name = many
            .file_name()
            .and_then(|name| name.to_str())
            .context("a name")?;
        let title = format!("{} perturbed ndt7", arguments.tests);
        cases.push(Case::new(&title, put(&store, name, &many)?));
    } else {
        println!(
            "no real ndt7 archive at {}: its cases are left out",
            real.display()
        );
    }
    for (title, name, path) in lab::objects(&arguments.dir)? {
        cases.push(Case::new(&title, put(&store, &name, &path)?));
    }
    println!("{}", measure::HEADING);
    for case in cases
        .iter()
        .filter(|case| case.title.contains(&arguments.only))
    {
        println!(
            "{}",
            measure::row(case, &store, &arguments.dir, arguments.seconds)?
        );
    }
    Ok(())
}

/// The object's full name in the store; its file name says where it belongs.
fn put(store: &groma_archive::LocalStore, file: &str, path: &Path) -> anyhow::Result<String> {
    use groma_archive::Store as _;
    let parts: Vec<&str> = file.trim_end_matches(".tgz").split('-').collect();
    let (experiment, datatype) = (
        parts.last().context("experiment")?,
        parts.get(1).context("datatype")?,
    );
    let (year, month, day) = (&file[..4], &file[4..6], &file[6..8]);
    let name = format!("{experiment}/{datatype}/{year}/{month}/{day}/{file}");
    store.put_new(&name, path)?;
    Ok(name)
}
