//! The loader: archive objects in, Parquet files out.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use groma_archive::{Store, Writing, hex};
use groma_lake::{Removal, Sources};
use groma_lake_store::Held;
use groma_spool::Name;
use jiff::Timestamp;
use jiff::civil::Date;
use sha2::{Digest as _, Sha256};

use crate::lake::{ErrorLog, HeldObject, Lake, ParquetFile, Place};
use crate::load::{Counts, Load, Outcome};
use crate::object::{Form, Object};
use crate::progress::{Progress, Tell, Told};
use crate::source::{Observed, read_jsonl, read_tar};
use crate::table::Table;
use crate::{Datatype, Limits, LoadDatatype, LoadError, LoadMetrics};

/// How often an archive without a directory to watch is listed by default.
const POLL: Duration = Duration::from_secs(5);

/// How long a file must not have changed where nothing says whether it is open for writing.
const QUIET: Duration = Duration::from_secs(5);

/// How often, and after which time each, a file that is open for writing is looked at again before it is left for later.
const CLOSE_LOOKS: u32 = 20;
const CLOSE_LOOK: Duration = Duration::from_millis(10);

/// How long an object must not have changed before it counts as cut off for good and not as on its way.
const CUT_FOR_GOOD: Duration = Duration::from_mins(10);

/// Whether an object is loaded that may not be complete yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Patience {
    /// It is loaded as it is.
    None,
    /// It is left for later while it may still grow.
    Wait,
}

/// The result of loading an object. Every member is one of `rows`, `errors` and `skipped`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Loaded {
    /// Rows written.
    pub rows: u64,
    /// Members that could not be made a row; one more when the object itself is damaged. See [`Lake::errors_path`].
    pub errors: u64,
    /// Members that are not measurements of the datatype.
    pub skipped: u64,
    /// The rows were there before and nothing was done. The counts are those of that load, but `skipped` is 0.
    pub already: bool,
    /// The object is damaged: members may be missing. A whole object of the same name replaces its rows.
    pub damaged: bool,
    /// The rows replaced those of a damaged object of the same name. Where the path is in `corrections/`, a sealer puts them
    /// into the part that has the old ones.
    pub replaced: bool,
    /// The Parquet file.
    pub path: PathBuf,
    /// Fields that the schema does not know, so that the rows do not have them: dotted path → occurrences. At most 64 paths.
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
    sources: Sources,
    looked_at: LookedAt,
    pub(crate) reported: Reported,
    checked: Reported,
    pub(crate) metrics: LoadMetrics,
}

