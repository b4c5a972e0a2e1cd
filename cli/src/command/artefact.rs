//! Artefacts on their way to the service: described from the file itself, then uploaded.
//!
//! Invariant: what a manifest says of an artefact is computed here. The service's answer is only held against it.

use crate::client::Client;
use crate::terminal::byte_bar;
use anyhow::{Context as _, ensure};
use holdfast_proto::Digest;
use holdfast_proto::api::release::ArtifactStored;
use holdfast_proto::id::is_segment;
use holdfast_proto::manifest::Artefact;
use sha2::{Digest as _, Sha256};
use std::io::Read;
use std::path::Path;

/// A block of the block list: 256 KiB (docs/protocol.md).
const BLOCK_BYTES: u64 = 256 << 10;

/// Describes a file, then uploads it; the service must have found the same.
pub(super) fn upload(client: &Client, name: &str, file: &Path) -> anyhow::Result<Artefact> {
    ensure!(is_segment(name), "`{name}` is no artefact name");
    let open = || std::fs::File::open(file).with_context(|| format!("{} cannot be read", file.display()));
    let length = open()?.metadata()?.len();
    ensure!(length > 0, "{} is empty", file.display());
    let bar = byte_bar(length, &format!("hash {name}"));
    let artefact = describe(name, &mut bar.wrap_read(open()?))?;
    bar.finish_and_clear();
    ensure!(artefact.length == length, "{} changed while it was read", file.display());
    let bar = byte_bar(length, &format!("upload {name}"));
    let stored: ArtifactStored =
        client.put_stream(&format!("/artifacts/{}", artefact.sha256), bar.wrap_read(open()?), length)?;
    bar.finish_and_clear();
    check_stored(&artefact, &stored)?;
    Ok(artefact)
}

/// Length, digest and block root: SHA-256 over the SHA-256 of each block, in order.
fn describe(name: &str, reader: &mut dyn Read) -> anyhow::Result<Artefact> {
    let (mut whole, mut list, mut length) = (Sha256::new(), Sha256::new(), 0);
    let mut block = Vec::new();
    loop {
        block.clear();
        let read = (&mut *reader).take(BLOCK_BYTES).read_to_end(&mut block)?;
        if read == 0 {
            break;
        }
        length += read as u64;
        whole.update(&block);
        list.update(Sha256::digest(&block));
    }
    let (sha256, block_root) = (Digest(whole.finalize().into()), Digest(list.finalize().into()));
    Ok(Artefact { name: name.to_owned(), length, sha256, block_root })
}

fn check_stored(artefact: &Artefact, stored: &ArtifactStored) -> anyhow::Result<()> {
    let Artefact { name, length, sha256, block_root } = artefact;
    ensure!(
        stored.sha256 == *sha256 && stored.length == *length,
        "the service stored other bytes of {name} than were sent: nothing was drafted"
    );
    ensure!(
        stored.block_root == *block_root,
        "the service says the block root of {name} is {}, the file's is {block_root}: nothing was drafted. With the \
         false one every device would refuse the download; look into the service before you go on",
        stored.block_root
    );
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_block_root_is_the_digest_of_the_digests_of_256_kib_blocks() {
        let bytes: Vec<u8> = (0..(600u32 << 10)).map(|at| (at / 1000) as u8).collect();
        let found = describe("rootfs", &mut bytes.as_slice()).unwrap();
        let list: Vec<u8> = bytes.chunks(256 << 10).flat_map(Sha256::digest).collect();
        assert_eq!(list.len(), 3 * 32);
        assert_eq!(found.block_root, Digest(Sha256::digest(list).into()));
        assert_eq!(found.sha256, Digest(Sha256::digest(&bytes).into()));
        assert_eq!(found.length, bytes.len() as u64);
    }
}
