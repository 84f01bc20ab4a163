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
        let (old_names, new_names) = (by_name(old), by_name(new));
        for field in old
            .iter()
            .filter(|field| !new_names.contains_key(&folded(field)))
        {
            self.report(join(parent, &field.name), IncompatibilityKind::Removed);
        }
        for field in new {
            match old_names.get(&folded(field)) {
                Some(before) => self.compare_field(join(parent, &before.name), before, field),
                None if field.mode == Mode::Required => {
                    self.report(
                        join(parent, &field.name),
                        IncompatibilityKind::RequiredAddition,
                    );
                }
                None => self.additions.push(join(parent, &field.name)),
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

/// `BigQuery` compares column names without regard to case.
fn folded(field: &Field) -> String {
    field.name.to_ascii_lowercase()
}

fn by_name(fields: &[Field]) -> HashMap<String, &Field> {
    fields.iter().map(|field| (folded(field), field)).collect()
}

fn join(parent: &str, name: &str) -> String {
    if parent.is_empty() {
        name.to_owned()
    } else {
        format!("{parent}.{name}")
    }
}
