//! Limits on the concurrent tests or connections of one client, so that no client can use all of them.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use groma_service::client_of;

/// A limit that applies to each client separately. A client is an IPv4 address, or the /64 of an IPv6 address.
///
/// ```
/// use groma_experiment::ClientLimit;
///
/// let tests = ClientLimit::new(1);
/// let client = "2001:db8::1".parse().unwrap();
/// let permit = tests.try_acquire(client).expect("the first test of the client");
/// assert!(tests.try_acquire(client).is_none());
/// drop(permit);
/// assert!(tests.try_acquire(client).is_some());
/// ```
#[derive(Debug)]
pub struct ClientLimit {
    most: usize,
    /// Clients that hold at least one permit; other clients use no memory.
    taken: Mutex<HashMap<IpAddr, usize>>,
}

impl ClientLimit {
    /// Returns a limit of `most` permits per client.
    pub fn new(most: usize) -> Arc<Self> {
        Arc::new(Self {
            most,
            taken: Mutex::default(),
        })
    }

    /// Acquires a permit, which is returned when it is dropped. Returns `None` if the client already holds all of its permits.
    pub fn try_acquire(self: &Arc<Self>, address: IpAddr) -> Option<ClientPermit> {
        let client = client_of(address);
        let mut taken = self.taken();
        let count = taken.entry(client).or_default();
        if *count >= self.most {
            if *count == 0 {
                taken.remove(&client);
            }
            return None;
        }
        *count += 1;
        Some(ClientPermit {
            limit: Arc::clone(self),
            client,
        })
    }

    fn taken(&self) -> MutexGuard<'_, HashMap<IpAddr, usize>> {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A permit of a client, which is returned when it is dropped.
#[derive(Debug)]
pub struct ClientPermit {
    limit: Arc<ClientLimit>,
    client: IpAddr,
}

impl Drop for ClientPermit {
    fn drop(&mut self) {
        let mut taken = self.limit.taken();
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
        let limit = ClientLimit::new(1);
        let enter = |address: &str| limit.try_acquire(address.parse().unwrap());
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
        assert!(limit.taken().is_empty());
        assert!(enter("192.0.2.1").is_some());
        assert!(
            ClientLimit::new(0)
                .try_acquire("192.0.2.1".parse().unwrap())
                .is_none()
        );
    }
}
