//! Names of objects, and the moments they carry.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use groma_names::ObjectName;
use groma_spool::Name;
use jiff::Timestamp;
use jiff::civil::Date;

use crate::deliver::receipts::RECEIPTS_DIR;
use crate::files::visible_entries;
use crate::seal::journal::STATE_MODE;
use crate::shared::{BUNDLES_DIR, CONFLICT_DIR};
use crate::{Config, Form, PublishError};

/// Gives timestamps in microseconds that never repeat and never go back, also not over a restart or when the clock is set
/// back: they make object names unique.
#[derive(Debug)]
pub(crate) struct Moments {
    path: PathBuf,
    last: Mutex<Timestamp>,
}

/// Names of objects hold years of four digits, and dates end with 2099.
const LATEST: Timestamp = Timestamp::constant(4_102_444_800, 0);

impl Moments {
    /// Continues after the timestamp in `<state>/last-moment`. If the file is missing or damaged, the bundles and receipts of
    /// the state directory show which timestamps were used.
    pub(crate) fn open(state_dir: &Path) -> Moments {
        let path = state_dir.join("last-moment");
        let text = std::fs::read_to_string(&path);
        let known = text.as_ref().ok().and_then(|text| text.trim().parse().ok());
        let known = known.filter(|last| *last < LATEST);
        if text.is_ok() && known.is_none() {
            tracing::error!(path = %path.display(), "the file of the last timestamp is damaged; going on after the newest receipt");
        }
        let last = known.or_else(|| newest_bundle(state_dir));
        Moments {
            path,
            last: Mutex::new(last.unwrap_or(Timestamp::UNIX_EPOCH)),
        }
    }

    /// A new timestamp; durable before it is returned.
    pub(crate) fn next(&self, config: &Config) -> Result<Timestamp, PublishError> {
        let mut last = self
            .last
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner);
        let clock = Some((config.clock)()).filter(|now| *now < LATEST);
        let next = last.as_microsecond().saturating_add(1);
        let next = clock.map_or(next, |now| now.as_microsecond().max(next));
        let next = Timestamp::from_microsecond(next).map_err(|error| {
            PublishError::io("count on from", &self.path)(io::Error::other(error))
        })?;
        config
            .disk
            .rewrite_durable(&self.path, next.to_string().as_bytes(), STATE_MODE)
            .map_err(PublishError::io("write last moment", &self.path))?;
        *last = next;
        Ok(next)
    }
}

/// The newest timestamp in the name of a bundle or a receipt.
fn newest_bundle(state_dir: &Path) -> Option<Timestamp> {
    let receipts = visible_entries(&state_dir.join(RECEIPTS_DIR)).unwrap_or_default();
    let dirs = [BUNDLES_DIR, CONFLICT_DIR].map(|name| state_dir.join(name));
    let names = receipts
        .into_iter()
        .chain(dirs)
        .flat_map(|dir| visible_entries(&dir).unwrap_or_default());
    let times = names.filter_map(|path| {
        let (stamp, _) = path.file_name()?.to_str()?.split_once("Z-")?;
        let time = jiff::civil::DateTime::strptime("%Y%m%dT%H%M%S%.f", stamp).ok()?;
        Some(time.to_zoned(jiff::tz::TimeZone::UTC).ok()?.timestamp())
    });
    times.filter(|time| *time < LATEST).max()
}

/// `YYYYMMDDTHHMMSS.uuuuuuZ-<datatype>`: unique within one publisher.
pub(crate) fn bundle_id(datatype: &Name, moment: Timestamp) -> String {
    format!("{}-{datatype}", moment.strftime("%Y%m%dT%H%M%S%.6fZ"))
}

/// The objects of a bundle in the order in which they are put.
pub(crate) fn object_names(
    config: &Config,
    datatype: &Name,
    form: Form,
    date: Date,
    moment: Timestamp,
) -> Result<Vec<ObjectName>, PublishError> {
    let experiment = config.spool.experiment();
    match form {
        Form::Tgz => Ok(vec![ObjectName::tgz(
            experiment,
            datatype,
            date,
            moment,
            &config.node,
        )]),
        Form::Jsonl => {
            let organization = config.organization.as_deref();
            let prefix = &config.data_prefix;
            let rows = ObjectName::data(
                prefix,
                organization,
                experiment,
                datatype,
                date,
                moment,
                &config.node,
            )
            .map_err(|error| unnameable(datatype, &error))?;
            let index = rows.index().expect("a data object has an index");
            Ok(vec![rows, index])
        }
    }
}

/// The object that holds a table's schema.
pub(crate) fn table_name(config: &Config, datatype: &Name) -> Result<String, PublishError> {
    ObjectName::table(&config.data_prefix, config.spool.experiment(), datatype)
        .map(|name| name.to_string())
        .map_err(|error| unnameable(datatype, &error))
}

fn unnameable(datatype: &Name, error: &groma_names::NameError) -> PublishError {
    PublishError::ObjectName {
        datatype: datatype.to_string(),
        reason: error.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(dir: &Path) -> Config {
        let spool = groma_spool::ExperimentDir::open(dir.join("ndt"), "ndt".parse().unwrap());
        let node = groma_names::Node::third_party();
        let mut config = Config::new(spool.unwrap(), dir.join("state"), node);
        config.clock = || "2026-11-30T00:00:00Z".parse().unwrap();
        config
    }

    #[test]
    fn no_content_of_the_last_timestamp_stops_the_names() {
        for content in [
            "",
            "garbage",
            "9999-12-30T22:00:00.999999999Z",
            "-009999-01-02T01:59:59Z",
            "2100-01-01T00:00:00Z",
        ] {
            let dir = tempfile::tempdir().unwrap();
            let config = config(dir.path());
            let receipts = config.state_dir.join(RECEIPTS_DIR).join("2026-12-01");
            std::fs::create_dir_all(&receipts).unwrap();
            std::fs::write(receipts.join("20261201T000000.000007Z-ndt7.json"), "").unwrap();
            std::fs::write(config.state_dir.join("last-moment"), content).unwrap();
            let moments = Moments::open(&config.state_dir);
            let (first, second) = (
                moments.next(&config).unwrap(),
                moments.next(&config).unwrap(),
            );
            assert!(first < second, "{content:?}");
            let again = Moments::open(&config.state_dir).next(&config).unwrap();
            assert!(second < again && again < LATEST, "{content:?}");
            if !content.starts_with('-') {
                assert_eq!(first, "2026-12-01T00:00:00.000008Z".parse().unwrap());
            }
        }
    }

    #[test]
    fn a_clock_beyond_all_names_counts_on() {
        let dir = tempfile::tempdir().unwrap();
        let mut config = config(dir.path());
        std::fs::create_dir(&config.state_dir).unwrap();
        config.clock = || Timestamp::MAX;
        let moments = Moments::open(&config.state_dir);
        let next = moments.next(&config).unwrap();
        assert_eq!(next, Timestamp::from_microsecond(1).unwrap());
    }
}
