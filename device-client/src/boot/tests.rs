//! The conformance suite that every boot loader runs, and what the fake has in common with real ones.

use super::fake::Fake;
use super::swap::Swap;
use super::*;
use holdfast_decide::device::BootKind;
use std::path::Path;

const KINDS: [BootKind; 2] = [BootKind::OneShot, BootKind::Counted(3)];

#[expect(clippy::unnecessary_wraps, reason = "what `power_on` asks")]
fn all_boot(_: Slot, _: bool) -> Result<bool, DeviceError> {
    Ok(true)
}

/// Off and on.
fn cycle(folder: &Path, kind: BootKind) -> (Fake, BootFacts) {
    let mut fake = Fake::open(folder, kind).unwrap();
    let slot = fake.power_on(all_boot).unwrap();
    let facts = fake.came_up(slot).unwrap();
    (fake, facts)
}

#[test]
fn a_trial_that_is_marked_good_stays_and_one_that_is_not_falls_back() {
    for kind in KINDS {
        let folder = tempfile::tempdir().unwrap();
        let (mut fake, facts) = cycle(folder.path(), kind);
        assert_eq!((facts.slot, facts.on_trial, facts.other_tries), (Slot::A, false, None));
        fake.arm(Slot::B).unwrap();
        assert!(fake.facts().unwrap().other_tries.is_some());
        let (mut fake, facts) = cycle(folder.path(), kind);
        assert_eq!((facts.slot, facts.on_trial), (Slot::B, true), "{kind:?}");
        fake.mark_good(Slot::B).unwrap();
        for _ in 0..4 {
            let (_, facts) = cycle(folder.path(), kind);
            assert_eq!((facts.slot, facts.on_trial), (Slot::B, false), "{kind:?}");
        }
        let (mut fake, _) = cycle(folder.path(), kind);
        fake.arm(Slot::A).unwrap();
        // Nobody marks it good: the boot loader goes back by itself.
        let tried = (0..5).filter(|_| cycle(folder.path(), kind).1.slot == Slot::A).count();
        assert_eq!(tried, if kind == BootKind::OneShot { 1 } else { 3 }, "{kind:?}");
        assert_eq!(cycle(folder.path(), kind).1.slot, Slot::B);
    }
}

#[test]
fn what_is_armed_is_spent_by_the_boot_and_not_by_its_success() {
    let folder = tempfile::tempdir().unwrap();
    let (mut fake, _) = cycle(folder.path(), BootKind::Counted(2));
    fake.arm(Slot::B).unwrap();
    let tried = std::cell::RefCell::new(Vec::new());
    let slot = fake.power_on(|slot, _| {
        tried.borrow_mut().push(slot);
        Ok(slot == Slot::A)
    });
    assert_eq!((slot.unwrap(), tried.into_inner()), (Slot::A, vec![Slot::B, Slot::B, Slot::A]));
    // Exhausted, and still known to be: the agent learns that the boots were tried.
    let facts = fake.came_up(Slot::A).unwrap();
    assert_eq!(facts.other_tries, Some(0));
    assert!(fake.power_on(|_, _| Ok(false)).unwrap_err().to_string().contains("no slot boots"));
}

#[test]
fn a_slot_that_runs_or_boots_by_default_is_never_given_up() {
    for kind in KINDS {
        let folder = tempfile::tempdir().unwrap();
        let (mut fake, _) = cycle(folder.path(), kind);
        assert!(fake.mark_bad(Slot::A).is_err(), "the default");
        assert!(fake.mark_good(Slot::B).is_err(), "it does not run");
        fake.arm(Slot::B).unwrap();
        fake.mark_bad(Slot::B).unwrap();
        assert_eq!(cycle(folder.path(), kind).1.slot, Slot::A, "what is marked bad is not armed any more");
    }
}

#[test]
#[expect(clippy::disallowed_methods, reason = "the test tears files on purpose")]
fn an_environment_torn_in_one_copy_is_whole_and_in_both_boots_what_ran() {
    let folder = tempfile::tempdir().unwrap();
    let (mut fake, _) = cycle(folder.path(), BootKind::OneShot);
    fake.arm(Slot::B).unwrap();
    let whole = std::fs::read(folder.path().join("env.a")).unwrap();
    for at in 0..whole.len() {
        std::fs::write(folder.path().join("env.a"), &whole[..at]).unwrap();
        let fake = Fake::open(folder.path(), BootKind::OneShot).unwrap();
        assert_eq!(fake.facts().unwrap().other_tries, Some(1), "torn at {at}");
    }
    let (mut fake, _) = cycle(folder.path(), BootKind::OneShot);
    fake.mark_good(Slot::B).unwrap();
    for copy in ["env.a", "env.b"] {
        std::fs::write(folder.path().join(copy), b"noise").unwrap();
    }
    let (_, facts) = cycle(folder.path(), BootKind::OneShot);
    assert_eq!((facts.slot, facts.on_trial), (Slot::B, false));
}

#[test]
fn a_symlink_is_swapped_and_swapped_back() {
    let folder = tempfile::tempdir().unwrap();
    let mut swap = Swap::open(folder.path()).unwrap();
    assert_eq!(swap.facts().unwrap().slot, Slot::A);
    assert!(swap.mark_bad(Slot::A).is_err() && swap.mark_bad(Slot::B).is_ok());
    swap.activate(Slot::B).unwrap();
    assert!(swap.mark_bad(Slot::A).is_err(), "the way home is never given up");
    let mut swap = Swap::open(folder.path()).unwrap();
    assert_eq!((swap.facts().unwrap().slot, swap.facts().unwrap().on_trial), (Slot::B, true));
    swap.revert(Slot::A).unwrap();
    assert_eq!((swap.facts().unwrap().slot, swap.facts().unwrap().on_trial), (Slot::A, false));
    swap.activate(Slot::B).unwrap();
    swap.mark_good(Slot::B).unwrap();
    assert!(!Swap::open(folder.path()).unwrap().facts().unwrap().on_trial);
    assert_eq!(std::fs::read_link(folder.path().join("current")).unwrap(), Path::new("b"));
}
