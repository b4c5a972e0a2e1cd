//! A killed apply goes on where it was: what is on the medium says how far it came, and nothing else does.

mod support;

use std::io::{self, Cursor, Read, Seek, SeekFrom, Write};
use std::sync::OnceLock;

use holdfast_delta::{Applied, Applier, Codec, DeltaError, Expected, Limits, Medium, Start, apply};
use proptest::prelude::*;
use support::{Pair, expected, large_slice, make, noise};

/// One pair with its patches: real, and several frames long.
struct Case {
    pair: Pair,
    plan: Expected,
    codec: Codec,
    patch: Vec<u8>,
    /// Where each frame begins in the output, and the end.
    bounds: Vec<u64>,
    limits: Limits,
}

fn cases() -> &'static [Case] {
    static CASES: OnceLock<Vec<Case>> = OnceLock::new();
    CASES.get_or_init(|| {
        // A stretch that compresses badly enough to close frames early, for each codec.
        [(Codec::Bsdiff, 9 << 20), (Codec::Full, 1 << 20), (Codec::ZstdPatch, 5 << 20)]
            .map(|(codec, len)| {
                let mut pair = large_slice(8 << 20, len, 4_096);
                if codec == Codec::ZstdPatch {
                    // Each frame indexes the whole base again: a short one.
                    pair.base.truncate(256 << 10);
                }
                case(codec, pair)
            })
            .into()
    })
}

fn case(codec: Codec, pair: Pair) -> Case {
    let limits = support::limits_for(codec, pair.base.len() as u64);
    let plan = expected(&pair.base, &pair.target);
    let patch = make(codec, &pair.base, &pair.target).bytes;
    let opened = Applier::open(&mut &patch[..], &plan, &limits).unwrap();
    let mut bounds: Vec<u64> = opened.frames().iter().map(|frame| frame.output_offset).collect();
    bounds.push(plan.output_len);
    assert!(bounds.len() > 2, "{codec}: {} frames are too few to say anything", bounds.len() - 1);
    Case { pair, plan, codec, patch, bounds, limits }
}

impl Case {
    fn run(&self, out: &mut dyn Medium, start: Start) -> Result<Applied, DeltaError> {
        let mut base = Cursor::new(&self.pair.base);
        apply(&mut &self.patch[..], &mut base, out, &self.plan, &self.limits, start)
    }

    /// Frames that are whole once `written` bytes of output are.
    fn whole_frames(&self, written: u64) -> u32 {
        self.bounds[1..].iter().filter(|end| **end <= written).count() as u32
    }

    fn frame_count(&self) -> u32 {
        self.bounds.len() as u32 - 1
    }
}

/// A medium whose power goes after so many bytes. What was written stays.
struct Mortal {
    inner: Cursor<Vec<u8>>,
    left: u64,
}

impl Mortal {
    fn new(medium: Vec<u8>, left: u64) -> Self {
        Self { inner: Cursor::new(medium), left }
    }
}

impl Write for Mortal {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.left == 0 {
            return Err(io::Error::other("the power is gone"));
        }
        let taken = self.inner.write(&bytes[..bytes.len().min(self.left as usize)])?;
        self.left -= taken as u64;
        Ok(taken)
    }
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Read for Mortal {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        self.inner.read(out)
    }
}

impl Seek for Mortal {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        self.inner.seek(to)
    }
}

/// Dies after `written` bytes on a medium that held `before`; returns what the medium holds then.
fn killed(case: &Case, before: Vec<u8>, written: u64) -> Vec<u8> {
    let mut medium = Mortal::new(before, written);
    match case.run(&mut medium, Start::Beginning) {
        Err(DeltaError::Io { .. }) => {}
        other => panic!("{}: should have died: {other:?}", case.codec),
    }
    medium.inner.into_inner()
}

/// Goes on and ends well, keeping exactly the whole frames.
fn goes_on(case: &Case, medium: Vec<u8>, kept: u32) {
    let mut out = Cursor::new(medium);
    let applied = case.run(&mut out, Start::Resume).unwrap_or_else(|error| panic!("{}: {error}", case.codec));
    assert_eq!(
        (applied.frames_kept, applied.frames_applied),
        (kept, case.frame_count() - kept),
        "{}",
        case.codec
    );
    assert!(out.into_inner().starts_with(&case.pair.target), "{}", case.codec);
}

#[test]
fn killed_at_every_frame() {
    for case in cases() {
        for (index, bound) in case.bounds.iter().enumerate() {
            // Just before, at, and just after the frame's beginning.
            for written in [bound.saturating_sub(1), *bound, bound + 1] {
                if written >= case.plan.output_len {
                    continue;
                }
                let medium = killed(case, Vec::new(), written);
                assert_eq!(medium.len() as u64, written, "{}: frame {index}", case.codec);
                goes_on(case, medium, case.whole_frames(written));
            }
        }
    }
}

