//! The device's trust state: power cuts at every byte, one torn copy, two torn copies, failing media.

use crate::support::fleet::{Device, Fleet, believed};
use crate::support::{Flash, Repo, pairs};
use holdfast_trust::tuf::limits::{
    COPY_MAX_BYTES, ROOT_MAX_BYTES, SNAPSHOT_MAX_BYTES, STORED_FILES_MAX_BYTES, TARGETS_MAX_BYTES,
    TIMESTAMP_MAX_BYTES,
};
use holdfast_trust::tuf::store::{CopyName, DurableTrust, Medium, SeenAssignment};
use holdfast_trust::tuf::walk::Store as _;
use holdfast_trust::tuf::{TufError, trusted};
use serde_json::json;

fn seen(sequence: u64) -> SeenAssignment {
    SeenAssignment { epoch: 1, sequence }
}

/// Equality whose failure does not print kilobytes.
fn assert_same<T: PartialEq>(left: &T, right: &T) {
    assert!(left == right, "the bytes differ");
}

fn open(copies: [Option<Vec<u8>>; 2]) -> Result<(DurableTrust<Flash>, Flash), TufError> {
    let flash = Flash::holding(copies);
    DurableTrust::open(flash.clone()).map(|trust| (trust, flash))
}

#[test]
fn a_device_begins_once() {
    let fleet = Fleet::new();
    let device = fleet.device();
    let root = fleet.repo.first_root();
    assert_eq!(device.trust.state().files["root.json"].0, root);
    assert_same(&device.flash.copies()[0], &device.flash.copies()[1]);
    for spared in [[true, true], [true, false], [false, true]] {
        let copies = device.flash.copies();
        let kept = [0, 1].map(|index| copies[index].clone().filter(|_| spared[index]));
        assert!(DurableTrust::begin(Flash::holding(kept), &root).is_err());
    }
    // Not even over a torn copy.
    assert!(DurableTrust::begin(Flash::holding([Some(vec![0; 3]), None]), &root).is_err());
    assert!(DurableTrust::begin(Flash::default(), b"{}").is_err());
}

#[test]
fn what_was_trusted_is_there_after_a_restart() {
    let mut fleet = Fleet::new();
    let mut device = fleet.device();
    device.refresh(&mut fleet.repo).unwrap();
    device.trust.note_assignment(&believed(1, 5)).unwrap();
    let before = device.trust.state().clone();
    let (trust, _) = open(device.flash.copies()).unwrap();
    assert_eq!(*trust.state(), before);
    let expected = [
        "channel-beta",
        "channel-stable",
        "deltas",
        "product-cam",
        "product-hub",
        "root",
        "snapshot",
        "targets",
        "timestamp",
    ];
    assert_eq!(before.versions.keys().collect::<Vec<_>>(), expected);
    assert!(before.versions.values().all(|version| *version == 1));
}

#[test]
fn one_torn_copy_is_repaired_from_the_other_whatever_byte_is_hit() {
    let fleet = Fleet::new();
    let whole = fleet.device().flash.copies();
    let bytes = whole[0].clone().unwrap();
    for index in 0..2 {
        // Every byte of the head, and a sample of the rest; cut and flipped.
        let places = (0..64).chain((64..bytes.len()).step_by(97)).chain([bytes.len() - 1]);
        let torn = places.flat_map(|place| {
            let mut flipped = bytes.clone();
            flipped[place] ^= 0x40;
            [bytes[..place].to_vec(), flipped]
        });
        let longer = [&bytes[..], b" "].concat();
        for torn in torn.chain([longer, Vec::new()]).map(Some).chain([None]) {
            let mut copies = whole.clone();
            copies[index] = torn;
            let (_, flash) = open(copies).unwrap();
            assert_same(&flash.copies()[0], &flash.copies()[1]);
            open([None, flash.copies()[1].clone()]).unwrap();
            open([flash.copies()[0].clone(), None]).unwrap();
        }
    }
}

