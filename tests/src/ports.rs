//! TCP ports for programs that must be told their port.
//!
//! Invariant: a port handed out here belongs to this process until it ends; two test processes never get the same one.

use std::fs::{self, File};
use std::io::ErrorKind;
use std::net::{Ipv4Addr, TcpStream};
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
    nobody_listens(port).then_some((port, file))
}

/// Asked by a connection, not by binding: a program that another thread starts at that moment would hold what we bound
/// until it executes, and the port would be taken after all.
fn nobody_listens(port: u16) -> bool {
    let answer = TcpStream::connect((Ipv4Addr::LOCALHOST, port));
    answer.is_err_and(|error| error.kind() == ErrorKind::ConnectionRefused)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;
    use std::net::TcpListener;

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

    #[test]
    fn a_port_can_be_bound_while_programs_are_started() {
        let stop = std::sync::atomic::AtomicBool::new(false);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                while !stop.load(std::sync::atomic::Ordering::SeqCst) {
                    std::process::Command::new("true").status().unwrap();
                }
            });
            let bound: Vec<_> =
                (0..1_000).map(|_| TcpListener::bind((Ipv4Addr::LOCALHOST, free_port()))).collect();
            stop.store(true, std::sync::atomic::Ordering::SeqCst);
            for listener in bound {
                listener.unwrap();
            }
        });
    }

    #[test]
    fn who_listens_is_found() {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        assert!(!nobody_listens(port));
    }
}
