//! The table's schema, put beside the data so that a loader knows the columns.

use std::io::{self, Read as _, Write as _};

use groma_archive::Put;
use groma_disk::{Entry, Taken};
use groma_schema::Schema;

use crate::seal::journal::STATE_MODE;
use crate::shared::{Lane, Shared};
use crate::{Form, PublishError, seal::naming};

pub(crate) const TABLES_DIR: &str = "tables";
/// A schema object larger than this is not ours.
const TABLE_MAX_BYTES: u64 = 16 * 1024 * 1024;

/// Puts the table schema of a datatype unless there is one, or another publisher's task; one that differs is compared and
/// kept.
pub(crate) fn publish(shared: &Shared, lane: &Lane) -> Result<(), PublishError> {
    let (Form::Jsonl, Some(schema)) = (lane.datatype.form, &lane.datatype.schema) else {
        return Ok(());
    };
    let name = naming::table_name(&shared.config, &lane.datatype.name)?;
    let table = schema.table();
    let text = format!("{:#}\n", table.to_bigquery());
    let exists = if shared.config.puts_tables {
        put(shared, lane, &name, &text)? == Put::Exists
    } else {
        shared.store.stat(&name)?.is_some()
    };
    if !exists && !shared.config.puts_tables {
        tracing::error!(
            object = name,
            "the archive has no table schema yet, which another publisher must put there"
        );
    }
    if exists {
        let mut existing = String::new();
        let read = shared
            .store
            .open(&name)?
            .take(TABLE_MAX_BYTES)
            .read_to_string(&mut existing);
        read.map_err(PublishError::io("read table schema", name.as_ref()))?;
        if existing != text {
            compare(&name, &existing, &table);
        }
    }
    Ok(())
}

fn put(shared: &Shared, lane: &Lane, name: &str, text: &str) -> Result<Put, PublishError> {
    let disk = &shared.config.disk;
    let dir = shared.config.state_dir.join(TABLES_DIR);
    match disk.create_dir(Entry::path(&dir), 0o700) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
            return Err(PublishError::io("create", &dir)(error));
        }
        _ => {}
    }
    let body = dir.join(format!("{}.table.json", lane.datatype.name));
    // Not durable: it is written again at every start.
    disk.create_file(Entry::path(&body), STATE_MODE, Taken::Replace)
        .and_then(|mut file| file.write_all(text.as_bytes()))
        .map_err(PublishError::io("write table schema", &body))?;
    Ok(shared.store.put_new(name, &body)?)
}

fn compare(name: &str, existing: &str, table: &Schema) {
    let existing = match Schema::parse(existing) {
        Ok(existing) => existing,
        Err(error) => {
            return tracing::error!(object = name, %error, "the archive's table schema cannot be read");
        }
    };
    match Schema::evolution(&existing, table) {
        Ok(added) if added.is_empty() => tracing::debug!(
            object = name,
            "the archive's table schema is spelled differently"
        ),
        Ok(added) => tracing::warn!(
            object = name,
            ?added,
            "the archive's table schema lacks these fields"
        ),
        Err(incompatibilities) => {
            tracing::error!(
                object = name,
                ?incompatibilities,
                "the archive's table schema is incompatible"
            );
        }
    }
}
