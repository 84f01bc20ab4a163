//! Names that we make, and names within URLs and paths.

use groma_names::{Form, Node, ObjectName};
use groma_spool::Name;
use jiff::civil::date;

fn name(text: &str) -> Name {
    text.parse().unwrap()
}

#[test]
fn constructors_print_the_documented_forms() {
    let (ndt, ndt7) = (name("ndt"), name("ndt7"));
    let day = date(2022, 9, 29);
    let moment = "2022-09-29T23:59:59.999999999Z".parse().unwrap();
    let node: Node = "mlab1-lga01.mlab-oti.measurement-lab.org".parse().unwrap();

    let tgz = ObjectName::tgz(&ndt, &ndt7, day, moment, &node);
    assert_eq!(
        tgz.to_string(),
        "ndt/ndt7/2022/09/29/20220929T235959.999999Z-ndt7-mlab1-lga01-ndt.tgz"
    );
    assert_eq!(tgz.index(), None);

    let data =
        ObjectName::data("autoload/v2", Some("rnp"), &ndt, &ndt7, day, moment, &node).unwrap();
    assert_eq!(
        data.to_string(),
        "autoload/v2/rnp/ndt/ndt7/2022/09/29/20220929T235959.999999Z-ndt7-mlab1-lga01-ndt-data.jsonl.gz"
    );
    let index = data.index().unwrap();
    assert_eq!(
        index.to_string(),
        "autoload/v2/rnp/ndt/index1/2022/09/29/20220929T235959.999999Z-ndt7-mlab1-lga01-ndt-index1.jsonl.gz"
    );
    assert_eq!((index.form(), index.index()), (Form::Index, None));

    let table = ObjectName::table("autoload/v1", &ndt, &ndt7).unwrap();
    assert_eq!(table.to_string(), "autoload/v1/tables/ndt/ndt7.table.json");

    for made in [tgz, data, index, table] {
        assert_eq!(made.to_string().parse::<ObjectName>().unwrap(), made);
    }
}

#[test]
fn organization_and_prefix_must_fit() {
    let data = |prefix, organization| {
        let moment = "2022-09-29T10:11:12Z".parse().unwrap();
        let (experiment, datatype) = (name("ndt"), name("ndt7"));
        let node = Node::third_party();
        ObjectName::data(
            prefix,
            organization,
            &experiment,
            &datatype,
            date(2022, 9, 29),
            moment,
            &node,
        )
    };
    for (prefix, organization) in [
        ("autoload/v1", None),
        ("autoload/v2", Some("rnp")),
        ("testdata/autoload/v1", None),
        ("mine", Some("v2")),
    ] {
        let made = data(prefix, organization).unwrap();
        let read: ObjectName = made.to_string().parse().unwrap();
        assert_eq!(read, made);
        assert_eq!(
            (read.prefix(), read.organization()),
            (Some(prefix), organization)
        );
    }
    for (prefix, organization) in [
        ("autoload/v1", Some("rnp")),
        ("autoload/v2", None),
        ("autoload/v2", Some("RNP")),
        ("autoload/v2", Some("")),
        ("autoload/v2", Some("a/b")),
        ("autoload", Some("v1")),
        ("autoload", Some("v2")),
        ("../autoload/v1", None),
        ("/autoload/v1", None),
        ("autoload/v1/", None),
        ("", Some("rnp")),
    ] {
        assert!(
            data(prefix, organization).is_err(),
            "{prefix:?} {organization:?} was accepted"
        );
    }
    assert!(ObjectName::table("", &name("ndt"), &name("ndt7")).is_err());
}

const TGZ: &str = "ndt/ndt7/2020/03/18/20200318T003853.425987Z-ndt7-mlab3-syd03-ndt.tgz";
const LEGACY: &str = "ndt/2009/02/18/20090218T000000Z-mlab1-lga01-ndt-0000.tgz";
const DATA: &str = "autoload/v2/rnp/ndt/ndt7/2024/05/06/20240506T070809.000000Z-ndt7-c0a80001-gru1916-ndt-data.jsonl.gz";
const TABLE: &str = "autoload/v1/tables/ndt/ndt7.table.json";

#[test]
fn the_base_is_split_off() {
    for object in [TGZ, LEGACY, DATA, TABLE] {
        for base in [
            "",
            "/",
            "gs://archive-measurement-lab/",
            "https://storage.googleapis.com/archive-measurement-lab/",
            "https://localhost:8080/",
            "file:///var/lib/archive/",
            "/srv/archive/",
            "archive/",
            "./archive/",
            "/srv/my archive/2020/",
        ] {
            let location = format!("{base}{object}");
            let (found, name) =
                ObjectName::strip_base(&location).unwrap_or_else(|error| panic!("{error}"));
            assert_eq!((found, name.to_string().as_str()), (base, object));
        }
    }
}

#[test]
fn locations_without_a_name_say_where_they_fail() {
    for (location, piece) in [
        (
            "xgs://m-lab-sandbox/ndt/2016/01/26/20160126T123456Z-mlab1-prg01-ndt-0007.tgz",
            "scheme",
        ),
        ("gs://bucket", "location"),
        (
            "gs://bucket/ndt/2016/01/26/20160126T000000Z-mlab1-prg1-ndt-0007.tgz",
            "site",
        ),
        ("/srv/archive/readme.txt", "suffix"),
        ("", "location"),
    ] {
        let error = ObjectName::strip_base(location).unwrap_err();
        assert_eq!(error.piece, piece, "{error}");
    }
    assert!(ObjectName::strip_base(&"a/".repeat(100_000)).is_err());
}
