//! Requests to the kernel, written into reused buffers.

use crate::record::Key;

/// `struct nlmsghdr`.
pub(crate) const HEADER_BYTES: usize = 16;
/// One exact request: header and `struct inet_diag_req_v2`.
pub(crate) const GET_BYTES: usize = HEADER_BYTES + 56;
const DUMP_BYTES: usize = HEADER_BYTES + 60;

/// The old request type, the only one that walks both families in one dump.
const TCPDIAG_GETSOCK: u16 = 18;
const SOCK_DIAG_BY_FAMILY: u16 = 20;
const REQUEST: u16 = 1;
const DUMP: u16 = 0x300;
/// Every attribute that can be asked for: bit `n` asks for type `n + 1`.
const ALL_EXTENSIONS: u8 = 0xff;
/// All states with a `tcp_info` that a server's connection passes through: not SYN-RECV, TIME-WAIT, CLOSE, which have
/// none, and not LISTEN, which is not a connection.
const STATES: u32 = 0xb36;

fn header(buffer: &mut Vec<u8>, length: usize, kind: u16, flags: u16, sequence: u32) {
    buffer.extend_from_slice(&(length as u32).to_ne_bytes());
    buffer.extend_from_slice(&kind.to_ne_bytes());
    buffer.extend_from_slice(&flags.to_ne_bytes());
    buffer.extend_from_slice(&sequence.to_ne_bytes());
    // The kernel knows the sender from the socket.
    buffer.extend_from_slice(&0_u32.to_ne_bytes());
}

/// `struct inet_diag_req`: all TCP sockets of both families.
pub(crate) fn write_dump(buffer: &mut Vec<u8>, sequence: u32) {
    buffer.clear();
    header(
        buffer,
        DUMP_BYTES,
        TCPDIAG_GETSOCK,
        REQUEST | DUMP,
        sequence,
    );
    buffer.extend_from_slice(&[0, 0, 0, ALL_EXTENSIONS]);
    buffer.extend_from_slice(&[0; 48]);
    buffer.extend_from_slice(&STATES.to_ne_bytes());
    buffer.extend_from_slice(&0_u32.to_ne_bytes());
}

/// `struct inet_diag_req_v2`: one socket. The caller clears the buffer and appends up to a batch.
pub(crate) fn append_get(buffer: &mut Vec<u8>, key: &Key, sequence: u32) {
    header(buffer, GET_BYTES, SOCK_DIAG_BY_FAMILY, REQUEST, sequence);
    let [family, id @ ..] = &key.0;
    buffer.extend_from_slice(&[*family, libc::IPPROTO_TCP as u8, ALL_EXTENSIONS, 0]);
    buffer.extend_from_slice(&u32::MAX.to_ne_bytes());
    buffer.extend_from_slice(id);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_have_the_kernels_lengths() {
        let mut buffer = Vec::new();
        write_dump(&mut buffer, 1);
        assert_eq!(buffer.len(), DUMP_BYTES);
        buffer.clear();
        append_get(&mut buffer, &Key([0; 49]), 1);
        assert_eq!(buffer.len(), GET_BYTES);
    }
}
