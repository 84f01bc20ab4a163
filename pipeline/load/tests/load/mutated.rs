//! Real files, broken at random: whatever comes, every member is accounted for and nothing panics.

use std::fs;
use std::sync::Arc;

use groma_load::Loader;
use groma_mlab::load_datatype;
use groma_schema::{Schema, datatype};

use crate::support::{Lab, gzip, tar};

/// Broken copies of each file; the long run takes more.
const ROUNDS: u64 = 8;
const LONG_ROUNDS: u64 = 100_000;

/// Datatype, sample, and the name of the member.
const SAMPLES: &[(&str, &str, &str)] = &[
    ("scamper1", "scamper1/valid-complex", "x.jsonl"),
    ("scamper2", "scamper2/valid-star", "x.jsonl"),
    (
        "tcpinfo",
        "tcpinfo/ndt-jdczh_1553815964_00000000000003E8.00183.jsonl.zst",
        "x.jsonl.zst",
    ),
    (
        "annotation2",
        "annotation2/ndt-njp6l_1585004303_00000000000170FA.json",
        "x.json",
    ),
    ("pcap", "pcap/v4.pcap", "x.pcap"),
    ("pcap", "pcap/v6.pcap", "x.pcap"),
    ("switch", "switch/discov2-switch.jsonl", "x.jsonl"),
    ("ndt5", "annotation2/ndt-empty-geo.json", "x.json"),
];

/// xorshift64: the same numbers in every run.
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % limit.max(1) as u64) as usize
    }
}

fn break_it(bytes: &mut Vec<u8>, numbers: &mut Numbers) {
    for _ in 0..=numbers.below(4) {
        let at = numbers.below(bytes.len());
        match numbers.below(5) {
            0 => bytes.truncate(at),
            1 => bytes.extend_from_within(at..),
            2 => drop(bytes.drain(at..(at + numbers.below(40)).min(bytes.len()))),
            3 => bytes.splice(at..at, *b"-9e99[{}\x00").for_each(drop),
            _ => {
                if let Some(byte) = bytes.get_mut(at) {
                    *byte ^= 1 << numbers.below(8);
                }
            }
        }
    }
}

fn run(rounds: u64) {
    let Some(data) = groma_tests::real_data() else {
        return;
    };
    let mut numbers = Numbers(0x9e37_79b9_7f4a_7c15);
    for (name, path, member) in SAMPLES {
        let plain = fs::read(data.join(path)).unwrap();
        for round in 0..rounds {
            let lab = Lab::new();
            let object =
                format!("ndt/{name}/2020/03/18/20200318T003853.425987Z-{name}-mlab3-syd03-ndt.tgz");
            let mut file = plain.clone();
            break_it(&mut file, &mut numbers);
            lab.put(&object, &gzip(&tar(&[("good.txt", b""), (member, &file)])));
            let schema = Schema::parse(datatype(name).unwrap()).unwrap();
            let datatype = load_datatype("ndt".parse().unwrap(), name.parse().unwrap(), schema);
            let loader = Loader::new(Arc::new(lab.store.clone()), lab.lake(), vec![datatype]);
            let loaded = loader.load_object(&object, None).unwrap();
            assert_eq!(loaded.skipped, 1, "{name}, round {round}");
            assert!(loaded.rows + loaded.errors >= 1, "{name}, round {round}");
        }
    }
}

#[test]
fn broken_files_are_accounted_for() {
    run(ROUNDS);
}

#[test]
#[ignore = "hours"]
fn broken_files_are_accounted_for_at_length() {
    run(LONG_ROUNDS);
}
