use super::*;
use crate::testing::SmallDisk;
use holdfast_decide::device::{BootKind, Booted, Machine, Now, Policy, Slot, State, Wall, WayBack};

fn record(floor: u64) -> Record {
    let booted = Booted {
        boot_id: "boot".into(),
        slot: Slot::A,
        on_trial: false,
        other_tries: None,
        running: None,
        other: None,
    };
    let policy = Policy {
        activation: holdfast_decide::device::Activation::Reboot(BootKind::OneShot),
        ..Policy::default()
    };
    let machine = Machine::resume(Saved::Nothing, booted, policy, Now { boottime_ms: 0, wall: Wall::Unset });
    let mut record = machine.record().clone();
    record.standing.floor = floor;
    record
}

fn floor(saved: Saved) -> Option<u64> {
    match saved {
        Saved::Record(record) => Some(record.standing.floor),
        _ => None,
    }
}

#[test]
fn a_record_comes_back_as_it_was_written() {
    let folder = tempfile::tempdir().unwrap();
    let (mut journal, saved) = Journal::open(folder.path()).unwrap();
    assert_eq!(saved, Saved::Nothing);
    journal.write(&record(1)).unwrap();
    journal.write(&record(2)).unwrap();
    let (_, saved) = Journal::open(folder.path()).unwrap();
    assert_eq!(saved, Saved::Record(Box::new(record(2))));
}

#[test]
#[expect(clippy::disallowed_methods, reason = "the test tears files on purpose")]
fn a_record_of_another_program_and_two_torn_copies_lead_to_recovery_and_not_to_a_first_use() {
    let folder = tempfile::tempdir().unwrap();
    let (mut copies, _) = Copies::open(folder.path(), "journal", MAGIC).unwrap();
    copies.write(br#"{"schema":2,"what":"a later version wrote"}"#).unwrap();
    assert_eq!(Journal::open(folder.path()).unwrap().1, Saved::NotUnderstood);
    for copy in ["journal.a", "journal.b"] {
        std::fs::write(folder.path().join(copy), b"torn").unwrap();
    }
    let (mut journal, saved) = Journal::open(folder.path()).unwrap();
    assert_eq!(saved, Saved::NotUnderstood);
    let booted = Booted {
        boot_id: "boot".into(),
        slot: Slot::A,
        on_trial: true,
        other_tries: None,
        running: None,
        other: None,
    };
    let now = Now { boottime_ms: 0, wall: Wall::Unset };
    let machine = Machine::resume(saved, booted, Policy::default(), now);
    assert_eq!(machine.record().state, State::Recovery { way: WayBack::default() });
    journal.write(&record(7)).unwrap();
    assert_eq!(floor(Journal::open(folder.path()).unwrap().1), Some(7));
}

#[test]
fn a_disk_that_others_filled_still_takes_the_journal() {
    let folder = tempfile::tempdir().unwrap();
    let disk = SmallDisk::mount(folder.path(), "2m");
    let (mut journal, _) = Journal::open(folder.path()).unwrap();
    journal.write(&record(1)).unwrap();
    disk.fill();
    let refused = crate::files::write(&folder.path().join("other"), &[1; 8192]);
    assert!(refused.is_err(), "the disk is full for everybody else");
    for counter in 2..6 {
        journal.write(&record(counter)).unwrap();
        assert_eq!(floor(Journal::open(folder.path()).unwrap().1), Some(counter));
    }
}
