//! The rules of a manifest beyond the types of its values.

use std::collections::BTreeSet;
use std::io;

use groma_schema::{Field, Pattern, Schema};
use jiff::ToSpan as _;
use toml::Spanned;
use toml::de::DeTable;

use crate::consent::check_version;
use crate::document::{DatatypeEntry, Document, RuleEntry};
use crate::read::Check;
use crate::{Datatype, MetadataRule, Port};

/// The most payload that a connection may declare to carry without becoming a test.
pub(crate) const MOST_UNADMITTED_BYTES: u64 = 4096;

/// The rules of one manifest.
pub(crate) struct Rules<'a, 't, 'd, R> {
    pub(crate) root: &'a Spanned<DeTable<'d>>,
    pub(crate) check: &'a mut Check<'t>,
    /// Returns the text of a file beside the manifest.
    pub(crate) read_file: R,
}

impl<R: Fn(&str) -> io::Result<String>> Rules<'_, '_, '_, R> {
    fn problem(&mut self, key: &str, reason: impl Into<String>) {
        self.check.at(self.root, key, reason);
    }

    /// Checks everything, and returns the datatypes and the rules of metadata that are right.
    pub(crate) fn apply(&mut self, document: &Document) -> (Vec<Datatype>, Vec<MetadataRule>) {
        if document.name.as_str() == "datatypes" {
            let reason = "the spool has a directory of this name for schemas; choose another one";
            self.problem("name", reason);
        }
        if document.results.is_empty() || document.results.len() > 20 {
            self.problem("results", "1 to 20 values of the label of the run counter");
        }
        self.unique("results", "", document.results.iter().map(String::as_str));
        if document.unadmitted_bytes > Some(MOST_UNADMITTED_BYTES) {
            self.problem(
                "unadmitted_bytes",
                format!("at most {MOST_UNADMITTED_BYTES}"),
            );
        }
        if document.max_test_bytes == Some(0) {
            self.problem("max_test_bytes", "a test transfers at least 1 byte");
        }
        self.ports(&document.port);
        self.people(document);
        self.links(document);
        self.running(document);
        self.embargo(document);
        if let Err(reason) = check_version(&document.consent.policy_version) {
            self.problem("consent.policy_version", reason);
        }
        if self.check.format >= 2 && document.consent.text.is_some() {
            self.problem("consent.text", "the text is generated; remove this key");
        }
        let datatypes = self.datatypes(&document.datatype);
        let rules = self.metadata(&document.client_metadata);
        (datatypes, rules)
    }

    /// `name` is the key inside each entry of the list `list`, or empty where the entries are the values.
    fn unique<'v>(&mut self, list: &str, name: &str, values: impl Iterator<Item = &'v str>) {
        let mut seen = BTreeSet::new();
        for (index, value) in values.enumerate() {
            if !seen.insert(value) {
                let key = match name {
                    "" => format!("{list}[{index}]"),
                    name => format!("{list}[{index}].{name}"),
                };
                self.problem(&key, format!("{value} is there twice"));
            }
        }
    }

    fn ports(&mut self, ports: &[Port]) {
        if ports.is_empty() {
            self.problem("port", "there must be at least one [[port]]");
        }
        let mut seen = Vec::new();
        for (index, port) in ports.iter().enumerate() {
            if let Some(name) = &port.name
                && !is_port_name(name)
            {
                let reason = format!(
                    "{name:?} must be a lower-case letter, then lower-case letters, digits and _, at most 32 in all"
                );
                self.problem(&format!("port[{index}].name"), reason);
            }
            if port.name.as_deref() == Some("admin") {
                let reason = "this name is taken by the port of metrics; choose another one";
                self.problem(&format!("port[{index}].name"), reason);
            }
            let socket = (port.protocol, port.port);
            if port.port != 0 && seen.contains(&socket) {
                let reason = format!("two ports have the number {}", port.port);
                self.problem(&format!("port[{index}].port"), reason);
            }
            seen.push(socket);
        }
        let names = ports
            .iter()
            .map(|port| port.name.as_deref().unwrap_or_default());
        if self.check.format >= 2 {
            self.unique("port", "name", names);
        }
    }

    fn people(&mut self, document: &Document) {
        let contacts = document.contacts.iter().flat_map(|contacts| {
            [
                ("contacts.owner", &contacts.owner),
                ("contacts.support", &contacts.support),
                ("contacts.privacy", &contacts.privacy),
            ]
        });
        for (key, address) in [("owner.email", &document.owner.email)]
            .into_iter()
            .chain(contacts)
        {
            let parts = address.split_once('@');
            let is_address = parts.is_some_and(|(user, host)| {
                !user.is_empty()
                    && !host.is_empty()
                    && !host.contains('@')
                    && !address.contains(char::is_whitespace)
            });
            if !is_address {
                self.problem(key, format!("{address:?} is not a mail address"));
            }
        }
    }

    fn links(&mut self, document: &Document) {
        let mut links = vec![("consent.policy_url", &document.consent.policy_url)];
        if let Some(url) = &document.documentation_url {
            links.push(("documentation_url", url));
        }
        let repositories = [
            ("source.server.repository", &document.source.server),
            ("source.client.repository", &document.source.client),
        ];
        for (key, repository) in repositories {
            links.extend(repository.as_ref().map(|it| (key, &it.repository)));
        }
        for (key, url) in links {
            let host = url
                .strip_prefix("https://")
                .or_else(|| url.strip_prefix("http://"));
            if host.is_none_or(str::is_empty) || url.contains(char::is_whitespace) {
                self.problem(key, format!("{url:?} is not an http or https URL"));
            }
        }
        if let Some(file) = &document.objectives
            && let Err(error) = (self.read_file)(file)
        {
            self.problem("objectives", format!("cannot read {file}: {error}"));
        }
    }

    fn running(&mut self, document: &Document) {
        if let Some(run) = &document.run {
            if run.command.is_empty() && run.container_file.is_none() && run.image.is_none() {
                self.problem(
                    "run",
                    "one of command, container_file and image must be set",
                );
            }
            if let Some(image) = &run.image
                && !is_pinned(image)
            {
                let reason = "an image must have its digest: REGISTRY/NAME@sha256:DIGEST";
                self.problem("run.image", reason);
            }
            if let Some(file) = &run.container_file
                && let Err(error) = (self.read_file)(file)
            {
                self.problem("run.container_file", format!("cannot read {file}: {error}"));
            }
            self.seconds("run.stop_seconds", run.stop_seconds);
        }
        if let Some(probes) = &document.probes {
            self.seconds("probes.start_seconds", probes.start_seconds);
            if let Some(wanted) = &probes.ready_port
                && !document.port.iter().any(|port| {
                    port.name.as_ref() == Some(wanted) && port.protocol == crate::Transport::Tcp
                })
            {
                let reason = format!("there is no TCP port with the name {wanted:?}");
                self.problem("probes.ready_port", reason);
            }
            if let Some(path) = &probes.ready_path
                && !(path.starts_with('/') && path.bytes().all(|b| b.is_ascii_graphic()))
            {
                self.problem(
                    "probes.ready_path",
                    "a path starts with / and has no spaces",
                );
            }
        }
        if let Some(allocation) = &document.allocation
            && allocation.disk_io_percent > 100
        {
            self.problem("allocation.disk_io_percent", "at most 100");
        }
    }

    fn seconds(&mut self, key: &str, seconds: Option<u64>) {
        if seconds.is_some_and(|seconds| !(1..=600).contains(&seconds)) {
            self.problem(key, "1 to 600 seconds");
        }
    }

    fn embargo(&mut self, document: &Document) {
        let (Some(embargo), Some(launch)) = (&document.embargo, document.launch_date) else {
            return;
        };
        let latest = launch.checked_add(1.year()).unwrap_or(launch);
        if embargo.until > latest {
            let reason = format!("an embargo ends within a year of the launch, by {latest}");
            self.problem("embargo.until", reason);
        }
    }

    fn datatypes(&mut self, entries: &[DatatypeEntry]) -> Vec<Datatype> {
        if entries.is_empty() {
            self.problem("datatype", "there must be at least one [[datatype]]");
        }
        let names = entries.iter().map(|entry| entry.name.as_str());
        self.unique("datatype", "name", names);
        let mut datatypes = Vec::new();
        for (index, entry) in entries.iter().enumerate() {
            let key = format!("datatype[{index}].schema");
            let schema_text = match (self.read_file)(&entry.schema) {
                Ok(text) => text,
                Err(error) => {
                    self.problem(&key, format!("cannot read {}: {error}", entry.schema));
                    continue;
                }
            };
            let schema = match Schema::parse(&schema_text) {
                Ok(schema) => schema,
                Err(error) => {
                    self.problem(&key, format!("{}: {error}", entry.schema));
                    continue;
                }
            };
            if self.check.format >= 2 {
                self.purposes(index, entry, &schema);
            }
            datatypes.push(Datatype {
                name: entry.name.clone(),
                schema,
                schema_text,
                bundle: entry.bundle,
                purposes: entry.purpose.clone(),
            });
        }
        datatypes
    }

    /// Every field that is stored has a purpose, and every purpose a field.
    fn purposes(&mut self, index: usize, entry: &DatatypeEntry, schema: &Schema) {
        let key = format!("datatype[{index}].purpose");
        let mut missing = Vec::new();
        for field in &schema.fields {
            without_purpose(entry, field, &field.name, &mut missing);
        }
        if !missing.is_empty() {
            let reason = format!(
                "these fields of {} have no purpose: {}",
                entry.schema,
                missing.join(", ")
            );
            self.problem(&key, reason);
        }
        for path in entry.purpose.keys() {
            if !has_field(&schema.fields, path) {
                let reason = format!("{} has no field {path}", entry.schema);
                self.problem(&key, reason);
            }
        }
    }

    fn metadata(&mut self, entries: &[RuleEntry]) -> Vec<MetadataRule> {
        let keys = entries.iter().map(|entry| entry.key.as_str());
        self.unique("client_metadata", "key", keys);
        let mut rules = Vec::new();
        for (index, entry) in entries.iter().enumerate() {
            let key = |name: &str| format!("client_metadata[{index}].{name}");
            // Everyone who reads a public row with a bearer token could act as the client.
            if entry.key == "access_token" || entry.key.starts_with("server_") {
                self.problem(&key("key"), format!("{} can never be kept", entry.key));
            }
            if !(1..=512).contains(&entry.max_length) {
                self.problem(&key("max_length"), "1 to 512 bytes");
            }
            match Pattern::new(&entry.pattern) {
                Ok(pattern) => rules.push(MetadataRule::new(
                    entry.key.clone(),
                    entry.max_length as usize,
                    pattern,
                )),
                Err(error) => self.problem(&key("pattern"), error.to_string()),
            }
        }
        rules
    }
}

