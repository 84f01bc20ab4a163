//! One measurement with a progress bar, as `measure` and `demo` show it.

use std::time::Duration;

use groma_ndt7::client::{Client, ClientError, Event, Summary};
use groma_ndt7::protocol::{Direction, RUNTIME};
use indicatif::ProgressBar;
use serde_json::Value;

use crate::output;

/// Whether a progress bar is drawn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Progress {
    /// On standard error, if that is a terminal.
    Shown,
    /// Not at all.
    Hidden,
}

/// Measures one direction.
pub(crate) async fn test(
    client: &Client,
    direction: Direction,
    progress: Progress,
) -> Result<Summary, ClientError> {
    let length_ms = u64::try_from(RUNTIME.as_millis()).unwrap_or(u64::MAX);
    let bar = match progress {
        Progress::Shown => output::bar(direction.as_str(), length_ms),
        Progress::Hidden => ProgressBar::hidden(),
    };
    let on_event = |event: Event| advance(&bar, &event);
    let summary = match direction {
        Direction::Download => client.download(on_event).await,
        Direction::Upload => client.upload(on_event).await,
    };
    if let Ok(summary) = &summary {
        bar.set_position(length_ms);
        bar.abandon_with_message(output::mbps(summary.mean_mbps));
    } else {
        bar.abandon();
    }
    summary
}

fn advance(bar: &ProgressBar, event: &Event) {
    if let Event::Progress(app) = event {
        let elapsed = Duration::from_micros(app.elapsed_us.unsigned_abs());
        bar.set_position(u64::try_from(elapsed.as_millis()).unwrap_or(u64::MAX));
        let mbps = 8.0 * app.num_bytes as f64 / (app.elapsed_us.max(1) as f64);
        bar.set_message(output::mbps(mbps));
    }
}

/// A summary for programs.
pub(crate) fn to_json(summary: &Summary) -> Value {
    serde_json::json!({
        "direction": summary.direction.as_str(),
        "uuid": summary.uuid,
        "mean_mbps": summary.mean_mbps,
        "min_rtt_ms": summary.min_rtt_ms,
        "retransmission_ratio": summary.retransmission_ratio,
        "bytes": summary.bytes,
        "elapsed_us": summary.elapsed_us,
        "server": summary.server.to_string(),
        "client": summary.client.to_string(),
    })
}

/// A summary for people, one line.
pub(crate) fn sentence(summary: &Summary) -> String {
    let rtt = summary
        .min_rtt_ms
        .map_or_else(String::new, |rtt| format!("   minimum RTT {rtt:.3} ms"));
    let again = summary
        .retransmission_ratio
        .map_or_else(String::new, |ratio| {
            format!("   retransmitted {:.2} %", 100.0 * ratio)
        });
    let (direction, rate) = (summary.direction.as_str(), output::mbps(summary.mean_mbps));
    format!("  {direction:<9} {rate:>14}{rtt}{again}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_published_schema_has_the_keys_that_are_printed() {
        let schema: Value =
            serde_json::from_str(include_str!("../../docs/measure.schema.json")).unwrap();
        let printed = to_json(&Summary {
            direction: Direction::Download,
            uuid: None,
            mean_mbps: 8.0,
            min_rtt_ms: None,
            retransmission_ratio: None,
            bytes: 1,
            elapsed_us: 1,
            server: ([127, 0, 0, 1], 443).into(),
            client: ([127, 0, 0, 1], 5000).into(),
        });
        let keys: Vec<&String> = printed.as_object().unwrap().keys().collect();
        let measured = &schema["$defs"]["measured"];
        let described: Vec<&String> = measured["properties"].as_object().unwrap().keys().collect();
        assert_eq!(keys, described);
        assert_eq!(serde_json::json!(keys), measured["required"]);
    }
}
