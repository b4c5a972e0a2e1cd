//! REBUILT: a new image out of an old one and a patch.
//!
//! What lives here: the patch container ([`Header`], [`Frame`]), the codecs that rebuild a frame
//! ([`Applier`]), block lists that let a download resume ([`BlockList`]) and, behind feature
//! `encode`, the server's side ([`encode`], [`plan`]).
//! What must not: any I/O but the `std::io` traits passed in, a clock, randomness, a trust decision
//! (whether a patch may be applied is `core/trust`'s to say; this crate only refuses to be harmed).
//!
//! Invariant: no input makes the applier use more memory than [`Limits::ram_bytes`], write outside
//! `[0, output_len)`, or report success on bytes whose SHA-256 is not the expected one.
#![warn(missing_docs)]

mod apply;
mod base;
pub mod blocks;
mod codec;
mod container;
mod digest;
#[cfg(feature = "encode")]
pub mod encode;
mod error;
mod inflate;
pub mod limits;
#[cfg(feature = "encode")]
pub mod plan;
mod sink;

pub use apply::{Applied, Applier, Expected, Progress, Start, apply};
pub use base::ReadSeek;
pub use blocks::{BLOCK_LEN, BlockError, BlockList};
pub use codec::Codec;
pub use container::{FORMAT_VERSION, FRAME_LEN, Frame, HEADER_LEN, Header, MAGIC};
pub use digest::Digest;
pub use error::DeltaError;
pub use limits::Limits;
pub use sink::Medium;
