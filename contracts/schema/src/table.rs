use crate::field::{Field, Mode, Schema, Type};

impl Schema {
    /// The table of this datatype: the standard columns `date` and `archiver`, and the datatype under `raw`, as M-Lab's
    /// uploader of JSON results lays it out. The standard columns are `REQUIRED` because the archiver always writes them.
    #[must_use]
    pub fn table(&self) -> Self {
        let text = |name: &str, description: &str| Field {
            description: Some(description.into()),
            ..Field::new(name, Type::String).with_mode(Mode::Required)
        };
        let date = Field {
            description: Some("Date of the archive directory, in UTC. Rows are partitioned by it; the time of a test stands in `raw`.".into()),
            ..Field::new("date", Type::Date).with_mode(Mode::Required)
        };
        let archiver = Field {
            description: Some("Where the row comes from.".into()),
            ..Field::record(
                "archiver",
                vec![
                    text(
                        "Version",
                        "Version of the program that archived the result.",
                    ),
                    text(
                        "GitCommit",
                        "Commit of that program, 40 hexadecimal digits.",
                    ),
                    text("ArchiveURL", "The archive object that holds the result."),
                    text("Filename", "Path of the result file on the server."),
                ],
            )
            .with_mode(Mode::Required)
        };
        let raw = Field {
            description: Some("The result as the experiment wrote it.".into()),
            ..Field::record("raw", self.fields.clone())
        };
        Self {
            fields: vec![date, archiver, raw],
        }
    }
}
