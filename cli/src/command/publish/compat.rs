//! `groma publish --compat`: the flags of M-Lab's publishers instead of our own.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use anyhow::Context as _;
use clap::{Arg, ArgMatches, Command, FromArgMatches};
use groma_archive::{Store, open_to_put};
use groma_publish::Config;
use groma_publish::compat::{self, Program};
use groma_service::{Access, parse_listen_address};

use super::Args;
use crate::command::notation::{COMPAT, refuse_own};

/// Our flags that M-Lab's programs do not have; they may precede `--compat`.
const ALONGSIDE: [&str; 4] = ["archive", "weak_store", "state", "admin_token_file"];

/// A publisher in either notation.
#[derive(Debug)]
pub(crate) enum Notation {
    Own(Box<Args>),
    Compat(Compat),
}

/// The command line of a publisher with M-Lab's flags.
#[derive(Debug)]
pub(crate) struct Compat {
    program: String,
    flags: Vec<String>,
    archive: Option<String>,
    weak_store: bool,
    state: Option<PathBuf>,
    admin_token_file: Option<PathBuf>,
}

/// The settings of a publisher, from either syntax.
pub(super) struct Plan {
    pub(super) config: Config,
    pub(super) store: Arc<dyn Store>,
    pub(super) admin: SocketAddr,
    pub(super) access: Access,
    pub(super) is_dry_run: bool,
}

impl Compat {
    pub(super) fn plan(&self) -> anyhow::Result<Plan> {
        let program: Program = self
            .program
            .parse()
            .map_err(|error| anyhow::anyhow!("--compat {}: {error}", self.program))?;
        let told = compat::parse(program, &self.flags, |name| std::env::var(name).ok())?;
        for flag in &told.without_effect {
            tracing::info!(flag, "accepted and without effect");
        }
        let archive = self.archive.as_ref().unwrap_or(&told.archive);
        let mut config = told.config(self.state.clone())?;
        config.writer_probe = Some(groma_lease::has_writer);
        let admin = parse_listen_address(&told.listen_address).with_context(|| {
            let address = &told.listen_address;
            format!("-prometheusx.listen-address: {address:?} is neither ADDRESS:PORT nor :PORT")
        })?;
        Ok(Plan {
            config,
            store: open_to_put(archive, self.weak_store)?,
            admin,
            access: super::access(self.admin_token_file.as_deref())?,
            is_dry_run: told.is_dry_run,
        })
    }
}

// By hand, because the environment of a pod has variables of both notations, and of its own nothing is required then.
impl clap::Args for Notation {
    fn augment_args(command: Command) -> Command {
        let compat = Arg::new(COMPAT)
            .long(COMPAT)
            .value_name("pusher|jostler FLAG")
            .num_args(1..)
            .allow_hyphen_values(true)
            .help("Everything behind this is flags of M-Lab's pusher or jostler")
            .long_help(
                "Everything behind this is flags of M-Lab's pusher or jostler, with one hyphen or two; what is not given \
                 is taken from their environment variables. -bucket and -gcs-bucket name a bucket of Google's, a \
                 directory, or a URL. Only --archive, which takes precedence over those, --weak-store, --state and --admin-token-file may \
                 precede this flag. Unlike M-Lab's programs, metrics are served on loopback unless \
                 -prometheusx.listen-address says otherwise. Unless --state says otherwise, it is .groma-publish in the experiment's directory.",
            );
        let own = <Args as clap::Args>::augment_args(command);
        // clap does not mention flags that are required only without --compat.
        let usage = "groma publish [OPTIONS] --archive <DIR|URL> --state <DIR>\n       \
                     groma publish [--archive <DIR|URL>] [--state <DIR>] --compat pusher|jostler <FLAG>...";
        own.override_usage(usage)
            .mut_args(|arg| {
                if arg.is_required_set() {
                    arg.required(false).required_unless_present(COMPAT)
                } else {
                    arg
                }
            })
            .arg(compat)
    }

    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}

impl FromArgMatches for Notation {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        let Some(given) = matches.get_many::<String>(COMPAT) else {
            return Args::from_arg_matches(matches).map(|args| Self::Own(Box::new(args)));
        };
        refuse_own::<Args>(matches, &ALONGSIDE)?;
        let mut flags = given.cloned();
        Ok(Self::Compat(Compat {
            program: flags.next().unwrap_or_default(),
            flags: flags.collect(),
            archive: matches.get_one("archive").cloned(),
            weak_store: matches.get_flag("weak_store"),
            state: matches.get_one("state").cloned(),
            admin_token_file: matches.get_one("admin_token_file").cloned(),
        }))
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        *self = Self::from_arg_matches(matches)?;
        Ok(())
    }
}
