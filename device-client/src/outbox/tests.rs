use super::*;
use crate::keystore::FileKeys;
use crate::testing::answering;
use holdfast_proto::report::{Running, TrustedVersions};
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};
use std::sync::{Arc, Mutex};

fn report(progress: Progress) -> Report {
    Report {
        sequence: 0,
        boot_id: "boot".into(),
        assignment: None,
        progress,
        running: Running {
            release: None,
            manifest: None,
            artefacts: std::collections::BTreeMap::new(),
            floor: 0,
            slot: "a".into(),
            ram_bytes: 1,
        },
        versions: TrustedVersions::default(),
        transfer: None,
        evidence: None,
        detail: None,
    }
}

#[test]
fn numbers_rise_across_restarts_and_after_everything_was_sent() {
    let folder = tempfile::tempdir().unwrap();
    let reserve = Reserve::of(folder.path());
    let mut outbox = Outbox::open(folder.path()).unwrap();
    outbox.push(report(Progress::Accepted), false, &reserve).unwrap();
    outbox.push(report(Progress::Confirmed), true, &reserve).unwrap();
    let mut outbox = Outbox::open(folder.path()).unwrap();
    assert_eq!(outbox.waiting().unwrap(), [1, 2]);
    assert_eq!(outbox.read(2).unwrap().report.sequence, 2);
    outbox.remove(1).unwrap();
    outbox.remove(2).unwrap();
    assert!(outbox.is_empty());
    outbox = Outbox::open(folder.path()).unwrap();
    outbox.push(report(Progress::Idle), false, &reserve).unwrap();
    assert_eq!(outbox.waiting().unwrap(), [3]);
}

#[test]
fn a_full_queue_lets_go_of_what_decides_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let reserve = Reserve::of(folder.path());
    let mut outbox = Outbox::open(folder.path()).unwrap();
    outbox.push(report(Progress::Arming), false, &reserve).unwrap();
    for _ in 0..WAITING_MAX + 5 {
        outbox.push(report(Progress::Fetching), false, &reserve).unwrap();
    }
    let waiting = outbox.waiting().unwrap();
    assert_eq!((waiting.len(), waiting[0]), (WAITING_MAX, 1));
}

#[test]
fn a_service_that_has_seen_more_is_told_again_under_a_later_number() {
    let folder = tempfile::tempdir().unwrap();
    let reserve = Reserve::of(folder.path());
    let mut outbox = Outbox::open(folder.path()).unwrap();
    outbox.push(report(Progress::Accepted), false, &reserve).unwrap();
    let waiting = outbox.read(1).unwrap();
    outbox.renumber(1, waiting, 40).unwrap();
    assert_eq!(outbox.waiting().unwrap(), [41]);
    assert_eq!(outbox.read(41).unwrap().report.sequence, 41);
}

/// A queue of so many reports, and a key to sign them with.
fn queue(folder: &Path, reports: u64) -> (Outbox, FileKeys) {
    let path = folder.join("device.toml");
    let text = "serial = \"S\"\nmodel = \"m\"\nstate_dir = \"state\"\nblob = \"blob\"\nkeystore = \"file\"\n";
    files::write(&path, text.as_bytes()).unwrap();
    let keys = FileKeys::open(&crate::config::Config::read(&path).unwrap());
    keys.ensure(Slot::Current).unwrap();
    let mut outbox = Outbox::open(folder).unwrap();
    for _ in 0..reports {
        outbox.push(report(Progress::Confirmed), false, &Reserve::of(folder)).unwrap();
    }
    (outbox, keys)
}

fn flush(outbox: &mut Outbox, service: &Service, keys: &FileKeys) -> Result<(), String> {
    let sent = outbox.flush(service, keys, &mut || Err(DeviceError::unusable("nothing is to be proved")));
    sent.map_err(|error| error.to_string())
}

fn number(body: &[u8]) -> u64 {
    serde_json::from_slice::<Report>(body).unwrap().sequence
}

#[test]
fn a_service_that_has_always_seen_one_more_is_asked_twice_for_each_report_and_no_more() {
    let folder = tempfile::tempdir().unwrap();
    let (mut outbox, keys) = queue(folder.path(), 3);
    let asked = Arc::new(AtomicU64::new(0));
    let counting = Arc::clone(&asked);
    let service = answering(move |body| {
        assert!(counting.fetch_add(1, SeqCst) < 100, "the flush does not end");
        format!("{{\"sequence\":{}}}", number(body) + 1)
    });
    let why = flush(&mut outbox, &service, &keys).unwrap_err();
    assert!(why.contains("just after it had not"), "{why}");
    assert!(asked.load(SeqCst) <= 6);
    assert_eq!(outbox.waiting().unwrap().len(), 3, "nothing is lost");
}

