//! The loader: archive objects in, Parquet files out.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use groma_archive::Store;
use groma_spool::Name;
use jiff::civil::Date;

use crate::lake::{ErrorLog, Lake, ParquetFile};
use crate::load::{Counts, Load, Outcome};
use crate::object::{Form, Object};
use crate::progress::{Progress, Tell, Told};
use crate::source::{Observed, read_jsonl, read_tar};
use crate::table::Table;
use crate::{Limits, LoadDatatype, LoadError, Rules};

/// How often an archive without a directory to watch is listed, unless it is told otherwise.
const POLL: Duration = Duration::from_secs(5);

/// What became of an object. Every member is one of `rows`, `errors` and `skipped`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Loaded {
    /// Rows written.
    pub rows: u64,
    /// Members that could not be made a row; one more when the object itself is damaged. See [`Lake::errors_path`].
    pub errors: u64,
    /// Members that are no measurements of the datatype.
    pub skipped: u64,
    /// The rows were there before; nothing was done, and the counts are 0.
    pub already: bool,
    /// The Parquet file.
    pub path: PathBuf,
    /// Fields that the schema does not know and the rows therefore lack: dotted path → occurrences. At most 64 paths.
    pub unknown_fields: BTreeMap<String, u64>,
}

/// Loads objects of an archive into a lake. All calls block; one loader may be used from several threads.
pub struct Loader {
    pub(crate) store: Arc<dyn Store>,
    lake: Lake,
    tables: Vec<Table>,
    limits: Limits,
    embargoed: bool,
    pub(crate) watch_root: Option<PathBuf>,
    pub(crate) poll: Duration,
    tell: Option<Box<Tell>>,
}

impl Loader {
    /// A loader of these datatypes.
    pub fn new(store: Arc<dyn Store>, lake: Lake, datatypes: Vec<LoadDatatype>) -> Loader {
        Loader {
            store,
            lake,
            tables: datatypes.into_iter().map(Table::new).collect(),
            limits: Limits::default(),
            embargoed: false,
            watch_root: None,
            poll: POLL,
            tell: None,
        }
    }

    /// The same loader with other bounds.
    #[must_use]
    pub fn with_limits(self, limits: Limits) -> Loader {
        Loader { limits, ..self }
    }

    /// The same loader, which also loads objects whose name has the mark `-e` of an embargo: M-Lab kept such data of new
    /// experiments back, and a public lake must not have them before their time.
    #[must_use]
    pub fn with_embargoed(self, embargoed: bool) -> Loader {
        Loader { embargoed, ..self }
    }

    /// The same loader, for an archive that is a directory: [`Loader::follow`] then learns of new objects at once. Without a
    /// directory to watch it lists the archive every few seconds.
    #[must_use]
    pub fn watching(self, archive_root: impl Into<PathBuf>) -> Loader {
        Loader {
            watch_root: Some(archive_root.into()),
            ..self
        }
    }

    /// The same loader, which lists an archive that it cannot watch so often.
    #[must_use]
    pub fn polling(self, poll: Duration) -> Loader {
        Loader { poll, ..self }
    }

    /// The same loader, which tells how far it is with objects of more than a megabyte, and does so about once per megabyte.
    #[must_use]
    pub fn telling(self, tell: impl Fn(&str, Progress) + Send + Sync + 'static) -> Loader {
        Loader {
            tell: Some(Box::new(tell)),
            ..self
        }
    }

    /// The lake written to.
    pub fn lake(&self) -> &Lake {
        &self.lake
    }

    /// Loads one object, unless its rows are there already. The rows' date is `date`, else that of the object's name. An object
    /// has one date: once it was given one, another is [refused](LoadError::OtherDate), and none means that one.
    ///
    /// Damage inside the object is an entry in its error list; an error means that nothing was loaded and that, unless it
    /// [is permanent](LoadError::is_permanent), trying again may help.
    pub fn load_object(&self, name: &str, date: Option<Date>) -> Result<Loaded, LoadError> {
        let object = Object::parse(name)?.ok_or_else(|| LoadError::Name {
            name: name.to_owned(),
            reason: "it holds no rows".to_owned(),
        })?;
        let table = self.table(name, &object)?;
        if object.embargoed && !self.embargoed {
            return Err(LoadError::Embargoed {
                name: name.to_owned(),
            });
        }
        let mut settled = self.lake.date_of(&object, name)?;
        loop {
            let now = settled.or(date).unwrap_or(object.date);
            let (experiment, datatype) = (&object.experiment, &object.datatype);
            let path = self.lake.live_path(experiment, datatype, now, &object.stem);
            if let Some(asked) = date.filter(|date| *date != now) {
                return Err(LoadError::OtherDate {
                    name: name.to_owned(),
                    asked,
                    other: now,
                    path,
                });
            }
            match self.load_as(name, &object, table, now, &path)? {
                Outcome::Created(counts) => return Ok(Loaded::now(path, counts)),
                Outcome::Existed => return Ok(Loaded::already(path)),
                // A claim never changes, so that there is no third time.
                Outcome::OtherDate(other) => settled = Some(other),
            }
        }
    }

