//! Every cap of this crate: default, unit, the attack that it answers.

/// M1 to M3 as a body, bytes: a peer without a certificate may send no more.
pub const MESSAGE_MAX_BYTES: usize = 4 << 20;
/// An EK certificate as NV holds it, bytes; genuine ones stay under 2 KiB. Answers padding without end.
pub const CERTIFICATE_MAX_BYTES: usize = 8 << 10;
/// EK certificates in M1: one for each known NV index.
pub const EK_CERTIFICATES_MAX: usize = 16;
/// NV indices of the EK chain (0x01C00100 to 0x01C001FF).
pub const EK_CHAIN_INDICES_MAX: usize = 256;
/// The EK chain in all, bytes.
pub const EK_CHAIN_MAX_BYTES: usize = 64 << 10;
/// Intermediates that path building looks at.
pub const INTERMEDIATES_MAX: usize = 64;
/// Certificates between leaf and anchor. Answers chains built to be long.
pub const PATH_MAX_LENGTH: usize = 8;
/// Signatures verified for one path. Answers cross-certificates that make the search explode.
pub const PATH_MAX_SIGNATURES: usize = 48;
/// Extensions in a certificate.
pub const EXTENSIONS_MAX: usize = 40;
/// A PKCS#10 request, bytes.
pub const CSR_MAX_BYTES: usize = 16 << 10;
/// Attributes of a PKCS#10 request.
pub const CSR_ATTRIBUTES_MAX: usize = 16;
/// Serial and model as claimed, bytes.
pub const CLAIM_MAX_BYTES: usize = 128;
/// Banks listed in M1.
pub const PCR_BANKS_MAX: usize = 16;
/// PCR values in M3: one bank of 24.
pub const PCR_VALUES_MAX: usize = 24;
/// An event log, bytes.
pub const EVENT_LOG_MAX_BYTES: usize = 1 << 20;
/// Events in a log; the shortest has 32 bytes, genuine logs have under 400 events.
pub const EVENT_LOG_MAX_EVENTS: usize = 16_384;
/// Banks in a log's header.
pub const EVENT_LOG_MAX_BANKS: usize = 8;
/// A join token's secret, bytes, exactly.
pub const SECRET_BYTES: usize = 32;
/// A certificate file offered to `inspect`, bytes: PEM bundles are larger than NV.
pub const INSPECT_MAX_BYTES: usize = 4 << 20;
/// A ServiceAccount token, bytes; genuine ones have about 1.2 KiB.
pub const TOKEN_MAX_BYTES: usize = 8 << 10;
/// How long a ServiceAccount token may live, seconds: what the controller asks for. Answers tokens that were minted to
/// last.
pub const TOKEN_LIFETIME_MAX_S: i64 = 600;
/// How far a cluster's clock may be ahead of ours, seconds.
pub const TOKEN_CLOCK_SKEW_S: i64 = 60;
/// A cluster's JWKS, bytes.
pub const JWKS_MAX_BYTES: usize = 64 << 10;
/// Keys in a JWKS; a cluster has two while it rotates.
pub const JWKS_KEYS_MAX: usize = 16;