#[test]
fn a_count_that_was_lost_is_taken_up_and_everything_is_told_in_order_in_one_flush() {
    let folder = tempfile::tempdir().unwrap();
    let (mut outbox, keys) = queue(folder.path(), 3);
    let seen = Mutex::new(40);
    let service = answering(move |body| {
        let mut seen = seen.lock().unwrap();
        *seen = number(body).max(*seen);
        format!("{{\"sequence\":{}}}", *seen)
    });
    assert_eq!(flush(&mut outbox, &service, &keys), Ok(()));
    assert!(outbox.is_empty());
    assert_eq!(outbox.last, 43);
}

#[test]
fn a_number_that_no_device_reached_is_refused_and_every_report_is_kept() {
    for seen in [u64::MAX, 1 << 63, i64::MAX as u64, AHEAD_MAX + 3] {
        let folder = tempfile::tempdir().unwrap();
        let (mut outbox, keys) = queue(folder.path(), 2);
        let service = answering(move |_| format!("{{\"sequence\":{seen}}}"));
        let why = flush(&mut outbox, &service, &keys).unwrap_err();
        assert!(why.contains(&seen.to_string()), "{why}");
        assert_eq!(outbox.waiting().unwrap(), [1, 2]);
        assert_eq!(Outbox::open(folder.path()).unwrap().last, 2, "nothing of it is kept");
    }
}

#[test]
fn a_count_at_its_end_is_an_error_and_one_that_was_poisoned_is_none() {
    let folder = tempfile::tempdir().unwrap();
    let (mut outbox, _) = queue(folder.path(), 0);
    for last in [u64::MAX, NUMBER_MAX - 1] {
        outbox.last = last;
        assert!(outbox.push(report(Progress::Confirmed), false, &Reserve::of(folder.path())).is_err());
    }
    assert!(outbox.is_empty());
    files::write_json(&outbox.folder.join("last"), &u64::MAX).unwrap();
    assert_eq!(Outbox::open(folder.path()).unwrap().last, 0);
}

#[test]
fn what_waits_is_bounded_whatever_it_tells_and_the_assignment_under_way_goes_last() {
    let folder = tempfile::tempdir().unwrap();
    let reserve = Reserve::of(folder.path());
    let (mut outbox, _) = queue(folder.path(), 0);
    let of = |sequence| Some(AssignmentRef { epoch: 1, sequence, attempt: 1 });
    let refused = |sequence| Report {
        assignment: of(sequence),
        ..report(Progress::Refused { code: "hardware".into() })
    };
    for _ in 0..3 {
        outbox.push(refused(7), false, &reserve).unwrap();
    }
    for sequence in 0..150 {
        outbox.push(refused(100 + sequence), false, &reserve).unwrap();
    }
    assert_eq!(outbox.waiting().unwrap().len(), WAITING_HARD_MAX);
    let under_way = outbox.waiting().unwrap()[0];
    let its = outbox.read(under_way).unwrap().report.assignment;
    let push = |outbox: &mut Outbox| {
        outbox.push(Report { assignment: its, ..report(Progress::Confirmed) }, false, &reserve).unwrap();
    };
    for _ in 1..WAITING_HARD_MAX {
        push(&mut outbox);
    }
    let waiting = outbox.waiting().unwrap();
    assert_eq!((waiting.len(), waiting[0]), (WAITING_HARD_MAX, under_way));
    assert!(waiting.iter().all(|number| outbox.read(*number).unwrap().report.assignment == its));
    push(&mut outbox);
    let waiting = outbox.waiting().unwrap();
    assert_eq!(waiting.len(), WAITING_HARD_MAX);
    assert!(waiting[0] > under_way, "nothing else is left to go");
}

#[test]
fn a_report_that_cannot_be_read_is_put_aside_and_holds_up_none() {
    let folder = tempfile::tempdir().unwrap();
    let (mut outbox, keys) = queue(folder.path(), 3);
    for number in [1, 2] {
        std::fs::remove_file(outbox.path(number)).unwrap();
    }
    std::fs::create_dir(outbox.path(1)).unwrap();
    files::write(&outbox.path(2), b"{").unwrap();
    let service = answering(|body| format!("{{\"sequence\":{}}}", number(body)));
    assert_eq!(flush(&mut outbox, &service, &keys), Ok(()));
    assert!(outbox.is_empty());
    assert!(folder.path().join("reports/0000000001.json.unreadable").is_dir());
}
