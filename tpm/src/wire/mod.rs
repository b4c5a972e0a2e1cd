//! TPM 2.0 structures as bytes: what a verifier and a device both read. Pure: no I/O, no clock, no chance.
//!
//! Every parser is total, works on bytes from outside, refuses input above [`MAX_STRUCTURE_BYTES`] and
//! refuses trailing bytes. What was received is kept as received: Names and signatures are computed over
//! those bytes and never over a re-serialisation. Whether a value is *acceptable* is not decided here.
//! Numbers (algorithm ids, command codes, handles) are those of crate `tpm2-protocol`; its own parsers
//! are the second opinion in the tests, since they drop what a verifier has to see (a wrong magic, the
//! raw attribute bits).

mod alg;
mod attest;
mod credential;
mod error;
mod key;
mod pcr;
mod public;
mod reader;
mod signature;
mod template;

pub mod der;
pub mod nv;

pub use alg::{AlgId, Curve, Hierarchy, Sha2};
pub use attest::{Attest, Attested, ClockInfo, MAGIC, ST_ATTEST_CERTIFY, ST_ATTEST_QUOTE};
#[cfg(feature = "make-credential")]
pub use credential::make::{CredentialError, make_credential};
pub use credential::{EncryptedSecret, IdObject, SECRET_BYTES};
pub use error::WireError;
pub use key::SubjectKey;
pub use pcr::{PcrSelection, PcrSelections, parse_digest_list};
pub use public::{Attributes, Mismatch, Public, Scheme, Symmetric, Unique};
pub(crate) use reader::Writer;
pub use reader::{MAX_STRUCTURE_BYTES, Reader};
pub use signature::{Signature, SignatureValue};
pub use template::{EkTemplate, ak_template, device_key_template, srk_template};

#[cfg(feature = "device")]
pub(crate) use pcr::read_digest_list;
#[cfg(feature = "insecure-impostor")]
pub(crate) use template::imported_key_public;
