//! The index as one HTML page without scripts, fonts or anything else from elsewhere.

use std::fmt::Write as _;

use super::{Dataset, Figures, Index};

const HEAD: &str = "<!doctype html>
<html lang=\"en\"><head><meta charset=\"utf-8\"><meta name=\"viewport\" content=\"width=device-width\">
<title>Measurement data</title>
<style>body{font:16px/1.5 sans-serif;max-width:60em;margin:2em auto;padding:0 1em}
table{border-collapse:collapse}td,th{padding:.2em .8em;text-align:right;border-bottom:1px solid #ccc}
td:first-child,th:first-child{text-align:left}</style></head><body>
<h1>Measurement data</h1>
<p>Typed Parquet, one folder per date (UTC). A date is <em>sealed</em> when nothing more is expected of it; its
<code>_manifest.json</code> names its files, their SHA-256 and the archive objects that they came from. For programs:
<a href=\"index.json\">index.json</a>.</p>
";

/// The page. Everything in it is a name, a date or a number, so nothing needs escaping but the licence, which is ours.
pub(super) fn html(index: &Index) -> String {
    let mut page = HEAD.to_owned();
    let _ = writeln!(page, "<p>Licence: {}.</p>", index.licence);
    for dataset in &index.datasets {
        section(&mut page, dataset);
    }
    page.push_str("</body></html>\n");
    page
}

fn section(page: &mut String, dataset: &Dataset) {
    let (experiment, datatype) = (&dataset.experiment, &dataset.datatype);
    let _ = write!(
        page,
        "<h2>{experiment}.{datatype}</h2>
<p><a href=\"{experiment}/{datatype}/index.json\">Files and columns</a></p>
<table><thead><tr><th>Date</th><th>State</th><th>Complete</th><th>Objects</th><th>Rows</th><th>Errors</th><th>Bytes</th></tr></thead><tbody>
"
    );
    for figures in dataset.dates.iter().rev() {
        row(page, dataset, figures);
    }
    page.push_str("</tbody></table>\n");
}

fn row(page: &mut String, dataset: &Dataset, figures: &Figures) {
    let date = figures.date;
    let shown = if figures.state == "sealed" {
        let (experiment, datatype) = (&dataset.experiment, &dataset.datatype);
        format!("<a href=\"{experiment}/{datatype}/sealed/date={date}/_manifest.json\">{date}</a>")
    } else {
        date.to_string()
    };
    let complete = match figures.complete {
        Some(true) => "yes",
        Some(false) => "no",
        None => "not known",
    };
    let _ = writeln!(
        page,
        "<tr><td>{shown}</td><td>{}</td><td>{complete}</td><td>{}</td><td>{}</td><td>{}</td><td>{}</td></tr>",
        figures.state, figures.objects, figures.rows, figures.errors, figures.size_bytes
    );
}
