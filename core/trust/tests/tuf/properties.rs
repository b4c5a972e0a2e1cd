//! Properties of the walk, the search and the durable state against a server that does as it likes.

use crate::support::{DAY, Flash, Memory, NOW, Pair, Repo, envelope, pairs};
use holdfast_trust::tuf::search::Search;
use holdfast_trust::tuf::step::{Machine, Step, Store as _};
use holdfast_trust::tuf::store::DurableTrust;
use holdfast_trust::tuf::time::{SignedTime, WallClock};
use holdfast_trust::tuf::walk::{At, Refresh, Source as _, Stored};
use holdfast_trust::tuf::{TufError, refresh};
use proptest::prelude::*;
use serde_json::{Value, json};
use std::collections::BTreeSet;

/// What a server with the online keys, or the repository itself, does between two refreshes.
#[derive(Debug, Clone)]
enum Act {
    /// The offline keys publish a next version of everything.
    Publish,
    /// The offline keys replace the timestamp's key, or the snapshot's.
    Rotate {
        role: &'static str,
    },
    /// The server signs a timestamp and a snapshot of any versions, pinning any targets ever published.
    Mix {
        timestamp: u64,
        snapshot: u64,
        targets: usize,
    },
    /// The server signs a snapshot that pins no targets, or another length, or another hash.
    Pin {
        field: &'static str,
    },
    /// The server signs a targets of its own with its snapshot's key.
    Forge,
    /// The server goes back to an old root, as the newest.
    OldRoot,
    /// One byte of what is served is another.
    Flip {
        file: usize,
        at: usize,
        bit: u8,
    },
    /// What is served ends early, or never.
    Cut {
        file: usize,
        at: usize,
    },
    Endless {
        file: usize,
    },
    /// Days pass.
    Wait {
        days: i64,
    },
}

fn acts() -> impl Strategy<Value = Vec<Act>> {
    let role = prop_oneof![Just("timestamp"), Just("snapshot")];
    let field = prop_oneof![Just("gone"), Just("length"), Just("hash"), Just("version")];
    let act = prop_oneof![
        3 => Just(Act::Publish),
        1 => role.prop_map(|role| Act::Rotate { role }),
        3 => (0_u64..12, 0_u64..12, any::<prop::sample::Index>())
            .prop_map(|(timestamp, snapshot, targets)| Act::Mix { timestamp, snapshot, targets: targets.index(64) }),
        1 => field.prop_map(|field| Act::Pin { field }),
        1 => Just(Act::Forge),
        1 => Just(Act::OldRoot),
        2 => (0_usize..64, any::<usize>(), 0_u8..8).prop_map(|(file, at, bit)| Act::Flip { file, at, bit }),
        1 => (0_usize..64, any::<usize>()).prop_map(|(file, at)| Act::Cut { file, at }),
        1 => (0_usize..64).prop_map(|file| Act::Endless { file }),
        1 => (1_i64..9).prop_map(|days| Act::Wait { days }),
    ];
    proptest::collection::vec(act, 1..14)
}

/// A repository, and what its offline keys ever said.
struct World {
    repo: Repo,
    now: i64,
    /// Every targets that the offline keys signed.
    genuine: Vec<(u64, Vec<u8>)>,
    /// Names the next key.
    rotations: u64,
}

impl World {
    fn new() -> Self {
        let mut world = Self { repo: Repo::new(), now: NOW, genuine: Vec::new(), rotations: 0 };
        world.publish();
        world
    }

    fn publish(&mut self) {
        for role in ["timestamp", "snapshot", "targets"] {
            self.repo.expire(role, self.now + 30 * DAY);
        }
        // The repository goes on above what a server may have made of the online roles, as it does in earnest.
        for role in ["timestamp", "snapshot"] {
            self.repo.set_version(role, self.repo.version(role).max(20) + 1);
        }
        self.repo.bump("targets");
        let version = self.repo.version("targets");
        self.repo.list("targets", "file", format!("content of {version}").as_bytes(), None);
        self.repo.publish_below();
        self.genuine.push((version, self.repo.served["targets.json"].clone()));
    }

