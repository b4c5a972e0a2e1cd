//! docs/identity, M3, 8: event logs. A log as firmware and boot loader write it, made here byte by byte, whose PCRs
//! were computed apart from this code (`golden/eventlog_pcrs.known`, Python's hashlib over the same words); then one
//! fault at a time.

use crate::support::log::{Log, SHA1, SHA256, legacy_event};
use holdfast_trust::attest::eventlog::{
    self, Binding, EV_NO_ACTION, EV_SEPARATOR, EventLog, EventLogError, Format, Phase, hash,
};
use holdfast_trust::attest::inspect;
use proptest::prelude::*;
use std::collections::BTreeMap;
use std::fmt::Write as _;

const SHA384: u16 = 0x0C;
const SHA512: u16 = 0x0D;
const SM3: u16 = 0x12;
const MIB: usize = 1 << 20;

const EV_S_CRTM_VERSION: u32 = 8;
const EV_IPL: u32 = 13;
const EV_EFI_VARIABLE_DRIVER_CONFIG: u32 = 0x8000_0001;
const EV_EFI_BOOT_SERVICES_APPLICATION: u32 = 0x8000_0003;
const EV_EFI_GPT_EVENT: u32 = 0x8000_0006;
const EV_EFI_ACTION: u32 = 0x8000_0007;
const EV_EFI_PLATFORM_FIRMWARE_BLOB: u32 = 0x8000_0008;

/// A boot: UEFI firmware started at locality 3, GRUB, a kernel.
fn boot(banks: &[u16]) -> Log {
    let version: Vec<u8> = "v1.0\0".encode_utf16().flat_map(u16::to_le_bytes).collect();
    let blob: Vec<u8> = (0..16).collect();
    let mut log = Log::new(banks).locality(3).event(0, EV_S_CRTM_VERSION, &version).measured(
        0,
        EV_EFI_PLATFORM_FIRMWARE_BLOB,
        b"firmware volume",
        &blob,
    );
    for name in ["SecureBoot", "PK", "KEK", "db", "dbx"] {
        log = log.event(7, EV_EFI_VARIABLE_DRIVER_CONFIG, name.as_bytes());
    }
    log.separators()
        .event(4, EV_EFI_ACTION, b"Calling EFI Application from Boot Option")
        .event(5, EV_EFI_GPT_EVENT, b"EFI PART\0\0\0\0\0\0\0\0")
        .measured(4, EV_EFI_BOOT_SERVICES_APPLICATION, b"shim image", b"path of shim")
        .measured(8, EV_IPL, b"linux /vmlinuz root=/dev/vda2", b"grub_cmd: linux /vmlinuz root=/dev/vda2\0")
        .measured(9, EV_IPL, b"kernel image", b"/vmlinuz\0")
        .event(5, EV_EFI_ACTION, b"Exit Boot Services Returned with Success")
}

fn parse(log: &Log) -> EventLog {
    EventLog::parse(&log.bytes).unwrap_or_else(|why| panic!("{why}"))
}

fn refused(bytes: &[u8]) -> String {
    EventLog::parse(bytes).expect_err("this must be refused").to_string()
}

/// A header with these banks (algorithm, digest size) as they are.
fn header(banks: &[(u16, u16)], vendor: &[u8]) -> Vec<u8> {
    let mut spec = b"Spec ID Event03\0".to_vec();
    spec.extend([0, 0, 0, 0, 0, 2, 0, 2]);
    spec.extend((banks.len() as u32).to_le_bytes());
    for (bank, size) in banks {
        spec.extend(bank.to_le_bytes());
        spec.extend(size.to_le_bytes());
    }
    spec.extend(vendor);
    legacy_event(0, EV_NO_ACTION, &[0; 20], &spec)
}

fn with(mut log: Log, pcr: u8, kind: u32, digests: &[(u16, Vec<u8>)], data: &[u8]) -> Log {
    log.write(pcr, kind, digests, data);
    log
}

