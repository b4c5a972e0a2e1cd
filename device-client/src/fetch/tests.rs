//! Downloads of real firmware over real TLS, from a server that breaks, lies and lacks.

use super::*;
use crate::installer::{self, hash_prefix};
use crate::testing::{BlobServer, Faults, SmallDisk, digest, firmware};
use holdfast_delta::Codec;
use holdfast_delta::encode::{Budget, encode};
use holdfast_proto::manifest::DeltaCustom;
use std::path::Path;

const RAM_BYTES: u64 = 8 << 20;

/// A device's folder: slot A runs the old image.
struct World {
    folder: tempfile::TempDir,
    server: BlobServer,
    old: Vec<u8>,
    new: Vec<u8>,
    artefact: Artefact,
}

impl World {
    fn new(old: &str, new: &str) -> Self {
        let (folder, server) = (tempfile::tempdir().unwrap(), BlobServer::start());
        let (old, new) = (firmware(old), firmware(new));
        let block_root = server.put(&new);
        let artefact =
            Artefact { name: "rootfs".into(), length: new.len() as u64, sha256: digest(&new), block_root };
        let world = Self { folder, server, old, new, artefact };
        world.installer().open_for_writing(Slot::A, "rootfs").unwrap().write_all(&world.old).unwrap();
        world
    }

    fn small() -> Self {
        Self::new("pybricks-7.22.0-primehub.bin", "pybricks-7.27.0-primehub.bin")
    }

    fn installer(&self) -> Box<dyn Installer> {
        self.installer_in(self.folder.path())
    }

    fn installer_in(&self, slots: &Path) -> Box<dyn Installer> {
        let config = format!(
            "serial = \"S\"\nmodel = \"m\"\nstate_dir = \"state\"\nblob = \"blob\"\nkeystore = \"file\"\n\
             [slots]\ninstaller = \"ab_slot\"\na = {{ rootfs = \"a.img\" }}\nb = {{ rootfs = \"{}/b.img\" }}\n\
             [boot]\nkind = \"fake\"\n",
            slots.display()
        );
        let path = self.folder.path().join("device.toml");
        crate::files::write(&path, config.as_bytes()).unwrap();
        installer::open(&crate::config::Config::read(&path).unwrap()).unwrap()
    }

    /// Offers a patch; `change` makes it another than was encoded, before it is signed.
    fn plan(&self, codec: Codec, change: impl FnOnce(&mut Vec<u8>)) -> DeltaPlan {
        let budget = Budget::for_images(self.old.len() as u64, self.new.len() as u64);
        let encoded = encode(codec, &self.old, &self.new, &budget).unwrap();
        let (ram_bytes, mut patch) = (encoded.header.ram_bytes, encoded.bytes);
        change(&mut patch);
        let custom = DeltaCustom {
            base: digest(&self.old),
            output: self.artefact.sha256,
            codec: codec.name().to_owned(),
            ram_bytes,
            block_root: self.server.put(&patch),
        };
        DeltaPlan { custom, length: patch.len() as u64, patch_sha256: digest(&patch) }
    }

