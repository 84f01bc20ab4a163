//! A table that people can read.

use std::io::{self, Write};

use groma_diag::state;

use super::Recording;

const COLUMNS: &str = "  time s  state         Mbit/s out  Mbit/s in   rtt ms  min ms   cwnd  unacked  retrans      bytes acked   bytes received";

/// Words of a file that anyone may have written: a terminal must not obey them.
fn printable(words: &str) -> String {
    words.replace(char::is_control, "\u{fffd}")
}

/// Writes the header, a row per snapshot with the rates since the one before, and the end.
pub fn write_table(recording: &Recording, out: &mut impl Write) -> io::Result<()> {
    if let Some(metadata) = &recording.metadata {
        writeln!(
            out,
            "{}  sequence {}  since {}",
            printable(&metadata.uuid),
            metadata.sequence,
            metadata.start_time
        )?;
    }
    let points = super::plot::points(&recording.moments());
    let Some(first) = recording.records.first() else {
        return writeln!(out, "no snapshots");
    };
    let snapshot = first.decode();
    if let Some(id) = snapshot.inet_diag_msg.and_then(|message| message.id) {
        writeln!(
            out,
            "{} port {} <- {} port {}  {}",
            id.local_ip,
            id.local_port,
            id.remote_ip,
            id.remote_port,
            printable(&snapshot.congestion_algorithm)
        )?;
    }
    writeln!(out, "{COLUMNS}")?;
    for point in &points {
        write!(
            out,
            "{:>8.3}  {:<12}",
            point.time_s,
            state::name(point.state)
        )?;
        match &point.info {
            Some(info) => writeln!(
                out,
                "  {:>10.3} {:>10.3} {:>8.2} {:>7.2} {:>6} {:>8} {:>8} {:>16} {:>16}",
                point.sent_mbps,
                point.received_mbps,
                f64::from(info.rtt_us) / 1000.0,
                f64::from(info.min_rtt_us) / 1000.0,
                info.snd_cwnd,
                info.unacked,
                info.total_retrans,
                info.bytes_acked,
                info.bytes_received
            )?,
            None => writeln!(out)?,
        }
    }
    if let Some(end) = recording.end {
        write!(out, "ended: {}", format!("{end:?}").to_lowercase())?;
        if let Some(polls) = &recording.polls {
            write!(
                out,
                "; {} polls, {} late, {} failed",
                polls.made, polls.late, polls.failed
            )?;
        }
        writeln!(out)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::Metadata;

    #[test]
    fn a_name_cannot_steer_the_terminal() {
        let metadata = Metadata {
            uuid: "a\u{1b}]0;owned\u{7}".to_owned(),
            sequence: 0,
            start_time: jiff::Timestamp::UNIX_EPOCH,
        };
        let recording = Recording {
            metadata: Some(metadata),
            ..Recording::default()
        };
        let mut table = Vec::new();
        write_table(&recording, &mut table).unwrap();
        let table = String::from_utf8(table).unwrap();
        assert!(table.starts_with("a\u{fffd}]0;owned\u{fffd}  sequence 0"));
    }
}
