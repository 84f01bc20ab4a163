//! Room for open files and sockets.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Not as many open files and sockets as the service needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "{needed} open files and sockets are needed and {most} allowed; take fewer tests at a time, \
     or raise the limit with ulimit -n {needed} (LimitNOFILE= in a systemd unit)"
)]
pub struct DescriptorError {
    /// How many the service may need at one time.
    pub needed: u64,
    /// The hard limit of the process.
    pub most: u64,
}

/// Makes room for `needed` descriptors at one time, by raising the soft limit
/// (`RLIMIT_NOFILE`, getrlimit(2)) as far as the hard one allows.
///
/// A service that runs out of them in the middle of its work cannot write the
/// results that it has, so it is better refused at the start.
pub fn need_descriptors(needed: u64) -> Result<(), DescriptorError> {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    if current.is_none_or(|soft| soft >= needed) {
        return Ok(());
    }
    let most = maximum.unwrap_or(u64::MAX);
    let raised = Rlimit {
        current: Some(needed),
        maximum,
    };
    if needed > most || setrlimit(Resource::Nofile, raised).is_err() {
        return Err(DescriptorError { needed, most });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_soft_limit_is_raised_and_the_hard_one_kept() {
        let before = getrlimit(Resource::Nofile);
        let Some(most) = before.maximum else {
            return need_descriptors(u64::MAX).unwrap();
        };
        need_descriptors(most).unwrap();
        assert_eq!(getrlimit(Resource::Nofile).current, Some(most));
        assert_eq!(
            need_descriptors(most + 1),
            Err(DescriptorError {
                needed: most + 1,
                most
            })
        );
    }
}