impl Loader {
    /// A loader of these datatypes.
    pub fn new(store: Arc<dyn Store>, lake: Lake, datatypes: Vec<LoadDatatype>) -> Loader {
        Loader {
            store,
            sources: Sources::new(lake.store().clone()),
            looked_at: LookedAt::default(),
            reported: Reported::default(),
            checked: Reported::default(),
            metrics: LoadMetrics::default(),
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

    /// The same loader, which lists an archive that it cannot watch once per `poll`.
    #[must_use]
    pub fn polling(self, poll: Duration) -> Loader {
        Loader { poll, ..self }
    }

    /// The same loader, which reports its progress with objects of more than a megabyte, about once per megabyte.
    #[must_use]
    pub fn telling(self, tell: impl Fn(&str, Progress) + Send + Sync + 'static) -> Loader {
        Loader {
            tell: Some(Box::new(tell)),
            ..self
        }
    }

    /// Returns the counters of this loader.
    pub fn metrics(&self) -> &LoadMetrics {
        &self.metrics
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
        self.load(name, date, Patience::None)
    }

    /// As [`Loader::load_object`], for who comes back later where an object is not complete yet.
    pub(crate) fn load(
        &self,
        name: &str,
        date: Option<Date>,
        patience: Patience,
    ) -> Result<Loaded, LoadError> {
        let result = self.load_or_find(name, date, patience);
        self.metrics.count(&result);
        if let Ok(loaded) = &result {
            log(name, loaded);
        }
        result
    }

    fn load_or_find(
        &self,
        name: &str,
        date: Option<Date>,
        patience: Patience,
    ) -> Result<Loaded, LoadError> {
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
        let mut raced = false;
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
            match self.load_as(name, &object, table, now, &path, (raced, patience))? {
                (Outcome::Created(counts), path) => return Ok(Loaded::now(path, counts)),
                (Outcome::Replaced(counts), path) => {
                    return Ok(Loaded {
                        replaced: true,
                        ..Loaded::now(path, counts)
                    });
                }
                (Outcome::Existed(held), path) => return Ok(Loaded::already(path, held)),
                // The next time the rows of the other loader are there.
                (Outcome::Raced, _) => {
                    settled = Some(now);
                    raced = true;
                }
                // A claim never changes, so that this happens once.
                (Outcome::OtherDate(other), _) => settled = Some(other),
            }
        }
    }

    /// Loads an object under a date, unless the lake has rows of the same bytes. Rows that were read with errors are replaced
    /// by better ones of other bytes; any other difference is an error.
    fn load_as(
        &self,
        name: &str,
        object: &Object,
        table: &Table,
        date: Date,
        path: &Path,
        (raced, patience): (bool, Patience),
    ) -> Result<(Outcome, PathBuf), LoadError> {
        let Object {
            experiment,
            datatype,
            stem,
            ..
        } = object;
        let held = if raced {
            self.lake.held_now(&self.sources, object, date)?
        } else {
            self.lake.held(&self.sources, object, date)?
        };
        let removal = self.lake.removal(object, date)?;
        if let Some(removal) = &removal {
            self.refuse_removed(name, removal)?;
        }
        if let Some(found) = &held
            && self.is_same(name, (object, date), found)?
        {
            return Ok((Outcome::Existed(found.held), path.to_owned()));
        }
        let target = match &held {
            Some(held) if held.place == Place::Part => self.lake.correction_path(object, date),
            _ => path.to_owned(),
        };
        let age = self.age_of_whole(name, patience)?;
        if !self.checked.has(&table_name(table)) {
            self.lake.check_evolution(table)?;
            self.checked.add(&table_name(table));
        }
        let errors_path = self.lake.errors_path(experiment, datatype, date, stem);
        let errors = ErrorLog::new(&self.lake, errors_path, name);
        let schema = Arc::clone(&table.schema);
        let parquet = ParquetFile::create(
            &self.lake,
            target.clone(),
            schema,
            self.limits.row_group_bytes,
        )?;
        let mut load = Load::new(table, date, self.limits, parquet, errors);
        let (version, modified) = (self.version(name)?, self.modified(name)?);
        let identity = self.read(name, object.form, table.rules, &mut load)?;
        if self.version(name)? != version {
            return Err(LoadError::Changing {
                name: name.to_owned(),
            });
        }
        let origin = load.origin(identity);
        if origin.damaged && patience == Patience::Wait && age.is_some_and(|age| age < CUT_FOR_GOOD)
        {
            return Err(LoadError::Incomplete {
                name: name.to_owned(),
            });
        }
        if let Some(removal) = removal
            && *removal.object_sha256 == *origin.object_sha256
        {
            return Err(removed(name, &removal));
        }
        if let Some(found) = &held {
            let sha256 = found.identity.as_ref().map(|(_, sha256)| sha256.as_str());
            if sha256 == Some(&origin.object_sha256) {
                self.looked_at.add(name, version);
                return Ok((Outcome::Existed(found.held), path.to_owned()));
            }
            if !origin.may_replace(load.rows(), &found.held) {
                if found.identity.is_none() {
                    return Ok((Outcome::Existed(found.held), path.to_owned()));
                }
                return Err(LoadError::OtherBytes {
                    name: name.to_owned(),
                    loaded: found.identity.clone().unwrap_or_default(),
                    found: (origin.object_bytes, origin.object_sha256),
                });
            }
        }
        let replaces = held.map(|held| held.place);
        let mut outcome = load.commit(&self.lake, object, name, &origin, modified, replaces)?;
        if let Outcome::Raced = outcome
            && let Some(found) = self.lake.held_now(&self.sources, object, date)?
            && found
                .identity
                .is_some_and(|(_, sha256)| sha256 == origin.object_sha256)
        {
            outcome = Outcome::Existed(found.held);
        }
        if let Outcome::Created(counts) | Outcome::Replaced(counts) = &outcome
            && !counts.unknown_fields.is_empty()
        {
            let fields = &counts.unknown_fields;
            tracing::warn!(
                object = name,
                ?fields,
                "fields that the schema does not know were left out"
            );
        }
        Ok((outcome, target))
    }

    /// How long ago an object was changed, where the archive knows. One that is being written is an error.
    fn age_of_whole(&self, name: &str, patience: Patience) -> Result<Option<Duration>, LoadError> {
        let mut writing = self.store.writing(name)?;
        // A writer that renames its file into place closes it an instant later.
        for _ in 0..CLOSE_LOOKS {
            if writing != Writing::Open {
                break;
            }
            std::thread::sleep(CLOSE_LOOK);
            writing = self.store.writing(name)?;
        }
        let (age, is_quiet) = match writing {
            Writing::Done => return Ok(None),
            Writing::Open => (Duration::ZERO, false),
            Writing::Closed(age) => (age, true),
            Writing::Unknown(age) => (age, patience == Patience::None || age >= QUIET),
        };
        if is_quiet {
            return Ok(Some(age));
        }
        Err(LoadError::Changing {
            name: name.to_owned(),
        })
    }

    /// Refuses an object of the size and the bytes of one that was removed on purpose.
    fn refuse_removed(&self, name: &str, removal: &Removal) -> Result<(), LoadError> {
        if self.store.size(name)? != Some(removal.object_bytes) {
            return Ok(());
        }
        let sha256 = digest(self.store.open(name)?).map_err(|source| LoadError::Read {
            name: name.to_owned(),
            source,
        })?;
        if *sha256 == *removal.object_sha256 {
            return Err(removed(name, removal));
        }
        Ok(())
    }

    /// Returns whether the archive has the object of which the lake has the rows. The object is read again for its checksum if
    /// there were errors or it was changed after it was loaded, and only once as long as nothing says that it changed.
    fn is_same(
        &self,
        name: &str,
        (object, date): (&Object, Date),
        found: &HeldObject,
    ) -> Result<bool, LoadError> {
        let Some((object_bytes, object_sha256)) = &found.identity else {
            // An earlier version loaded it and recorded no checksum.
            return Ok(!found.held.damaged);
        };
        let version = self.version(name)?;
        if self.looked_at.has(name, version.as_deref()) {
            return Ok(true);
        }
        // Without its object, or where the archive does not answer, rows that are there stay as they are.
        let Some(size_bytes) = self.store.size(name).ok().flatten() else {
            return Ok(true);
        };
        if size_bytes != *object_bytes {
            return Ok(false);
        }
        let is_clean = found.held.errors == 0 && !found.held.damaged;
        let is_same = if is_clean && !self.is_changed(name, object, date)? {
            true
        } else {
            match self.store.open(name).map(digest) {
                Ok(Ok(sha256)) => sha256 == *object_sha256,
                _ => return Ok(true),
            }
        };
        if is_same {
            self.looked_at.add(name, version);
        }
        Ok(is_same)
    }

    /// Returns whether the object was changed after it was loaded, as far as archive and lake know.
    fn is_changed(&self, name: &str, object: &Object, date: Date) -> Result<bool, LoadError> {
        let Some(modified) = self.modified(name)? else {
            return Ok(false);
        };
        let recorded = self.lake.recorded(object, date)?;
        let loaded = recorded.and_then(|recorded| recorded.object_modified);
        Ok(loaded.is_some_and(|loaded| loaded != modified))
    }

    fn modified(&self, name: &str) -> Result<Option<Timestamp>, LoadError> {
        let modified = self.store.modified(name)?;
        Ok(modified.and_then(|modified| Timestamp::try_from(modified).ok()))
    }

    fn version(&self, name: &str) -> Result<Option<String>, LoadError> {
        Ok(self.store.version(name)?)
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
        rules: &dyn Datatype,
        load: &mut Load<'_>,
    ) -> Result<(u64, String), LoadError> {
        // Before the body is open, which may last no second request; and progress is never a reason to fail.
        let tell = self.tell.as_deref();
        let object_bytes = tell.and_then(|_| self.store.size(name).ok().flatten());
        let told = Told::new(self.store.open(name)?, name, object_bytes, tell);
        let (mut reader, seen) = Observed::new(told);
        let wanted = |member: &str| rules.wants(member);
        let visit = &mut |member| load.member(member);
        let result = match form {
            Form::Tar { .. } => {
                let url = self.store.url(name);
                read_tar(&mut reader, &url, &self.limits, &wanted, visit)
            }
            Form::Jsonl => read_jsonl(&mut reader, &self.limits, &wanted, visit),
        };
        // A damaged object is read to its end all the same: its checksum is that of all its bytes.
        let rest = io::copy(&mut reader, &mut io::sink());
        let failed = |source| LoadError::Read {
            name: name.to_owned(),
            source,
        };
        if let Some(failure) = seen.take_failure() {
            return Err(failed(failure));
        }
        result?;
        rest.map_err(failed)?;
        // Only gzip reports a cut stream by itself, as damage.
        let may_be_short = load.errors() > 0 || form == (Form::Tar { gzip: false });
        if may_be_short
            && let Some(size_bytes) = self.store.size(name)?
            && seen.is_short_of(size_bytes)
        {
            return Err(failed(io::ErrorKind::UnexpectedEof.into()));
        }
        Ok(seen.identity())
    }
}

impl Loaded {
    fn now(path: PathBuf, counts: Counts) -> Loaded {
        Loaded {
            rows: counts.rows,
            errors: counts.errors,
            skipped: counts.skipped,
            already: false,
            damaged: counts.damaged,
            replaced: false,
            path,
            unknown_fields: counts.unknown_fields,
        }
    }

