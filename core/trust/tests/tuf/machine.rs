//! The walk as a machine: what it asks for, in turn, and which answers it takes.

use crate::support::fleet::Fleet;
use crate::support::{NOW, Repo};
use holdfast_trust::tuf::TufError;
use holdfast_trust::tuf::limits::{ROOT_MAX_BYTES, TIMESTAMP_MAX_BYTES};
use holdfast_trust::tuf::step::{Absent, Machine, Step, drive};
use holdfast_trust::tuf::walk::{At, Refresh, Stored};

const CLOCK: At = At(NOW);

fn begin(repo: &Repo) -> Refresh<'static> {
    let stored = Stored { root: repo.first_root(), ..Stored::default() };
    Refresh::start(stored, &CLOCK).unwrap()
}

fn refused(result: Result<(), TufError>) {
    assert_eq!(result.unwrap_err().code(), "out-of-turn");
}

/// Answers a fetch with what the repository serves; gives the name that was asked for.
fn serve(walk: &mut Refresh<'_>, repo: &Repo) -> String {
    let Step::Fetch { name, .. } = walk.step() else { panic!("no fetch: {:?}", walk.step()) };
    walk.fetched(repo.served.get(&name).cloned()).unwrap();
    name
}

#[test]
fn each_step_stays_until_its_own_answer_comes() {
    let repo = Repo::new();
    let mut walk = begin(&repo);
    let root = |absent| Step::Fetch { name: "2.root.json".into(), max_bytes: ROOT_MAX_BYTES, absent };
    assert_eq!(walk.step(), root(Absent::IsAnAnswer));
    refused(walk.loaded(None));
    refused(walk.stored());
    assert_eq!(walk.step(), root(Absent::IsAnAnswer));
    walk.fetched(None).unwrap();

    let (name, max_bytes) = ("timestamp.json".to_owned(), TIMESTAMP_MAX_BYTES);
    assert_eq!(walk.step(), Step::Fetch { name, max_bytes, absent: Absent::IsRefused });
    assert_eq!(serve(&mut walk, &repo), "timestamp.json");

    // What was verified rests before anything else is taken.
    for (stored, next) in [("timestamp.json", "1.snapshot.json"), ("snapshot.json", "1.targets.json")] {
        assert!(matches!(walk.step(), Step::Store { name, .. } if name == stored));
        refused(walk.fetched(repo.served.get(next).cloned()));
        refused(walk.loaded(None));
        walk.stored().unwrap();
        assert_eq!(serve(&mut walk, &repo), next);
    }
    walk.stored().unwrap();
    assert_eq!(walk.step(), Step::Done);
    refused(walk.fetched(repo.served.get("1.targets.json").cloned()));
    refused(walk.loaded(None));
    refused(walk.stored());
    walk.finish().unwrap();
}

#[test]
fn a_walk_gives_its_result_at_its_end_alone_and_says_what_it_holds() {
    let mut repo = Repo::new();
    repo.next();
    let mut walk = begin(&repo);
    assert_eq!(begin(&repo).finish().map(|_| ()).unwrap_err().code(), "out-of-turn");
    // Seven answers, then it is done.
    for _ in 0..7 {
        match walk.step() {
            Step::Store { .. } => walk.stored().unwrap(),
            _ => drop(serve(&mut walk, &repo)),
        }
    }
    let trusted = walk.finish().unwrap();
    assert_eq!((trusted.snapshot_version(), trusted.now()), (2, NOW));
}

#[test]
fn only_what_did_not_come_is_worth_another_try_as_it_is() {
    let source = TufError::Source { name: "timestamp.json".into(), source: "the connection ended".into() };
    assert!(source.is_transport());
    for other in [TufError::NoProvider, TufError::StateLost, TufError::Absent { name: "targets.json".into() }]
    {
        assert!(!other.is_transport(), "{other}");
    }
}

/// Asks for one step for ever, whatever it is given.
struct Stuck(Step);

impl Machine for Stuck {
    fn step(&self) -> Step {
        self.0.clone()
    }

    fn loaded(&mut self, _: Option<Vec<u8>>) -> Result<(), TufError> {
        Ok(())
    }

    fn fetched(&mut self, _: Option<Vec<u8>>) -> Result<(), TufError> {
        Ok(())
    }

    fn stored(&mut self) -> Result<(), TufError> {
        Ok(())
    }
}

#[test]
fn a_machine_that_does_not_go_on_is_ended() {
    let name = || "timestamp.json".to_owned();
    let stuck = [
        Step::Load { name: name() },
        Step::Fetch { name: name(), max_bytes: TIMESTAMP_MAX_BYTES, absent: Absent::IsRefused },
        Step::Store { name: name(), bytes: Vec::new() },
    ];
    for step in stuck {
        let mut store = Fleet::new().device().trust;
        refused(drive(&mut Stuck(step), &mut store, &mut Repo::new()));
    }
}
