//! Logs on stderr: text for people, JSON lines for machines.

use std::io::IsTerminal;

use tracing::Level;
use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{Layer, Registry, fmt};

/// The environment variable of the log level: `warn`, or per crate `info,groma_publish=debug`.
pub const LOG_LEVEL_VARIABLE: &str = "GROMA_LOG";

/// How a log line is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, clap::ValueEnum)]
pub enum LogFormat {
    /// One line of text; coloured on a terminal unless `NO_COLOR` is set.
    #[default]
    Text,
    /// One JSON object per line.
    Json,
}

/// Sends the logs of this process to stderr, at `level` or as `GROMA_LOG` says.
///
/// A value of `GROMA_LOG` that cannot be read is reported and `level` taken. The first
/// call of a process wins; further ones do nothing.
pub fn init_logging(format: LogFormat, level: Level) {
    let wanted = std::env::var(LOG_LEVEL_VARIABLE).ok();
    let usual = Targets::new().with_default(LevelFilter::from_level(level));
    let levels = levels(wanted.as_deref(), &usual);
    let installed = tracing_subscriber::registry()
        .with(writer(format).with_filter(levels.clone().unwrap_or(usual)))
        .try_init()
        .is_ok();
    if let (true, Err(reason)) = (installed, levels) {
        tracing::warn!(
            reason,
            "{LOG_LEVEL_VARIABLE} is not a log level; using the usual one"
        );
    }
}

fn writer(format: LogFormat) -> Box<dyn Layer<Registry> + Send + Sync> {
    let stderr = fmt::layer().with_writer(std::io::stderr);
    match format {
        LogFormat::Text => stderr.with_ansi(coloured()).boxed(),
        LogFormat::Json => stderr.json().flatten_event(true).boxed(),
    }
}

fn coloured() -> bool {
    let refused = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
    !refused && std::io::stderr().is_terminal()
}

fn levels(wanted: Option<&str>, usual: &Targets) -> Result<Targets, String> {
    match wanted.map(str::trim) {
        None | Some("") => Ok(usual.clone()),
        Some(text) => text.parse().map_err(|e| format!("{text:?}: {e}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_level_comes_from_the_environment_text() {
        let cases = [
            (None, "any", Level::INFO, true),
            (Some(" "), "any", Level::DEBUG, false),
            (Some("warn"), "any", Level::INFO, false),
            (
                Some("info,groma_publish=debug"),
                "groma_publish",
                Level::DEBUG,
                true,
            ),
            (
                Some("info,groma_publish=debug"),
                "groma_load",
                Level::DEBUG,
                false,
            ),
        ];
        let usual = Targets::new().with_default(LevelFilter::INFO);
        for (text, target, level, shown) in cases {
            let levels = levels(text, &usual).unwrap();
            assert_eq!(
                levels.would_enable(target, &level),
                shown,
                "{text:?} {target}"
            );
        }
        assert!(levels(Some("a=b=c"), &usual).is_err());
    }
}