#[test]
fn a_boot_replays_to_what_was_computed_apart_from_this_code() {
    let banks = [SHA1, SHA256, SHA384, SHA512];
    let log = parse(&boot(&banks));
    assert_eq!((log.format, log.startup_locality, log.events.len()), (Format::CryptoAgile, Some(3), 23));
    assert_eq!(log.banks, [(SHA1, 20), (SHA256, 32), (SHA384, 48), (SHA512, 64)]);
    assert_eq!(log.notes, Vec::<String>::new());
    let mut found = String::new();
    for bank in banks {
        for (pcr, value) in log.replay(bank).unwrap() {
            _ = writeln!(found, "{} {pcr} {}", eventlog::bank_name(bank), hex::encode(value));
        }
    }
    assert_eq!(found, include_str!("../golden/eventlog_pcrs.known"));
    assert_eq!(log.replay(SM3), None, "not in the log");
}

#[test]
fn every_event_keeps_its_number_place_and_data() {
    let source = boot(&[SHA1, SHA256]);
    let log = parse(&source);
    for (number, event) in log.events.iter().enumerate() {
        assert_eq!(event.number, number);
        assert_eq!(source.bytes[event.offset..event.offset + 4], event.pcr.to_le_bytes());
        assert_eq!(source.bytes[event.offset + 4..event.offset + 8], event.kind.to_le_bytes());
    }
    let kernel = log.events.iter().find(|event| event.data == b"/vmlinuz\0").unwrap();
    assert_eq!((kernel.pcr, kernel.kind, kernel.kind_name()), (9, EV_IPL, "EV_IPL"));
    assert_eq!(kernel.digest(SHA256), hash(SHA256, &[b"kernel image"]).as_deref());
    assert_eq!(kernel.digest(SHA384), None);
    let names: Vec<&str> = log.events.iter().map(eventlog::Event::kind_name).take(4).collect();
    assert_eq!(names, ["EV_NO_ACTION", "EV_NO_ACTION", "EV_S_CRTM_VERSION", "EV_EFI_PLATFORM_FIRMWARE_BLOB"]);
}

#[test]
fn hashes_are_those_of_their_names() {
    let answers = [
        (SHA1, "sha1", "a9993e364706816aba3e25717850c26c9cd0d89d"),
        (SHA256, "sha256", "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"),
        (
            SHA384,
            "sha384",
            "cb00753f45a35e8bb5a03d699ac65007272c32ab0eded1631a8b605a43ff5bed8086072ba1e7cc2358baeca134c825a7",
        ),
        (
            SHA512,
            "sha512",
            "ddaf35a193617abacc417349ae20413112e6fa4e89a97ea20a9eeee64b55d39a2192992a274fc1a836ba3c23a3feebbd454d4423643ce80e2a9ac94fa54ca49f",
        ),
    ];
    for (alg, name, wanted) in answers {
        assert_eq!(hash(alg, &[b"a", b"bc"]).map(hex::encode).as_deref(), Some(wanted));
        assert_eq!(eventlog::bank_name(alg), name);
    }
    assert_eq!(hash(SM3, &[b"abc"]), None);
    assert_eq!(
        ["sm3_256", "sha3_256", "0x1234"],
        [SM3, 0x27, 0x1234].map(eventlog::bank_name).each_ref().map(String::as_str)
    );
}

// The header.

#[test]
fn the_header_is_never_extended() {
    assert_eq!(parse(&Log::new(&[SHA256])).replay(SHA256), Some(BTreeMap::new()));
}

#[test]
fn a_header_says_its_banks_or_is_refused() {
    let nine: Vec<(u16, u16)> = (0..9).map(|n| (0x100 + n, 32)).collect();
    for (banks, wanted) in [
        (&[][..], "0 banks in the header"),
        (&nine[..], "9 banks in the header"),
        (&[(SHA256, 20)][..], "sha256 with digests of 20 bytes"),
        (&[(SHA1, 32)][..], "sha1 with digests of 32 bytes"),
        (&[(SM3, 0)][..], "sm3_256 with digests of 0 bytes"),
        (&[(SM3, 65)][..], "sm3_256 with digests of 65 bytes"),
        (&[(SHA256, 32), (SHA256, 32)][..], "sha256 twice in the header"),
    ] {
        assert_eq!(refused(&header(banks, &[0])), format!("at byte 0: {wanted}"));
    }
    assert!(EventLog::parse(&header(&nine[..8], &[0])).is_ok());
    assert!(EventLog::parse(&header(&[(SM3, 64)], &[0])).is_ok());
}

