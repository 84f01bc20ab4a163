//! Many ndt7 tests from the real ones: the same shape, other numbers.

use std::fs::File;
use std::io::{Read as _, Write as _};
use std::path::{Path, PathBuf};

use flate2::Compression;
use flate2::read::MultiGzDecoder;
use flate2::write::GzEncoder;

/// An archive object of `tests` tests under `dir`, made unless it is there.
///
/// Each is a real test, drawn at random, in which the lower half of the digits of every number and of every fraction of a
/// second is random, and the cookie of the UUID new. No two are the same, and none compresses as if it were repeated.
pub(crate) fn object(dir: &Path, real: &Path, tests: usize) -> anyhow::Result<PathBuf> {
    let path = dir.join(format!(
        "20200319T000000.{tests:06}Z-ndt7-mlab1-lga0t-ndt.tgz"
    ));
    if path.exists() {
        return Ok(path);
    }
    let mut templates = Vec::new();
    let mut archive = tar::Archive::new(MultiGzDecoder::new(File::open(real)?));
    for entry in archive.entries()? {
        let mut entry = entry?;
        let is_upload = entry
            .path_bytes()
            .windows(12)
            .any(|part| part == b"ndt7-upload-");
        let mut json = Vec::new();
        if MultiGzDecoder::new(&mut entry)
            .read_to_end(&mut json)
            .is_ok()
        {
            templates.push((is_upload, json));
        }
    }
    let unfinished = path.with_extension("tmp");
    let outer = GzEncoder::new(File::create(&unfinished)?, Compression::fast());
    let mut builder = tar::Builder::new(outer);
    let mut random = Random(1);
    for number in 0..tests {
        let (is_upload, template) = &templates[random.below(templates.len() as u64) as usize];
        let mut json = template.clone();
        perturb(&mut json, &mut random);
        let mut gzip = GzEncoder::new(Vec::new(), Compression::default());
        gzip.write_all(&json)?;
        let body = gzip.finish()?;
        let direction = if *is_upload { "upload" } else { "download" };
        let cookie = random.next();
        let name = format!(
            "2020/03/19/ndt7-{direction}-20200319T000000.{number:09}Z.bench_1_{cookie:016X}.json.gz"
        );
        let mut header = tar::Header::new_ustar();
        header.set_size(body.len() as u64);
        header.set_mode(0o644);
        builder.append_data(&mut header, name, body.as_slice())?;
    }
    builder.into_inner()?.finish()?.sync_all()?;
    std::fs::rename(unfinished, &path)?;
    Ok(path)
}

/// Changes digits in place: outside strings those of every number, inside them fractions of seconds and cookies of UUIDs.
fn perturb(json: &mut [u8], random: &mut Random) {
    let mut in_string = false;
    let mut at = 0;
    while at < json.len() {
        match json[at] {
            b'"' => in_string = !in_string,
            b'0'..=b'9' if !in_string || matches!(json[at - 1], b'.' | b'_') => {
                let end = json[at..]
                    .iter()
                    .position(|byte| !byte.is_ascii_hexdigit())
                    .map_or(json.len(), |run| at + run);
                let is_cookie = in_string && json[at - 1] == b'_' && json[end] == b'"';
                let is_fraction = in_string && json[end] == b'Z';
                if !in_string || is_cookie || is_fraction {
                    let half = at + (end - at).div_ceil(2);
                    json[half..end].fill_with(|| b'0' + random.below(10) as u8);
                }
                at = end;
                continue;
            }
            _ => {}
        }
        at += 1;
    }
}

/// `SplitMix64`.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }

    fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }
}
