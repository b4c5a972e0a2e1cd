//! Who names a target: the search through the delegations (TUF 5.6.7) as a machine. Pre-order, depth-first; a
//! terminating delegation ends it; no role is visited twice; one that the snapshot does not pin ends it too.

use super::TufError;
use super::keys;
use super::limits::{DELEGATIONS_MAX, TARGETS_MAX_BYTES};
use super::step::{Absent, Machine, Step, bounded, out_of_turn};
use super::trusted::{Trusted, escaped};
use super::walk::{malformed, pinned_name, refused};
use sigstore_tuf::{TargetFile, Targets};
use std::collections::BTreeSet;

/// What was found: the role that names the target, and how it describes it.
pub type Found = Option<(String, TargetFile)>;

/// A search under way.
pub struct Search<'t> {
    trusted: &'t mut Trusted,
    path: String,
    to_visit: Vec<Edge>,
    visited: BTreeSet<String>,
    state: State,
}

/// A role, as seen from the one that delegates to it: the same name may be delegated by two, with other keys.
#[derive(Debug, Clone)]
struct Edge {
    role: String,
    delegator: String,
}

#[derive(Debug)]
enum State {
    Loading(Edge),
    Fetching(Edge),
    Storing(Edge, Vec<u8>),
    Done(Found),
}

impl<'t> Search<'t> {
    /// # Errors
    /// When a role on the way is refused.
    pub fn start(trusted: &'t mut Trusted, path: &str) -> Result<Self, TufError> {
        let to_visit = vec![Edge { role: "targets".into(), delegator: String::new() }];
        let state = State::Done(None);
        let mut search = Self { trusted, path: path.to_owned(), to_visit, visited: BTreeSet::new(), state };
        search.advance()?;
        Ok(search)
    }

    /// None: nobody who may name the target does.
    ///
    /// # Errors
    /// When the search has not ended.
    pub fn finish(self) -> Result<Found, TufError> {
        let step = self.step();
        match self.state {
            State::Done(found) => Ok(found),
            _ => Err(out_of_turn("the end", &step)),
        }
    }

    /// Visits roles until one must be brought.
    fn advance(&mut self) -> Result<(), TufError> {
        self.state = State::Done(None);
        while let Some(edge) = self.to_visit.pop() {
            if self.visited.contains(&edge.role) {
                continue;
            }
            if edge.role != "targets" {
                if self.trusted.set.targets_role(&edge.role).is_some() {
                    // Verified for another delegator, perhaps: this one's keys and threshold count here.
                    let verified = self.trusted.set.verify_delegated_targets(
                        &edge.role,
                        &edge.delegator,
                        self.trusted.now,
                    );
                    verified.map_err(refused(&edge.role))?;
                } else if self.trusted.pinned_version(&edge.role).is_some() {
                    self.state = State::Loading(edge);
                    return Ok(());
                } else {
                    // What the snapshot does not pin cannot be trusted, and nobody answers in its place: an online
                    // key that leaves a role out must not choose who speaks for it.
                    return Ok(());
                }
            }
            if self.visit(&edge.role)? {
                return Ok(());
            }
        }
        Ok(())
    }

    /// True when the search has ended here.
    fn visit(&mut self, role: &str) -> Result<bool, TufError> {
        if self.visited.len() >= DELEGATIONS_MAX {
            return Err(malformed(&self.path, "its search visits too many roles"));
        }
        self.visited.insert(role.to_owned());
        let Some(targets) = self.trusted.set.targets_role(role) else { return Ok(false) };
        if let Some(found) = targets.target(&self.path) {
            self.state = State::Done(Some((role.to_owned(), found.clone())));
            return Ok(true);
        }
        let (children, terminating) = children(targets, &self.path)?;
        if terminating {
            self.to_visit.clear();
        }
        // The stack gives the last first: the children in their order, before everything that waited.
        self.to_visit
            .extend(children.into_iter().rev().map(|child| Edge { role: child, delegator: role.to_owned() }));
        Ok(false)
    }

    /// Takes a delegated role's bytes if the snapshot pins them and the delegator's keys signed them.
    fn take(&mut self, edge: &Edge, bytes: &[u8]) -> Result<(), TufError> {
        let mut next = self.trusted.set.clone();
        let targets = next.update_delegated_targets(bytes, &edge.role, &edge.delegator, self.trusted.now);
        keys::check_targets(targets.map_err(refused(&edge.role))?)?;
        self.trusted.set = next;
        Ok(())
    }

    fn go_on(&mut self, edge: &Edge) -> Result<(), TufError> {
        if self.visit(&edge.role)? { Ok(()) } else { self.advance() }
    }

    fn wanted(&self, role: &str) -> (String, u64) {
        let pin = self.trusted.set.snapshot().and_then(|snapshot| snapshot.meta.get(&format!("{role}.json")));
        let (version, length) = pin.map_or((0, None), |pin| (pin.version, pin.length));
        let name = pinned_name(role, version, self.trusted.set.root().consistent_snapshot);
        (name, TARGETS_MAX_BYTES.min(length.unwrap_or(u64::MAX)))
    }
}

impl Machine for Search<'_> {
    fn step(&self) -> Step {
        match &self.state {
            State::Loading(edge) => Step::Load { name: file_name(&edge.role) },
            State::Fetching(edge) => {
                let (name, max_bytes) = self.wanted(&edge.role);
                Step::Fetch { name, max_bytes, absent: Absent::IsRefused }
            }
            State::Storing(edge, bytes) => Step::Store { name: file_name(&edge.role), bytes: bytes.clone() },
            State::Done(_) => Step::Done,
        }
    }

    fn loaded(&mut self, bytes: Option<Vec<u8>>) -> Result<(), TufError> {
        let State::Loading(edge) = &self.state else { return Err(out_of_turn("stored bytes", &self.step())) };
        let edge = edge.clone();
        // Stored bytes that are not what is pinned now, or expired since, are as good as none.
        if bytes.is_some_and(|bytes| self.take(&edge, &bytes).is_ok()) {
            return self.go_on(&edge);
        }
        self.state = State::Fetching(edge);
        Ok(())
    }

    fn fetched(&mut self, bytes: Option<Vec<u8>>) -> Result<(), TufError> {
        let State::Fetching(edge) = &self.state else {
            return Err(out_of_turn("fetched bytes", &self.step()));
        };
        let edge = edge.clone();
        let (name, limit) = self.wanted(&edge.role);
        let bytes = bounded(&name, limit, bytes)?.ok_or(TufError::Absent { name })?;
        self.take(&edge, &bytes)?;
        self.state = State::Storing(edge, bytes);
        Ok(())
    }

    fn stored(&mut self) -> Result<(), TufError> {
        let State::Storing(edge, _) = &self.state else { return Err(out_of_turn("stored", &self.step())) };
        let edge = edge.clone();
        self.go_on(&edge)
    }
}

fn file_name(role: &str) -> String {
    format!("{}.json", escaped(role))
}

/// The delegations that match `path`, in order, up to and with the first terminating one.
fn children(targets: &Targets, path: &str) -> Result<(Vec<String>, bool), TufError> {
    let mut names = Vec::new();
    for child in targets.delegations.iter().flat_map(|delegations| &delegations.roles) {
        // The names of the top-level roles are taken: their files would be overwritten.
        if matches!(child.name.as_str(), "root" | "timestamp" | "snapshot" | "targets") {
            continue;
        }
        if child.matches_path(path).map_err(refused(&child.name))? {
            names.push(child.name.clone());
            if child.terminating {
                return Ok((names, true));
            }
        }
    }
    Ok((names, false))
}