#[test]
fn vendor_information_is_passed_over_and_must_be_there() {
    assert!(EventLog::parse(&header(&[(SHA256, 32)], &[3, 1, 2, 3])).is_ok());
    assert!(refused(&header(&[(SHA256, 32)], &[3, 1, 2])).contains("vendorInfo needs 3 bytes, 2 are left"));
    assert!(refused(&header(&[(SHA256, 32)], &[])).contains("vendorInfoSize needs 1 bytes"));
}

#[test]
fn a_bank_that_is_not_computed_here_is_carried_and_does_not_replay() {
    let mut bytes = header(&[(SM3, 32), (SHA256, 32)], &[0]);
    let mut log = Log { bytes: Vec::new(), ..Log::new(&[SHA256]) };
    log.write(4, EV_IPL, &[(SM3, vec![7; 32]), (SHA256, hash(SHA256, &[b"x"]).unwrap())], b"x");
    bytes.extend(log.bytes);
    let read = EventLog::parse(&bytes).unwrap();
    assert_eq!(read.replay(SM3), None);
    assert_eq!(read.replay(SHA256).unwrap().len(), 1);
    let report = inspect::event_log(&bytes).unwrap();
    assert_eq!(report.unsupported_banks, ["sm3_256"]);
    assert_eq!(report.pcrs.keys().collect::<Vec<_>>(), ["sha256"]);
}

#[test]
fn without_a_spec_id_it_is_a_legacy_log_of_sha1_alone() {
    let digest: [u8; 20] = hash(SHA1, &[b"x"]).unwrap().try_into().unwrap();
    let bytes =
        [legacy_event(4, EV_IPL, &digest, b"x"), legacy_event(4, EV_SEPARATOR, &digest, b"x")].concat();
    let log = EventLog::parse(&bytes).unwrap();
    assert_eq!(
        (log.format, log.banks.as_slice(), log.events.len()),
        (Format::LegacySha1, &[(SHA1, 20)][..], 2)
    );
    let once = hash(SHA1, &[&[0; 20], &digest]).unwrap();
    assert_eq!(log.replay(SHA1).unwrap()[&4], hash(SHA1, &[&once, &digest]).unwrap());
    assert_eq!(log.replay(SHA256), None);
    // The words alone do not make a header: it must be an EV_NO_ACTION.
    let bytes = legacy_event(0, EV_IPL, &digest, b"Spec ID Event03\0");
    assert_eq!(EventLog::parse(&bytes).unwrap().format, Format::LegacySha1);
    let bytes = legacy_event(0, EV_NO_ACTION, &digest, b"Spec ID Event00\0");
    assert_eq!(EventLog::parse(&bytes).unwrap().format, Format::LegacySha1);
}

// StartupLocality.

fn locality(pcr: u8, kind: u32, rest: &[u8]) -> Log {
    let data = [&b"StartupLocality\0"[..], rest].concat();
    with(Log::new(&[SHA256]), pcr, kind, &[(SHA256, vec![0; 32])], &data)
}

#[test]
fn startup_locality_is_where_pcr_0_starts_and_no_other() {
    for value in [0, 3, 4] {
        let log = parse(&Log::new(&[SHA256]).locality(value).event(0, EV_IPL, b"x").event(1, EV_IPL, b"x"));
        assert_eq!(log.startup_locality, Some(value));
        let start = |last| [&[0; 31][..], &[last]].concat();
        assert_eq!((log.start(0, 32), log.start(1, 32), log.start(0, 0)), (start(value), start(0), vec![]));
        let digest = hash(SHA256, &[b"x"]).unwrap();
        let replay = log.replay(SHA256).unwrap();
        assert_eq!(replay[&0], hash(SHA256, &[&start(value), &digest]).unwrap());
        assert_eq!(replay[&1], hash(SHA256, &[&start(0), &digest]).unwrap());
    }
    assert_eq!(parse(&Log::new(&[SHA256])).startup_locality, None);
}