#[test]
fn two_torn_copies_are_never_a_first_use() {
    let fleet = Fleet::new();
    let [a, b] = fleet.device().flash.copies();
    let torn = |copy: &Option<Vec<u8>>| copy.as_ref().map(|bytes| bytes[..bytes.len() - 1].to_vec());
    for copies in [[torn(&a), torn(&b)], [None, torn(&b)], [torn(&a), None], [None, None]] {
        let flash = Flash::holding(copies.clone());
        let error = DurableTrust::open(flash.clone()).unwrap_err();
        assert!(matches!(error, TufError::StateLost));
        assert_eq!(error.code(), "trust-state-lost");
        // Nothing is written over the evidence.
        assert_same(&flash.copies(), &copies);
    }
}

#[test]
fn the_newer_copy_wins_on_either_side() {
    let fleet = Fleet::new();
    let mut device = fleet.device();
    device.trust.note_assignment(&believed(1, 1)).unwrap();
    let old = device.flash.copies()[0].clone();
    device.trust.note_assignment(&believed(1, 2)).unwrap();
    let new = device.flash.copies()[0].clone();
    for copies in [[old.clone(), new.clone()], [new.clone(), old.clone()]] {
        let (trust, flash) = open(copies).unwrap();
        assert_eq!(trust.state().assignment, Some(seen(2)));
        assert_same(&flash.copies()[0], &flash.copies()[1]);
    }
}

/// Cuts the power after each byte of what `act` writes, and opens again.
fn cut_at_every_byte(
    start: [Option<Vec<u8>>; 2],
    act: &dyn Fn(&mut DurableTrust<Flash>),
    check: &dyn Fn(&DurableTrust<Flash>),
) {
    let length = start[0].as_ref().map_or(0, Vec::len);
    let (mut trust, flash) = open(start.clone()).unwrap();
    act(&mut trust);
    let written = flash.copies()[0].as_ref().map_or(0, Vec::len) * 2;
    assert!(written > length);
    for budget in 0..written {
        let (mut trust, flash) = open(start.clone()).unwrap();
        flash.0.borrow_mut().budget = Some(budget);
        act(&mut trust);
        // And once more while it repairs itself, at a few places.
        for again in [0, 1, 30, budget / 2] {
            let twice = Flash::holding(flash.copies());
            twice.0.borrow_mut().budget = Some(again);
            let _ = DurableTrust::open(twice.clone());
            let (trust, _) = open(twice.copies())
                .unwrap_or_else(|error| panic!("{error} after {budget} and {again} bytes"));
            check(&trust);
        }
        let (trust, _) = open(flash.copies()).unwrap();
        check(&trust);
    }
}

#[test]
fn a_power_cut_at_any_byte_leaves_the_old_state_or_the_new_one() {
    let repo = Repo::new();
    let flash = Flash::default();
    let mut trust = DurableTrust::begin(flash.clone(), &repo.first_root()).unwrap();
    trust.note_assignment(&believed(1, 1)).unwrap();
    let second = believed(1, 2);
    cut_at_every_byte(
        flash.copies(),
        &|trust| {
            let _ = trust.note_assignment(&second);
        },
        &|trust| assert!([Some(seen(1)), Some(seen(2))].contains(&trust.state().assignment)),
    );
}

#[test]
fn copies_that_differ_are_brought_together_without_risking_the_newer_one() {
    let repo = Repo::new();
    let flash = Flash::default();
    let mut trust = DurableTrust::begin(flash.clone(), &repo.first_root()).unwrap();
    trust.note_assignment(&believed(1, 1)).unwrap();
    let old = flash.copies()[0].clone();
    trust.note_assignment(&believed(1, 2)).unwrap();
    let new = flash.copies()[0].clone();
    for copies in [[old.clone(), new.clone()], [new, old]] {
        for budget in 0..copies[0].as_ref().unwrap().len() {
            let flash = Flash::holding(copies.clone());
            flash.0.borrow_mut().budget = Some(budget);
            assert!(DurableTrust::open(flash.clone()).is_err());
            let (trust, _) = open(flash.copies()).unwrap();
            assert_eq!(trust.state().assignment, Some(seen(2)), "after {budget} bytes");
        }
    }
}