fn is_port_name(name: &str) -> bool {
    let mut bytes = name.bytes();
    name.len() <= 32
        && bytes.next().is_some_and(|b| b.is_ascii_lowercase())
        && bytes.all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_')
}

fn is_pinned(image: &str) -> bool {
    let digest = image.split_once("@sha256:");
    digest.is_some_and(|(name, digest)| {
        !name.is_empty() && digest.len() == 64 && digest.bytes().all(|b| b.is_ascii_hexdigit())
    })
}

fn without_purpose(entry: &DatatypeEntry, field: &Field, path: &str, missing: &mut Vec<String>) {
    if entry.purpose.contains_key(path) {
        return;
    }
    // If one field in a record has a purpose, all its fields need one; otherwise the record itself does.
    let inside = format!("{path}.");
    let has_begun = entry.purpose.keys().any(|key| key.starts_with(&inside));
    if !has_begun {
        missing.push(path.to_owned());
        return;
    }
    for inner in &field.fields {
        without_purpose(entry, inner, &format!("{inside}{}", inner.name), missing);
    }
}

fn has_field(fields: &[Field], path: &str) -> bool {
    let (name, rest) = match path.split_once('.') {
        Some((name, rest)) => (name, Some(rest)),
        None => (path, None),
    };
    fields
        .iter()
        .find(|field| field.name == name)
        .is_some_and(|field| rest.is_none_or(|rest| has_field(&field.fields, rest)))
}