    fn file(&self, index: usize) -> String {
        let names: Vec<&String> = self.repo.served.keys().collect();
        names[index % names.len()].clone()
    }

    fn act(&mut self, act: &Act) {
        match act {
            Act::Publish => self.publish(),
            Act::Rotate { role } => {
                self.rotations += 1;
                self.repo.keys(role, 1, &[Pair::named(&format!("{role}-{}", self.rotations))]);
                self.repo.next_root();
                self.repo.publish_below();
            }
            Act::Mix { timestamp, snapshot, targets } => {
                let (version, bytes) = self.genuine[targets % self.genuine.len()].clone();
                self.repo.served.insert(format!("{version}.targets.json"), bytes);
                self.repo.set_version("timestamp", *timestamp + 15);
                self.repo.set_version("snapshot", *snapshot + 15);
                self.repo.signed("snapshot")["meta"]["targets.json"] = json!({"version": version});
                self.repo.publish_snapshot();
            }
            Act::Pin { field } => {
                let meta = &mut self.repo.signed("snapshot")["meta"];
                match *field {
                    "gone" => drop(meta.as_object_mut().unwrap().remove("targets.json")),
                    "length" => meta["targets.json"]["length"] = json!(3),
                    "hash" => meta["targets.json"]["hashes"] = json!({"sha256": "00".repeat(32)}),
                    _ => meta["targets.json"]["version"] = json!(999),
                }
                self.repo.bump("snapshot");
                self.repo.bump("timestamp");
                self.repo.publish_snapshot();
            }
            Act::Forge => {
                let version = self.repo.version("targets") + 1;
                let mut forged = self.repo.roles["targets"].clone();
                forged["version"] = json!(version);
                forged["targets"]["file"]["length"] = json!(1);
                let bytes = envelope(&forged, &self.repo.signers["snapshot"].clone());
                self.repo.served.insert(format!("{version}.targets.json"), bytes);
                self.repo.signed("snapshot")["meta"]["targets.json"] = json!({"version": version});
                self.repo.bump("snapshot");
                self.repo.bump("timestamp");
                self.repo.publish_snapshot();
            }
            Act::OldRoot => {
                let next = format!("{}.root.json", self.repo.version("root") + 1);
                let first = self.repo.first_root();
                self.repo.served.insert(next, first);
            }
            Act::Flip { file, at, bit } => {
                let bytes = self.repo.served.get_mut(&self.file(*file)).unwrap();
                let at = at % bytes.len().max(1);
                if let Some(byte) = bytes.get_mut(at) {
                    *byte ^= 1 << bit;
                }
            }
            Act::Cut { file, at } => {
                let bytes = self.repo.served.get_mut(&self.file(*file)).unwrap();
                bytes.truncate(at % bytes.len().max(1));
            }
            Act::Endless { file } => {
                let bytes = self.repo.served.get_mut(&self.file(*file)).unwrap();
                bytes.resize(6_000_000, b' ');
            }
            Act::Wait { days } => self.now += days * DAY,
        }
    }
}

/// Versions at rest: timestamp, snapshot, and what the snapshot pins targets to.
fn versions(store: &Memory) -> [u64; 3] {
    let snapshot =
        store.files.get("snapshot.json").map_or(Value::Null, |bytes| serde_json::from_slice(bytes).unwrap());
    let pinned = snapshot["signed"]["meta"]["targets.json"]["version"].as_u64().unwrap_or(0);
    [store.version("timestamp").unwrap_or(0), store.version("snapshot").unwrap_or(0), pinned]
}

/// What of `before` binds a walk that ends at `root`: what keys signed that this root still lists (TUF 5.3.11).
fn floors(before: &Memory, root: &[u8]) -> [u64; 3] {
    let root: Value = serde_json::from_slice(root).unwrap();
    let is_signed = |role: &str| {
        let Some(bytes) = before.files.get(&format!("{role}.json")) else { return false };
        let file: Value = serde_json::from_slice(bytes).unwrap();
        root["signed"]["roles"][role]["keyids"].as_array().unwrap().contains(&file["signatures"][0]["keyid"])
    };
    let [timestamp, snapshot, pinned] = versions(before);
    match (is_signed("timestamp"), is_signed("snapshot")) {
        (true, true) => [timestamp, snapshot, pinned],
        (true, false) => [timestamp, 0, 0],
        (false, _) => [0, 0, 0],
    }
}

