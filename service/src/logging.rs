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

/// A value of `GROMA_LOG` that does not name log levels.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "cannot use {LOG_LEVEL_VARIABLE}={text:?}: {piece:?} is not a log level; write error, warn, info, debug, trace or off, \
     or levels of crates such as info,groma_publish=debug"
)]
pub struct LogLevelError {
    text: String,
    piece: String,
}

/// Sends the logs of this process to stderr, at `level` or as `GROMA_LOG` says. The first
/// call of a process wins; further ones do nothing.
pub fn init_logging(format: LogFormat, level: Level) -> Result<(), LogLevelError> {
    let wanted = std::env::var(LOG_LEVEL_VARIABLE).ok();
    let usual = Targets::new().with_default(LevelFilter::from_level(level));
    let levels = levels(wanted.as_deref(), &usual)?;
    // A second subscriber is refused, which the first call of a test relies on.
    let _ = tracing_subscriber::registry()
        .with(writer(format).with_filter(levels))
        .try_init();
    Ok(())
}

fn writer(format: LogFormat) -> Box<dyn Layer<Registry> + Send + Sync> {
    // An error of stderr cannot be reported.
    let stderr = fmt::layer()
        .with_writer(std::io::stderr)
        .log_internal_errors(false);
    match format {
        LogFormat::Text => stderr.with_ansi(coloured()).boxed(),
        LogFormat::Json => stderr.json().flatten_event(true).boxed(),
    }
}

fn coloured() -> bool {
    let refused = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
    !refused && std::io::stderr().is_terminal()
}

/// Reads the levels. A word that is not a level is an error: `tracing` itself takes it for the name of a crate.
fn levels(wanted: Option<&str>, usual: &Targets) -> Result<Targets, LogLevelError> {
    let text = match wanted.map(str::trim) {
        None | Some("") => return Ok(usual.clone()),
        Some(text) => text,
    };
    let is_level = |piece: &str| {
        let level = piece.rsplit_once('=').map_or(piece, |(_, level)| level);
        level.parse::<LevelFilter>().is_ok() && !level.is_empty()
    };
    let error = |piece: &str| LogLevelError {
        text: text.to_owned(),
        piece: piece.to_owned(),
    };
    match text
        .split(',')
        .map(str::trim)
        .find(|piece| !is_level(piece))
    {
        Some(piece) => Err(error(piece)),
        None => text.parse().map_err(|_| error(text)),
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
        for text in [
            "a=b=c",
            "verbose",
            "info,verbose",
            "groma=loud",
            "info,",
            "=",
        ] {
            assert!(levels(Some(text), &usual).is_err(), "{text}");
        }
    }
}
