//! The conformance suite that every installer runs.

use super::*;
use std::collections::BTreeMap;
use std::io::{Seek as _, SeekFrom, Write as _};

fn kinds(folder: &Path) -> Vec<Box<dyn Installer>> {
    let place = |slot: &str| BTreeMap::from([("rootfs".to_owned(), folder.join(format!("ab/{slot}.img")))]);
    vec![
        Box::new(AbSlot::new(place("a"), place("b"), folder.join("ab-records"))),
        Box::new(Versions::new(folder.join("versions"), folder.join("records"))),
    ]
}

fn record() -> SlotRecord {
    let placed = Placed { length: 5, sha256: Digest([7; 32]) };
    SlotRecord {
        release: "1.0".into(),
        manifest: Digest([1; 32]),
        security_counter: 3,
        artefacts: BTreeMap::from([("rootfs".to_owned(), placed)]),
    }
}

#[test]
fn every_installer_keeps_two_slots_apart_and_their_records_durable() {
    let folder = tempfile::tempdir().unwrap();
    for installer in kinds(folder.path()) {
        assert!(installer.open(Slot::B, "rootfs").unwrap().is_none());
        let mut file = installer.open_for_writing(Slot::B, "rootfs").unwrap();
        file.write_all(b"hello, more than that").unwrap();
        file.seek(SeekFrom::Start(0)).unwrap();
        assert_eq!(hash_from_medium(&mut file, 5).unwrap(), Digest(sha2::Sha256::digest(b"hello").into()));
        // Opened again, nothing of it is lost: a fetch goes on.
        let mut again = installer.open_for_writing(Slot::B, "rootfs").unwrap();
        assert_eq!(
            hash_prefix(&mut again, u64::MAX).unwrap(),
            Digest(sha2::Sha256::digest(b"hello, more than that").into())
        );
        assert!(installer.open(Slot::A, "rootfs").unwrap().is_none());

        assert_eq!(installer.record(Slot::B).unwrap(), None);
        installer.put_record(Slot::B, &record()).unwrap();
        assert_eq!(installer.record(Slot::B).unwrap(), Some(record()));
        assert_eq!(installer.record(Slot::A).unwrap(), None);
        installer.drop_record(Slot::B).unwrap();
        installer.drop_record(Slot::B).unwrap();
        assert_eq!(installer.record(Slot::B).unwrap(), None);
        assert_eq!(installer.room(Slot::B, "../etc").unwrap(), Room::Unknown);
        assert!(free_bytes(installer.as_ref(), Slot::B).unwrap().unwrap() > 0);
    }
}

#[test]
fn versions_hold_what_the_manifest_lists_and_nothing_else() {
    let folder = tempfile::tempdir().unwrap();
    let versions = Versions::new(folder.path().join("app"), folder.path().join("records"));
    for name in ["rootfs", "old"] {
        versions.open_for_writing(Slot::B, name).unwrap().write_all(b"0123456789").unwrap();
    }
    versions.trim(Slot::B, &[("rootfs".to_owned(), 4)]).unwrap();
    assert_eq!(versions.names(Slot::B).unwrap(), ["rootfs"]);
    assert_eq!(std::fs::read(folder.path().join("app/b/rootfs")).unwrap(), b"0123");
}

#[test]
fn a_block_device_has_the_room_that_it_has() {
    // A loop device where the kernel has one; the same code asks a disk.
    let Ok(device) = std::process::Command::new("losetup").arg("-f").output() else { return };
    let device = String::from_utf8_lossy(&device.stdout).trim().to_owned();
    if device.is_empty() || !Path::new(&device).exists() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let image = folder.path().join("disk");
    std::fs::File::create(&image).unwrap().set_len(1 << 20).unwrap();
    let bound = std::process::Command::new("losetup").arg(&device).arg(&image).status().unwrap();
    if !bound.success() {
        return;
    }
    let place = BTreeMap::from([("rootfs".to_owned(), PathBuf::from(&device))]);
    let installer = AbSlot::new(place.clone(), place, folder.path().join("records"));
    let room = installer.room(Slot::A, "rootfs").unwrap();
    let grows = installer.grows_on();
    let _ = std::process::Command::new("losetup").args(["-d", &device]).status();
    assert_eq!((room, grows), (Room::Bytes(1 << 20), None));
}
