//! A patch taken apart and put together again with one thing changed.

use holdfast_delta::{Codec, Digest, FRAME_LEN, Frame, HEADER_LEN, Header, Limits};

#[derive(Clone)]
pub struct Forge {
    pub header: Header,
    pub frames: Vec<Frame>,
    pub bodies: Vec<Vec<u8>>,
}

/// A control as the public stream has it, with the bytes that follow it.
pub struct Control<'a> {
    pub add: u64,
    pub copy: u64,
    pub seek: u64,
    pub bytes: &'a [u8],
}

/// The public form of a negative seek: sign and magnitude.
pub const fn back(by: u64) -> u64 {
    by | 1 << 63
}

impl Forge {
    /// Takes a good patch apart.
    pub fn of(patch: &[u8]) -> Self {
        let head: &[u8; HEADER_LEN as usize] = patch.first_chunk().unwrap();
        let header = Header::parse(head, &roomy()).unwrap();
        let table = &patch[HEADER_LEN as usize..header.head_len() as usize];
        let mut at = header.head_len();
        let mut forge = Self { header, frames: Vec::new(), bodies: Vec::new() };
        for (index, entry) in table.chunks(FRAME_LEN as usize).enumerate() {
            let word = |at: usize| u64::from_le_bytes(entry[at..at + 8].try_into().unwrap());
            let half = |at: usize| u32::from_le_bytes(entry[at..at + 4].try_into().unwrap());
            let frame = Frame {
                index: index as u32,
                patch_offset: at,
                output_offset: word(0),
                base_position: word(8),
                output_len: half(16),
                compressed_len: half(20),
                controls: half(24),
                output_sha256: Digest(entry[32..].try_into().unwrap()),
            };
            at += u64::from(frame.compressed_len);
            forge.bodies.push(patch[frame.patch_offset as usize..at as usize].to_vec());
            forge.frames.push(frame);
        }
        forge
    }

    /// A patch of one frame out of raw controls.
    pub fn controls(base: &[u8], target: &[u8], controls: &[Control<'_>]) -> Self {
        let mut stream = Vec::new();
        for control in controls {
            for word in [control.add, control.copy, control.seek] {
                stream.extend_from_slice(&word.to_le_bytes());
            }
            stream.extend_from_slice(control.bytes);
        }
        Self::one_frame(Codec::Bsdiff, base, target, controls.len() as u32, compress(&stream))
    }

    /// A patch of one frame with this body.
    pub fn one_frame(codec: Codec, base: &[u8], target: &[u8], controls: u32, body: Vec<u8>) -> Self {
        let base = if codec == Codec::Full { &[] } else { base };
        let window_log = if codec == Codec::Full { 20 } else { 17 };
        let header = Header {
            codec,
            window_log,
            frame_count: 1,
            ram_bytes: codec.ram_need(window_log, base.len() as u64, FRAME_LEN),
            base_len: base.len() as u64,
            output_len: target.len() as u64,
            base_sha256: Digest::of(base),
            output_sha256: Digest::of(target),
            patch_len: HEADER_LEN + FRAME_LEN + body.len() as u64,
        };
        let frame = Frame {
            index: 0,
            patch_offset: 0,
            output_offset: 0,
            base_position: 0,
            output_len: target.len() as u32,
            compressed_len: body.len() as u32,
            controls,
            output_sha256: Digest::of(target),
        };
        Self { header, frames: vec![frame], bodies: vec![body] }
    }

    pub fn header(mut self, change: impl FnOnce(&mut Header)) -> Self {
        change(&mut self.header);
        self
    }

    pub fn frame(mut self, index: usize, change: impl FnOnce(&mut Frame)) -> Self {
        change(&mut self.frames[index]);
        self
    }

    /// Replaces a frame's compressed bytes; table and header follow.
    pub fn body(mut self, index: usize, body: Vec<u8>) -> Self {
        self.header.patch_len += body.len() as u64;
        self.header.patch_len -= self.bodies[index].len() as u64;
        self.frames[index].compressed_len = body.len() as u32;
        self.bodies[index] = body;
        self
    }

    /// Replaces what a frame's stream inflates to.
    pub fn inflated(self, index: usize, change: impl FnOnce(&mut Vec<u8>)) -> Self {
        let mut stream = zstd::decode_all(&self.bodies[index][..]).unwrap();
        change(&mut stream);
        self.body(index, compress(&stream))
    }

    /// The patch as it stands.
    pub fn bytes(&self) -> Vec<u8> {
        let mut bytes = self.header.to_bytes().to_vec();
        self.frames.iter().for_each(|frame| bytes.extend_from_slice(&frame.to_bytes()));
        self.bodies.iter().for_each(|body| bytes.extend_from_slice(body));
        bytes
    }
}

/// A zstd stream of one block window: 128 KiB.
pub fn compress(bytes: &[u8]) -> Vec<u8> {
    compress_with_window(bytes, 17)
}

pub fn compress_with_window(bytes: &[u8], window_log: u32) -> Vec<u8> {
    use std::io::Write;
    let mut encoder = zstd::Encoder::new(Vec::new(), 3).unwrap();
    encoder.set_parameter(zstd::zstd_safe::CParameter::WindowLog(window_log)).unwrap();
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

fn roomy() -> Limits {
    Limits { ram_bytes: u64::MAX, ..Limits::default() }
}
