//! Inputs from a lab: tcpinfo as it was archived, and packets that were captured meanwhile.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use flate2::Compression;
use flate2::write::GzEncoder;

/// Bytes of the header of a capture file, and of that of a packet in it.
const FILE_HEADER: usize = 24;
const PACKET_HEADER: usize = 16;

/// Title, file name and path of each object. Prints which are missing.
#[allow(clippy::print_stdout, reason = "the report is the purpose")]
pub(crate) fn objects(dir: &Path) -> anyhow::Result<Vec<(String, String, PathBuf)>> {
    let mut found = Vec::new();
    let mut files = Vec::new();
    walk(&dir.join("lab/archive"), &mut files);
    let named = |path: &PathBuf| {
        path.file_name()
            .and_then(|name| name.to_str())
            .unwrap_or_default()
            .to_owned()
    };
    let size = |path: &PathBuf| path.metadata().map_or(0, |meta| meta.len());
    files.retain(|path| named(path).contains("-tcpinfo-") && named(path).ends_with(".tgz"));
    match files.into_iter().max_by_key(size) {
        Some(path) => found.push(("lab's tcpinfo".to_owned(), named(&path), path)),
        None => {
            println!("no tcpinfo of the lab: its case is left out; `benches/load/run` makes it");
        }
    }
    let capture = dir.join("lab.pcap");
    if capture.is_file() {
        let path = pcap(dir, &fs::read(capture)?)?;
        found.push(("lab's pcap".to_owned(), named(&path), path));
    } else {
        println!(
            "no packets of the lab: their case is left out; `benches/load/run` makes them, with tcpdump"
        );
    }
    Ok(found)
}

fn walk(dir: &Path, files: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
        match entry.path() {
            path if path.is_dir() => walk(&path, files),
            path => files.push(path),
        }
    }
}

/// The capture as an archive object with one file per connection, as packet-headers writes them.
fn pcap(dir: &Path, capture: &[u8]) -> anyhow::Result<PathBuf> {
    let path = dir.join("20200319T000000.000000Z-pcap-mlab1-lga0t-ndt.tgz");
    if path.exists() {
        return Ok(path);
    }
    let (header, mut rest) = capture.split_at(FILE_HEADER);
    let mut connections: BTreeMap<[u8; 4], Vec<u8>> = BTreeMap::new();
    while let Some((head, data)) = rest.split_at_checked(PACKET_HEADER) {
        let bytes = u32::from_le_bytes([head[8], head[9], head[10], head[11]]) as usize;
        let Some((data, behind)) = data.split_at_checked(bytes) else {
            break;
        };
        rest = behind;
        // Ethernet, then IPv4 without options, as loopback has them: the two ports, in one order for both ways.
        let Some(&[a, b, c, d]) = data.get(34..38).and_then(|ports| ports.first_chunk()) else {
            continue;
        };
        let ports = if [a, b] < [c, d] {
            [a, b, c, d]
        } else {
            [c, d, a, b]
        };
        let file = connections.entry(ports).or_insert_with(|| header.to_vec());
        file.extend_from_slice(head);
        file.extend_from_slice(data);
    }
    let outer = GzEncoder::new(fs::File::create(&path)?, Compression::fast());
    let mut builder = tar::Builder::new(outer);
    for (ports, file) in &connections {
        let mut gzip = GzEncoder::new(Vec::new(), Compression::default());
        std::io::Write::write_all(&mut gzip, file)?;
        let body = gzip.finish()?;
        let mut header = tar::Header::new_ustar();
        header.set_size(body.len() as u64);
        header.set_mode(0o644);
        let name = format!(
            "2020/03/19/lab_1_{:016X}.pcap.gz",
            u32::from_be_bytes(*ports)
        );
        builder.append_data(&mut header, name, body.as_slice())?;
    }
    builder.into_inner()?.finish()?;
    Ok(path)
}