    /// Loads an object under a date, to where its rows then stand.
    fn load_as(
        &self,
        name: &str,
        object: &Object,
        table: &Table,
        date: Date,
        path: &Path,
    ) -> Result<Outcome, LoadError> {
        let Object {
            experiment,
            datatype,
            stem,
            ..
        } = object;
        if self.lake.exists(path)? {
            return Ok(Outcome::Existed);
        }
        let errors_path = self.lake.errors_path(experiment, datatype, date, stem);
        let errors = ErrorLog::new(&self.lake, errors_path, name);
        let schema = Arc::clone(&table.schema);
        let parquet = ParquetFile::create(
            &self.lake,
            path.to_owned(),
            schema,
            self.limits.row_group_bytes,
        )?;
        let mut load = Load::new(table, date, self.limits, parquet, errors);
        self.read(name, object.form, table.rules, &mut load)?;
        let outcome = load.commit(&self.lake, object, name)?;
        if let Outcome::Created(counts) = &outcome
            && !counts.unknown_fields.is_empty()
        {
            let fields = &counts.unknown_fields;
            tracing::warn!(
                object = name,
                ?fields,
                "fields that the schema does not know were left out"
            );
        }
        Ok(outcome)
    }

    /// Experiment and datatype of an object that holds rows, by its name.
    pub fn datatype_of(name: &str) -> Option<(Name, Name)> {
        let object = Object::parse(name).ok()??;
        Some((object.experiment, object.datatype))
    }

    /// Whether a name is that of an object this loader has a datatype for, and may load.
    pub fn is_loadable(&self, name: &str) -> bool {
        matches!(Object::parse(name), Ok(Some(object))
            if (self.embargoed || !object.embargoed) && self.table(name, &object).is_ok())
    }

    fn table(&self, name: &str, object: &Object) -> Result<&Table, LoadError> {
        self.tables
            .iter()
            .find(|t| t.experiment == object.experiment && t.datatype == object.datatype)
            .ok_or_else(|| LoadError::UnknownDatatype {
                name: name.to_owned(),
                experiment: object.experiment.to_string(),
                datatype: object.datatype.to_string(),
            })
    }

    fn read(
        &self,
        name: &str,
        form: Form,
        rules: Rules,
        load: &mut Load<'_>,
    ) -> Result<(), LoadError> {
        // Before the body is open, which may last no second request; and progress is never a reason to fail.
        let tell = self.tell.as_deref();
        let object_bytes = tell.and_then(|_| self.store.size(name).ok().flatten());
        let told = Told::new(self.store.open(name)?, name, object_bytes, tell);
        let (reader, seen) = Observed::new(told);
        let wanted = |member: &str| rules.wants(member);
        let visit = &mut |member| load.member(member);
        let result = match form {
            Form::Tar { gzip } => {
                let url = self.store.url(name);
                read_tar(reader, gzip, &url, &self.limits, &wanted, visit)
            }
            Form::Jsonl => read_jsonl(reader, &self.limits, &wanted, visit),
        };
        let failed = |source| LoadError::Read {
            name: name.to_owned(),
            source,
        };
        if let Some(failure) = seen.take_failure() {
            return Err(failed(failure));
        }
        result?;
        // Only gzip tells a cut stream from a whole one by itself, and tells it as damage.
        let may_be_short = load.errors() > 0 || form == (Form::Tar { gzip: false });
        if may_be_short
            && let Some(size_bytes) = self.store.size(name)?
            && seen.is_short_of(size_bytes)
        {
            return Err(failed(std::io::ErrorKind::UnexpectedEof.into()));
        }
        Ok(())
    }
}

impl Loaded {
    fn now(path: PathBuf, counts: Counts) -> Loaded {
        Loaded {
            rows: counts.rows,
            errors: counts.errors,
            skipped: counts.skipped,
            already: false,
            path,
            unknown_fields: counts.unknown_fields,
        }
    }

    fn already(path: PathBuf) -> Loaded {
        Loaded {
            rows: 0,
            errors: 0,
            skipped: 0,
            already: true,
            path,
            unknown_fields: BTreeMap::new(),
        }
    }
}
