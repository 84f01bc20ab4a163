//! Decides whether a connection changed.

use std::ops::Range;

use groma_diag::{MESSAGE_BYTES, Record, kind};

/// Offset of the connection state in `inet_diag_msg`.
const STATE: usize = 1;
/// Parts of `tcp_info` that change only when something happens. The fields between them change with time alone: the
/// four `last_*` times (44 to 60), and `busy_time`, `rwnd_limited`, `sndbuf_limited` (168 to 192).
const STEADY: [Range<usize>; 3] = [0..44, 60..168, 192..usize::MAX];

/// The range of `tcp_info` in a message body; empty, at the end, when the body has none.
pub(crate) fn info_range(record: Record<'_>) -> Range<usize> {
    let body = record.body();
    match record.attribute(kind::INFO) {
        Some(info) => {
            let start = info.as_ptr() as usize - body.as_ptr() as usize;
            start..start + info.len()
        }
        None => body.len()..body.len(),
    }
}

/// Whether `new` deserves a record after `old`, whose `tcp_info` is at `info`: it has another state, another set of
/// attributes, or any other difference except in the times that change by themselves.
///
/// In the message header only the state counts. The kernel writes attributes in one order, so an attribute that
/// appears, disappears or grows changes the length or the bytes before the next attribute.
pub(crate) fn changed(old: &[u8], new: &[u8], info: &Range<usize>) -> bool {
    if old.len() != new.len() || old[STATE] != new[STATE] {
        return true;
    }
    let differs = |range: Range<usize>| old[range.clone()] != new[range];
    if differs(MESSAGE_BYTES..info.start) || differs(info.end..old.len()) {
        return true;
    }
    STEADY.iter().any(|part| {
        let start = (info.start + part.start).min(info.end);
        let end = info.start.saturating_add(part.end).min(info.end);
        differs(start..end)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn body(attributes: &[(u16, Vec<u8>)]) -> Vec<u8> {
        let mut body = vec![0; MESSAGE_BYTES];
        for (kind, payload) in attributes {
            body.extend_from_slice(&(4 + payload.len() as u16).to_ne_bytes());
            body.extend_from_slice(&kind.to_ne_bytes());
            body.extend_from_slice(payload);
            body.resize(body.len().next_multiple_of(4), 0);
        }
        body
    }

    fn is_change(old: &[u8], new: &[u8]) -> bool {
        changed(old, new, &info_range(Record::parse(old).unwrap()))
    }

    fn attributes() -> Vec<(u16, Vec<u8>)> {
        vec![
            (kind::TOS, vec![0]),
            (kind::INFO, vec![0; 280]),
            (kind::CONG, b"cubic\0".to_vec()),
        ]
    }

    #[test]
    fn each_byte_of_tcp_info_counts_unless_it_is_a_running_time() {
        for length in [168, 224, 232, 280] {
            let mut attributes = attributes();
            attributes[1].1 = vec![0; length];
            let old = body(&attributes);
            for at in 0..length {
                attributes[1].1[at] = 1;
                let running = (44..60).contains(&at) || (168..192).contains(&at);
                assert_eq!(
                    is_change(&old, &body(&attributes)),
                    !running,
                    "byte {at} of {length}"
                );
                attributes[1].1[at] = 0;
            }
        }
    }

    #[test]
    fn of_the_message_only_the_state_counts() {
        let old = body(&attributes());
        for at in 0..MESSAGE_BYTES {
            let mut new = old.clone();
            new[at] ^= 1;
            assert_eq!(is_change(&old, &new), at == STATE, "byte {at}");
        }
    }

    #[test]
    fn attributes_that_come_go_grow_or_differ_are_changes() {
        let old = body(&attributes());
        for index in 0..3 {
            let mut fewer = attributes();
            fewer.remove(index);
            assert!(is_change(&old, &body(&fewer)) && is_change(&body(&fewer), &old));
        }
        let mut renamed = attributes();
        renamed[2].1 = b"reno\0\0".to_vec();
        assert!(is_change(&old, &body(&renamed)));
        let mut swapped = attributes();
        swapped[0].0 = kind::TCLASS;
        assert!(is_change(&old, &body(&swapped)));
    }

    #[test]
    fn without_tcp_info_standing_still_is_no_change() {
        let old = body(&[(kind::TOS, vec![0])]);
        assert!(!is_change(&old, &old.clone()));
    }
}
