//! TCP ports for programs that must be told their port.
//!
//! Invariant: a port handed out here belongs to this process until it ends; two test processes never get the same one.

use std::fs::{self, File};
use std::net::{Ipv4Addr, TcpListener};
use std::path::Path;
use std::sync::{Mutex, PoisonError};

/// Below the range from which the kernel takes ports for outgoing connections (32768 and up), so that no client of
/// another test sits on it between our look and the program's bind.
const FIRST: u16 = 20_000;
const LAST: u16 = 31_999;

/// The ports of this process, held by a lock on one file each until the process ends.
static HELD: Mutex<Vec<(u16, File)>> = Mutex::new(Vec::new());

/// A TCP port on loopback that nobody listens on and that no other process using this function will be given.
///
/// # Panics
/// When twelve thousand ports are taken, or the directory for temporary files cannot be written.
pub fn free_port() -> u16 {
    let mut held = HELD.lock().unwrap_or_else(PoisonError::into_inner);
    claim(1, &mut held)
}

/// Two such ports, the second one above the first.
///
/// # Panics
/// As [`free_port`].
pub fn free_port_pair() -> (u16, u16) {
    let mut held = HELD.lock().unwrap_or_else(PoisonError::into_inner);
    let first = claim(2, &mut held);
    (first, first + 1)
}

/// Claims `length` ports in a row and returns the first.
fn claim(length: u16, held: &mut Vec<(u16, File)>) -> u16 {
    let directory = std::env::temp_dir().join("holdfast-ports");
    drop(fs::create_dir_all(&directory));
    let count = u32::from(LAST - FIRST) + 2 - u32::from(length);
    // Processes start at different places, so that they rarely meet.
    let start = std::process::id().wrapping_mul(97) % count;
    for step in 0..count {
        let first = FIRST + ((start + step) % count) as u16;
        let row: Vec<(u16, File)> =
            (first..first + length).map_while(|port| claim_one(&directory, port, held)).collect();
        if row.len() == usize::from(length) {
            held.extend(row);
            return first;
        }
    }
    panic!("no free port between {FIRST} and {LAST}; can {} be written?", directory.display());
}

fn claim_one(directory: &Path, port: u16, held: &[(u16, File)]) -> Option<(u16, File)> {
    if held.iter().any(|(taken, _)| *taken == port) {
        return None;
    }
    let path = directory.join(port.to_string());
    let file = File::options().create(true).truncate(false).write(true).open(path).ok()?;
    file.try_lock().ok()?;
    TcpListener::bind((Ipv4Addr::LOCALHOST, port)).ok()?;
    Some((port, file))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn a_port_is_handed_out_once_and_never_while_somebody_listens() {
        let first = free_port();
        let _listener = TcpListener::bind((Ipv4Addr::LOCALHOST, first)).unwrap();
        let more: BTreeSet<u16> = (0..20).map(|_| free_port()).collect();
        assert_eq!(more.len(), 20);
        assert!(!more.contains(&first));
        let (low, high) = free_port_pair();
        assert_eq!(low + 1, high);
        assert!(!more.contains(&low) && !more.contains(&high));
    }
}
