use super::*;
use crate::file::growing::Items;
use crate::metrics::Metrics;
use groma_diag::MESSAGE_BYTES;
use groma_spool::ExperimentDir;
use prometheus_client::registry::Registry;
use std::sync::mpsc;

const NAME: &str = "2026-11-22.a_1_00000000000003E8.00000";
const HEADER: &str = r#"{"Timestamp":"0001-01-01T00:00:00Z","Metadata":{"UUID":"a_1_00000000000003E8","Sequence":0,"StartTime":"2026-11-22T00:00:00Z"}}
"#;
const LAST: &str = r#"{"Timestamp":"0001-01-01T00:00:00Z","Metadata":{"UUID":"a_1_00000000000003E8","Sequence":0,"StartTime":"2026-11-22T00:00:00Z"},"End":"closed"}
"#;
const INTERRUPTED: &str = r#"{"Timestamp":"0001-01-01T00:00:00Z","Metadata":{"UUID":"a_1_00000000000003E8","Sequence":0,"StartTime":"2026-11-22T00:00:00Z"},"End":"interrupted"}
"#;

fn record() -> String {
    let zeros = "A".repeat(96);
    format!("{{\"Timestamp\":\"2026-11-22T00:00:00Z\",\"RawIDM\":\"{zeros}\"}}\n")
}

fn frame(text: &str) -> Vec<u8> {
    zstd::bulk::compress(text.as_bytes(), 1).unwrap()
}

/// Puts a file into the queue of a finisher and returns what it made of it.
fn finish(name: &str, bytes: &[u8]) -> (Option<String>, usize, usize) {
    let dir = tempfile::tempdir().unwrap();
    let spool = ExperimentDir::open(dir.path().join("ndt"), "ndt".parse().unwrap()).unwrap();
    let layout = Layout::open(spool, false).unwrap();
    fs::write(layout.done_dir().join(name), bytes).unwrap();
    let metrics = Metrics::new(&mut Registry::default());
    let (_, news) = mpsc::sync_channel(1);
    Finisher::new(layout.clone(), metrics).run(&news);
    let published = dir
        .path()
        .join("ndt/tcpinfo/2026/11/22/a_1_00000000000003E8.00000.jsonl.zst");
    let count = |path: PathBuf| fs::read_dir(path).unwrap().count();
    assert_eq!(count(layout.new_dir()), 0);
    let text = fs::read(published).ok().map(|bytes| {
        assert_eq!(
            zstd::zstd_safe::find_frame_compressed_size(&bytes),
            Ok(bytes.len()),
            "one frame"
        );
        String::from_utf8(zstd::decode_all(&bytes[..]).unwrap()).unwrap()
    });
    (text, count(layout.done_dir()), count(layout.refused_dir()))
}

#[test]
fn several_frames_become_one() {
    let bytes = [frame(HEADER), frame(&record()), frame(&(record() + LAST))].concat();
    let expected = [HEADER, &record(), &record(), LAST].concat();
    assert_eq!(finish(NAME, &bytes), (Some(expected), 0, 0));
}

/// A growing file with a block for each of these.
fn growing(blocks: &[&dyn Fn(&mut Items)]) -> Vec<u8> {
    let (mut items, mut file) = (Items::default(), MAGIC.to_vec());
    for fill in blocks {
        fill(&mut items);
        items.write_block(&mut file);
        items.written();
    }
    file
}

fn snapshot(items: &mut Items) {
    items.record("2026-11-22T00:00:00Z".parse().unwrap(), &[0; MESSAGE_BYTES]);
}

#[test]
fn a_growing_file_becomes_lines_in_one_frame() {
    let begin = |items: &mut Items| items.line(HEADER.as_bytes());
    let end = |items: &mut Items| items.line(LAST.as_bytes());
    let bytes = growing(&[&begin, &snapshot, &snapshot, &end]);
    let expected = [HEADER, &record(), &record(), LAST].concat();
    assert_eq!(finish(NAME, &bytes), (Some(expected), 0, 0));
}

#[test]
fn a_growing_file_is_good_up_to_the_last_whole_block() {
    let begin = |items: &mut Items| items.line(HEADER.as_bytes());
    let first = growing(&[&begin]).len();
    let bytes = growing(&[&begin, &snapshot, &snapshot]);
    for cut in 0..bytes.len() {
        let (text, queued, refused) = finish(NAME, &bytes[..cut]);
        assert_eq!((queued, refused), (0, 0), "cut at {cut}");
        assert_eq!(text.is_some(), cut >= first, "cut at {cut}");
        let fine = text.is_none_or(|text| {
            (0..2).any(|records| text == [HEADER, &record().repeat(records), INTERRUPTED].concat())
        });
        assert!(fine, "cut at {cut}");
    }
}

