//! Every object name of the format references, and names that look like one.

use groma_names::{Form, ObjectName};

struct Case {
    name: &'static str,
    form: Form,
    experiment: &'static str,
    datatype: &'static str,
    /// Date directory, timestamp and node, as they print; `-` where there is none.
    origin: [&'static str; 3],
    stem: &'static str,
}

macro_rules! case {
    ($name:literal, $form:ident $experiment:literal $datatype:literal, $date:literal $stamp:literal $node:literal, $stem:literal) => {
        Case {
            name: $name,
            form: Form::$form,
            experiment: $experiment,
            datatype: $datatype,
            origin: [$date, $stamp, $node],
            stem: $stem,
        }
    };
}

#[rustfmt::skip]
const ACCEPTED: &[Case] = &[
    // The uploader of tar files.
    case!("ndt/tcpinfo/2019/05/16/20190516T013026.744845Z-tcpinfo-mlab4-arn02-ndt.tgz", Tgz "ndt" "tcpinfo",
        "2019-05-16" "2019-05-16T01:30:26.744845Z" "mlab4-arn02", "20190516T013026.744845Z-tcpinfo-mlab4-arn02-ndt"),
    case!("exp/summary/2008/01/01/20080101T000000.000000Z-summary-mlab6-lga0t-exp.tgz", Tgz "exp" "summary",
        "2008-01-01" "2008-01-01T00:00:00Z" "mlab6-lga0t", "20080101T000000.000000Z-summary-mlab6-lga0t-exp"),
    case!("ndt/ndt7/2020/03/18/20200318T003853.425987Z-ndt7-mlab3-syd03-ndt.tgz", Tgz "ndt" "ndt7",
        "2020-03-18" "2020-03-18T00:38:53.425987Z" "mlab3-syd03", "20200318T003853.425987Z-ndt7-mlab3-syd03-ndt"),
    case!("ndt/traceroute/2019/06/20/20190620T224809.435046Z-traceroute-mlab1-den06-ndt.tgz", Tgz "ndt" "traceroute",
        "2019-06-20" "2019-06-20T22:48:09.435046Z" "mlab1-den06", "20190620T224809.435046Z-traceroute-mlab1-den06-ndt"),
    case!("utilization/switch/2021/12/14/20211214T020001.697396Z-switch-mlab2-dfw07-utilization.tgz", Tgz "utilization" "switch",
        "2021-12-14" "2021-12-14T02:00:01.697396Z" "mlab2-dfw07", "20211214T020001.697396Z-switch-mlab2-dfw07-utilization"),
    // Bundled after midnight: the directory keeps the date of the data.
    case!("ndt/pcap/2021/03/01/20210302T000102.000001Z-pcap-mlab1-lga01-ndt.tgz", Tgz "ndt" "pcap",
        "2021-03-01" "2021-03-02T00:01:02.000001Z" "mlab1-lga01", "20210302T000102.000001Z-pcap-mlab1-lga01-ndt"),
    // Names that the upstream parser refuses: an experiment with digits, a cloud site, a host-managed node.
    case!("exp2/speed1/2024/02/29/20240229T235959.999999Z-speed1-mlab1-lga0t-exp2.tgz", Tgz "exp2" "speed1",
        "2024-02-29" "2024-02-29T23:59:59.999999Z" "mlab1-lga0t", "20240229T235959.999999Z-speed1-mlab1-lga0t-exp2"),
    case!("ndt/ndt7/2022/07/01/20220701T000000.000000Z-ndt7-mlab1-oma0c-ndt.tgz", Tgz "ndt" "ndt7",
        "2022-07-01" "2022-07-01T00:00:00Z" "mlab1-oma0c", "20220701T000000.000000Z-ndt7-mlab1-oma0c-ndt"),
    case!("ndt/ndt7/2024/07/01/20240701T000000.000000Z-ndt7-abcdef01-lol12345-ndt.tgz", Tgz "ndt" "ndt7",
        "2024-07-01" "2024-07-01T00:00:00Z" "abcdef01-lol12345", "20240701T000000.000000Z-ndt7-abcdef01-lol12345-ndt"),
    case!("ndt/ndt7/2020/03/18/20200318T003853.425987Z-ndt7-third-party-ndt.tgz", Tgz "ndt" "ndt7",
        "2020-03-18" "2020-03-18T00:38:53.425987Z" "third-party", "20200318T003853.425987Z-ndt7-third-party-ndt"),
    case!("ndt/ndt7/2020/03/18/20200318T003853.425987Z-ndt7-mlab1d-syd03-ndt.tgz", Tgz "ndt" "ndt7",
        "2020-03-18" "2020-03-18T00:38:53.425987Z" "mlab1d-syd03", "20200318T003853.425987Z-ndt7-mlab1d-syd03-ndt"),
    // Fewer directories, directories that are not a date, no second datatype.
    case!("ndt/ndt7/20200318T003853.425987Z-ndt7-mlab3-syd03-ndt.tgz", Tgz "ndt" "ndt7",
        "-" "2020-03-18T00:38:53.425987Z" "mlab3-syd03", "20200318T003853.425987Z-ndt7-mlab3-syd03-ndt"),
    case!("ndt/ndt7/2009/03/ab/20200318T003853.425987Z-ndt7-mlab3-syd03-ndt.tgz", Tgz "ndt" "ndt7",
        "-" "2020-03-18T00:38:53.425987Z" "mlab3-syd03", "20200318T003853.425987Z-ndt7-mlab3-syd03-ndt"),
    case!("ndt/tcpinfo/2019/05/16/20190516T013026.744845Z-mlab4-arn02-ndt.tgz", Tgz "ndt" "tcpinfo",
        "2019-05-16" "2019-05-16T01:30:26.744845Z" "mlab4-arn02", "20190516T013026.744845Z-mlab4-arn02-ndt"),
    // Fractions of no, three and nine digits, and a point without digits.
    case!("ndt/tcpinfo/2019/05/16/20190516T013026Z-tcpinfo-mlab4-arn02-ndt.tar", Tgz "ndt" "tcpinfo",
        "2019-05-16" "2019-05-16T01:30:26Z" "mlab4-arn02", "20190516T013026Z-tcpinfo-mlab4-arn02-ndt"),
    case!("ndt/tcpinfo/2019/05/16/20190516T013026.Z-tcpinfo-mlab4-arn02-ndt.tgz", Tgz "ndt" "tcpinfo",
        "2019-05-16" "2019-05-16T01:30:26Z" "mlab4-arn02", "20190516T013026.Z-tcpinfo-mlab4-arn02-ndt"),
    case!("ndt/tcpinfo/2019/05/16/20190516T013026.700Z-tcpinfo-mlab4-arn02-ndt-0012-e.tar.gz", Tgz "ndt" "tcpinfo",
        "2019-05-16" "2019-05-16T01:30:26.7Z" "mlab4-arn02", "20190516T013026.700Z-tcpinfo-mlab4-arn02-ndt-0012-e"),
    case!("ndt/tcpinfo/2019/05/16/20190516T013026.123456789Z-tcpinfo-mlab4-arn02-ndt.tgz", Tgz "ndt" "tcpinfo",
        "2019-05-16" "2019-05-16T01:30:26.123456789Z" "mlab4-arn02", "20190516T013026.123456789Z-tcpinfo-mlab4-arn02-ndt"),
    // A datatype called like a machine comes first, the machine second.
    case!("ndt/mlab4/2019/05/16/20190516T013026Z-mlab4-mlab1-arn02-ndt.tgz", Tgz "ndt" "mlab4",
        "2019-05-16" "2019-05-16T01:30:26Z" "mlab1-arn02", "20190516T013026Z-mlab4-mlab1-arn02-ndt"),
    case!("ndt/mlab4/2019/05/16/20190516T013026Z-mlab4-arn02-ndt.tgz", Tgz "ndt" "mlab4",
        "2019-05-16" "2019-05-16T01:30:26Z" "mlab4-arn02", "20190516T013026Z-mlab4-arn02-ndt"),
    // 2009 to 2019.
    case!("ndt/2009/02/18/20090218T000000Z-mlab1-lga01-ndt-0000.tgz", Legacy "ndt" "ndt",
        "2009-02-18" "2009-02-18T00:00:00Z" "mlab1-lga01", "20090218T000000Z-mlab1-lga01-ndt-0000"),
    case!("ndt/2016/01/26/20160126T000000Z-mlab1-prg01-ndt-0007.tgz", Legacy "ndt" "ndt",
        "2016-01-26" "2016-01-26T00:00:00Z" "mlab1-prg01", "20160126T000000Z-mlab1-prg01-ndt-0007"),
    case!("ndt/2016/07/14/20160714T123456Z-mlab1-lax04-ndt-0001.tar", Legacy "ndt" "ndt",
        "2016-07-14" "2016-07-14T12:34:56Z" "mlab1-lax04", "20160714T123456Z-mlab1-lax04-ndt-0001"),
    case!("ndt/2016/07/14/20160714T123456Z-mlab1-lax04-ndt-0001.tar.gz", Legacy "ndt" "ndt",
        "2016-07-14" "2016-07-14T12:34:56Z" "mlab1-lax04", "20160714T123456Z-mlab1-lax04-ndt-0001"),
    case!("sidestream/2018/02/27/20180227T000010Z-mlab1-dfw02-sidestream-0000-e.tgz", Legacy "sidestream" "sidestream",
        "2018-02-27" "2018-02-27T00:00:10Z" "mlab1-dfw02", "20180227T000010Z-mlab1-dfw02-sidestream-0000-e"),
    case!("paris-traceroute/2019/06/11/20190611T000002Z-mlab2-bom01-paris-traceroute-0000.tgz", Legacy "paris-traceroute" "paris-traceroute",
        "2019-06-11" "2019-06-11T00:00:02Z" "mlab2-bom01", "20190611T000002Z-mlab2-bom01-paris-traceroute-0000"),
    case!("switch/2016/05/12/20160512T000000Z-mlab1-nuq04-switch.tgz", Legacy "switch" "switch",
        "2016-05-12" "2016-05-12T00:00:00Z" "mlab1-nuq04", "20160512T000000Z-mlab1-nuq04-switch"),
    // The uploader of JSON results.
    case!("autoload/v1/ndt/annotation2/2022/09/29/20220929T101112.000123Z-annotation2-mlab1-lga01-ndt-data.jsonl.gz", Data "ndt" "annotation2",
        "2022-09-29" "2022-09-29T10:11:12.000123Z" "mlab1-lga01", "20220929T101112.000123Z-annotation2-mlab1-lga01-ndt-data"),
    case!("autoload/v1/ndt/index1/2022/09/29/20220929T101112.000123Z-annotation2-mlab1-lga01-ndt-index1.jsonl.gz", Index "ndt" "annotation2",
        "2022-09-29" "2022-09-29T10:11:12.000123Z" "mlab1-lga01", "20220929T101112.000123Z-annotation2-mlab1-lga01-ndt-index1"),
    case!("autoload/v2/rnp/ndt/ndt7/2024/05/06/20240506T070809.000000Z-ndt7-c0a80001-gru1916-ndt-data.jsonl.gz", Data "ndt" "ndt7",
        "2024-05-06" "2024-05-06T07:08:09Z" "c0a80001-gru1916", "20240506T070809.000000Z-ndt7-c0a80001-gru1916-ndt-data"),
    case!("autoload/v2/rnp/ndt/index1/2024/05/06/20240506T070809.000000Z-ndt7-c0a80001-gru1916-ndt-index1.jsonl.gz", Index "ndt" "ndt7",
        "2024-05-06" "2024-05-06T07:08:09Z" "c0a80001-gru1916", "20240506T070809.000000Z-ndt7-c0a80001-gru1916-ndt-index1"),
    case!("autoload/v1/host/nodeinfo1/2022/09/29/20220929T101112.000123Z-nodeinfo1-mlab1-lga01-host-data.jsonl.gz", Data "host" "nodeinfo1",
        "2022-09-29" "2022-09-29T10:11:12.000123Z" "mlab1-lga01", "20220929T101112.000123Z-nodeinfo1-mlab1-lga01-host-data"),
    case!("testdata/autoload/v1/foo/foo1/2022/09/29/20220929T101112.000123Z-foo1-third-party-foo-data.jsonl.gz", Data "foo" "foo1",
        "2022-09-29" "2022-09-29T10:11:12.000123Z" "third-party", "20220929T101112.000123Z-foo1-third-party-foo-data"),
    case!("autoload/v1/tables/ndt/annotation2.table.json", Table "ndt" "annotation2", "-" "-" "-", "annotation2.table"),
    case!("autoload/v2/tables/ndt/ndt7.table.json", Table "ndt" "ndt7", "-" "-" "-", "ndt7.table"),
    case!("autoload/v2/tables/rnp/ndt/ndt7.table.json", Table "ndt" "ndt7", "-" "-" "-", "ndt7.table"),
];

fn show(value: Option<impl ToString>) -> String {
    value.map_or("-".to_owned(), |value| value.to_string())
}

#[test]
fn every_known_name_is_read_and_printed_unchanged() {
    for case in ACCEPTED {
        let name: ObjectName = case.name.parse().unwrap_or_else(|error| panic!("{error}"));
        let origin = [show(name.date()), show(name.timestamp()), show(name.node())];
        assert_eq!(name.to_string(), case.name);
        assert_eq!(name.form(), case.form, "{}", case.name);
        assert_eq!(
            (name.experiment(), name.datatype()),
            (case.experiment, case.datatype),
            "{}",
            case.name
        );
        assert_eq!(origin, case.origin, "{}", case.name);
        assert_eq!(name.stem(), case.stem, "{}", case.name);
    }
}

#[test]
fn parts_of_only_some_forms() {
    let read = |name: &str| name.parse::<ObjectName>().unwrap();
    let old = read("sidestream/2018/02/27/20180227T000010Z-mlab1-dfw02-sidestream-0012-e.tgz");
    assert_eq!((old.number(), old.is_embargoed()), (Some("0012"), true));
    assert_eq!((old.prefix(), old.organization()), (None, None));
    let v2 = read(
        "autoload/v2/rnp/ndt/ndt7/2024/05/06/20240506T070809.000000Z-ndt7-c0a80001-gru1916-ndt-data.jsonl.gz",
    );
    assert_eq!(
        (v2.prefix(), v2.organization()),
        (Some("autoload/v2"), Some("rnp"))
    );
    assert_eq!((v2.number(), v2.is_embargoed()), (None, false));
    let table = read("autoload/v2/tables/rnp/ndt/ndt7.table.json");
    assert_eq!(
        (table.prefix(), table.organization()),
        (Some("autoload/v2"), Some("rnp"))
    );
    let shared = read("autoload/v1/tables/ndt/ndt7.table.json");
    assert_eq!(
        (shared.prefix(), shared.organization()),
        (Some("autoload/v1"), None)
    );
}

/// Name, the piece that is blamed, and the byte where that piece begins.
#[rustfmt::skip]
const REFUSED: &[(&str, &str, usize)] = &[
    ("", "path component", 0),
    ("/ndt/2009/02/18/20090218T000000Z-mlab1-lga01-ndt-0000.tgz", "path component", 0),
    ("ndt//2009/02/18/20090218T000000Z-mlab1-lga01-ndt-0000.tgz", "path component", 4),
    ("ndt/../2009/02/18/20090218T000000Z-mlab1-lga01-ndt-0000.tgz", "path component", 4),
    ("ndt/./ndt7/20200318T003853.425987Z-ndt7-mlab3-syd03-ndt.tgz", "path component", 4),
    ("ndt/ndt7/.tmp/20200318T003853.425987Z-ndt7-mlab3-syd03-ndt.tgz", "path component", 9),
    ("ndt/ndt7/2020/03/18/", "path component", 20),
    ("ndt/ndt7/2020/03/18/x\n.tgz", "character", 21),
    ("ndt/ndt7/2020/03/18/x\0.tgz", "character", 21),
    ("ndt/ndt7/2020/03/18/ñ.tgz", "character", 20),
    ("ndt/ndt7/2020/03/18/%2e%2e.tgz", "character", 20),
    ("ndt\\ndt7/20200318T003853.425987Z-ndt7-mlab3-syd03-ndt.tgz", "character", 3),
    ("NDT/2009/02/18/20090218T000000Z-mlab1-lga01-NDT-0000.tgz", "experiment", 0),
    ("7ndt/2009/02/18/20090218T000000Z-mlab1-lga01-7ndt-0000.tgz", "experiment", 0),
    ("-ndt/2009/02/18/20090218T000000Z-mlab1-lga01--ndt-0000.tgz", "experiment", 0),
    ("ndt/Ndt7/2020/03/18/20200318T003853.425987Z-Ndt7-mlab3-syd03-ndt.tgz", "datatype", 4),
    ("ndt/2016/0126/20160126T000000Z-mlab1-prg01-ndt-0007.tar.gz", "datatype", 4),
    ("20160126T000000Z-mlab1-prg01-ndt-0007.tgz", "experiment", 0),
    ("ndt/20160126T000000Z-mlab1-prg01-ndt-0007.tgz", "datatype", 4),
    ("ndt/ndt7/2020/02/30/20200318T003853.425987Z-ndt7-mlab3-syd03-ndt.tgz", "date directory", 9),
    ("ndt/2009/13/18/20090218T000000Z-mlab1-lga01-ndt-0000.tgz", "date directory", 4),
    ("ndt/1969/02/18/19690218T000000Z-mlab1-lga01-ndt-0000.tgz", "date directory", 4),
    ("ndt/ndt7/2020/3/18/20200318T003853.425987Z-ndt7-mlab3-syd03-ndt.tgz", "date directory", 9),
    ("ndt/ndt7/2020/03/18/a/20200318T003853.425987Z-ndt7-mlab3-syd03-ndt.tgz", "directory", 20),
    ("ndt/ndt7/2020/03/18/20200231T003853.425987Z-ndt7-mlab3-syd03-ndt.tgz", "timestamp", 20),
    ("ndt/ndt7/2020/03/18/20200318T246053.425987Z-ndt7-mlab3-syd03-ndt.tgz", "timestamp", 20),
    ("ndt/ndt7/2020/03/18/20200318T003853.1234567890Z-ndt7-mlab3-syd03-ndt.tgz", "timestamp", 20),
    ("ndt/ndt7/2020/03/18/2020-03-18T00:38:53Z-ndt7-mlab3-syd03-ndt.tgz", "timestamp", 20),
    ("ndt/ndt7/2020/03/18/20200318T003853.425987-ndt7-mlab3-syd03-ndt.tgz", "timestamp", 63),
    ("ndt/ndt7/2020/03/18/20200318T003853.425987Z-ndt7-mlab30-syd03-ndt.tgz", "machine", 49),
    ("ndt/ndt7/2020/03/18/20200318T003853.425987Z-ndt7-ABCDEF01-lol12345-ndt.tgz", "machine", 49),
    ("ndt/ndt5/2020/03/18/20200318T003853.425987Z-ndt7-mlab3-syd03-ndt.tgz", "machine", 44),
    ("ndt/2016/01/26/20160126T000000Z-mlab1-prg1-ndt-0007.tar.gz", "site", 38),
    ("ndt/2016/01/26/20160126T000000Z-third-prg01-ndt-0007.tar.gz", "site", 38),
    ("ndt/2016/01/26/20160126T000000Z-mlab1-party-ndt-0007.tar.gz", "site", 38),
    ("ndt/ndt7/2020/03/18/20200318T003853.425987Z-ndt7-abcdef01-lol12345678901-ndt.tgz", "site", 58),
    ("ndt/ndt7/2020/03/18/20200318T003853.425987Z-ndt7-mlab3-syd03-msak.tgz", "experiment", 61),
    ("ndt/ndt7/2020/03/18/20200318T003853.425987Z-ndt7-mlab3-syd03-ndtx.tgz", "end of name", 64),
    ("ndt/ndt7/2020/03/18/20200318T003853.425987Z-ndt7-mlab3-syd03-ndt-07.tgz", "end of name", 64),
    ("ndt/ndt7/2020/03/18/20200318T003853.425987Z-ndt7-mlab3-syd03-ndt-e-0007.tgz", "end of name", 66),
    ("ndt/2016/01/26/20160126T000000Z-mlab1-prg01-ndt-0007.gz.baz", "suffix", 59),
    ("ndt/2016/01/26/20160126T000000Z-mlab1-prg01-ndt-0007.TGZ", "suffix", 56),
    ("autoload/v2/ndt/ndt7/2024/05/06/20240506T070809.000000Z-ndt7-mlab1-lga01-ndt-data.jsonl.gz", "organization", 12),
    ("autoload/v2/RNP/ndt/ndt7/2024/05/06/20240506T070809.000000Z-ndt7-mlab1-lga01-ndt-data.jsonl.gz", "organization", 12),
    ("ndt/ndt7/2024/05/06/20240506T070809.000000Z-ndt7-mlab1-lga01-ndt-data.jsonl.gz", "prefix", 0),
    ("autoload/v1/ndt/2024/05/06/20240506T070809.000000Z-ndt7-mlab1-lga01-ndt-data.jsonl.gz", "organization", 9),
    ("autoload/v1/paris-traceroute/ndt7/2024/05/06/20240506T070809.000000Z-ndt7-mlab1-lga01-paris-traceroute-data.jsonl.gz", "experiment", 12),
    ("autoload/v1/ndt/ndt7/2024/05/32/20240506T070809.000000Z-ndt7-mlab1-lga01-ndt-data.jsonl.gz", "date directory", 21),
    ("autoload/v1/ndt/ndt5/2024/05/06/20240506T070809.000000Z-ndt7-mlab1-lga01-ndt-data.jsonl.gz", "datatype directory", 16),
    ("autoload/v1/ndt/ndt7/2024/05/06/20240506T070809.000000Z-ndt7-mlab1-lga01-ndt-index1.jsonl.gz", "datatype directory", 16),
    ("autoload/v1/ndt/ndt7/2024/05/06/20240506T070809.000000Z-ndt7-mlab1-lga01-ndt-index2.jsonl.gz", "part", 77),
    ("autoload/v1/ndt/ndt7/2024/05/06/20240506T070809.000000Z-ndt7-mlab1-lga01-ndt.jsonl.gz", "part", 76),
    ("autoload/v1/ndt/ndt7/2024/05/06/20240506T070809.000000Z-mlab1-lga01-ndt-data.jsonl.gz", "machine", 62),
    ("data.jsonl.gz", "directory", 0),
    ("tables/ndt/ndt7.table.json", "prefix", 7),
    ("autoload/v1/ndt/ndt7.table.json", "directory", 16),
    ("autoload/v1/tables/ndt/Ndt7.table.json", "datatype", 23),
    ("autoload/v1/tables/a/b/ndt/ndt7.table.json", "directory", 27),
];

#[test]
fn names_outside_the_grammar_are_refused_with_the_place() {
    let mut wrong = Vec::new();
    for (name, piece, at) in REFUSED {
        match name.parse::<ObjectName>() {
            Err(error) if (error.piece, error.at) == (*piece, *at) => {}
            other => wrong.push(format!("{name:?}: {other:?}")),
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn a_name_longer_than_any_store_takes_is_refused() {
    let name = format!("{}/ndt/ndt7.table.json", "a/".repeat(600));
    let error = name.parse::<ObjectName>().unwrap_err();
    assert_eq!((error.piece, error.at), ("name", 0));
    assert_eq!(error.name.len(), 200);
}
