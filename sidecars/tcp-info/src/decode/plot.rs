//! Throughput, round-trip time and congestion window over time, drawn with characters.

use std::io::{self, Write};

use groma_sock::TcpInfo;
use jiff::Timestamp;

const HEIGHT: usize = 8;
/// The dots of a braille character: 2 across, 4 down.
const DOTS: [[u32; 4]; 2] = [[0x01, 0x02, 0x04, 0x40], [0x08, 0x10, 0x20, 0x80]];
/// Rates are means over at least this, because bytes are acknowledged in bursts.
const RATE_SPAN_S: f64 = 0.1;

/// The values of a snapshot that a plot shows.
#[derive(Debug, Clone)]
pub struct Moment {
    /// When the kernel had answered.
    pub timestamp: Timestamp,
    /// State of the connection as the kernel numbers it.
    pub state: u8,
    /// `None` where the kernel gave none.
    pub info: Option<TcpInfo>,
}

/// One snapshot, ready to draw.
pub(super) struct Point {
    /// Since the first snapshot.
    pub(super) time_s: f64,
    pub(super) state: u8,
    pub(super) info: Option<TcpInfo>,
    pub(super) sent_mbps: f64,
    pub(super) received_mbps: f64,
}

/// One curve.
pub(super) struct Curve {
    pub(super) title: &'static str,
    pub(super) unit: &'static str,
    /// Seconds and values.
    pub(super) points: Vec<(f64, f64)>,
}

pub(super) fn points(moments: &[Moment]) -> Vec<Point> {
    let Some(first) = moments.first() else {
        return Vec::new();
    };
    let mut points: Vec<Point> = Vec::with_capacity(moments.len());
    let mut from = 0;
    for moment in moments {
        let time_s = moment
            .timestamp
            .duration_since(first.timestamp)
            .as_secs_f64();
        let mut point = Point {
            time_s,
            state: moment.state,
            info: moment.info,
            sent_mbps: 0.0,
            received_mbps: 0.0,
        };
        while from + 1 < points.len() && points[from + 1].time_s <= time_s - RATE_SPAN_S {
            from += 1;
        }
        if let (Some(info), Some(earlier)) = (&point.info, points.get(from))
            && let Some(before) = &earlier.info
            && time_s > earlier.time_s
        {
            let mbps = |now: i64, then: i64| {
                now.saturating_sub(then) as f64 * 8e-6 / (time_s - earlier.time_s)
            };
            point.sent_mbps = mbps(info.bytes_acked, before.bytes_acked);
            point.received_mbps = mbps(info.bytes_received, before.bytes_received);
        }
        points.push(point);
    }
    points
}

/// The curves of a connection, for the direction with more bytes.
pub(super) fn curves(moments: &[Moment]) -> Vec<Curve> {
    let points = points(moments);
    let total = |bytes: fn(&TcpInfo) -> i64| {
        points
            .iter()
            .filter_map(|point| point.info.as_ref())
            .map(bytes)
            .max()
            .unwrap_or(0)
    };
    let download = total(|info| info.bytes_acked) >= total(|info| info.bytes_received);
    let curve = |title, unit, value: &dyn Fn(&Point, &TcpInfo) -> f64| Curve {
        title,
        unit,
        points: points
            .iter()
            .filter_map(|point| Some((point.time_s, value(point, point.info.as_ref()?))))
            .collect(),
    };
    vec![
        curve(
            if download {
                "throughput out"
            } else {
                "throughput in"
            },
            "Mbit/s",
            &|point, _| {
                if download {
                    point.sent_mbps
                } else {
                    point.received_mbps
                }
            },
        ),
        curve("round-trip time", "ms", &|_, info| {
            f64::from(info.rtt_us) / 1000.0
        }),
        curve("congestion window", "segments", &|_, info| {
            f64::from(info.snd_cwnd)
        }),
    ]
}

/// Draws throughput, round-trip time and congestion window, `width` characters wide (at least 20).
pub fn write_plot(moments: &[Moment], width: usize, out: &mut impl Write) -> io::Result<()> {
    let width = width.max(20);
    for curve in curves(moments) {
        let highest = curve
            .points
            .iter()
            .map(|(_, value)| *value)
            .fold(0.0, f64::max);
        let last_s = curve.points.last().map_or(0.0, |(time, _)| *time);
        writeln!(
            out,
            "{} ({}), highest {highest:.2}",
            curve.title, curve.unit
        )?;
        for row in draw(&curve.points, width, last_s, highest) {
            writeln!(out, "│{}", row.trim_end_matches('\u{2800}'))?;
        }
        writeln!(out, "└{} {last_s:.2} s", "─".repeat(width))?;
    }
    Ok(())
}

fn draw(points: &[(f64, f64)], width: usize, last_s: f64, highest: f64) -> Vec<String> {
    let (columns, rows) = (width * 2, HEIGHT * 4);
    let mut cells = vec![vec![0_u32; width]; HEIGHT];
    // Scales a value to 0..count; the edge cases (nothing but zeros, one instant) land at 0.
    let place = |value: f64, most: f64, count: usize| {
        let share = if most > 0.0 {
            (value / most).clamp(0.0, 1.0)
        } else {
            0.0
        };
        (share * (count - 1) as f64).round() as usize
    };
    for (time, value) in points {
        let x = place(*time, last_s, columns);
        let y = rows - 1 - place(*value, highest, rows);
        cells[y / 4][x / 2] |= DOTS[x % 2][y % 4];
    }
    cells
        .into_iter()
        .map(|row| {
            row.into_iter()
                .filter_map(|dots| char::from_u32(0x2800 + dots))
                .collect()
        })
        .collect()
}
