//! The conformance suite that every installer runs.

use super::*;
use std::collections::BTreeMap;
use std::io::{Seek as _, SeekFrom, Write as _};
use std::os::unix::ffi::OsStrExt as _;

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

        assert_eq!(installer.record(Slot::B), None);
        installer.put_record(Slot::B, &record()).unwrap();
        assert_eq!(installer.record(Slot::B), Some(record()));
        assert_eq!(installer.record(Slot::A), None);
        installer.drop_record(Slot::B).unwrap();
        installer.drop_record(Slot::B).unwrap();
        // What cannot be read in a record's place says nothing of the slot, and is in nobody's way.
        let place = installer.records().join("b.json");
        std::fs::create_dir_all(place.join("something")).unwrap();
        assert_eq!(installer.record(Slot::B), None);
        installer.put_record(Slot::B, &record()).unwrap();
        assert_eq!(installer.record(Slot::B), Some(record()));
        installer.drop_record(Slot::B).unwrap();
        std::fs::create_dir(&place).unwrap();
        installer.drop_record(Slot::B).unwrap();
        assert_eq!(installer.record(Slot::B), None);
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

/// A version `b` with a file of the manifest, a foreign one, a folder, a FIFO and a link to the version that runs.
fn littered(folder: &Path) -> Versions {
    let versions = Versions::new(folder.join("app"), folder.join("records"));
    for (slot, name) in [(Slot::A, "rootfs"), (Slot::A, "kernel"), (Slot::B, "rootfs"), (Slot::B, "old")] {
        versions.open_for_writing(slot, name).unwrap().write_all(&[7; 4096]).unwrap();
    }
    let at = |name: &str| folder.join("app/b").join(name);
    std::fs::create_dir_all(at("folder/in/it")).unwrap();
    File::create(folder.join("app/b").join(std::ffi::OsStr::from_bytes(b"no \xff text"))).unwrap();
    for name in ["fifo", "home"] {
        assert!(std::process::Command::new("mkfifo").arg(at(name)).status().unwrap().success());
    }
    std::os::unix::fs::symlink("../a/rootfs", at("config")).unwrap();
    std::fs::hard_link(folder.join("app/a/kernel"), at("kernel")).unwrap();
    versions
}

#[test]
fn what_is_no_file_in_a_version_is_no_artefact_and_stops_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let versions = littered(folder.path());
    assert_eq!(versions.names(Slot::B).unwrap(), ["kernel", "old", "rootfs"]);
    for name in ["folder", "fifo", "config", "absent"] {
        assert!(versions.open(Slot::B, name).unwrap().is_none(), "{name}");
    }
    for name in ["folder", "fifo", "config"] {
        let why = versions.open_for_writing(Slot::B, name).unwrap_err();
        assert!(crate::survey::in_words(&why).contains("it is no file"), "{name}: {why}");
    }
    assert!(free_bytes(&versions, Slot::B).unwrap().is_some());
    assert_eq!(crate::boot::digests(&versions, Slot::B).unwrap().len(), 3);
    versions.trim(Slot::B, &[("rootfs".to_owned(), 4)]).unwrap();
    assert_eq!(versions.names(Slot::B).unwrap(), ["rootfs"]);
}

#[test]
fn before_a_version_is_written_what_the_manifest_does_not_list_goes_and_no_link_leads_to_what_runs() {
    let folder = tempfile::tempdir().unwrap();
    let versions = littered(folder.path());
    versions.clear(Slot::B, &["rootfs", "config", "kernel", "home"]).unwrap();
    let left: Vec<_> = std::fs::read_dir(folder.path().join("app/b")).unwrap().collect();
    assert_eq!((left.len(), versions.names(Slot::B).unwrap()), (1, vec!["rootfs".to_owned()]));
    for name in ["config", "kernel", "home"] {
        versions.open_for_writing(Slot::B, name).unwrap().write_all(b"new").unwrap();
    }
    for name in ["rootfs", "kernel"] {
        let runs = std::fs::read(folder.path().join("app/a").join(name)).unwrap();
        assert!(runs == [7; 4096], "{name} was written over");
    }
    versions.clear(Slot::B, &[]).unwrap();
    assert!(std::fs::read_dir(folder.path().join("app/b")).unwrap().next().is_none());
    std::fs::remove_dir(folder.path().join("app/b")).unwrap();
    versions.clear(Slot::B, &[]).unwrap();
}

#[test]
fn what_is_foreign_and_cannot_be_removed_stops_no_update() {
    let folder = tempfile::tempdir().unwrap();
    let versions = littered(folder.path());
    let mounted = crate::testing::SmallDisk::mount(&folder.path().join("app/b/folder"), "64k");
    versions.clear(Slot::B, &["rootfs"]).unwrap();
    assert!(versions.clear(Slot::B, &["folder"]).is_err(), "but an artefact needs its place");
    drop(mounted);
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

fn config(folder: &Path, slots: &str) -> Config {
    let path = folder.join("device.toml");
    let head = "serial = \"S\"\nmodel = \"m\"\nstate_dir = \"state\"\nblob = \"blob\"\nkeystore = \"file\"\n";
    crate::files::write(&path, format!("{head}[slots]\n{slots}").as_bytes()).unwrap();
    Config::read(&path).unwrap()
}

#[test]
fn two_names_of_one_place_are_refused_whatever_they_are_called() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    let places =
        "installer = \"ab_slot\"\na = { rootfs = \"a\" }\nb = { rootfs = \"b\" }\n[boot]\nkind = \"fake\"\n";
    let refusal = |slots: &str| open(&config(folder.path(), slots)).err().map(|error| error.to_string());
    assert_eq!(refusal(places), None, "neither is there yet");
    File::create(at("a")).unwrap();
    std::os::unix::fs::symlink("a", at("b")).unwrap();
    let why = refusal(places).unwrap();
    assert!(why.contains(at("a").to_str().unwrap()) && why.contains(at("b").to_str().unwrap()), "{why}");
    std::fs::remove_file(at("b")).unwrap();
    std::fs::hard_link(at("a"), at("b")).unwrap();
    assert!(refusal(places).is_some(), "a hard link");
    std::fs::remove_file(at("b")).unwrap();
    File::create(at("b")).unwrap();
    assert_eq!(refusal(places), None);

    // Two nodes of one block device; nothing is opened, so that it need not exist.
    for (name, minor, same) in [("a", "200", true), ("b", "200", true), ("b", "201", false)] {
        let _ = std::fs::remove_file(at(name));
        let made =
            std::process::Command::new("mknod").arg(at(name)).args(["b", "7", minor]).status().unwrap();
        assert!(made.success(), "a device node needs root");
        assert_eq!(refusal(places).is_some(), same && name == "b", "{name} {minor}");
    }

    let versions = "installer = \"file\"\nfolder = \"app\"\n";
    std::fs::create_dir_all(at("app/a")).unwrap();
    assert_eq!(refusal(versions), None);
    std::os::unix::fs::symlink("a", at("app/b")).unwrap();
    assert!(refusal(versions).is_some(), "a folder");
}
