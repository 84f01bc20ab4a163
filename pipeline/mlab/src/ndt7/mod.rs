//! ndt7 rows as M-Lab's parser makes them, apart from what [`RULES`] says.

mod name;
mod summary;

pub(super) use name::is_wanted;
pub(super) use summary::{Summary, ratio, summary_fields, without_mark};

use arrow_schema::{Field, Fields};
use groma_load::Batch;
use groma_load::Traits;
use groma_load::{Datatype, Measurement, Rule, record};

/// Only files of tests count.
pub(crate) const MEMBER_NAME: Rule = Rule {
    name: "member-name",
    what: "Only members named ndt7-(upload|download)-<YYYYMMDDTHHMMSS.nnnnnnnnnZ>.<UUID>.json, with or without .gz, are rows; others are skipped and counted.",
    why: "The same spool tree may hold other files, and a row without a direction and a UUID means nothing.",
};

/// The key is the connection.
pub(crate) const UNSAFE_UUID: Rule = Rule {
    name: "unsafe-uuid",
    what: "id and a.UUID are the UUID of the direction, without its `_unsafe` piece; raw keeps it as written.",
    why: "A server that cannot read its UUID prefix file marks its UUIDs so, and the sidecars of the same connection do not: with the mark the join on id finds nothing.",
};

/// The last word of the kernel is the result.
pub(crate) const LAST_TCP_INFO: Rule = Rule {
    name: "last-tcp-info",
    what: "a.* comes from the last server measurement that has a TCPInfo: MeanThroughputMbps is 8*BytesAcked/ElapsedTime of a download and 8*BytesReceived/ElapsedTime of an upload, MinRTT is in ms, LossRate is BytesRetrans/BytesSent of a download and 0 of an upload. Without a TCPInfo, or with a divisor of 0, the value is NULL.",
    why: "The kernel's counters run over the whole test. M-Lab's parser looks at the very last measurement only, and fails where that has no TCPInfo.",
};

/// Redundant copies are dropped.
pub(crate) const CONNECTION_INFO: Rule = Rule {
    name: "connection-info",
    what: "ConnectionInfo is removed from ServerMeasurements and kept in ClientMeasurements.",
    why: "The server repeats in every measurement the addresses that stand once at the top; what the client saw is its own observation.",
};

/// Old kernels knew fewer counters.
pub(crate) const ZERO_TAIL: Rule = Rule {
    name: "zero-tail",
    what: "An INTEGER that a TCPInfo or BBRInfo does not have reads 0.",
    why: "The kernel's struct grew over the years; M-Lab's rows have 0 for the fields that a server's kernel did not report, and sums over years rely on it.",
};

/// Which algorithm measured.
pub(crate) const CONGESTION_CONTROL: Rule = Rule {
    name: "congestion-control",
    what: "a.CongestionControl is the `congestion_control` of ServerMetadata when the server wrote it, else `bbr`.",
    why: "M-Lab's servers run BBR and do not say so. A server without BBR measures with something else, and the row should not hide it.",
};

/// The bandwidth of 2020 had another name.
pub(crate) const BBR_MAX_BANDWIDTH: Rule = Rule {
    name: "bbr-max-bandwidth",
    what: "BBRInfo.MaxBandwidth (bytes per second) is read as BBRInfo.BW when there is no BW.",
    why: "It is the same quantity under its name until 2020. M-Lab's rows of that time say BW 0, so that the measured bandwidth is lost to queries.",
};

/// A timestamp has microseconds.
pub(crate) const MICROSECONDS: Rule = Rule {
    name: "microseconds",
    what: "Timestamps are cut, not rounded, to microseconds.",
    why: "That is what BigQuery's TIMESTAMP holds; the nanoseconds stay in the archive.",
};

/// Every way in which a row differs from its file.
const RULES: &[Rule] = &[
    MEMBER_NAME,
    UNSAFE_UUID,
    LAST_TCP_INFO,
    CONNECTION_INFO,
    ZERO_TAIL,
    CONGESTION_CONTROL,
    BBR_MAX_BANDWIDTH,
    super::ndt5::METADATA_MAP,
    MICROSECONDS,
];

/// [`ZERO_TAIL`], [`BBR_MAX_BANDWIDTH`] and [`CONNECTION_INFO`].
const TRAITS: Traits = Traits {
    zero_filled: &["TCPInfo", "BBRInfo"],
    aliases: &[("BBRInfo", "MaxBandwidth", "BW")],
    ignored: &[("ServerMeasurements", "ConnectionInfo")],
};

/// M-Lab's `ndt7`.
#[derive(Debug)]
pub(crate) struct Ndt7;

impl Datatype for Ndt7 {
    fn rules(&self) -> &'static [Rule] {
        RULES
    }

    fn columns(&self, fields: Fields) -> Vec<Field> {
        vec![record("a", summary_fields()), record("raw", fields)]
    }

    fn traits(&self) -> Traits {
        TRAITS
    }

    fn wants(&self, member: &str) -> bool {
        is_wanted(member)
    }

    fn append(&self, source: &Measurement<'_>, batch: &mut Batch) -> Result<(), String> {
        append(source, batch)
    }
}

fn append(source: &Measurement<'_>, batch: &mut Batch) -> Result<(), String> {
    batch.put_json("raw", source.bytes)?;
    let summary = Summary::of(batch.column("raw"), batch.rows())?;
    batch.put("a", &summary)?;
    batch.end_row(summary.uuid.as_deref(), source.archiver);
    Ok(())
}

/// The two directions, named as in the file.
const DIRECTIONS: [&str; 2] = ["Download", "Upload"];
