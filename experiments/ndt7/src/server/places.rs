//! Limits how many tests or connections one client has at one time, so that no client takes all of them.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Arc, Mutex};

use crate::protocol::channel::lock;

/// The part of an IPv6 address that one subscriber has at least (RFC 6177).
const SUBSCRIBER_BITS: u32 = 64;

/// Places of all clients. A client is an IPv4 address, or the /64 of an IPv6 address.
#[derive(Debug)]
pub(crate) struct Places {
    most: usize,
    /// The clients that have at least one; others take no memory.
    taken: Mutex<HashMap<IpAddr, usize>>,
}

impl Places {
    pub(crate) fn new(most: usize) -> Arc<Self> {
        Arc::new(Self {
            most,
            taken: Mutex::default(),
        })
    }

    /// Takes a place until the guard is dropped; `None` when the client has them all.
    pub(crate) fn try_enter(self: &Arc<Self>, address: IpAddr) -> Option<Place> {
        let client = client(address);
        let mut taken = lock(&self.taken);
        let count = taken.entry(client).or_default();
        if *count >= self.most {
            if *count == 0 {
                taken.remove(&client);
            }
            return None;
        }
        *count += 1;
        Some(Place {
            places: Arc::clone(self),
            client,
        })
    }
}

fn client(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => {
            let network = address.to_bits() & (u128::MAX << (128 - SUBSCRIBER_BITS));
            Ipv6Addr::from_bits(network).into()
        }
        address @ IpAddr::V4(_) => address,
    }
}

/// One place of a client.
#[derive(Debug)]
pub(crate) struct Place {
    places: Arc<Places>,
    client: IpAddr,
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut taken = lock(&self.places.taken);
        if let Some(count) = taken.get_mut(&self.client) {
            *count -= 1;
            if *count == 0 {
                taken.remove(&self.client);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_client_is_an_ipv4_address_or_a_network_of_ipv6() {
        let places = Places::new(1);
        let enter = |address: &str| places.try_enter(address.parse().unwrap());
        let first = enter("192.0.2.1").unwrap();
        assert!(enter("192.0.2.1").is_none() && enter("::ffff:192.0.2.1").is_none());
        let others = [
            enter("192.0.2.2"),
            enter("2001:db8::1"),
            enter("2001:db8:0:1::1"),
        ];
        assert!(others.iter().all(Option::is_some));
        assert!(enter("2001:db8::ffff").is_none());
        drop((first, others));
        assert!(lock(&places.taken).is_empty());
        assert!(enter("192.0.2.1").is_some());
        assert!(
            Places::new(0)
                .try_enter("192.0.2.1".parse().unwrap())
                .is_none()
        );
    }
}