    fn already(path: PathBuf, held: Held) -> Loaded {
        Loaded {
            rows: held.rows,
            errors: held.errors,
            skipped: 0,
            already: true,
            damaged: held.damaged,
            replaced: false,
            path,
            unknown_fields: BTreeMap::new(),
        }
    }
}

fn removed(name: &str, removal: &Removal) -> LoadError {
    LoadError::Removed {
        name: name.to_owned(),
        reason: removal.reason.clone(),
    }
}

/// SHA-256 of a body, in hexadecimal.
fn digest(mut body: impl Read) -> io::Result<String> {
    let mut sha256 = Sha256::new();
    let mut buffer = vec![0; 1 << 16];
    loop {
        match body.read(&mut buffer) {
            Ok(0) => return Ok(hex(&sha256.finalize())),
            Ok(count) => sha256.update(&buffer[..count]),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

fn table_name(table: &Table) -> String {
    format!("{}/{}", table.experiment, table.datatype)
}

/// Names that were seen: objects that were reported, so that each is logged once, and tables that were compared.
#[derive(Default)]
pub(crate) struct Reported(Mutex<HashSet<String>>);

impl Reported {
    fn has(&self, name: &str) -> bool {
        let seen = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        seen.contains(name)
    }

    /// Whether the object was not reported before.
    pub(crate) fn add(&self, name: &str) -> bool {
        let mut seen = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        seen.insert(name.to_owned())
    }
}

/// The versions of the objects that this loader compared with their rows. Another version is compared again.
#[derive(Default)]
struct LookedAt(Mutex<HashMap<String, Option<String>>>);

impl LookedAt {
    fn has(&self, name: &str, version: Option<&str>) -> bool {
        let seen = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        seen.get(name)
            .is_some_and(|seen| seen.as_deref() == version)
    }

    fn add(&self, name: &str, version: Option<String>) {
        let mut seen = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        seen.insert(name.to_owned(), version);
    }
}

/// Reports an object that was loaded now, at level INFO, or at WARN with what is wrong with it.
fn log(name: &str, loaded: &Loaded) {
    let Loaded {
        rows,
        errors,
        skipped,
        replaced,
        ..
    } = loaded;
    match loaded {
        Loaded { already: true, .. } => {}
        Loaded { damaged: true, .. } => {
            tracing::warn!(
                object = name,
                rows,
                errors,
                skipped,
                "loaded a damaged object"
            );
        }
        _ => tracing::info!(object = name, rows, errors, skipped, replaced, "loaded"),
    }
}