#[test]
fn a_write_that_failed_is_made_up_for_and_never_taken_back() {
    let fleet = Fleet::new();
    for failing in 0..2 {
        let mut device = fleet.device();
        device.trust.note_assignment(&believed(1, 1)).unwrap();
        let length = device.flash.copies()[0].as_ref().unwrap().len();
        device.flash.0.borrow_mut().budget = Some(failing * length + 10);
        let error = device.trust.note_assignment(&believed(1, 2)).unwrap_err();
        assert_eq!(error.code(), "metadata-not-stored");
        let durable = open(device.flash.copies()).unwrap().0.state().assignment;
        assert_eq!(durable, Some(seen(if failing == 0 { 1 } else { 2 })));

        // The medium works again: the same call is not passed over, and both copies hold it.
        device.flash.0.borrow_mut().budget = None;
        device.trust.note_assignment(&believed(1, 2)).unwrap();
        let [a, b] = device.flash.copies();
        for copies in [[a.clone(), None], [None, b.clone()]] {
            assert_eq!(open(copies).unwrap().0.state().assignment, Some(seen(2)), "write {failing} failed");
        }
        assert_same(&a, &b);
    }
}

#[test]
fn what_is_durable_after_a_failed_second_write_is_the_floor() {
    let mut fleet = Fleet::new();
    let mut device = fleet.device();
    device.refresh(&mut fleet.repo).unwrap();
    let length = device.flash.copies()[0].as_ref().unwrap().len();
    device.flash.0.borrow_mut().budget = Some(length + 200);
    device.trust.note_assignment(&believed(1, 7)).unwrap_err();
    device.flash.0.borrow_mut().budget = None;
    // Whatever is stored next does not go back behind it.
    device.trust.save("deltas.json", b"{}").unwrap();
    assert_eq!(open(device.flash.copies()).unwrap().0.state().assignment, Some(seen(7)));
}

#[test]
fn an_unchanged_state_is_not_written_again() {
    let mut fleet = Fleet::new();
    let mut device = fleet.device();
    device.refresh(&mut fleet.repo).unwrap();
    let writes = device.flash.0.borrow().writes;
    device.refresh(&mut fleet.repo).unwrap();
    assert_eq!(device.flash.0.borrow().writes, writes);
}

#[test]
fn an_older_assignment_or_epoch_changes_nothing() {
    let fleet = Fleet::new();
    let mut device = fleet.device();
    let at = |epoch, sequence| SeenAssignment { epoch, sequence };
    for (noted, kept) in [
        (at(1, 5), at(1, 5)),
        (at(1, 4), at(1, 5)),
        (at(2, 1), at(2, 1)),
        (at(1, 9), at(2, 1)),
        (at(2, 1), at(2, 1)),
    ] {
        device.trust.note_assignment(&believed(noted.epoch, noted.sequence)).unwrap();
        assert_eq!(device.trust.state().assignment, Some(kept));
    }
}

