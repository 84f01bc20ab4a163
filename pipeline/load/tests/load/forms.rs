//! Tar, JSON lines, generic datatypes, dates.

use serde_json::{Value, json};

use crate::support::{Lab, PROBE_LINES, PROBE_OBJECT, REAL, errors, gzip, real_archive, rows, tar};

const PROBE: &str = r#"{"UUID": "host_1_00000000000000AB", "Count": 3, "Share": 0.25, "Seen": "2024-05-06T07:08:09.123456789Z",
    "Day": "2024-05-06", "Cost": "1.5", "Body": "AP8=", "Up": true, "Hops": [{"TTL": 1}, {"TTL": 2}]}"#;

fn probe_row() -> Value {
    json!({"UUID": "host_1_00000000000000AB", "Count": 3, "Share": 0.25, "Seen": "2024-05-06T07:08:09.123456Z",
        "Day": "2024-05-06", "Cost": 1.5, "Body": "00ff", "Up": true, "Hops": [{"TTL": 1}, {"TTL": 2}]})
}

#[test]
fn a_json_datatype_needs_only_its_schema() {
    let lab = Lab::new();
    let body = tar(&[
        ("2024/05/06/a.json", PROBE.as_bytes()),
        ("2024/05/06/b.json.gz", &gzip(br#"{"count": 7}"#)),
        ("2024/05/06/notes.txt", b"not a measurement"),
    ]);
    lab.put(PROBE_OBJECT, &gzip(&body));
    let loaded = lab.loader().load_object(PROBE_OBJECT, None).unwrap();
    assert_eq!((loaded.rows, loaded.errors, loaded.skipped), (2, 0, 1));
    let rows = rows(&loaded.path);
    assert_eq!(rows[0]["id"], "host_1_00000000000000AB");
    assert_eq!(rows[0]["raw"], probe_row());
    assert_eq!(rows[1]["raw"], json!({"Count": 7, "Hops": []}));
    assert!(
        rows[0].get("a").is_none(),
        "a datatype without summary has no column for it"
    );
    assert!(rows[0].get("date").is_none(), "the date stands in the path");
}

#[test]
fn long_names_are_read_in_both_ways_of_tar() {
    let lab = Lab::new();
    let [long, other] = ["n", "m"].map(|name| format!("2024/05/06/{}.json", name.repeat(150)));
    let mut builder = tar::Builder::new(Vec::new());
    let header = || {
        let mut header = tar::Header::new_gnu();
        header.set_size(2);
        header
    };
    // GNU's own extension, written by the tar crate for a name this long.
    builder
        .append_data(&mut header(), &long, &b"{}"[..])
        .unwrap();
    builder
        .append_pax_extensions([("path", other.as_bytes())])
        .unwrap();
    builder
        .append_data(&mut header(), "short", &b"{}"[..])
        .unwrap();
    lab.put(PROBE_OBJECT, &gzip(&builder.into_inner().unwrap()));
    let loaded = lab.loader().load_object(PROBE_OBJECT, None).unwrap();
    assert_eq!((loaded.rows, loaded.errors, loaded.skipped), (2, 0, 0));
    let names: Vec<Value> = rows(&loaded.path)
        .iter()
        .map(|row| row["archiver"]["Filename"].clone())
        .collect();
    assert_eq!(names, [long, other]);
}

#[test]
fn lines_have_their_columns_in_any_case() {
    let lab = Lab::new();
    let one_line = PROBE.replace('\n', " ");
    let archiver = r#"{"Version":"v1","GitCommit":"c","ArchiveURL":"gs://b/o","Filename":"/var/spool/lab/probe1/2024/05/06/a.json"}"#;
    let text = [
        format!(r#"{{"Date":"2024-05-06","Archiver":{archiver},"Raw":{one_line}}}"#),
        format!(r#"{{"date":"2024-05-06","archiver":{archiver},"raw":{one_line}}}"#),
        String::new(),
        format!(
            r#"{{"RAW":{one_line},"ID":"own","ARCHIVER":{},"other":[1,2]}}"#,
            archiver.to_lowercase()
        ),
    ]
    .join("\n");
    lab.put(PROBE_LINES, &gzip(text.as_bytes()));
    let loaded = lab.loader().load_object(PROBE_LINES, None).unwrap();
    assert_eq!((loaded.rows, loaded.errors, loaded.skipped), (3, 0, 0));
    let rows = rows(&loaded.path);
    for row in &rows {
        assert_eq!(row["raw"], probe_row());
        assert!(
            row["archiver"]["Filename"]
                .as_str()
                .unwrap()
                .ends_with("a.json")
        );
    }
    assert_eq!(rows[0]["archiver"]["ArchiveURL"], "gs://b/o");
    assert_eq!(rows[0]["id"], "host_1_00000000000000AB");
    assert_eq!(rows[2]["id"], "own");
}

#[test]
fn bad_lines_are_entries_with_their_number() {
    let lab = Lab::new();
    let name = r#""Archiver":{"Filename":"a.json"}"#;
    let text = [
        format!(r#"{{{name},"Raw":{{"Count":1}}}}"#),
        "{\"cut".to_owned(),
        format!("{{{name}}}"),
        format!(r#"{{{name},"Raw":7}}"#),
        r#"{"Archiver":{"Filename":"a.txt"},"Raw":{}}"#.to_owned(),
        "[]".to_owned(),
        format!(r#"{{{name},"Raw":{{"Count":2}}}}"#),
    ]
    .join("\n");
    lab.put(PROBE_LINES, &gzip(text.as_bytes()));
    let loaded = lab.loader().load_object(PROBE_LINES, None).unwrap();
    assert_eq!((loaded.rows, loaded.errors, loaded.skipped), (2, 4, 1));
    let lines: Vec<_> = errors(&lab.lake(), PROBE_LINES)
        .into_iter()
        .map(|(_, line, _)| line)
        .collect();
    assert_eq!(lines, [Some(2), Some(3), Some(4), Some(6)]);
}

#[test]
fn tar_and_lines_of_the_same_files_give_the_same_rows() {
    let Some(archive) = real_archive() else {
        return;
    };
    let lab = Lab::new();
    let object = format!("ndt/ndt7/2020/03/18/{REAL}");
    let lines_object = format!("autoload/v1/{}", object.replace(".tgz", "-data.jsonl.gz"));
    let mut text = Vec::new();
    let mut tar = tar::Archive::new(flate2::read::MultiGzDecoder::new(&archive[..]));
    for entry in tar.entries().unwrap() {
        let entry = entry.unwrap();
        let file = format!("/var/spool/ndt/ndt7/{}", entry.path().unwrap().display());
        let raw: Value = serde_json::from_reader(flate2::read::MultiGzDecoder::new(entry)).unwrap();
        let line = json!({"Date": "2020-03-18", "Archiver": {"Filename": file}, "Raw": raw});
        serde_json::to_writer(&mut text, &line).unwrap();
        text.push(b'\n');
    }
    lab.put(&object, &archive);
    lab.put(&lines_object, &gzip(&text));
    let without_provenance = |name: &str| {
        let mut rows = rows(&lab.loader().load_object(name, None).unwrap().path);
        for row in &mut rows {
            row.as_object_mut().unwrap().remove("archiver");
        }
        rows
    };
    let of_tar = without_provenance(&object);
    assert_eq!(of_tar.len(), 114);
    assert_eq!(of_tar, without_provenance(&lines_object));
}

#[test]
fn the_date_is_the_objects_unless_told_otherwise() {
    let lab = Lab::new();
    let body = gzip(&tar(&[]));
    let bare = PROBE_OBJECT.rsplit('/').next().unwrap();
    let path = |name: &str, date: Option<&str>| {
        lab.put(name, &body);
        let date = date.map(|date| date.parse().unwrap());
        let loaded = lab.loader().load_object(name, date).unwrap();
        assert_eq!(
            (loaded.rows, loaded.already),
            (0, false),
            "an empty object has its empty file"
        );
        loaded
            .path
            .parent()
            .unwrap()
            .file_name()
            .unwrap()
            .to_str()
            .unwrap()
            .to_owned()
    };
    // Of another moment, else the bare name would be that of this one.
    let elsewhere = PROBE_OBJECT.replace("2024/05/06", "2024/05/07");
    let elsewhere = elsewhere.replace("T070809", "T060708");
    assert_eq!(path(&elsewhere, None), "date=2024-05-07");
    assert_eq!(path(bare, None), "date=2024-05-06");
    let other = PROBE_OBJECT.replace("T070809", "T080910");
    assert_eq!(path(&other, Some("2001-02-03")), "date=2001-02-03");
}

#[test]
fn unknown_fields_are_left_out_and_counted() {
    let lab = Lab::new();
    let body = tar(&[(
        "a.json",
        br#"{"Count": 1, "New": {"x": 1}, "Hops": [{"Loss": 1}, {"Loss": 2}]}"#,
    )]);
    lab.put(PROBE_OBJECT, &gzip(&body));
    let loaded = lab.loader().load_object(PROBE_OBJECT, None).unwrap();
    let unknown: Vec<_> = loaded.unknown_fields.into_iter().collect();
    assert_eq!(
        unknown,
        [("raw.Hops.Loss".to_owned(), 2), ("raw.New".to_owned(), 1)]
    );
}

#[test]
fn objects_of_every_time_and_place_are_read() {
    let files = [("a.json", br#"{"Count": 1}"#.as_slice())];
    let line =
        br#"{"Date": "2024-05-06", "Archiver": {"Filename": "a.json"}, "Raw": {"Count": 1}}"#;
    for (name, body) in [
        // With and without a fraction of a second, split in numbered files, in every kind of tar, under embargo.
        (
            "20240506T070809.123456Z-probe1-mlab1-lga0t-lab.tgz",
            gzip(&tar(&files)),
        ),
        (
            "20240506T070809Z-probe1-mlab1-lga0t-lab-0001.tgz",
            gzip(&tar(&files)),
        ),
        (
            "20240506T070809Z-probe1-mlab1-lga0t-lab-0002.tar.gz",
            gzip(&tar(&files)),
        ),
        (
            "20240506T070809Z-probe1-mlab1-lga0t-lab-0003.tar",
            tar(&files),
        ),
        (
            "20240506T070809Z-probe1-mlab1-lga0t-lab-0004-e.tgz",
            gzip(&tar(&files)),
        ),
        // Virtual sites, hosts of others, and those that are called by their address and network.
        (
            "20240506T070809.123456Z-probe1-mlab1-lga1c-lab.tgz",
            gzip(&tar(&files)),
        ),
        (
            "20240506T070809.123456Z-probe1-third-party-lab.tgz",
            gzip(&tar(&files)),
        ),
        (
            "20240506T070809.123456Z-probe1-c0a80001-lga12345-lab.tgz",
            gzip(&tar(&files)),
        ),
    ] {
        let lab = Lab::new();
        let object = format!("lab/probe1/2024/05/06/{name}");
        lab.put(&object, &body);
        let loader = lab.loader().with_embargoed(true);
        assert_eq!(loader.load_object(&object, None).unwrap().rows, 1, "{name}");
    }
    for folder in ["autoload/v1", "autoload/v2/mlab"] {
        let lab = Lab::new();
        let file = "20240506T070809.123456Z-probe1-c0a80001-lga12345-lab-data.jsonl.gz";
        let object = format!("{folder}/lab/probe1/2024/05/06/{file}");
        lab.put(&object, &gzip(line));
        assert_eq!(
            lab.loader().load_object(&object, None).unwrap().rows,
            1,
            "{folder}"
        );
    }
}