#[test]
fn startup_locality_stands_once_before_pcr_0_and_is_one_known_byte() {
    for rest in [&[][..], &[3, 0]] {
        assert!(refused(&locality(0, EV_NO_ACTION, rest).bytes).contains("StartupLocality is not one byte"));
    }
    for value in [1, 2, 5, 255] {
        assert!(
            refused(&locality(0, EV_NO_ACTION, &[value]).bytes).contains("none of 0, 3 and 4"),
            "{value}"
        );
    }
    assert!(refused(&Log::new(&[SHA256]).locality(3).locality(3).bytes).contains("a second StartupLocality"));
    let late = Log::new(&[SHA256]).event(0, EV_IPL, b"x").locality(3);
    assert!(refused(&late.bytes).contains("after PCR 0 was extended"));
    let beside = Log::new(&[SHA256]).event(1, EV_IPL, b"x");
    let beside = with(beside, 0, EV_NO_ACTION, &[(SHA256, vec![0; 32])], b"other").locality(3);
    assert_eq!(parse(&beside).startup_locality, Some(3), "nothing went into PCR 0");
    // Elsewhere the words mean nothing.
    assert_eq!(parse(&locality(1, EV_NO_ACTION, &[3])).startup_locality, None);
    assert_eq!(parse(&locality(0, EV_IPL, &[3])).startup_locality, None);
}

// Events.

#[test]
fn no_action_is_never_extended_and_may_leave_banks_out() {
    let log = with(Log::new(&[SHA1, SHA256]).event(4, EV_IPL, b"x"), 4, EV_NO_ACTION, &[], b"note");
    let log = with(log, 4, EV_NO_ACTION, &[(SHA256, vec![9; 32])], b"note");
    let read = parse(&log);
    assert_eq!(read.events.len(), 4);
    assert_eq!(read.replay(SHA256).unwrap()[&4], log.value(SHA256, 4));
    assert_eq!(read.extended(SHA256).len(), 1);
}

#[test]
fn an_index_is_one_of_24_or_all_ones_of_a_no_action() {
    let event = |pcr: u32, kind| {
        let mut log = Log::new(&[SHA256]).event(0, kind, b"x");
        let at = log.bytes.len() - 1 - 4 - 34 - 4 - 4 - 4;
        log.bytes[at..at + 4].copy_from_slice(&pcr.to_le_bytes());
        log.bytes
    };
    assert!(EventLog::parse(&event(23, EV_IPL)).is_ok());
    assert!(refused(&event(24, EV_IPL)).contains("PCR 24 does not exist"));
    assert!(refused(&event(u32::MAX, EV_IPL)).contains("PCR 4294967295 does not exist"));
    assert!(refused(&event(24, EV_NO_ACTION)).contains("PCR 24 does not exist"));
    let log = EventLog::parse(&event(u32::MAX, EV_NO_ACTION)).unwrap();
    assert_eq!(log.replay(SHA256), Some(BTreeMap::new()));
}

#[test]
fn digests_are_those_of_the_header_each_once_and_none_left_out() {
    let base = || Log::new(&[SHA1, SHA256]);
    let (one, other) = ((SHA1, vec![1; 20]), (SHA256, vec![2; 32]));
    let event = |digests: &[(u16, Vec<u8>)]| with(base(), 4, EV_IPL, digests, b"x").bytes;
    assert!(EventLog::parse(&event(&[one.clone(), other.clone()])).is_ok());
    assert!(EventLog::parse(&event(&[other.clone(), one.clone()])).is_ok(), "any order");
    for (digests, wanted) in [
        (vec![other.clone()], "1 digests, 2 banks in the header"),
        (vec![], "0 digests, 2 banks in the header"),
        (vec![one.clone(), other.clone(), one.clone()], "3 digests, 2 banks in the header"),
        (vec![other.clone(), other], "two digests of sha256"),
        (vec![one, (SHA384, vec![3; 48])], "a digest of sha384, which is not in the header"),
    ] {
        let (found, start) = (refused(&event(&digests)), base().bytes.len());
        assert_eq!(found, format!("at byte {start}: {wanted}"));
    }
}

