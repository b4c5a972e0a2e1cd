//! The gate before routes that anybody may call with a body: enrolment.
//!
//! A stranger who withholds the last byte of a long body holds memory and a place until the route's time is over. So
//! strangers have places of their own, fewer than there are, and one address has no more than its share of them: devices
//! and operators never wait for strangers.

use super::listen::Connection;
use super::peer::{Peer, Share, Shares};
use crate::refusal::{Kind, Refusal};
use axum::http::request::Parts;
use std::sync::Arc;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// The places of strangers.
#[derive(Debug, Clone)]
pub struct Gate {
    places: Arc<Semaphore>,
    shares: Shares,
}

/// One stranger's place, until this is dropped.
#[derive(Debug)]
pub struct Place {
    _place: OwnedSemaphorePermit,
    _share: Option<Share>,
}

impl Gate {
    /// An eighth of all requests that may be under way: with the longest of bodies, 512 MiB at the default of 1024.
    pub fn for_requests(all: usize) -> Self {
        let places = (all / 8).max(1);
        Self { places: Arc::new(Semaphore::new(places)), shares: Shares::quarter_of(places) }
    }

    /// Lets one request in, or says when to come again.
    pub fn enter(&self, request: &Parts) -> Result<Place, Refusal> {
        let connection = request.extensions.get::<Arc<Connection>>();
        let share = match connection.map(|connection| Peer::of(connection.peer.ip())) {
            None => None,
            Some(peer) => Some(self.shares.take(peer).ok_or_else(|| {
                let text = "too many requests from this address are under way; try again in a moment";
                Refusal::new(Kind::TooMany, "too-many-requests", text).retry_after(1)
            })?),
        };
        let place = Arc::clone(&self.places).try_acquire_owned().map_err(|_| {
            let text = "too many enrolments are under way; try again in a moment";
            Refusal::new(Kind::Unavailable, "overloaded", text).retry_after(1)
        })?;
        Ok(Place { _place: place, _share: share })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::http::Request;

    fn from(address: &str) -> Parts {
        let peer = (address.parse::<std::net::IpAddr>().unwrap(), 4000).into();
        let connection = Arc::new(Connection { peer, chain: Vec::new(), exporter: [0; 32], resumed: false });
        Request::builder().extension(connection).body(()).unwrap().into_parts().0
    }

    #[test]
    fn one_address_has_its_share_and_all_together_have_an_eighth() {
        let gate = Gate::for_requests(128);
        let code = |address: &str| {
            gate.enter(&from(address)).map_err(|refusal| (refusal.kind, refusal.retry_after_s))
        };
        let mut inside = Vec::new();
        for address in ["192.0.2.1", "192.0.2.2", "192.0.2.3", "192.0.2.4"] {
            inside.extend((0..4).map(|_| code(address).unwrap()));
            assert_eq!(code(address).unwrap_err(), (Kind::TooMany, Some(1)), "{address}");
        }
        assert_eq!(code("192.0.2.5").unwrap_err(), (Kind::Unavailable, Some(1)));
        inside.pop();
        assert!(code("192.0.2.5").is_ok());
    }
}
