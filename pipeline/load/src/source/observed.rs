//! Telling a damaged object from a failing store.

use std::cell::RefCell;
use std::io::{self, Read};
use std::rc::Rc;

use sha2::{Digest as _, Sha256};

/// Events below the decoders.
#[derive(Debug, Default)]
struct State {
    bytes: u64,
    sha256: Sha256,
    ended: bool,
    failure: Option<io::Error>,
}

/// Shared view of what an [`Observed`] reader saw.
#[derive(Clone, Debug, Default)]
pub(crate) struct Observation(Rc<RefCell<State>>);

impl Observation {
    /// The store's own error, if reading ended with one. Everything else that goes wrong further up is damage in the object.
    pub(crate) fn take_failure(&self) -> Option<io::Error> {
        self.0.borrow_mut().failure.take()
    }

    /// Size and SHA-256 of all bytes that were read.
    pub(crate) fn identity(&self) -> (u64, String) {
        let state = self.0.borrow();
        let digest = state.sha256.clone().finalize();
        (state.bytes, groma_archive::hex(&digest))
    }

    /// The stream ended before `expected` bytes: the transfer was cut, not the object.
    pub(crate) fn is_short_of(&self, expected: u64) -> bool {
        let state = self.0.borrow();
        state.ended && state.bytes < expected
    }
}

/// Passes reads through and remembers bytes, end and error.
pub(crate) struct Observed<R> {
    inner: R,
    seen: Observation,
}

impl<R: Read> Observed<R> {
    pub(crate) fn new(inner: R) -> (Self, Observation) {
        let seen = Observation::default();
        (
            Observed {
                inner,
                seen: seen.clone(),
            },
            seen,
        )
    }
}

impl<R: Read> Read for Observed<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let result = self.inner.read(buffer);
        let mut state = self.seen.0.borrow_mut();
        match &result {
            Ok(0) => state.ended = state.ended || !buffer.is_empty(),
            Ok(count) => {
                state.bytes += *count as u64;
                state.sha256.update(&buffer[..*count]);
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => state.failure = Some(io::Error::new(error.kind(), error.to_string())),
        }
        result
    }
}

#[cfg(test)]
mod tests {
    use std::io::{self, Read};

    use super::Observed;

    struct Broken;
    impl Read for Broken {
        fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
            Err(io::Error::other("cable"))
        }
    }

    #[test]
    fn tells_a_short_transfer_from_a_whole_one() {
        let (mut reader, seen) = Observed::new(&b"abc"[..]);
        let mut all = Vec::new();
        reader.read_to_end(&mut all).unwrap();
        assert!(seen.is_short_of(4));
        assert!(!seen.is_short_of(3));
        assert!(seen.take_failure().is_none());
    }

    #[test]
    fn remembers_the_stores_error() {
        let (mut reader, seen) = Observed::new(Broken);
        assert!(reader.read(&mut [0; 4]).is_err());
        assert_eq!(seen.take_failure().unwrap().to_string(), "cable");
    }
}