/// Trusted content is genuine; nothing trusted has expired.
fn check_believed(world: &mut World, store: &mut Memory) -> Result<(), TestCaseError> {
    let Ok(mut trusted) = refresh(store, &mut world.repo, &At(world.now)) else { return Ok(()) };
    let targets = store.files["targets.json"].clone();
    prop_assert!(world.genuine.iter().any(|(_, bytes)| same_signed(bytes, &targets)));
    for role in ["root", "timestamp", "snapshot", "targets"] {
        let file: Value = serde_json::from_slice(&store.files[&format!("{role}.json")]).unwrap();
        let expires: jiff::Timestamp = file["signed"]["expires"].as_str().unwrap().parse().unwrap();
        prop_assert!(expires.as_second() >= world.now, "{role} has expired");
    }
    let (role, target) = trusted.find("file", store, &mut world.repo).unwrap().unwrap();
    prop_assert_eq!(role, "targets");
    // Its bytes are the genuine ones or none.
    if let Ok(bytes) = trusted.fetch("file", &target, &mut world.repo) {
        let version: Value = serde_json::from_slice(&targets).unwrap();
        prop_assert_eq!(bytes, format!("content of {}", version["signed"]["version"]).into_bytes());
    }
    Ok(())
}

fn same_signed(one: &[u8], other: &[u8]) -> bool {
    let signed = |bytes| serde_json::from_slice::<Value>(bytes).unwrap()["signed"].take();
    signed(one) == signed(other)
}

/// 192 cases, or fewer where `PROPTEST_CASES` asks for fewer, as `make mutants` does.
fn cases() -> ProptestConfig {
    let asked = std::env::var("PROPTEST_CASES").ok().and_then(|text| text.parse().ok());
    let cases = asked.map_or(192, |asked: u32| asked.min(192));
    ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(cases) }
}

proptest! {
    #![proptest_config(cases())]

    /// Whatever the holder of the online keys serves: versions at rest never fall below what keys signed that are
    /// still listed, and what is believed was signed by the offline keys and has not expired.
    #[test]
    fn nothing_goes_back_and_only_genuine_content_is_believed(acts in acts()) {
        let mut world = World::new();
        let mut store = Memory::with_root(world.repo.first_root());
        for act in &acts {
            let before = store.clone();
            world.act(act);
            check_believed(&mut world, &mut store)?;
            prop_assert!(store.version("root") >= before.version("root"), "the root went back");
            let floors = floors(&before, &store.files["root.json"]);
            for (now, floor) in versions(&store).iter().zip(floors) {
                prop_assert!(*now >= floor, "{:?} after {floors:?}: {act:?}", versions(&store));
            }
        }
    }

    /// A power cut at any byte of any write: the device opens again, on what it trusted before or on something newer,
    /// and comes to the end once left alone.
    #[test]
    fn a_power_cut_anywhere_loses_nothing_that_was_trusted(cuts in proptest::collection::vec(0_usize..40_000, 1..8)) {
        let mut repo = Repo::new();
        repo.signed("timestamp")["x-holdfast-issued-at"] = json!(NOW);
        repo.next();
        let flash = Flash::default();
        let mut trust = DurableTrust::begin(flash.clone(), &repo.first_root()).unwrap();
        trust.refresh(&mut repo, 0, WallClock::Synchronised(NOW)).unwrap();
        for cut in cuts {
            let trusted = trust.state().clone();
            repo.next();
            flash.0.borrow_mut().budget = Some(cut);
            let _ = trust.refresh(&mut repo, 0, WallClock::Synchronised(NOW));
            flash.0.borrow_mut().budget = None;
            trust = DurableTrust::open(flash.clone()).unwrap();
            for role in ["root.json", "timestamp.json", "snapshot.json", "targets.json"] {
                let version = |bytes: &[u8]| serde_json::from_slice::<Value>(bytes).unwrap()["signed"]["version"].as_u64();
                prop_assert!(version(&trust.load(role).unwrap()) >= version(&trusted.files[role]), "{role}");
            }
            let at = |time: &Option<SignedTime>| time.as_ref().map(|time| time.at);
            prop_assert!(at(&trust.state().signed_time) >= at(&trusted.signed_time));
        }
        let trusted = trust.refresh(&mut repo, 0, WallClock::Synchronised(NOW)).unwrap();
        prop_assert_eq!(trusted.pinned_version("targets"), Some(repo.version("targets")));
        let copies = flash.copies();
        prop_assert_eq!(&copies[0], &copies[1]);
    }

    /// The machines are total: any answer at any time is taken or refused, and a refusal says what was asked.
    #[test]
    fn machines_take_any_answer_without_harm(answers in proptest::collection::vec((0_u8..3, proptest::option::of(proptest::collection::vec(any::<u8>(), 0..40))), 1..20)) {
        let mut repo = Repo::new();
        let stored = Stored { root: repo.first_root(), ..Stored::default() };
        let clock = At(NOW);
        let mut walk = Refresh::start(stored, &clock).unwrap();
        for (kind, bytes) in answers.clone() {
            let asked = walk.step();
            let result = answer(&mut walk, kind, bytes);
            if let Err(TufError::OutOfTurn { .. }) = result {
                prop_assert_eq!(walk.step(), asked);
            }
        }
        let mut store = Memory::with_root(repo.first_root());
        let mut trusted = refresh(&mut store, &mut repo, &clock).unwrap();
        let mut search = Search::start(&mut trusted, "file").unwrap();
        for (kind, bytes) in answers {
            let _ = answer(&mut search, kind, bytes);
        }
    }
}

