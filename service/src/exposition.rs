//! The two text formats in which Prometheus reads metrics, and the choice between them.

use std::fmt::Write as _;

/// The content type of `OpenMetrics` text (`OpenMetrics` 1.0, section "Text format").
pub const OPENMETRICS_CONTENT_TYPE: &str =
    "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// The content type of Prometheus text (Prometheus documentation, "Exposition formats").
pub const PROMETHEUS_CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// Returns whether a client with this `Accept` header prefers `OpenMetrics` (RFC 9110, section 12.5.1).
///
/// Prometheus text wins a tie and is the answer to clients that accept neither, because every scraper reads it.
pub(crate) fn prefers_openmetrics(accept: &str) -> bool {
    quality(accept, &["application/openmetrics-text"])
        > quality(accept, &["text/plain", "text/*", "*/*"])
}

/// The weight of the first of `types` that the header lists, in thousandths; types are in the order of precedence.
fn quality(accept: &str, types: &[&str]) -> u32 {
    let offers: Vec<(String, u32)> = accept.split(',').map(offer).collect();
    let weight = |wanted: &&str| {
        let of_type = offers.iter().filter(|(offered, _)| offered == wanted);
        of_type.map(|(_, weight)| *weight).max()
    };
    types.iter().find_map(weight).unwrap_or(0)
}

/// A media range in lower case without parameters, and its weight in thousandths.
fn offer(text: &str) -> (String, u32) {
    let mut pieces = text.split(';').map(str::trim);
    let range = pieces.next().unwrap_or_default().to_ascii_lowercase();
    let weight = pieces
        .filter_map(|piece| piece.split_once('='))
        .find(|(name, _)| name.trim().eq_ignore_ascii_case("q"))
        .and_then(|(_, value)| value.trim().parse::<f64>().ok());
    let weight = weight.map_or(1.0, |weight| weight.clamp(0.0, 1.0));
    (range, (weight * 1000.0) as u32)
}

/// Rewrites `OpenMetrics` text as Prometheus text 0.0.4.
///
/// The formats differ in these points: 0.0.4 names a counter with its suffix `_total` and an info metric with `_info`
/// in `# TYPE` and `# HELP`, has no types `info`, `stateset`, `unknown` and `gaugehistogram`, no `# UNIT`, no exemplars
/// and no `# EOF`.
pub(crate) fn to_prometheus(openmetrics: &str) -> String {
    let mut text = String::with_capacity(openmetrics.len());
    // `# HELP` precedes `# TYPE`, which decides the name of both.
    let mut help: Option<(&str, &str)> = None;
    for line in openmetrics.lines() {
        if let Some(rest) = line.strip_prefix("# HELP ") {
            help = rest.split_once(' ');
        } else if let Some((name, kind)) = line
            .strip_prefix("# TYPE ")
            .and_then(|rest| rest.split_once(' '))
        {
            let (suffix, kind) = match kind {
                "counter" => ("_total", kind),
                "info" => ("_info", "gauge"),
                "stateset" => ("", "gauge"),
                "unknown" | "gaugehistogram" => ("", "untyped"),
                _ => ("", kind),
            };
            if let Some((_, help)) = help.take_if(|(of, _)| *of == name) {
                let _ = writeln!(text, "# HELP {name}{suffix} {}", unquoted(help));
            }
            let _ = writeln!(text, "# TYPE {name}{suffix} {kind}");
        } else if !line.starts_with('#') {
            text.push_str(without_exemplar(line));
            text.push('\n');
        }
    }
    text
}

/// Help text as 0.0.4 has it: `OpenMetrics` escapes double quotes there as well.
fn unquoted(help: &str) -> String {
    help.replace("\\\"", "\"")
}

/// A sample without its exemplar, which follows ` # ` outside of label values.
fn without_exemplar(sample: &str) -> &str {
    let (mut is_quoted, mut is_escaped) = (false, false);
    for (at, byte) in sample.bytes().enumerate() {
        match byte {
            _ if is_escaped => is_escaped = false,
            b'\\' if is_quoted => is_escaped = true,
            b'"' => is_quoted = !is_quoted,
            b'#' if !is_quoted => return sample[..at].trim_end(),
            _ => {}
        }
    }
    sample
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_accept_header_decides() {
        for (accept, expected) in [
            ("", false),
            ("*/*", false),
            ("text/plain;version=0.0.4", false),
            ("application/openmetrics-text", true),
            (
                "application/openmetrics-text;version=1.0.0;q=0.5,text/plain;version=0.0.4;q=0.3,*/*;q=0.1",
                true,
            ),
            (
                "Application/OpenMetrics-Text; version=1.0.0, */*; q=0.1",
                true,
            ),
            ("application/openmetrics-text;q=0.2,text/plain;q=0.8", false),
            ("application/openmetrics-text;q=0,*/*", false),
            (
                "application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily",
                false,
            ),
            ("application/openmetrics-text;q=x", true),
        ] {
            assert_eq!(prefers_openmetrics(accept), expected, "{accept}");
        }
    }

    #[test]
    fn each_difference_of_the_formats_is_rewritten() {
        let openmetrics = "\
# HELP tests Tests \\\"run\\\".
# TYPE tests counter
tests_total{label=\"a # b\\\"\"} 3 # {trace=\"x\"} 1 2
# HELP build Version.
# TYPE build info
build_info{version=\"1\"} 1
# HELP wait Waiting.
# TYPE wait histogram
# UNIT wait seconds
wait_sum 1.5
wait_count 1
wait_bucket{le=\"+Inf\"} 1
# TYPE odd unknown
odd 1
# EOF
";
        let prometheus = "\
# HELP tests_total Tests \"run\".
# TYPE tests_total counter
tests_total{label=\"a # b\\\"\"} 3
# HELP build_info Version.
# TYPE build_info gauge
build_info{version=\"1\"} 1
# HELP wait Waiting.
# TYPE wait histogram
wait_sum 1.5
wait_count 1
wait_bucket{le=\"+Inf\"} 1
# TYPE odd untyped
odd 1
";
        assert_eq!(to_prometheus(openmetrics), prometheus);
    }
}
