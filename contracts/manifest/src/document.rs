//! The tables and keys of `experiment.toml`. The comments here are the reference: `docs/manifest.md` is generated from them.

use std::collections::BTreeMap;

use groma_spool::Name;
use jiff::civil::Date;

use crate::read::{choice, table};

table! {
    /// The keys before the first table.
    pub(crate) struct Document {
        /// The format of the file: 2. Programs also read format 1.
        manifest: u32 = Required,
        /// The name of the experiment: a lower-case letter, then lower-case letters and digits. It is the directory in the
        /// spool, the first part of every object name, and the dataset.
        name: Name = Required,
        /// The version of the experiment's code.
        version: String = Required,
        /// One line that describes the experiment to people.
        title: String = Required,
        /// The values of the label `result` of the run counter, 1 to 20.
        results: Vec<String> = Required,
        /// The web page that documents the experiment, its protocol and its data.
        documentation_url: Option<String> = Since2,
        /// The first day on which the experiment accepts tests from the public.
        launch_date: Option<Date> = Since2,
        /// The largest number of bytes that one test transfers, both directions and all connections together.
        max_test_bytes: Option<u64> = Since2,
        /// A file beside the manifest with the service level objectives, in `OpenSLO` v1.
        objectives: Option<String> = OptionalSince2,
        /// How a recorder learns which connections belong to admitted tests. `announced`, the default: the experiment
        /// announces them over the event socket, as the SDK does. `first-payload`: a connection is admitted by the first
        /// payload byte that its client sends; for programs that cannot announce.
        admission: Option<Admission> = Optional,
        /// The most payload bytes, both directions together, of a connection that does not become a test: 0 to 4096, the
        /// default. Recorders count connections with more as unexplained.
        unadmitted_bytes: Option<u64> = Optional,
        /// The organisation that runs the experiment.
        owner: Owner = Required,
        /// The people to write to.
        contacts: Option<Contacts> = Since2,
        /// The code and its licences.
        source: Source = Required,
        /// How the server is started.
        run: Option<Run> = Since2,
        /// How a node finds out whether the server takes tests.
        probes: Option<Probes> = OptionalSince2,
        /// The resources that the server may use.
        allocation: Option<Allocation> = Since2,
        /// The hosts that the server contacts by itself; without an entry it contacts none.
        egress: Vec<Egress> = OptionalSince2,
        /// The period in which data are not public.
        embargo: Option<Embargo> = OptionalSince2,
        /// The sockets on which clients reach the experiment; at least one.
        port: Vec<Port> = Required,
        /// The kinds of files that the experiment writes; at least one.
        datatype: Vec<DatatypeEntry> = Required,
        /// The parameters of a client that may be stored; no others are.
        client_metadata: Vec<RuleEntry> = Optional,
        /// The policy to which a person agrees before a test. Its text is generated from the manifest and the attached
        /// sidecars.
        consent: ConsentEntry = Required,
        /// The names of the metrics that the experiment serves on its `/metrics`.
        metrics: Metrics = Required,
    }
}

impl Document {
    pub(crate) fn read_root(
        root: &toml::Spanned<toml::de::DeTable<'_>>,
        check: &mut crate::read::Check<'_>,
    ) -> Self {
        Self::read_table(root.get_ref(), &(0..0), "", check)
    }
}

table! {
    /// The organisation that runs an experiment.
    pub struct Owner {
        /// The organisation, which controls the data.
        organization: String = Required,
        /// The e-mail address of the organisation.
        email: String = Required,
    }
}

table! {
    /// The mail addresses to write to.
    pub struct Contacts {
        /// The person who decides about the experiment.
        owner: String = Required,
        /// Help for people who run tests.
        support: String = Required,
        /// Questions about personal data.
        privacy: String = Required,
    }
}

table! {
    /// The code and its licences.
    pub struct Source {
        /// The SPDX id of the licence of the code.
        license: String = Required,
        /// The SPDX id of the licence of the data.
        data_license: String = Required,
        /// The repository of the server.
        server: Option<Repository> = Since2,
        /// The repository of the client.
        client: Option<Repository> = Since2,
    }
}

table! {
    /// A repository of code.
    pub struct Repository {
        /// The URL of the repository.
        repository: String = Required,
        /// The SPDX id of the licence of its code.
        license: String = Required,
    }
}

table! {
    /// How the server is built and started: a command, a container file or an image; at least one of the three.
    pub struct Run {
        /// The program and its arguments, started in the directory of the manifest. `groma up` runs it as a plain process.
        command: Vec<String> = OptionalSince2,
        /// A command that builds the program, for people and for conformance checks. `groma up` does not run it.
        build: Vec<String> = OptionalSince2,
        /// A container file beside the manifest.
        container_file: Option<String> = OptionalSince2,
        /// A container image with its digest, `REGISTRY/NAME@sha256:DIGEST`.
        image: Option<String> = OptionalSince2,
        /// Seconds that running tests have after SIGTERM, before SIGKILL: 1 to 600, by default 10.
        stop_seconds: Option<u64> = OptionalSince2,
    }
}

