//! The files that are published.

use std::fs;
use std::io::{self, Write as _};
use std::path::Path;

use flate2::Compression;
use flate2::write::GzEncoder;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

/// Dates that the files are spread over.
const DATES: u64 = 4;

/// Makes files of a datatype: JSON that compresses about as measurements do, or the same as gzip.
pub(crate) fn fill(datatype: &Path, files: u64, bytes: u64, packed: bool) -> io::Result<()> {
    let mut rng = StdRng::seed_from_u64(1);
    let dirs: Vec<_> = (1..=DATES)
        .map(|day| datatype.join(format!("2026/01/{day:02}")))
        .collect();
    for dir in &dirs {
        fs::create_dir_all(dir)?;
    }
    let end = if packed { "json.gz" } else { "json" };
    let mut text = Vec::new();
    for number in 0..files {
        let name =
            format!("ndt7-download-20260101T000000.{number:09}Z.ndt-x_1_{number:016X}.{end}");
        let path = dirs[(number % DATES) as usize].join(name);
        if packed {
            let level = Compression::none();
            let mut file = GzEncoder::new(io::BufWriter::new(fs::File::create(path)?), level);
            for_each_piece(&mut rng, bytes, &mut text, |piece| file.write_all(piece))?;
            file.finish()?.flush()?;
        } else {
            let mut file = io::BufWriter::new(fs::File::create(path)?);
            for_each_piece(&mut rng, bytes, &mut text, |piece| file.write_all(piece))?;
            file.flush()?;
        }
    }
    Ok(())
}

/// Makes JSON of an exact size: a list of samples, and a word that fills the rest.
fn for_each_piece(
    rng: &mut StdRng,
    bytes: u64,
    text: &mut Vec<u8>,
    mut write: impl FnMut(&[u8]) -> io::Result<()>,
) -> io::Result<()> {
    let end = b"],\"Fill\":\"\"}";
    let mut left = bytes;
    text.clear();
    text.extend_from_slice(b"{\"Samples\":[");
    let mut first = true;
    loop {
        let before = text.len();
        let (rtt, sent) = (rng.random_range(1..200_000_u32), rng.random::<u32>());
        let comma = if first { "" } else { "," };
        write!(
            text,
            "{comma}{{\"ElapsedTime\":{},\"RTT\":{rtt},\"BytesSent\":{sent},\"CAState\":0}}",
            rtt / 7
        )?;
        first = false;
        if (text.len() + end.len()) as u64 > left {
            text.truncate(before);
            break;
        }
        if text.len() > 32 * 1024 {
            write(text)?;
            left -= text.len() as u64;
            text.clear();
        }
    }
    text.extend_from_slice(b"],\"Fill\":\"");
    let fill = left.saturating_sub(text.len() as u64 + 2);
    text.extend((0..fill).map(|_| b'x'));
    text.extend_from_slice(b"\"}");
    write(text)
}