#[test]
fn a_log_that_ends_within_an_event_is_refused_at_every_byte() {
    let log = boot(&[SHA1, SHA256]);
    let whole = parse(&log);
    let ends: Vec<usize> = whole.events.iter().map(|event| event.offset).chain([log.bytes.len()]).collect();
    for length in 0..log.bytes.len() {
        match EventLog::parse(&log.bytes[..length]) {
            // A cut between two events cannot be told, nor one within the zeros of the next: the quote tells it.
            Ok(read) => {
                assert!(read.events.len() < whole.events.len(), "{length}");
                assert!(ends.contains(&length) || read.notes.len() == 1, "{length}");
            }
            Err(EventLogError::Truncated { offset, needed, left, .. }) => {
                assert!(!ends[1..].contains(&length), "{length}");
                assert!(left < needed && offset + left == length, "{length}: {offset} {needed} {left}");
            }
            Err(other) => panic!("{length}: {other}"),
        }
    }
    assert!(refused(&[]).contains("pcrIndex needs 4 bytes, 0 are left"));
}

// Types are not authenticated.

fn type_of(log: &Log, data: &[u8]) -> usize {
    let read = parse(log);
    read.events.iter().find(|event| event.data == data).expect("the event").offset + 4
}

#[test]
fn a_type_forged_to_no_action_changes_the_replay() {
    let mut log = boot(&[SHA256]);
    let honest = parse(&log).replay(SHA256).unwrap();
    let at = type_of(&log, b"path of shim");
    log.bytes[at..at + 4].copy_from_slice(&EV_NO_ACTION.to_le_bytes());
    let forged = parse(&log).replay(SHA256).unwrap();
    assert_ne!(forged[&4], honest[&4]);
    assert_eq!(forged[&5], honest[&5]);
}

#[test]
fn a_forged_type_changes_nothing_that_counts() {
    let mut log = boot(&[SHA256]);
    let honest = parse(&log);
    let at = type_of(&log, b"path of shim");
    log.bytes[at..at + 4].copy_from_slice(&EV_SEPARATOR.to_le_bytes());
    let forged = parse(&log);
    assert_eq!(forged.replay(SHA256), honest.replay(SHA256));
    let phases = |log: &EventLog| log.extended(SHA256).iter().map(|(phase, _)| *phase).collect::<Vec<_>>();
    assert_eq!(phases(&forged), phases(&honest), "a separator is one by its digest");
}

#[test]
fn a_separator_closes_the_firmwares_phase_by_its_digest_alone() {
    let phases = |log: Log| {
        let read = parse(&log);
        read.extended(SHA256).iter().map(|(phase, event)| (event.pcr, *phase)).collect::<Vec<_>>()
    };
    use Phase::{Boot, Firmware};
    let log = || Log::new(&[SHA256]).event(4, EV_IPL, b"a");
    for closing in [[0; 4], [0xFF; 4]] {
        let honest = log().event(4, EV_SEPARATOR, &closing).event(4, EV_IPL, b"b").event(5, EV_IPL, b"c");
        assert_eq!(phases(honest), [(4, Firmware), (4, Firmware), (4, Boot), (5, Firmware)]);
        let other_type = log().event(4, EV_IPL, &closing).event(4, EV_IPL, b"b");
        assert_eq!(phases(other_type)[2], (4, Boot));
    }
    let pretended = log().measured(4, EV_SEPARATOR, b"something", &[0; 4]).event(4, EV_IPL, b"b");
    assert_eq!(phases(pretended)[2], (4, Firmware));
    let another_pcr = log().event(5, EV_SEPARATOR, &[0; 4]).event(4, EV_IPL, b"b");
    assert_eq!(phases(another_pcr)[2], (4, Firmware));
    let event = parse(&log()).events[1].clone();
    assert!(!event.is_separator(SHA256) && !event.is_separator(SHA384) && !event.is_separator(SM3));
}