#[test]
fn killed_over_an_older_image() {
    for case in cases() {
        // The slot held something of the slot's size, so that length says nothing.
        let older = noise(case.plan.output_len as usize + 5_000, 5);
        for written in [1, case.bounds[1] - 1, case.bounds[1], case.bounds[1] + 70_000] {
            let medium = killed(case, older.clone(), written);
            assert_eq!(medium.len(), older.len());
            goes_on(case, medium, case.whole_frames(written));
        }
    }
}

#[test]
fn killed_again_and_again() {
    for case in cases() {
        // A life that is long enough for the largest frame gets at least one frame further.
        let frames = case.bounds.windows(2).map(|ends| ends[1] - ends[0]);
        let life = frames.max().unwrap();
        let (mut medium, mut kept, mut lives) = (Vec::new(), 0, 0);
        loop {
            let mut mortal = Mortal::new(medium, life);
            lives += 1;
            match case.run(&mut mortal, Start::Resume) {
                Ok(applied) => {
                    assert!(applied.frames_kept >= kept, "{}", case.codec);
                    assert!(mortal.inner.into_inner() == case.pair.target, "{}", case.codec);
                    break;
                }
                Err(DeltaError::Io { .. }) => medium = mortal.inner.into_inner(),
                Err(error) => panic!("{}: {error}", case.codec),
            }
            let applier = Applier::open(&mut &case.patch[..], &case.plan, &case.limits).unwrap();
            let reached = applier.progress(&mut Cursor::new(&medium)).unwrap().next_frame;
            assert!(reached > kept, "{}: life {lives} got no further than frame {kept}", case.codec);
            kept = reached;
        }
        assert!(lives > 1 && lives <= case.frame_count(), "{}: {lives} lives", case.codec);
    }
}

#[test]
fn a_torn_frame_is_told_from_a_good_one() {
    for case in cases() {
        let last = case.frame_count() - 1;
        for index in [0, 1, last] {
            // As long as it should be, one bit wrong: at its beginning, at its end.
            let (from, to) = (case.bounds[index as usize], case.bounds[index as usize + 1]);
            for at in [from, to - 1] {
                let mut medium = case.pair.target.clone();
                medium[at as usize] ^= 0x10;
                goes_on(case, medium, index);
            }
        }
    }
}

#[test]
fn a_finished_output_is_only_checked() {
    for case in cases() {
        goes_on(case, case.pair.target.clone(), case.frame_count());
    }
}

/// What a device does that can ask for ranges: nothing before the frame is fetched.
#[test]
fn only_the_missing_range_is_fetched() {
    for case in cases() {
        let written = case.bounds[1] + 10;
        let mut out = Cursor::new(killed(case, Vec::new(), written));
        let mut base = Cursor::new(&case.pair.base);
        let mut applier = Applier::open(&mut &case.patch[..], &case.plan, &case.limits).unwrap();
        applier.check_base(&mut base).unwrap();
        let from = applier.progress(&mut out).unwrap();
        assert_eq!((from.next_frame, from.output_offset), (1, case.bounds[1]));
        let mut range = &case.patch[from.patch_offset as usize..];
        for index in from.next_frame..case.frame_count() {
            let at = applier.progress_at(index).unwrap().patch_offset;
            assert_eq!(
                case.patch.len() - range.len(),
                at as usize,
                "a frame reads its own bytes and no more"
            );
            applier.apply_frame(index, &mut range, &mut base, &mut out).unwrap();
        }
        applier.check_end(&mut range).unwrap();
        assert_eq!(applier.check_output(&mut out).unwrap(), case.plan.output_sha256);
    }
}

/// A journal that says more than the medium holds is not believed.
#[test]
fn a_start_beyond_what_was_written_is_found_out() {
    for case in cases() {
        let mut out = Cursor::new(noise(case.plan.output_len as usize, 6));
        match case.run(&mut out, Start::Frame(case.frame_count())) {
            Err(DeltaError::OutputDigest { .. }) => {}
            other => panic!("{}: {other:?}", case.codec),
        }
    }
}

#[test]
fn a_download_that_ends_is_worth_another_try_and_a_wrong_patch_is_not() {
    let case = &cases()[0];
    let mut base = Cursor::new(&case.pair.base);
    let cut = &case.patch[..case.patch.len() - 1];
    let mut out = Cursor::new(Vec::new());
    let error =
        apply(&mut &cut[..], &mut base, &mut out, &case.plan, &case.limits, Start::Beginning).unwrap_err();
    assert!(error.is_transient(), "{error}");
    assert!(!case.run(&mut Cursor::new(noise(10, 1)), Start::Frame(99)).unwrap_err().is_transient());
    goes_on(case, out.into_inner(), case.frame_count() - 1);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 12, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn killed_anywhere(which in 0_usize..3, at in any::<prop::sample::Index>()) {
        let case = &cases()[which];
        let written = at.index(case.plan.output_len as usize) as u64;
        goes_on(case, killed(case, Vec::new(), written), case.whole_frames(written));
    }
}
