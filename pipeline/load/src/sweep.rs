//! All objects of an archive, once.

use crate::loader::Patience;
use crate::object::Object;
use crate::{LoadError, Loaded, Loader};

/// The result of a sweep.
#[derive(Debug, Default)]
pub struct Swept {
    /// Objects loaded now.
    pub objects: u64,
    /// Objects that were loaded before.
    pub already: u64,
    /// Rows of the objects loaded now.
    pub rows: u64,
    /// Entries in their error lists.
    pub errors: u64,
    /// Members that are not measurements of their datatype.
    pub skipped: u64,
    /// Objects that are damaged, whether they were loaded now or before.
    pub damaged: u64,
    /// Objects without a schema here, and files that look like objects and have no name of one.
    pub left_alone: Vec<String>,
    /// The sweep was ended while objects were left.
    pub ended_early: bool,
    /// Objects that could not be loaded, and why.
    pub failed: Vec<(String, LoadError)>,
}

impl Swept {
    fn add(&mut self, loaded: &Loaded) {
        self.damaged += u64::from(loaded.damaged);
        if loaded.already {
            self.already += 1;
            return;
        }
        self.objects += 1;
        self.rows += loaded.rows;
        self.errors += loaded.errors;
        self.skipped += loaded.skipped;
    }
}

impl Loader {
    /// Loads every object whose name begins with `prefix` and that has a datatype here (see [`Loader::is_loadable`]), oldest
    /// name first. One that fails does not stop the others; an error means that the archive cannot be listed.
    pub fn sweep(&self, prefix: &str) -> Result<Swept, LoadError> {
        self.sweep_while(prefix, || true)
    }

    /// As [`Loader::sweep`], ending after the object in hand once `goes_on` says no.
    pub fn sweep_while(
        &self,
        prefix: &str,
        goes_on: impl Fn() -> bool,
    ) -> Result<Swept, LoadError> {
        self.sweep_with(prefix, goes_on, Patience::None)
    }

    pub(crate) fn sweep_with(
        &self,
        prefix: &str,
        goes_on: impl Fn() -> bool,
        patience: Patience,
    ) -> Result<Swept, LoadError> {
        let mut swept = Swept::default();
        for name in self.store.list(prefix)? {
            if !goes_on() {
                swept.ended_early = true;
                break;
            }
            if !self.is_loadable(&name) {
                self.report_left_alone(&name, &mut swept);
                continue;
            }
            match self.load(&name, None, patience) {
                Ok(loaded) => swept.add(&loaded),
                Err(error) => swept.failed.push((name, error)),
            }
        }
        let left_alone = i64::try_from(swept.left_alone.len()).unwrap_or(i64::MAX);
        self.metrics.left_alone.set(left_alone);
        Ok(swept)
    }

    /// Records an object that this loader cannot load, and logs it the first time.
    fn report_left_alone(&self, name: &str, swept: &mut Swept) {
        let reason = match Object::parse(name) {
            Ok(None) => return,
            Ok(Some(object)) if object.embargoed => return,
            Ok(Some(_)) => "no schema for its datatype".to_owned(),
            Err(_) if !Object::looks_like_one(name) => return,
            Err(error) => error.to_string(),
        };
        if self.reported.add(name) {
            tracing::warn!(object = name, reason, "left alone");
        }
        swept.left_alone.push(name.to_owned());
    }
}
