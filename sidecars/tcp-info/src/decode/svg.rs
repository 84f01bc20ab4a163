//! The same curves as a picture.

use std::fmt::Write as _;
use std::io::{self, Write};

use super::Recording;
use super::plot::{Curve, curves};

const WIDTH: f64 = 720.0;
const PANEL: f64 = 160.0;
const LEFT: f64 = 70.0;
const RIGHT: f64 = 15.0;
const TOP: f64 = 40.0;
const GAP: f64 = 45.0;

/// Writes an SVG of 720 by 655 with a panel each for throughput, round-trip time and congestion window. It needs
/// nothing else and scales with the page.
pub fn write_svg(recording: &Recording, out: &mut impl Write) -> io::Result<()> {
    let curves = curves(&recording.moments());
    let height = TOP + curves.len() as f64 * (PANEL + GAP);
    writeln!(
        out,
        r#"<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" font-family="sans-serif" font-size="12">"#
    )?;
    writeln!(
        out,
        r#"<rect width="{WIDTH}" height="{height}" fill="white"/>"#
    )?;
    let title = recording
        .metadata
        .as_ref()
        .map_or("", |metadata| metadata.uuid.as_str());
    writeln!(
        out,
        r#"<text x="{LEFT}" y="18" font-size="14">{}</text>"#,
        escape(title)
    )?;
    for (index, curve) in curves.iter().enumerate() {
        panel(curve, TOP + index as f64 * (PANEL + GAP), out)?;
    }
    writeln!(out, "</svg>")
}

fn panel(curve: &Curve, top: f64, out: &mut impl Write) -> io::Result<()> {
    let highest = curve
        .points
        .iter()
        .map(|(_, value)| *value)
        .fold(0.0, f64::max);
    let last_s = curve.points.last().map_or(0.0, |(time, _)| *time);
    let (right, bottom) = (WIDTH - RIGHT, top + PANEL);
    let share = |value: f64, most: f64| if most > 0.0 { value / most } else { 0.0 };
    let mut path = String::new();
    for (time, value) in &curve.points {
        let x = LEFT + share(*time, last_s) * (right - LEFT);
        let y = bottom - share(*value, highest).max(0.0) * PANEL;
        let _ = write!(path, "{x:.1},{y:.1} ");
    }
    writeln!(
        out,
        r#"<text x="{LEFT}" y="{:.0}">{}, {}</text>"#,
        top - 6.0,
        curve.title,
        curve.unit
    )?;
    writeln!(
        out,
        r##"<path d="M{LEFT} {top}V{bottom}H{right}" fill="none" stroke="#888"/>"##
    )?;
    writeln!(
        out,
        r#"<text x="{:.0}" y="{:.0}" text-anchor="end">{highest:.2}</text>"#,
        LEFT - 6.0,
        top + 10.0
    )?;
    writeln!(
        out,
        r#"<text x="{:.0}" y="{bottom}" text-anchor="end">0</text>"#,
        LEFT - 6.0
    )?;
    writeln!(
        out,
        r#"<text x="{right}" y="{:.0}" text-anchor="end">{last_s:.2} s</text>"#,
        bottom + 16.0
    )?;
    writeln!(
        out,
        r##"<polyline points="{}" fill="none" stroke="#0b62a4" stroke-width="1.2"/>"##,
        path.trim_end()
    )
}

/// UUIDs that are ours need none of this; a file from elsewhere may hold anything.
fn escape(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
}
