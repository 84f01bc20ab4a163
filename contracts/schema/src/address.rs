//! Addresses of machines and people within a text.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// Whether the whole text is an IP address, with or without a port: `192.0.2.1`, `192.0.2.1:443`, `2001:db8::1`,
/// `[2001:db8::1]:443`.
pub(crate) fn is_ip(text: &str) -> bool {
    text.parse::<IpAddr>().is_ok() || text.parse::<SocketAddr>().is_ok()
}

/// Returns whether the text has an IP address as a separate word or behind a colon. The unspecified
/// address does not count; four numbers with dots count, whatever their meaning.
pub(crate) fn holds_ip(text: &str) -> bool {
    let separates = |c: char| !c.is_ascii_alphanumeric() && c != '.' && c != ':';
    text.split(separates).any(|word| {
        let word = word.trim_matches('.');
        let after_colons = word.match_indices(':').map(|(at, _)| &word[at + 1..]);
        holds_v4(word)
            || std::iter::once(word)
                .chain(after_colons)
                .any(|rest| is_v6(rest) || is_v6(rest.trim_end_matches(':')))
    })
}

fn holds_v4(word: &str) -> bool {
    word.split(':').any(|part| {
        let address = part.trim_matches('.').parse::<Ipv4Addr>();
        address.is_ok_and(|address| !address.is_unspecified())
    })
}

fn is_v6(text: &str) -> bool {
    let address = text.parse::<Ipv6Addr>();
    address.is_ok_and(|address| !address.is_unspecified())
}

/// Returns whether the text has something like `name@host.domain`.
pub(crate) fn holds_email(text: &str) -> bool {
    text.match_indices('@').any(|(at, _)| {
        let name = text[..at].chars().next_back();
        let in_domain = |c: &char| c.is_alphanumeric() || matches!(c, '-' | '.');
        let domain: String = text[at + 1..].chars().take_while(in_domain).collect();
        let named = name.is_some_and(|c| c.is_alphanumeric() || "._%+-\"".contains(c));
        named && domain.trim_matches('.').contains('.')
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whole_addresses() {
        for good in [
            "192.0.2.1",
            "192.0.2.1:443",
            "::1",
            "2001:db8::1",
            "[2001:db8::1]:443",
            "::ffff:192.0.2.1",
        ] {
            assert!(is_ip(good), "{good}");
        }
        for bad in [
            "",
            "localhost",
            "192.0.2",
            "192.0.2.256",
            "192.0.2.1:65536",
            "192.0.2.1 ",
            "192.0.2.1:443 jane",
            "[2001:db8::1]",
            "2001:db8::1/64",
        ] {
            assert!(!is_ip(bad), "{bad}");
        }
    }

    #[test]
    fn addresses_within_a_text() {
        for text in [
            "192.0.2.1",
            "from 192.0.2.1.",
            "(192.0.2.1)",
            "ip=192.0.2.1;",
            "192.0.2.1:443",
            "host:192.0.2.1",
            "192.0.2.0/24",
            "https://192.0.2.1/x",
            "2001:db8::1",
            "[2001:db8::1]:443",
            "via fe80::1%eth0",
            "client:2001:db8::1",
            "at 2001:db8::1: refused",
            "\u{e9}192.0.2.1\u{e9}",
            "8.8.8.8",
        ] {
            assert!(holds_ip(text), "{text}");
        }
        for text in [
            "",
            "v0.20.17",
            "5.10.0-28-amd64",
            "1.2.3.4.5",
            "256.1.1.1",
            "12:34:56",
            "00:11:22:33:44:55",
            "std::net",
            "ndt-knwp4_1583603744_000000000000590E",
            "2024-05-06T07:08:09.123456789Z",
            "::",
            "0.0.0.0",
            "a: b",
        ] {
            assert!(!holds_ip(text), "{text}");
        }
    }

    #[test]
    fn mail_addresses_within_a_text() {
        for text in [
            "jane.doe@example.org",
            "<jane+x@mail.example.org>",
            "mail j\u{f6}rg@b\u{fc}cher.example, please",
        ] {
            assert!(holds_email(text), "{text}");
        }
        for text in ["", "@", "a@b", "@example.org", "12 @ 3.5", "x@", "x@."] {
            assert!(!holds_email(text), "{text}");
        }
    }
}