    fn fetch(&self, until_ms: u64, run: impl FnOnce(Fetch<'_>) -> Fetched) -> Fetched {
        self.fetch_into(self.installer().as_ref(), until_ms, run)
    }

    fn fetch_into(
        &self,
        installer: &dyn Installer,
        until_ms: u64,
        run: impl FnOnce(Fetch<'_>) -> Fetched,
    ) -> Fetched {
        let service = self.server.service();
        let mut meter = Meter::open(self.folder.path().join("link.json"), None, None);
        run(Fetch { service: &service, installer, meter: &mut meter, target: Slot::B, until_ms, now: 0 })
    }

    fn full(&self) -> Fetched {
        self.fetch(u64::MAX, |fetch| fetch.full(&self.artefact))
    }

    fn delta(&self, plan: &DeltaPlan) -> Fetched {
        self.fetch(u64::MAX, |fetch| fetch.by_plan(&self.artefact, plan, RAM_BYTES))
    }

    fn target(&self) -> Digest {
        let mut file = self.installer().open(Slot::B, "rootfs").unwrap().unwrap();
        hash_prefix(&mut file, self.artefact.length).unwrap()
    }
}

fn failure(fetched: &Fetched) -> &FetchFailure {
    match &fetched.end {
        FetchEnd::Failed(failure) => failure,
        other => panic!("it did not fail: {other:?}"),
    }
}

#[test]
fn a_large_image_arrives_whole_over_a_link_that_breaks_and_no_block_is_fetched_twice() {
    let world = World::new("large-1.bin", "large-2.bin");
    // Bytes of a body before the connection breaks; odd, so that each break tears a block.
    for cut in [9_000_001, 1_300_007, 30_000_001, 3_000_003, 700_001] {
        world.server.fail(Faults { cut_after: Some(cut), ..Faults::default() });
        let fetched = world.full();
        assert_eq!(*failure(&fetched), FetchFailure::Offline { retry_after_ms: None });
    }
    world.server.fail(Faults::default());
    let before = world.server.served();
    let fetched = world.full();
    assert_eq!(fetched.end, FetchEnd::Whole);
    assert_eq!(world.target(), world.artefact.sha256);
    let lists = 6 * world.artefact.length.div_ceil(BLOCK_LEN) * 32;
    let torn = 5 * BLOCK_LEN;
    let all = before + world.server.served();
    assert!(all <= world.artefact.length + lists + torn, "{all} bytes for {}", world.artefact.length);
    assert_eq!(world.full().end, FetchEnd::Whole, "nothing is left to fetch");
    assert!(world.server.served() < BLOCK_LEN, "and nothing is fetched");
}

#[test]
fn a_proxy_that_knows_no_ranges_is_read_over() {
    let world = World::small();
    world.server.fail(Faults { cut_after: Some(300_000), ..Faults::default() });
    world.full();
    world.server.fail(Faults { no_ranges: true, ..Faults::default() });
    assert_eq!(world.full().end, FetchEnd::Whole);
    assert_eq!(world.target(), world.artefact.sha256);
}

#[test]
fn a_delta_resumes_where_the_medium_is_good_whatever_a_kill_left_there() {
    let world = World::small();
    for codec in [Codec::Bsdiff, Codec::ZstdPatch, Codec::Full] {
        let plan = world.plan(codec, |_| {});
        assert!(plan.length < world.artefact.length, "{codec} saves something");
        let mut left = 7_u64;
        for _ in 0..12 {
            // What a kill leaves: the image up to some byte, then what was there before.
            left = left.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            let at = (left >> 33) as usize % world.new.len();
            let torn = [&world.new[..at], &world.old[at.min(world.old.len())..]].concat();
            crate::files::write(&world.folder.path().join("b.img"), &torn).unwrap();
            assert_eq!(world.delta(&plan).end, FetchEnd::Whole, "{codec} after {at} bytes");
            assert_eq!(world.target(), world.artefact.sha256);
        }
    }
}

#[test]
fn a_fetch_whose_time_is_over_before_it_began_still_gets_on_by_a_block_or_a_frame_each_time() {
    let world = World::small();
    let calls_to_the_end = |run: &dyn Fn(Fetch<'_>) -> Fetched| {
        for calls in 1..1000 {
            match world.fetch(0, run).end {
                FetchEnd::Yielded => {}
                FetchEnd::Whole => return calls,
                FetchEnd::Failed(failure) => panic!("{failure:?}"),
            }
        }
        panic!("it never ends")
    };
    let blocks = world.artefact.length.div_ceil(BLOCK_LEN);
    assert!(blocks > 1);
    assert_eq!(calls_to_the_end(&|fetch| fetch.full(&world.artefact)), blocks);
    assert_eq!(world.target(), world.artefact.sha256);
    std::fs::remove_file(world.folder.path().join("b.img")).unwrap();
    let mut frames = 0;
    let plan = world.plan(Codec::Bsdiff, |patch| {
        let expected = Expected {
            base_sha256: Some(holdfast_delta::Digest(digest(&world.old).0)),
            output_sha256: holdfast_delta::Digest(world.artefact.sha256.0),
            output_len: world.artefact.length,
        };
        let applier = Applier::open(&mut &patch[..], &expected, &Limits::default()).unwrap();
        frames = u64::from(applier.header().frame_count);
    });
    assert!(frames > 1, "{frames}");
    assert_eq!(calls_to_the_end(&|fetch| fetch.by_plan(&world.artefact, &plan, RAM_BYTES)), frames);
    assert_eq!(world.target(), world.artefact.sha256);
}

#[test]
fn the_time_of_a_fetch_begins_when_it_is_prepared() {
    let slice = Slice::until(61_000, 1_000);
    assert_eq!(slice.begin(500_000), 560_000, "what preparing took is not taken from it");
    assert_eq!(Slice::until(0, 1_000).begin(2_000), 2_000);
    assert_eq!(Slice::until(u64::MAX, 0).begin(2_000), u64::MAX);
}

#[test]
fn patches_that_are_no_good_are_told_apart_from_links_and_media_that_are_not() {
    let world = World::small();
    let bad = |change: fn(&mut Vec<u8>)| world.delta(&world.plan(Codec::Bsdiff, change));
    let line = delta_bad(digest(&world.old), world.artefact.sha256);
    for (what, change) in [
        ("truncated", (|patch: &mut Vec<u8>| patch.truncate(patch.len() / 2)) as fn(&mut Vec<u8>)),
        ("a frame of other bytes", |patch| {
            let at = patch.len() - 100;
            patch[at] ^= 0xFF;
        }),
        ("no patch", |patch| patch[0] = b'X'),
        ("another output", |patch| patch[72] ^= 1),
    ] {
        let fetched = bad(change);
        let FetchFailure::DeltaBad { detail } = failure(&fetched) else { panic!("{what}: {fetched:?}") };
        assert!(detail.lines().any(|told| told == line), "{what}: {detail}");
    }
    // Signed well, changed on the way: the link's fault, not the patch's.
    let plan = world.plan(Codec::Bsdiff, |_| {});
    world.server.put_as(plan.patch_sha256, &vec![0; plan.length as usize]);
    assert!(matches!(failure(&world.delta(&plan)), FetchFailure::DigestMismatch { .. }));
    // Another base than the plan says.
    let plan = world.plan(Codec::Bsdiff, |_| {});
    crate::files::write(&world.folder.path().join("a.img"), &world.new).unwrap();
    assert!(matches!(failure(&world.delta(&plan)), FetchFailure::DigestMismatch { .. }));
}

#[test]
fn what_is_gone_busy_or_other_than_signed_is_named() {
    let world = World::small();
    world.server.fail(Faults { status: Some(410), ..Faults::default() });
    assert_eq!(*failure(&world.full()), FetchFailure::Gone);
    world.server.fail(Faults { status: Some(503), ..Faults::default() });
    assert_eq!(*failure(&world.full()), FetchFailure::Offline { retry_after_ms: None });
    world.server.fail(Faults::default());
    let mut other = world.new.clone();
    other[200_000] ^= 1;
    world.server.put_as(world.artefact.sha256, &other);
    assert!(matches!(failure(&world.full()), FetchFailure::DigestMismatch { .. }));
    world.server.put_as(world.artefact.block_root, &[0; 64]);
    assert!(
        matches!(failure(&world.full()), FetchFailure::DigestMismatch { .. }),
        "a list that nobody signed"
    );
}

#[test]
fn a_full_disk_is_told_as_that_and_once_there_is_room_it_goes_on() {
    let world = World::small();
    let disk = world.folder.path().join("disk");
    std::fs::create_dir(&disk).unwrap();
    let mounted = SmallDisk::mount(&disk, "200k");
    let installer = world.installer_in(&disk);
    let full = |installer: &dyn Installer| {
        world.fetch_into(installer, u64::MAX, |fetch| fetch.full(&world.artefact))
    };
    assert!(matches!(failure(&full(installer.as_ref())), FetchFailure::NoSpace { .. }));
    let plan = world.plan(Codec::Bsdiff, |_| {});
    let patched = world
        .fetch_into(installer.as_ref(), u64::MAX, |fetch| fetch.by_plan(&world.artefact, &plan, RAM_BYTES));
    assert!(matches!(failure(&patched), FetchFailure::NoSpace { .. }));
    drop(installer);
    let grown =
        std::process::Command::new("mount").args(["-o", "remount,size=4m"]).arg(&disk).status().unwrap();
    assert!(grown.success());
    assert_eq!(full(world.installer_in(&disk).as_ref()).end, FetchEnd::Whole);
    drop(mounted);
}

#[test]
fn a_budget_that_is_used_up_makes_a_fetch_wait() {
    let world = World::small();
    let (service, installer) = (world.server.service(), world.installer());
    let mut meter = Meter::open(world.folder.path().join("link.json"), Some(1000), None);
    let fetch = Fetch {
        service: &service,
        installer: installer.as_ref(),
        meter: &mut meter,
        target: Slot::B,
        until_ms: u64::MAX,
        now: 0,
    };
    assert!(matches!(
        failure(&fetch.full(&world.artefact)),
        FetchFailure::Offline { retry_after_ms: Some(1..) }
    ));
    assert_eq!(world.server.served(), 0);
}
