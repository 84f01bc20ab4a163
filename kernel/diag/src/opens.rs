//! Whether new connections came, at the price of one small read.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;

/// `/proc/net/snmp` is under 2 KB; the lines about TCP are in its first half.
const BUFFER_BYTES: usize = 4096;

/// The count of connections that the TCP of a namespace ever opened (`ActiveOpens` and `PassiveOpens` of RFC 4022).
///
/// While it does not change, no new connection exists, so that a walk over all sockets can find none.
pub struct Opens {
    file: File,
    buffer: Box<[u8; BUFFER_BYTES]>,
}

impl Opens {
    /// Opens the counters of the network namespace of this thread; the file stays with that namespace.
    pub fn open() -> io::Result<Self> {
        Ok(Self {
            file: File::open("/proc/thread-self/net/snmp")?,
            buffer: Box::new([0; BUFFER_BYTES]),
        })
    }

    /// Connections opened so far, by either side.
    ///
    /// Errors: what reading says, and `InvalidData` when the counters are not there.
    pub fn count(&mut self) -> io::Result<u64> {
        let length = self.file.read_at(&mut self.buffer[..], 0)?;
        total(&self.buffer[..length]).ok_or_else(|| {
            io::Error::new(io::ErrorKind::InvalidData, "no TCP counters in net/snmp")
        })
    }
}

/// Adds the two counters: one `Tcp:` line names the columns, the next has the values.
fn total(text: &[u8]) -> Option<u64> {
    let text = std::str::from_utf8(text).ok()?;
    let mut lines = text.lines().filter_map(|line| line.strip_prefix("Tcp: "));
    let (names, values) = (lines.next()?, lines.next()?);
    let mut found = 0;
    let mut sum: u64 = 0;
    for (name, value) in names.split(' ').zip(values.split(' ')) {
        if matches!(name, "ActiveOpens" | "PassiveOpens") {
            sum = sum.wrapping_add(value.parse().ok()?);
            found += 1;
        }
    }
    (found == 2).then_some(sum)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_found_by_name() {
        let text =
            b"Ip: A B\nIp: 1 2\nTcp: MaxConn ActiveOpens X PassiveOpens\nTcp: -1 20 3 4\nUdp: 1\n";
        assert_eq!(total(text), Some(24));
        assert_eq!(total(b"Tcp: ActiveOpens\nTcp: 1\n"), None);
        assert_eq!(total(b"Tcp: ActiveOpens PassiveOpens\n"), None);
        assert_eq!(total(&[0xff; 64]), None);
    }
}