fn answer(machine: &mut dyn Machine, kind: u8, bytes: Option<Vec<u8>>) -> Result<(), TufError> {
    match kind {
        0 => machine.loaded(bytes),
        1 => machine.fetched(bytes),
        _ => machine.stored(),
    }
}

/// Every step by hand: the walk stores each file before it asks for the next, and stands still until it is told.
#[test]
fn the_walk_asks_step_by_step_and_for_nothing_before_what_it_has_rests() {
    let mut repo = Repo::new();
    repo.delegate("targets", "A", &["*"], false, (1, &pairs("A", 1)));
    repo.list("A", "file", b"content", None);
    repo.bump("targets");
    repo.publish_below();
    repo.next_root();
    let clock = At(NOW);
    let stored = Stored { root: repo.first_root(), ..Stored::default() };
    let mut walk = Refresh::start(stored, &clock).unwrap();
    let mut seen = Vec::new();
    run(&mut walk, &mut repo, &mut seen);
    let mut trusted = walk.finish().unwrap();
    let mut search = Search::start(&mut trusted, "file").unwrap();
    run(&mut search, &mut repo, &mut seen);
    assert_eq!(search.finish().unwrap().unwrap().0, "A");
    assert_eq!(
        seen,
        [
            "fetch 2.root.json",
            "store root.json",
            "fetch 3.root.json",
            "fetch timestamp.json",
            "store timestamp.json",
            "fetch 1.snapshot.json",
            "store snapshot.json",
            "fetch 2.targets.json",
            "store targets.json",
            "load A.json",
            "fetch 1.A.json",
            "store A.json",
        ]
    );
    assert_eq!(seen.iter().collect::<BTreeSet<_>>().len(), seen.len());
}

fn run(machine: &mut dyn Machine, repo: &mut Repo, seen: &mut Vec<String>) {
    loop {
        assert!(seen.len() < 20, "it does not end: {seen:?}");
        assert_eq!(machine.step(), machine.step());
        match machine.step() {
            Step::Load { name } => {
                seen.push(format!("load {name}"));
                machine.loaded(None).unwrap();
            }
            Step::Fetch { name, max_bytes, .. } => {
                assert!(machine.stored().is_err());
                seen.push(format!("fetch {name}"));
                machine.fetched(repo.metadata(&name, max_bytes).unwrap()).unwrap();
            }
            Step::Store { name, .. } => {
                assert!(machine.fetched(Some(Vec::new())).is_err());
                seen.push(format!("store {name}"));
                machine.stored().unwrap();
            }
            Step::Done => return,
        }
    }
}