#[test]
fn data_counts_only_where_its_hash_is_the_digest() {
    let bound = |hashed: &[u8], data: &[u8]| {
        let log = parse(&Log::new(&[SHA256]).measured(8, EV_IPL, hashed, data));
        log.events[1].data_bound(SHA256)
    };
    assert_eq!(bound(b"text", b"text"), Some(Binding::Whole));
    assert_eq!(bound(b"text\0", b"text\0"), Some(Binding::Whole));
    assert_eq!(bound(b"text", b"text\0"), Some(Binding::WithoutNul));
    assert_eq!(bound(b"text", b"other"), None);
    for prefix in ["grub_cmd: ", "kernel_cmdline: ", "module_cmdline: ", "grub_kernel_cmdline "] {
        for nul in ["", "\0"] {
            let data = format!("{prefix}text{nul}");
            assert_eq!(bound(b"text", data.as_bytes()), Some(Binding::AfterPrefix), "{data:?}");
        }
    }
    assert_eq!(bound(b"text", b"any_prefix: text"), None);
    assert_eq!(bound(b"text", b"text\0\0"), None);
    let log = parse(&Log::new(&[SHA256]).event(8, EV_IPL, b"x"));
    assert_eq!((log.events[1].data_bound(SHA384), log.events[1].data_bound(SM3)), (None, None));
}

#[test]
fn a_digest_is_measured_where_it_was_extended_or_named_by_bound_data() {
    let digest = [0x5A; 32];
    let line = format!("grub_cmd: linux roothash={} ro", hex::encode(digest));
    let hashed = &line.as_bytes()[10..];
    let plain = hash(SHA256, &[b"y"]).unwrap();
    let log = Log::new(&[SHA256])
        .digest(9, EV_IPL, &digest, b"kernel")
        .digest(4, EV_IPL, &digest, b"kernel again")
        .digest(4, EV_IPL, &digest, b"and again")
        .measured(8, EV_IPL, hashed, line.as_bytes())
        // Named, but by data that is not what was hashed.
        .measured(5, EV_IPL, b"x", line.as_bytes());
    let log = with(log, 6, EV_NO_ACTION, &[(SHA256, digest.to_vec())], b"");
    let log = parse(&log);
    assert_eq!(log.measured(SHA256, &digest), [4, 8, 9]);
    assert_eq!(log.measured(SHA256, &plain), Vec::<u8>::new());
    assert_eq!(log.measured(SHA384, &digest), Vec::<u8>::new());
    assert_eq!(log.measured(SHA256, &[]), Vec::<u8>::new(), "nothing is not everything");
}

// Caps and padding.

#[test]
fn bytes_are_capped() {
    let mut bytes = boot(&[SHA256]).bytes;
    bytes.resize(MIB, 0);
    assert_eq!(EventLog::parse(&bytes).unwrap().events.len(), 23);
    bytes.push(0);
    assert_eq!(EventLog::parse(&bytes), Err(EventLogError::TooLong { actual: MIB + 1 }));
}

#[test]
fn events_are_capped() {
    let header = Log::new(&[SHA256]).bytes;
    let log = |count: usize| {
        let mut log = Log { bytes: Vec::new(), ..Log::new(&[SHA256]) };
        log.write(4, EV_NO_ACTION, &[], &[1]);
        [header.clone(), log.bytes.repeat(count)].concat()
    };
    assert_eq!(EventLog::parse(&log(16_383)).unwrap().events.len(), 16_384);
    assert_eq!(EventLog::parse(&log(16_384)), Err(EventLogError::TooMany));
}