table! {
    /// How a node finds out whether the server takes tests. Without this table, a started process counts as ready.
    pub struct Probes {
        /// The name of a TCP port that accepts connections when the server is ready.
        ready_port: Option<String> = OptionalSince2,
        /// The path on the admin address (`GROMA_ADMIN_ADDRESS`) that answers 200 when the server is ready.
        ready_path: Option<String> = OptionalSince2,
        /// Seconds that the server may take to become ready: 1 to 600, by default 30.
        start_seconds: Option<u64> = OptionalSince2,
    }
}

table! {
    /// The resources that the server may use.
    pub struct Allocation {
        /// CPU time, in hundredths of a core: 100 is one core.
        cpu_percent: u64 = Required,
        /// Memory in bytes.
        memory_bytes: u64 = Required,
        /// Disk space in bytes.
        disk_bytes: u64 = Required,
        /// The share of the disk's bandwidth, in percent.
        disk_io_percent: u64 = Required,
        /// The mean rate over five minutes in Mbit/s, sent and received together.
        network_mbits: u64 = Required,
    }
}

table! {
    /// A host that the server contacts by itself.
    pub struct Egress {
        /// The name or the address prefix of the host.
        host: String = Required,
        /// The port; without it, every port.
        port: Option<u16> = OptionalSince2,
        /// The transport.
        protocol: Transport = Required,
        /// The reason.
        purpose: String = Required,
    }
}

table! {
    /// The period in which data are not public.
    pub struct Embargo {
        /// The first day on which the data are public: at most one year after the launch.
        until: Date = Required,
        /// The reason.
        reason: String = Required,
    }
}

table! {
    /// A socket on which clients reach the experiment.
    pub struct Port {
        /// The name, which the environment variable `GROMA_PORT_<NAME>` has in capitals: a lower-case letter, then lower-case
        /// letters, digits and `_`, at most 32 in all.
        name: Option<String> = Since2,
        /// The protocol, for instance `ndt7+wss`.
        service: String = Required,
        /// The transport.
        protocol: Transport = Required,
        /// The port number on the node; 0 selects a free one.
        port: u16 = Required,
        /// Whether clients speak TLS from their first byte; `false` if absent. A recorder then allows an unadmitted
        /// connection 16 KiB for the handshake, in addition to `unadmitted_bytes`.
        tls: bool = OptionalSince2,
    }
}

choice! {
    /// A transport.
    pub enum Transport {
        /// TCP.
        Tcp = "tcp",
        /// UDP.
        Udp = "udp",
    }
}

table! {
    /// A kind of files that the experiment writes: one file per test.
    pub(crate) struct DatatypeEntry {
        /// The name: a directory in the spool, and a table.
        name: Name = Required,
        /// The schema file beside the manifest: the JSON form of `BigQuery`, with `privacy` for each field that can reveal
        /// something about a person.
        schema: String = Required,
        /// How files travel to the archive: `tgz` keeps them as they are, `jsonl` makes lines with standard columns.
        bundle: BundleForm = Required,
        /// For each field of the schema, the reason for storing it. A field in a record may have its own entry
        /// (`"Client.IP" = …`); without one, the reason of the record applies.
        purpose: BTreeMap<String, String> = Since2,
    }
}

choice! {
    /// How files travel to the archive.
    pub enum BundleForm {
        /// A gzipped tar archive of the files as they are.
        Tgz = "tgz",
        /// Gzipped JSON lines with standard columns, and an index.
        Jsonl = "jsonl",
    }
}

choice! {
    /// How a recorder of connections learns which of them belong to admitted tests.
    pub enum Admission {
        /// The experiment announces them over the event socket, as the SDK does.
        Announced = "announced",
        /// A connection counts as admitted from the first payload byte that its client sends. For programs that cannot
        /// announce.
        FirstPayload = "first-payload",
    }
}

table! {
    /// A parameter of a client that may be stored. The data of a client are published, so only values that match are stored.
    pub(crate) struct RuleEntry {
        /// The name of the parameter.
        key: String = Required,
        /// The longest value in bytes, 1 to 512.
        max_length: u32 = Required,
        /// A regular expression for the whole value.
        pattern: String = Required,
    }
}

table! {
    /// The policy to which a person agrees before a test.
    pub(crate) struct ConsentEntry {
        /// The web page of the policy.
        policy_url: String = Required,
        /// The version of the policy: 1 to 32 of `A-Z a-z 0-9 . _ -`, and not `not-sent`. Raise it when the manifest stores
        /// more, or for another purpose.
        policy_version: String = Required,
        /// The reason for the experiment, as the end of the sentence "Purpose: …".
        purpose: Option<String> = Optional,
        /// How long results are kept; by default without limit.
        retention: Option<String> = Optional,
        /// How to have an address anonymised; by default with a mail to the owner.
        anonymize: Option<String> = Optional,
        /// Ignored in format 1, an error since format 2: a text of the manifest's own cannot describe the data of sidecars.
        text: Option<String> = Optional,
    }
}

table! {
    /// The names of metrics on the experiment's `/metrics`.
    pub struct Metrics {
        /// The counter of runs with the label `result`.
        runs: String = Required,
        /// The counter of the work done.
        traffic: String = Required,
        /// The counter of errors.
        errors: String = Required,
        /// The histogram of the duration of tests.
        duration: String = Required,
        /// The gauge of the used share of the capacity.
        saturation: String = Required,
    }
}
