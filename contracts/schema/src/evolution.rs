use crate::error::{Incompatibility, IncompatibilityKind};
use crate::field::{Field, Mode, Schema, Type};
use std::collections::HashMap;

impl Schema {
    /// What `new` adds to `old`, as dotted paths in the order of `new`, or every change that is not an addition.
    ///
    /// One addition never excuses one removal: both are looked at, whatever the other says.
    pub fn evolution(old: &Schema, new: &Schema) -> Result<Vec<String>, Vec<Incompatibility>> {
        let mut changes = Changes::default();
        changes.compare("", &old.fields, &new.fields);
        if changes.incompatible.is_empty() {
            Ok(changes.additions)
        } else {
            Err(changes.incompatible)
        }
    }
}

#[derive(Default)]
struct Changes {
    additions: Vec<String>,
    incompatible: Vec<Incompatibility>,
}

impl Changes {
    fn compare(&mut self, parent: &str, old: &[Field], new: &[Field]) {
        let by_name = |fields: &'_ [Field]| -> HashMap<String, usize> {
            fields
                .iter()
                .enumerate()
                .map(|(at, field)| (field.name.to_ascii_lowercase(), at))
                .collect()
        };
        let (old_names, new_names) = (by_name(old), by_name(new));
        for field in old {
            let path = join(parent, &field.name);
            match new_names.get(&field.name.to_ascii_lowercase()) {
                None => self.report(path, IncompatibilityKind::Removed),
                Some(&at) => self.compare_field(path, field, &new[at]),
            }
        }
        for field in new
            .iter()
            .filter(|field| !old_names.contains_key(&field.name.to_ascii_lowercase()))
        {
            let path = join(parent, &field.name);
            if field.mode == Mode::Required {
                self.report(path, IncompatibilityKind::RequiredAddition);
            } else {
                self.additions.push(path);
            }
        }
    }

    fn compare_field(&mut self, path: String, old: &Field, new: &Field) {
        if old.name != new.name {
            self.report(
                path.clone(),
                IncompatibilityKind::Renamed {
                    to: new.name.clone(),
                },
            );
        }
        if old.mode != new.mode {
            self.report(
                path.clone(),
                IncompatibilityKind::Mode {
                    from: old.mode,
                    to: new.mode,
                },
            );
        }
        if old.kind != new.kind {
            self.report(
                path,
                IncompatibilityKind::Type {
                    from: old.kind,
                    to: new.kind,
                },
            );
        } else if old.kind == Type::Record {
            self.compare(&path, &old.fields, &new.fields);
        }
    }

    fn report(&mut self, path: String, kind: IncompatibilityKind) {
        self.incompatible.push(Incompatibility { path, kind });
    }
}

fn join(parent: &str, name: &str) -> String {
    if parent.is_empty() {
        name.to_owned()
    } else {
        format!("{parent}.{name}")
    }
}
