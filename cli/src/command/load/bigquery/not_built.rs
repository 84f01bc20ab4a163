//! In a build without it.

use groma_archive::Store;
use groma_load::LoadDatatype;
use jiff::civil::Date;

use super::super::Line;
use super::Warehouse;

/// There is none.
pub(in super::super) enum BigQuery {}

impl BigQuery {
    pub(in super::super) fn is_loadable(&self, _: &str) -> bool {
        match *self {}
    }
}

pub(in super::super) fn open(
    _: &Warehouse,
    _: Box<dyn Store>,
    _: &[LoadDatatype],
    _: bool,
) -> anyhow::Result<BigQuery> {
    anyhow::bail!(
        "--to bigquery needs a build with the cargo feature bigquery: cargo build --release --features bigquery \
         (--schemas works in every build)"
    )
}

pub(in super::super) fn prepare(
    loader: &mut BigQuery,
    _: &[String],
    _: Option<Date>,
) -> anyhow::Result<()> {
    match *loader {}
}

pub(in super::super) fn load(loader: &BigQuery, _: &str, _: Option<Date>) -> Line {
    match *loader {}
}