#[test]
fn padding_after_the_last_event_is_noted_and_never_eats_an_event() {
    for (fill, count) in [(0, 5), (0xFF, 4096), (0, 1)] {
        let mut bytes = boot(&[SHA256]).bytes;
        bytes.resize(bytes.len() + count, fill);
        let log = EventLog::parse(&bytes).unwrap();
        assert_eq!((log.events.len(), log.notes.len()), (23, 1));
        assert_eq!(log.notes[0], format!("{count} bytes of padding after the last event"));
    }
    for data in [&[0_u8; 40][..], &[0xFF; 40]] {
        // The last event's own zeros are its data, not padding.
        let log = parse(&boot(&[SHA256]).event(9, EV_IPL, data));
        assert_eq!((log.events.len(), log.events[23].data.as_slice(), log.notes.len()), (24, data, 0));
    }
    let mut bytes = boot(&[SHA256]).bytes;
    bytes.extend([0x55; 8]);
    assert!(EventLog::parse(&bytes).is_err(), "other bytes are no padding");
}

// What `inspect` shows.

#[test]
fn inspection_shows_every_event_and_every_bank() {
    let report = inspect::event_log(&boot(&[SHA1, SHA256]).bytes).unwrap();
    assert_eq!(
        (report.format, report.startup_locality, report.events.len()),
        (Format::CryptoAgile, Some(3), 23)
    );
    assert_eq!(report.unsupported_banks, Vec::<String>::new());
    let known = include_str!("../golden/eventlog_pcrs.known");
    for (bank, pcrs) in &report.pcrs {
        for (pcr, value) in pcrs {
            assert!(known.contains(&format!("{bank} {pcr} {value}\n")), "{bank} {pcr}");
        }
    }
    assert_eq!(report.pcrs.values().map(std::collections::BTreeMap::len).collect::<Vec<_>>(), [10, 10]);
    let command = report.events.iter().find(|line| line.data.starts_with(b"grub_cmd")).unwrap();
    assert_eq!((command.pcr, command.kind_name, command.binding), (8, "EV_IPL", Some(Binding::AfterPrefix)));
    let shim = report.events.iter().find(|line| line.data == b"path of shim").unwrap();
    assert_eq!((shim.number, shim.binding), (19, None));
    assert_eq!(shim.digests["sha256"], hex::encode(hash(SHA256, &[b"shim image"]).unwrap()));
    assert!(inspect::event_log(b"no log at all").is_err());
}

#[test]
fn types_have_their_names() {
    let mut text = String::new();
    for kind in (0..=0x14).chain(0x8000_0000..=0x8000_0011).chain(0x8000_00DF..=0x8000_00E3) {
        let log = parse(&with(Log::new(&[SHA256]), 1, kind, &[(SHA256, vec![0; 32])], b"x"));
        _ = writeln!(text, "{kind:#010x} {}", log.events[1].kind_name());
    }
    crate::support::check_golden("event_types.txt", &text);
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_bytes_are_read_or_refused(head in any::<bool>(), bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
        let bytes = if head { [Log::new(&[SHA1, SHA256]).bytes, bytes].concat() } else { bytes };
        if let Ok(log) = EventLog::parse(&bytes) {
            for (bank, _) in &log.banks {
                log.replay(*bank);
                log.extended(*bank);
                log.measured(*bank, &[0; 32]);
            }
        }
        inspect::event_log(&bytes).ok();
    }

    #[test]
    fn a_log_replays_to_what_was_extended(events in proptest::collection::vec((0_u8..24, 4_u32..20, any::<[u8; 5]>()), 0..40)) {
        let log = events.iter().fold(Log::new(&[SHA1, SHA256, SHA384]), |log, (pcr, kind, data)| log.event(*pcr, *kind, data));
        let read = parse(&log);
        prop_assert_eq!(read.events.len(), events.len() + 1);
        for bank in [SHA1, SHA256, SHA384] {
            for (pcr, value) in read.replay(bank).unwrap() {
                prop_assert_eq!(value, log.value(bank, pcr));
            }
        }
    }
}

#[test]
fn what_stands_between_the_last_event_and_the_padding_is_read() {
    let log = boot(&[SHA256]).bytes;
    let padded = |junk: &[u8]| [&log[..], junk, &[0; 100]].concat();
    assert_eq!(EventLog::parse(&padded(&[])).unwrap().notes.len(), 1);
    for junk in [&[1][..], &[1, 1]] {
        refused(&padded(junk));
    }
}
