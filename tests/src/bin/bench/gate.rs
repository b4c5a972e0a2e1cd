//! A gate before the service: what clients send waits there until every one of them has something to say, and is let
//! through at once; what the service answers waits until it has answered all, or falls silent. So the service never works
//! while the clients do. What passes is not looked into.

use crate::alone::Traffic;
use anyhow::Context as _;
use holdfast_tests::plant::{Device, Plant, write};
use std::io::{self, Read, Write as _};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

/// What is shorter is the end of a TLS connection, to which nobody answers.
const WORTH_WAITING: usize = 64;
/// After which the service has nothing more to say.
const SILENCE: Duration = Duration::from_millis(30);

/// Stands as long as the bench runs.
pub(crate) struct Gate {
    shared: Arc<Shared>,
    /// What it stands before, and where it listens itself.
    service: String,
    address: String,
}

#[derive(Default)]
struct Shared {
    state: Mutex<State>,
    opened: Condvar,
    silent: Condvar,
}

#[derive(Default)]
struct State {
    /// Clients that have not left.
    present: usize,
    /// Those of them who wait with something to say.
    waiting: usize,
    /// How often it opened.
    rounds: u64,
    /// Who was let through last and has had no answer yet; how often the service answered.
    unanswered: usize,
    answers: u64,
    connections: usize,
    /// Bytes that came from clients, and from the service.
    received: usize,
    sent: usize,
}

impl Gate {
    /// For so many clients of this plant's service.
    pub(crate) fn before(plant: &Plant, clients: usize) -> anyhow::Result<Self> {
        let service = plant.url.trim_start_matches("https://").to_owned();
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let address = listener.local_addr()?.to_string();
        let state = Mutex::new(State { present: clients, ..State::default() });
        let shared = Arc::new(Shared { state, ..Shared::default() });
        let (behind, target) = (Arc::clone(&shared), service.clone());
        thread::spawn(move || {
            for client in listener.incoming() {
                if let Err(error) = client.and_then(|client| join(client, &target, &behind)) {
                    eprintln!("gate: {error}");
                }
            }
        });
        Ok(Self { shared, service, address })
    }

    /// Sends the device here.
    pub(crate) fn redirect(&self, device: &Device) -> anyhow::Result<()> {
        let path = device.folder.join("blob.json");
        let blob = std::fs::read_to_string(&path).context("blob.json")?;
        write(&path, blob.replace(&self.service, &self.address).as_bytes())
    }

    /// A client has ended: the others need not wait for it.
    pub(crate) fn leave(&self) {
        let mut state = self.shared.lock();
        state.present -= 1;
        self.shared.open_if_all_wait(&mut state);
    }

    /// How many connections there were.
    pub(crate) fn connections(&self) -> usize {
        self.shared.lock().connections
    }

    /// What passed of each of so many clients.
    pub(crate) fn traffic(&self, clients: usize) -> Traffic {
        let state = self.shared.lock();
        Traffic { received: state.received / clients, sent: state.sent / clients }
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Until all have something to say.
    fn ask(&self, asked: &AtomicBool, length: usize) {
        let mut state = self.lock();
        state.received += length;
        let round = state.rounds;
        asked.store(true, Ordering::Relaxed);
        state.waiting += 1;
        self.open_if_all_wait(&mut state);
        while state.rounds == round {
            state = self.opened.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }

    fn open_if_all_wait(&self, state: &mut State) {
        if state.waiting >= state.present {
            state.unanswered = state.waiting;
            state.waiting = 0;
            state.rounds += 1;
            self.opened.notify_all();
        }
    }

    fn answered(&self, asked: &AtomicBool) -> MutexGuard<'_, State> {
        let mut state = self.lock();
        if asked.swap(false, Ordering::Relaxed) {
            // A word of before may still come while its client waits with the next one.
            state.unanswered = state.unanswered.saturating_sub(1);
        }
        state.answers += 1;
        self.silent.notify_all();
        state
    }

    /// Until all are answered, or no more answers come: not every word of a client has one.
    fn answer(&self, asked: &AtomicBool, length: usize) {
        let mut state = self.answered(asked);
        state.sent += length;
        let mut heard = None;
        while state.unanswered > 0 && heard != Some(state.answers) {
            heard = Some(state.answers);
            let waited = self.silent.wait_timeout_while(state, SILENCE, |state| {
                state.unanswered > 0 && heard == Some(state.answers)
            });
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
    }
}

fn join(client: TcpStream, target: &str, shared: &Arc<Shared>) -> io::Result<()> {
    let service = TcpStream::connect(target)?;
    shared.lock().connections += 1;
    client.set_nodelay(true)?;
    service.set_nodelay(true)?;
    let (to_client, from_service) = (client.try_clone()?, service.try_clone()?);
    let asked = Arc::new(AtomicBool::new(false));
    let (asks, answers) = (Arc::clone(shared), Arc::clone(shared));
    let answered = Arc::clone(&asked);
    thread::spawn(move || pass(client, service, |length| asks.ask(&asked, length)));
    thread::spawn(move || {
        pass(from_service, to_client, |length| answers.answer(&answered, length));
        drop(answers.answered(&answered));
    });
    Ok(())
}

fn pass(mut from: TcpStream, mut to: TcpStream, wait: impl Fn(usize)) {
    let mut buffer = vec![0; 64 * 1024];
    while let Ok(length @ 1..) = from.read(&mut buffer) {
        if length >= WORTH_WAITING {
            wait(length);
        }
        if to.write_all(&buffer[..length]).is_err() {
            break;
        }
    }
    // Either end may be gone already.
    let _ = to.shutdown(Shutdown::Write);
}
