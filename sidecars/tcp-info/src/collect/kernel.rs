//! The queries that a sampler sends to the kernel.

use groma_diag::{Answer, Destroyed, Diag, DiagError, Drained, Dumped, Key, Record};

/// Answers about the sockets of one network namespace. Sockets that are shown before an error are valid.
pub(crate) trait Kernel {
    /// Shows all sockets ([`Diag::dump`]).
    fn dump(&mut self, visit: &mut dyn FnMut(Record<'_>)) -> Result<Dumped, DiagError>;
    /// Asks for these ([`Diag::get`]).
    fn get(&mut self, keys: &[Key], visit: &mut dyn FnMut(Answer<'_>)) -> Result<(), DiagError>;
    /// Shows the sockets that ended ([`Destroyed::drain`]).
    fn last_words(&mut self, visit: &mut dyn FnMut(Record<'_>)) -> Result<Drained, DiagError>;
}

/// The kernel of this machine.
pub(crate) struct Netlink {
    diag: Diag,
    destroyed: Destroyed,
}

impl Netlink {
    /// Opens its sockets in the network namespace of this thread.
    pub(crate) fn open(last_words_bytes: usize) -> Result<Self, DiagError> {
        Ok(Self {
            diag: Diag::open()?,
            destroyed: Destroyed::open(last_words_bytes)?,
        })
    }
}

impl Kernel for Netlink {
    fn dump(&mut self, visit: &mut dyn FnMut(Record<'_>)) -> Result<Dumped, DiagError> {
        self.diag.dump(visit)
    }

    fn get(&mut self, keys: &[Key], visit: &mut dyn FnMut(Answer<'_>)) -> Result<(), DiagError> {
        self.diag.get(keys, |_, answer| visit(answer))
    }

    fn last_words(&mut self, visit: &mut dyn FnMut(Record<'_>)) -> Result<Drained, DiagError> {
        self.destroyed.drain(visit)
    }
}
