//! Names of objects, and the moments they carry.

use std::path::PathBuf;
use std::sync::Mutex;

use groma_names::ObjectName;
use groma_spool::Name;
use jiff::Timestamp;
use jiff::civil::Date;

use crate::journal::STATE_MODE;
use crate::{Config, Form, PublishError};

/// Gives moments in microseconds that never repeat and never go back, also not over a restart or when the clock is
/// set back: they make object names unique.
#[derive(Debug)]
pub(crate) struct Moments {
    path: PathBuf,
    last: Mutex<Timestamp>,
}

impl Moments {
    /// Continues after the moment in the file `path`; one that is missing or unreadable is begun anew.
    pub(crate) fn open(path: PathBuf) -> Moments {
        let last = std::fs::read_to_string(&path)
            .ok()
            .and_then(|text| text.trim().parse().ok());
        Moments {
            path,
            last: Mutex::new(last.unwrap_or(Timestamp::UNIX_EPOCH)),
        }
    }

    /// A new moment; durable before it is answered.
    pub(crate) fn next(&self, config: &Config) -> Result<Timestamp, PublishError> {
        let mut last = self
            .last
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner);
        let now = (config.clock)()
            .as_microsecond()
            .max(last.as_microsecond() + 1);
        let now = Timestamp::from_microsecond(now).expect("the next microsecond is in range");
        config
            .disk
            .write_durable(&self.path, now.to_string().as_bytes(), STATE_MODE)
            .map_err(PublishError::io("write last moment", &self.path))?;
        *last = now;
        Ok(now)
    }
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
