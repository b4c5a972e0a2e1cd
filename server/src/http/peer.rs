//! Peers by address, as limits count them, and how many of a thing one of them may hold at once.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// One peer as limits count it: an IPv4 address, or a /64 of IPv6. Whoever has one IPv6 address has all 2^64 of its
/// network, so that a limit for each address would be none.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Peer(IpAddr);

impl Peer {
    pub fn of(address: IpAddr) -> Self {
        // A socket on `[::]` shows IPv4 peers as `::ffff:a.b.c.d`: they would all be one /64.
        Self(match address.to_canonical() {
            IpAddr::V6(v6) => IpAddr::V6(Ipv6Addr::from_bits(v6.to_bits() & !u128::from(u64::MAX))),
            v4 @ IpAddr::V4(_) => v4,
        })
    }
}

/// How many of a thing each peer holds; none holds more than `most`. The map has only peers that hold something.
#[derive(Debug, Clone)]
pub struct Shares {
    most: usize,
    held: Arc<Mutex<HashMap<Peer, usize>>>,
}

/// One of the thing, held until this is dropped.
#[derive(Debug)]
pub struct Share {
    peer: Peer,
    held: Arc<Mutex<HashMap<Peer, usize>>>,
}

impl Shares {
    /// For each peer a quarter of `all`, and one at the least: a site behind one address may be many devices, and no
    /// single address may hold everything.
    pub fn quarter_of(all: usize) -> Self {
        Self { most: (all / 4).max(1), held: Arc::default() }
    }

    /// `None` when the peer holds all that it may.
    pub fn take(&self, peer: Peer) -> Option<Share> {
        let mut held = lock(&self.held);
        let count = held.entry(peer).or_default();
        if *count >= self.most {
            return None;
        }
        *count += 1;
        Some(Share { peer, held: Arc::clone(&self.held) })
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        let mut held = lock(&self.held);
        if let Some(count) = held.get_mut(&self.peer) {
            *count -= 1;
            if *count == 0 {
                held.remove(&self.peer);
            }
        }
    }
}

fn lock(held: &Mutex<HashMap<Peer, usize>>) -> MutexGuard<'_, HashMap<Peer, usize>> {
    held.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn peer(text: &str) -> Peer {
        Peer::of(text.parse().unwrap())
    }

    #[test]
    fn a_network_of_ipv6_is_one_peer_and_each_ipv4_address_another() {
        assert_eq!(peer("2001:db8:0:1::1"), peer("2001:db8:0:1:ffff::2"));
        assert_ne!(peer("2001:db8:0:1::1"), peer("2001:db8:0:2::1"));
        assert_ne!(peer("192.0.2.1"), peer("192.0.2.2"));
        assert_eq!(peer("::ffff:192.0.2.1"), peer("192.0.2.1"));
        assert_ne!(peer("::ffff:192.0.2.1"), peer("::ffff:192.0.2.2"));
    }

    #[test]
    fn a_peer_holds_its_quarter_and_what_it_gives_back_it_may_take_again() {
        let shares = Shares::quarter_of(8);
        let (one, two) = (peer("192.0.2.1"), peer("192.0.2.2"));
        let (first, second) = (shares.take(one), shares.take(one));
        assert!(first.is_some() && second.is_some() && shares.take(one).is_none());
        assert!(shares.take(two).is_some(), "another peer has its own");
        drop(first);
        assert!(shares.take(one).is_some());
        drop(second);
        assert!(lock(&shares.held).is_empty(), "who holds nothing is forgotten");
        assert!(Shares::quarter_of(1).take(one).is_some());
    }
}
