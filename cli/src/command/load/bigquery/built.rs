//! In a build that has it.

use std::sync::Arc;

use anyhow::Context as _;
use groma_archive::{Opening, Store};
use groma_bigquery::{ENDPOINT, Place};
use groma_load::LoadDatatype;
use jiff::civil::Date;

use super::super::Line;
use super::Warehouse;

pub(in super::super) use groma_bigquery::BigQuery;

pub(in super::super) fn open(
    args: &Warehouse,
    store: Box<dyn Store>,
    datatypes: &[LoadDatatype],
    embargoed: bool,
) -> anyhow::Result<BigQuery> {
    let project = args.project.clone();
    let endpoint = args.endpoint.as_deref().unwrap_or(ENDPOINT);
    let place = Place {
        project: project.context("--project says no project, nor does GOOGLE_CLOUD_PROJECT")?,
        dataset: args.dataset.clone(),
        endpoint: if endpoint.contains("://") {
            endpoint.to_owned()
        } else {
            // As Google's own clients take it from the environment.
            format!("http://{endpoint}")
        },
        again: args.again,
    };
    let opening = Opening::to_read();
    let loader = BigQuery::open(&place, &opening, Arc::from(store), datatypes, embargoed)?;
    Ok(loader)
}

/// Checks everything that would fail for all objects, before the first is read.
pub(in super::super) fn prepare(
    loader: &mut BigQuery,
    objects: &[String],
    date: Option<Date>,
) -> anyhow::Result<()> {
    Ok(loader.prepare(objects, date)?)
}

pub(in super::super) fn load(loader: &BigQuery, object: &str, date: Option<Date>) -> Line {
    match loader.load_object(object, date) {
        Ok(done) => Line {
            rows: done.rows,
            errors: done.errors,
            skipped: done.skipped,
            already: done.already,
            table: Some(done.table),
            ..Line::default()
        },
        Err(error) => Line {
            is_last: error.ends_run(),
            ..Line::failed(&error.into())
        },
    }
}
