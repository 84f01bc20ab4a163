use crate::cursor::Cursor;
use crate::error::{Fault, NameError};
use crate::host::HostName;
use std::fmt;
use std::str::FromStr;

/// Machine and site of a measurement server, as object names have them.
///
/// | | machine | site |
/// |---|---|---|
/// | managed | `mlab` and a digit, `d` after it for the management controller | 3 letters, a digit, then a digit, `t` (test) or `c` (cloud) |
/// | host-managed | 8 hexadecimal digits of an IPv4 address | 3 letters and an AS number of up to 10 digits |
/// | neither | `third` | `party` |
///
/// Prints as `<machine>-<site>`; reads that, or a whole host name of which it keeps machine and site.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Node {
    machine: String,
    site: String,
}

impl Node {
    /// A server outside the platform's naming: `third-party`.
    pub fn third_party() -> Self {
        Self {
            machine: "third".into(),
            site: "party".into(),
        }
    }

    /// A node of the given machine and site.
    pub fn new(machine: &str, site: &str) -> Result<Self, NameError> {
        format!("{machine}-{site}").parse()
    }

    /// Machine, such as `mlab1` or `c0a80001`.
    pub fn machine(&self) -> &str {
        &self.machine
    }

    /// Site, such as `lga01` or `lga15169`.
    pub fn site(&self) -> &str {
        &self.site
    }

    /// Whether this is the management controller of a machine rather than the machine.
    pub fn is_bmc(&self) -> bool {
        is_managed_machine(&self.machine) && self.machine.ends_with('d')
    }

    /// Whether the machine is named by its address (version 3 of the host names).
    pub(crate) fn is_host_managed(&self) -> bool {
        is_address(&self.machine)
    }

    /// Reads `<machine>-<site>` and leaves what follows.
    pub(crate) fn read(cursor: &mut Cursor<'_>) -> Result<Self, Fault> {
        let machine = cursor.until('-');
        let site_is_good: fn(&str) -> bool = match machine.text {
            "third" => |site| site == "party",
            text if is_managed_machine(text) => is_managed_site,
            text if is_address(text) => is_network_site,
            _ => {
                return machine.fault(
                    "machine",
                    "must be mlab<digit>[d], 8 hexadecimal digits, or `third`",
                );
            }
        };
        cursor.expect("-", "site")?;
        let site = cursor.until('-');
        if !site_is_good(site.text) {
            return site.fault(
                "site",
                format!("does not go with machine `{}`", machine.text),
            );
        }
        Ok(Self {
            machine: machine.text.to_owned(),
            site: site.text.to_owned(),
        })
    }
}

fn is_managed_machine(text: &str) -> bool {
    matches!(
        text.as_bytes(),
        [b'm', b'l', b'a', b'b', b'0'..=b'9'] | [b'm', b'l', b'a', b'b', b'0'..=b'9', b'd']
    )
}

fn is_address(text: &str) -> bool {
    text.len() == 8
        && text
            .bytes()
            .all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

fn is_managed_site(text: &str) -> bool {
    let Some((metro, pod)) = text.as_bytes().split_at_checked(3) else {
        return false;
    };
    metro.iter().all(u8::is_ascii_lowercase)
        && matches!(pod, [b'0'..=b'9', b'0'..=b'9' | b't' | b'c'])
}

fn is_network_site(text: &str) -> bool {
    let Some((metro, network)) = text.as_bytes().split_at_checked(3) else {
        return false;
    };
    metro.iter().all(u8::is_ascii_lowercase)
        && (1..=10).contains(&network.len())
        && network.iter().all(u8::is_ascii_digit)
}

impl FromStr for Node {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        if text.contains('.') {
            return text.parse::<HostName>().map(|host| host.node().clone());
        }
        let read = || {
            let mut cursor = Cursor::new(text, 64, &[])?;
            let node = Self::read(&mut cursor)?;
            cursor.end()?;
            Ok(node)
        };
        read().map_err(|fault: Fault| fault.in_name(text))
    }
}

impl fmt::Display for Node {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.machine, self.site)
    }
}
