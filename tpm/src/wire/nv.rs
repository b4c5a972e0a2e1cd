//! NV indices of the TCG EK Credential Profile 2.5, clause 2.2.

/// Low range: RSA-2048 certificate, nonce, template.
pub const EK_CERT_L1_RSA2048: u32 = 0x01C0_0002;
pub const EK_NONCE_L1_RSA2048: u32 = 0x01C0_0003;
pub const EK_TEMPLATE_L1_RSA2048: u32 = 0x01C0_0004;
/// Low range: P-256 certificate, nonce, template.
pub const EK_CERT_L2_P256: u32 = 0x01C0_000A;
pub const EK_NONCE_L2_P256: u32 = 0x01C0_000B;
pub const EK_TEMPLATE_L2_P256: u32 = 0x01C0_000C;
/// High range: one certificate index for each template; the template, if any, stands one above.
pub const EK_CERT_H1_RSA2048: u32 = 0x01C0_0012;
pub const EK_CERT_H2_P256: u32 = 0x01C0_0014;
pub const EK_CERT_H3_P384: u32 = 0x01C0_0016;
pub const EK_CERT_H4_P521: u32 = 0x01C0_0018;
pub const EK_CERT_H6_RSA3072: u32 = 0x01C0_001C;
pub const EK_CERT_H7_RSA4096: u32 = 0x01C0_001E;
/// Intermediate certificates of the EK's maker, first and last index.
pub const EK_CHAIN_FIRST: u32 = 0x01C0_0100;
pub const EK_CHAIN_LAST: u32 = 0x01C0_01FF;