#[test]
fn a_death_at_any_byte_leaves_complete_lines_and_says_so() {
    let bytes = [frame(&(HEADER.to_owned() + &record())), frame(&record())].concat();
    let first = frame(&(HEADER.to_owned() + &record())).len();
    let last_words =
        |records: usize| Some([HEADER, &record().repeat(records), INTERRUPTED].concat());
    for cut in (0..bytes.len())
        .step_by(3)
        .chain([first - 1, first, bytes.len()])
    {
        let (text, queued, refused) = finish(NAME, &bytes[..cut]);
        assert_eq!((queued, refused), (0, 0), "cut at {cut}");
        if cut == bytes.len() {
            assert_eq!(text, last_words(2));
        } else if cut >= first {
            assert!(
                text == last_words(1) || text == last_words(2),
                "cut at {cut}: {text:?}"
            );
        } else {
            // A damaged frame yields nothing or the first lines, depending on its blocks.
            let fine = text.is_none() || text == last_words(0) || text == last_words(1);
            assert!(fine, "cut at {cut}: {text:?}");
        }
    }
}

#[test]
fn what_has_no_header_is_nothing_and_a_strange_name_is_kept() {
    assert_eq!(finish(NAME, &frame(&record())), (None, 0, 0));
    assert_eq!(finish(NAME, b"garbage"), (None, 0, 0));
    assert_eq!(finish("strange", &frame(HEADER)), (None, 0, 1));
}

#[test]
fn a_name_that_claims_to_be_whole_is_not_believed_after_a_restart() {
    let name = format!("{NAME}{WHOLE}");
    let (text, ..) = finish(&name, &frame(HEADER)[..20]);
    assert!(text.is_none_or(|text| text.ends_with(INTERRUPTED)));
}

#[test]
fn a_taken_name_is_never_replaced() {
    let dir = tempfile::tempdir().unwrap();
    let spool = ExperimentDir::open(dir.path().join("ndt"), "ndt".parse().unwrap()).unwrap();
    let layout = Layout::open(spool, false).unwrap();
    let target = layout.target(NAME).unwrap();
    layout.create_parent(&target).unwrap();
    fs::write(&target, b"first").unwrap();
    fs::write(layout.done_dir().join(NAME), frame(HEADER)).unwrap();
    let (_, news) = mpsc::sync_channel(1);
    Finisher::new(layout.clone(), Metrics::new(&mut Registry::default())).run(&news);
    assert_eq!(fs::read(&target).unwrap(), b"first");
    assert_eq!(fs::read_dir(layout.refused_dir()).unwrap().count(), 1);
}

/// A file of an earlier process and a complete one leave the queue for the spool. After a power cut at any time, the first one is
/// in exactly one of them, and no half file is in the spool.
#[test]
fn a_finished_file_is_in_the_queue_or_whole_in_the_spool() {
    use groma_disk::power::{check, needless_syncs};

    let names = [0, 1].map(|number| format!("2026-11-22.a_1_00000000000003E{number}.00000"));
    let whole = frame(&(HEADER.to_owned() + LAST));
    let queue = |root: &Path| root.join("ndt/.tcpinfo/done");
    let work = |disk: &groma_disk::Disk, root: &Path| {
        // A file of an earlier process is in the queue. This process adds a complete one, which it does not sync.
        fs::create_dir_all(queue(root))?;
        fs::write(queue(root).join(&names[0]), frame(HEADER))?;
        let added = queue(root).join(format!("{}{WHOLE}", names[1]));
        let added = groma_disk::Entry::path(&added);
        let mut file = disk.create_file(added, FILE_MODE, Taken::Refuse)?;
        file.write_all(&whole)?;
        let spool = ExperimentDir::open_on(disk.clone(), root.join("ndt"), "ndt".parse().unwrap());
        let layout = Layout::open(spool.map_err(|error| error.source)?, false)?;
        let metrics = Metrics::new(&mut Registry::default());
        let finisher = Finisher::new(layout, metrics);
        while finisher.pass(true)?.0 > 0 {}
        Ok(())
    };
    let holds = |root: &Path, is_done: bool| {
        for (number, name) in names.iter().enumerate() {
            let file = format!("a_1_00000000000003E{number}.00000.jsonl.zst");
            let text = fs::read(root.join("ndt/tcpinfo/2026/11/22").join(file)).ok();
            let is_published = match text.map(|bytes| zstd::decode_all(&bytes[..])) {
                Some(Ok(text)) if text.starts_with(HEADER.as_bytes()) => true,
                None => false,
                half => return Err(format!("half a file is in the spool: {half:?}")),
            };
            let left = fs::read_dir(queue(root)).unwrap().flatten();
            let mut left = left.map(|entry| entry.file_name().into_string().unwrap());
            let is_queued = left.any(|left| left.starts_with(name.as_str()));
            let is_lost = number == 0 && !is_published && !is_queued;
            if is_lost || is_published && is_queued || is_done && !is_published {
                return Err(format!(
                    "{name}: published {is_published}, queued {is_queued}"
                ));
            }
        }
        Ok(())
    };
    check(work, holds).unwrap();
    let mut needless = needless_syncs(work, holds);
    // Others are those of the directories, which the first lines made without a sync.
    needless.retain(|sync| sync.contains("finish.rs"));
    assert_eq!(needless, [""; 0]);
}
