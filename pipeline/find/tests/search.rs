//! Tests found by what they measured, among real ones, before and after their date is sealed.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use groma_archive::{LocalStore, Store as _};
use groma_find::{Dirs, Query, Searched, Stage, Test, search, show};
use groma_lake::{Settings, seal};
use groma_load::{Lake, Loader};
use groma_mlab::load_datatype;
use groma_schema::Schema;

const OBJECT: &str = "20200318T003853.425987Z-ndt7-mlab3-syd03-ndt.tgz";
const SCHEMA: &str = include_str!("../../../experiments/ndt7/schema/ndt7.json");

/// A lab whose lake holds the real archive object.
fn lab() -> Option<tempfile::TempDir> {
    let data = groma_tests::real_data()?;
    let dir = tempfile::tempdir().unwrap();
    let store = LocalStore::open(dir.path().join("archive")).unwrap();
    let name = format!("ndt/ndt7/2020/03/18/{OBJECT}");
    store
        .put_new(&name, &data.join("archives").join(OBJECT))
        .unwrap();
    let schema = Schema::parse(SCHEMA).unwrap();
    let datatype = load_datatype("ndt".parse().unwrap(), "ndt7".parse().unwrap(), schema);
    let lake = Lake::new(dir.path().join("lake"));
    Loader::new(Arc::new(store), lake, vec![datatype])
        .load_object(&name, None)
        .unwrap();
    Some(dir)
}

fn all(lake: &Path) -> Vec<Test> {
    found(lake, &Query::default())
}

fn found(lake: &Path, query: &Query) -> Vec<Test> {
    let query = Query {
        limit: 10_000,
        ..query.clone()
    };
    let Searched {
        tests,
        more,
        unreadable,
    } = search(lake, &query).unwrap();
    assert!(!more && unreadable.is_empty());
    tests
}

fn check(lab: &Path) {
    let lake = lab.join("lake");
    let all = all(&lake);
    assert!(all.len() > 20, "{}", all.len());
    let mut rates: Vec<f64> = all
        .iter()
        .filter_map(|test| test.mean_throughput_mbps)
        .collect();
    rates.sort_by(f64::total_cmp);
    let times: Vec<_> = all.iter().map(|test| test.test_time.clone()).collect();
    assert!(times.is_sorted_by(|one, next| one >= next), "newest first");
    let newest = search(
        &lake,
        &Query {
            limit: 1,
            ..Query::default()
        },
    )
    .unwrap();
    assert_eq!((newest.tests, newest.more), (all[..1].to_vec(), true));
    let median = rates[rates.len() / 2];
    let network = format!("{}/24", all[3].client_ip.as_deref().unwrap());
    let with = |query: Query| found(&lake, &query);
    let fast = with(Query {
        min_mbps: Some(median),
        ..Query::default()
    });
    let slow = with(Query {
        max_mbps: Some(median),
        ..Query::default()
    });
    let is_fast = |test: &&Test| test.mean_throughput_mbps.is_some_and(|mbps| mbps >= median);
    assert_eq!(
        fast,
        all.iter().filter(is_fast).cloned().collect::<Vec<_>>()
    );
    assert!(!fast.is_empty() && fast.len() < all.len());
    let both = fast.iter().filter(|test| slow.contains(test)).count();
    assert_eq!(fast.len() + slow.len() - both, rates.len());
    let near = with(Query {
        client_net: Some(network.parse().unwrap()),
        ..Query::default()
    });
    assert!(near.contains(&all[3]) && near.len() < all.len());
    let day = "2020-03-18".parse().unwrap();
    assert_eq!(
        with(Query {
            since: Some(day),
            until: Some(day),
            ..Query::default()
        })
        .len(),
        all.len()
    );
    for (since, until) in [(Some("2020-03-19"), None), (None, Some("2020-03-17"))] {
        let date = |text: Option<&str>| text.map(|text| text.parse().unwrap());
        assert!(
            with(Query {
                since: date(since),
                until: date(until),
                ..Query::default()
            })
            .is_empty()
        );
    }
    let few = search(
        &lake,
        &Query {
            limit: 5,
            ..Query::default()
        },
    )
    .unwrap();
    assert!(few.more && few.tests == all[..5]);
    assert!(
        all.iter()
            .all(|test| test.direction.is_some() && test.test_time.is_some())
    );
    for test in all.iter().step_by(all.len() / 4) {
        let report = show(&Dirs::of_lab(lab), &test.id).unwrap();
        assert_eq!(report.stage, Stage::Loaded);
        let row = &report.rows[0].row;
        assert_eq!(
            (&row["id"], &row["date"]),
            (&test.id.clone().into(), &"2020-03-18".into())
        );
        let found = row["a"]["MeanThroughputMbps"].as_f64();
        assert_eq!(found, test.mean_throughput_mbps);
    }
}

#[test]
fn the_same_tests_are_found_live_and_sealed() {
    let Some(lab) = lab() else {
        return;
    };
    check(lab.path());
    let lake = lab.path().join("lake");
    let before = all(&lake);
    let settings = Settings {
        linger: Duration::ZERO,
        row_group_rows: 10,
        ..Settings::default()
    };
    let pass = seal(
        &lake,
        "2020-04-01T00:00:00Z".parse().unwrap(),
        &settings,
        None,
    )
    .unwrap();
    assert_eq!((pass.sealed, pass.removed), (1, 1));
    assert_eq!(all(&lake), before);
    check(lab.path());
}