/// Stops at each write of a refresh that brings everything new, then plays an attacker who holds the online keys.
#[test]
fn a_refresh_cut_between_timestamp_and_snapshot_keeps_every_floor() {
    let mut fleet = Fleet::new();
    for _ in 0..4 {
        fleet.repo.next();
    }
    let mut device = fleet.device();
    device.refresh(&mut fleet.repo).unwrap();
    let start = device.flash.copies();
    fleet.repo.next();
    let mut evil = Fleet::new();
    for role in ["timestamp", "snapshot"] {
        evil.repo.set_version(role, 60);
    }
    for role in ["targets", "product-hub"] {
        evil.repo.set_version(role, 2);
    }
    evil.repo.publish_below();

    let mut cuts = 0;
    for writes in 0.. {
        let flash = Flash::holding(start.clone());
        let trust = DurableTrust::open(Limited { flash: flash.clone(), writes }).unwrap();
        let mut limited = trust;
        let refreshed = limited.refresh(&mut fleet.repo, 0, holdfast_trust::tuf::time::WallClock::Unset);
        let (trust, flash) = open(flash.copies()).unwrap();
        let mut device = Device { trust, flash };
        let refused = device.refresh(&mut evil.repo).unwrap_err();
        assert_eq!(refused.code(), "metadata-rollback", "after {writes} writes");
        // The attacker's timestamp stays, as it does without a power cut; nothing below it went back.
        let state = device.trust.state().clone();
        for role in ["targets", "snapshot"] {
            let bytes = &state.files[&format!("{role}.json")].0;
            let version =
                serde_json::from_slice::<serde_json::Value>(bytes).unwrap()["signed"]["version"].clone();
            assert!(version.as_u64().unwrap() >= 5, "{role} {version} after {writes} writes");
        }
        if refreshed.is_ok() {
            break;
        }
        cuts += 1;
    }
    assert!(cuts >= 6, "timestamp, snapshot, targets: two copies each, {cuts} cuts");
}

/// Works for so many writes.
#[derive(Clone)]
struct Limited {
    flash: Flash,
    writes: usize,
}

impl Medium for Limited {
    fn read(&self, copy: CopyName) -> Option<Vec<u8>> {
        self.flash.read(copy)
    }

    fn write(&mut self, copy: CopyName, bytes: &[u8]) -> Result<(), holdfast_trust::tuf::SourceError> {
        self.writes = self.writes.checked_sub(1).ok_or("the power was cut")?;
        self.flash.write(copy, bytes)
    }
}

#[test]
fn delegated_metadata_without_end_never_crowds_out_the_floors() {
    let fleet = Fleet::new();
    let mut device = fleet.device();
    let big = vec![b' '; 5_000_000];
    for number in 0..8 {
        device.trust.save(&format!("{}.json", trusted::escaped(&format!("bin/{number}"))), &big).unwrap();
        let held: usize = device.trust.state().files.values().map(|file| file.0.len()).sum();
        assert!(held <= STORED_FILES_MAX_BYTES, "{held} bytes");
        assert!(device.trust.state().files.contains_key("root.json"));
    }
    open(device.flash.copies()).unwrap();
}

#[test]
fn every_top_level_file_at_its_limit_still_opens() {
    use holdfast_trust::tuf::limits::{
        ROOT_MAX_BYTES, SNAPSHOT_MAX_BYTES, TARGETS_MAX_BYTES, TIMESTAMP_MAX_BYTES,
    };
    let fleet = Fleet::new();
    let mut device = fleet.device();
    device.trust.save("below.json", &vec![1; TARGETS_MAX_BYTES as usize]).unwrap();
    let limits = [
        ("root", ROOT_MAX_BYTES),
        ("timestamp", TIMESTAMP_MAX_BYTES),
        ("snapshot", SNAPSHOT_MAX_BYTES),
        ("targets", TARGETS_MAX_BYTES),
    ];
    for (role, limit) in limits {
        device.trust.save(&format!("{role}.json"), &vec![255; limit as usize]).unwrap();
    }
    let (trust, _) = open(device.flash.copies()).unwrap();
    assert_eq!(trust.state().files["targets.json"].0.len() as u64, TARGETS_MAX_BYTES);
}

#[test]
fn the_documents_are_kept_as_they_were_verified() {
    let mut fleet = Fleet::new();
    let mut device = fleet.device();
    let mut trusted = device.refresh(&mut fleet.repo).unwrap();
    assert!(device.trust.state().assignment_keys().is_none() && device.trust.state().ca_bundle().is_none());
    device.trust.adopt_documents(&mut trusted, &mut fleet.repo).unwrap();
    let (trust, _) = open(device.flash.copies()).unwrap();
    let keys = trust.state().assignment_keys().unwrap();
    assert_eq!((keys.epoch, keys.threshold, keys.keys.len()), (1, 1, 1));
    assert_eq!(trust.state().ca_bundle().unwrap().roots[0].0, [0, 1, 2]);
}

/// Target, what is published in its place, the code.
type Document = (&'static str, fn(&mut Fleet), &'static str);

const DOCUMENTS: &[Document] = &[
    ("no fault", |_| {}, "believed"),
    ("keys not listed", |fleet| unlist(fleet, "keys/assignment.json"), "not-signed"),
    ("bundle not listed", |fleet| unlist(fleet, "trust/ca.json"), "not-signed"),
    (
        "bundle by a delegated role",
        |fleet| {
            unlist(fleet, "trust/ca.json");
            let signers = pairs("deltas", 1);
            fleet.repo.delegate("targets", "deltas", &["trust/*"], false, (1, &signers));
            fleet.repo.list("deltas", "trust/ca.json", br#"{"version":2,"roots":["AAEC"]}"#, None);
        },
        "not-signed",
    ),
    (
        "bundle without a root",
        |fleet| document(fleet, "trust/ca.json", br#"{"version":1,"roots":[]}"#),
        "metadata-malformed",
    ),
    ("bundle that is none", |fleet| document(fleet, "trust/ca.json", b"[]"), "metadata-malformed"),
    ("keys that are none", |fleet| document(fleet, "keys/assignment.json", b"{}"), "metadata-malformed"),
    (
        "one key twice",
        |fleet| {
            let key = fleet.assignment_signers[0].clone();
            fleet.assignment_signers.push(key.alias("other"));
            fleet.assignment_keys(1, 2);
        },
        "metadata-key-twice",
    ),
    (
        "bytes swapped on the mirror",
        |fleet| {
            fleet.repo.publish();
            for bytes in fleet.repo.target_files.values_mut() {
                bytes[0] ^= 1;
            }
        },
        "target-mismatch",
    ),
];

fn unlist(fleet: &mut Fleet, path: &str) {
    fleet.repo.signed("targets")["targets"].as_object_mut().unwrap().remove(path);
}

fn document(fleet: &mut Fleet, path: &str, bytes: &[u8]) {
    fleet.repo.list("targets", path, bytes, None);
}

#[test]
fn documents_are_adopted_whole_or_not_at_all() {
    for (name, fault, expected) in DOCUMENTS {
        let mut fleet = Fleet::new();
        fault(&mut fleet);
        fleet.repo.publish();
        let mut device = fleet.device();
        let mut trusted = device.refresh(&mut fleet.repo).unwrap();
        let result = device.trust.adopt_documents(&mut trusted, &mut fleet.repo);
        assert_eq!(result.map_or_else(|error| error.code(), |()| "believed"), *expected, "{name}");
        let is_kept = device.trust.state().assignment_keys().is_some();
        assert_eq!(is_kept, *expected == "believed", "{name}");
    }
}

#[test]
fn a_copy_is_magic_sequence_length_digest_json() {
    let fleet = Fleet::new();
    let bytes = fleet.device().flash.copies()[0].clone().unwrap();
    let (head, body) = bytes.split_at(52);
    assert_eq!(&head[..8], b"HFTRUST1");
    assert_eq!(head[8..16], 1_u64.to_be_bytes());
    assert_eq!(head[16..20], (body.len() as u32).to_be_bytes());
    assert_eq!(hex::encode(&head[20..]), crate::support::sha256(&[&head[..20], body].concat()));
    assert!(serde_json::from_slice::<serde_json::Value>(body).unwrap()["files"]["root.json"].is_string());
}

#[test]
fn a_record_of_a_later_version_is_read_by_this_one() {
    let fleet = Fleet::new();
    let bytes = fleet.device().flash.copies()[0].clone().unwrap();
    let mut state: serde_json::Value = serde_json::from_slice(&bytes[52..]).unwrap();
    state["of a later version"] = json!(1);
    let body = serde_json::to_vec(&state).unwrap();
    let fields = [&bytes[..16], &(body.len() as u32).to_be_bytes()].concat();
    let digest = hex::decode(crate::support::sha256(&[&fields[..], &body].concat())).unwrap();
    open([Some([&fields[..], &digest, &body].concat()), None]).unwrap();
}

#[test]
fn delegated_roles_are_a_cache_of_as_many_bytes_as_there_is_room_for() {
    let fleet = Fleet::new();
    let mut trust = fleet.device().trust;
    let used = trust.load("root.json").unwrap().len();
    let fill = vec![b'x'; STORED_FILES_MAX_BYTES - used];
    trust.save("product-a.json", &fill).unwrap();
    assert!(trust.load("product-a.json").is_some(), "as much as there is room for");
    trust.save("timestamp.json", b"t").unwrap();
    assert!(trust.load("product-a.json").is_some(), "a top-level role takes no room from it");
    trust.save("product-b.json", b"y").unwrap();
    let held = ["root", "timestamp", "product-a", "product-b"]
        .map(|name| trust.load(&format!("{name}.json")).is_some());
    assert_eq!(held, [true, true, false, false], "a byte more, and the cache begins anew");
    trust.save("product-b.json", b"y").unwrap();
    trust.save("product-c.json", b"z").unwrap();
    assert_eq!(
        (trust.load("product-b.json"), trust.load("product-c.json")),
        (Some(b"y".to_vec()), Some(b"z".to_vec()))
    );
}

#[test]
fn a_copy_is_read_up_to_its_cap() {
    use aws_lc_rs::digest::{SHA256, digest};
    const HEAD_BYTES: usize = 8 + 8 + 4 + 32;
    let copy = Fleet::new().device().flash.copies()[0].clone().unwrap();
    let padded = |length: usize| {
        let mut body = copy[HEAD_BYTES..].to_vec();
        body.resize(length - HEAD_BYTES, b' ');
        let fields = [&copy[..16], &(body.len() as u32).to_be_bytes()].concat();
        let whole = [&fields[..], &body].concat();
        let sum = digest(&SHA256, &whole);
        [&fields[..], sum.as_ref(), &body].concat()
    };
    assert!(open([Some(padded(COPY_MAX_BYTES)), None]).is_ok());
    assert!(open([Some(padded(COPY_MAX_BYTES + 1)), None]).is_err());
}

#[test]
fn a_copy_is_written_up_to_its_cap_and_what_is_too_long_changes_nothing() {
    let fleet = Fleet::new();
    // Names are written as they are: one byte each.
    let saved = |name_bytes: usize| {
        let mut device = fleet.device();
        let saved = device.trust.save(&"n".repeat(name_bytes), b"");
        (saved, device.flash.copies())
    };
    let (_, short) = saved(1);
    let fills = 1 + COPY_MAX_BYTES - short[0].as_ref().unwrap().len();
    let (longest, copies) = saved(fills);
    longest.unwrap();
    assert_eq!(copies[0].as_ref().unwrap().len(), COPY_MAX_BYTES);
    open(copies).unwrap();
    let (too_long, copies) = saved(fills + 1);
    assert!(too_long.unwrap_err().to_string().contains("too long"));
    assert_eq!(copies, fleet.device().flash.copies(), "nothing was written");
    open(copies).unwrap();
}

#[test]
fn a_copy_with_every_file_at_its_cap_is_within_its_own() {
    let top_level = ROOT_MAX_BYTES + TIMESTAMP_MAX_BYTES + SNAPSHOT_MAX_BYTES + TARGETS_MAX_BYTES;
    let files = top_level as usize + STORED_FILES_MAX_BYTES;
    let (in_base64, names_and_floors) = (files.div_ceil(3) * 4, 4 << 20);
    let most = in_base64 + names_and_floors;
    assert!((most..most + (8 << 20)).contains(&COPY_MAX_BYTES), "{most} of {COPY_MAX_BYTES}");
}
