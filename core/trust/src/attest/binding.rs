//! What ties M1, M2 and M3 to one another and to one connection: used by both halves, exactly alike.
//!
//! T = SHA-256(len32 ‖ M1 ‖ len32 ‖ M2). Lengths are big-endian. An absent event log is the empty string; in
//! no-exporter mode the exporter is the empty string.

use hmac::{Hmac, Mac as _};
use sha2::{Digest as _, Sha256};

/// Label of the certify binding.
pub const CERTIFY_LABEL: &[u8] = b"holdfast/certify/1";
/// Label of the quote binding.
pub const QUOTE_LABEL: &[u8] = b"holdfast/quote/1";

/// The transcript hash T.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Transcript([u8; 32]);

/// The TLS exporter (RFC 9266) of the connection that carries M3.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exporter {
    Bound([u8; 32]),
    /// Something before the service ends TLS; said in the evidence record.
    Absent,
}

impl Exporter {
    fn bytes(&self) -> &[u8] {
        match self {
            Self::Bound(bytes) => bytes,
            Self::Absent => &[],
        }
    }
}

/// SHA-256 of the parts, one after another.
pub fn sha256(parts: &[&[u8]]) -> [u8; 32] {
    parts.iter().fold(Sha256::new(), sha2::Digest::chain_update).finalize().into()
}

impl Transcript {
    /// Over M1 and M2 as sent, byte for byte.
    pub fn new(m1: &[u8], m2: &[u8]) -> Self {
        let (length1, length2) = ((m1.len() as u32).to_be_bytes(), (m2.len() as u32).to_be_bytes());
        Self(sha256(&[&length1, m1, &length2, m2]))
    }

    /// T.
    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// Qualifying data of TPM2_Certify: SHA-256(len16 ‖ label ‖ T ‖ SHA-256(CSR) ‖ exporter).
    pub fn certify(&self, csr: &[u8], exporter: &Exporter) -> [u8; 32] {
        self.bind(CERTIFY_LABEL, csr, exporter)
    }

    /// Qualifying data of TPM2_Quote: SHA-256(len16 ‖ label ‖ T ‖ SHA-256(log) ‖ exporter).
    pub fn quote(&self, event_log: Option<&[u8]>, exporter: &Exporter) -> [u8; 32] {
        self.bind(QUOTE_LABEL, event_log.unwrap_or_default(), exporter)
    }

    /// The proof of M3: HMAC-SHA-256(secret, T ‖ SHA-256(body)).
    pub fn proof(&self, secret: &[u8; 32], m3_body: &[u8]) -> [u8; 32] {
        self.mac(secret, &[&self.0, &sha256(&[m3_body])]).finalize().into_bytes().into()
    }

    /// Compares a proof in constant time.
    pub fn proof_holds(&self, secret: &[u8; 32], m3_body: &[u8], proof: &[u8]) -> bool {
        self.mac(secret, &[&self.0, &sha256(&[m3_body])]).verify_slice(proof).is_ok()
    }

    /// A join token's proof: HMAC-SHA-256(token, T ‖ SHA-256(CSR) ‖ exporter).
    pub fn token_proof(&self, token: &[u8; 32], csr: &[u8], exporter: &Exporter) -> [u8; 32] {
        self.mac(token, &[&self.0, &sha256(&[csr]), exporter.bytes()]).finalize().into_bytes().into()
    }

    /// Compares a join token's proof in constant time.
    pub fn token_proof_holds(&self, token: &[u8; 32], csr: &[u8], exporter: &Exporter, proof: &[u8]) -> bool {
        self.mac(token, &[&self.0, &sha256(&[csr]), exporter.bytes()]).verify_slice(proof).is_ok()
    }

    /// What the expired certificate's key signs in a recovery of tier T0; it is hashed once more by the
    /// signature algorithm (ECDSA with SHA-256 over these bytes): T ‖ SHA-256(CSR) ‖ exporter.
    pub fn recovery_message(&self, csr: &[u8], exporter: &Exporter) -> Vec<u8> {
        [&self.0[..], &sha256(&[csr]), exporter.bytes()].concat()
    }

    fn bind(&self, label: &[u8], hashed: &[u8], exporter: &Exporter) -> [u8; 32] {
        let length = (label.len() as u16).to_be_bytes();
        sha256(&[&length, label, &self.0, &sha256(&[hashed]), exporter.bytes()])
    }

    #[expect(clippy::unused_self, reason = "keeps the three formulas side by side")]
    fn mac(&self, key: &[u8; 32], parts: &[&[u8]]) -> Hmac<Sha256> {
        // Unwrap safety: HMAC takes keys of every length.
        let mac = Hmac::<Sha256>::new_from_slice(key).unwrap();
        parts.iter().fold(mac, hmac::Mac::chain_update)
    }
}

/// What the device key signs for a report: SHA-256("holdfast/report/1" ‖ body). The signature is ECDSA over this
/// digest, so a verifier that hashes takes [`report_message`].
pub fn report_digest(body: &[u8]) -> [u8; 32] {
    sha256(&[holdfast_proto::report::REPORT_CONTEXT, body])
}

/// The message whose SHA-256 is [`report_digest`].
pub fn report_message(body: &[u8]) -> Vec<u8> {
    [holdfast_proto::report::REPORT_CONTEXT, body].concat()
}

/// Qualifying data of a report's quote: SHA-256(len16 ‖ "holdfast/quote/1" ‖ nonce hash ‖ SHA-256(log)), where the
/// nonce hash is SHA-256(nonce) in T's place and there is no exporter: the nonce names device and sequence.
pub fn report_quote(nonce: &[u8], event_log: Option<&[u8]>) -> [u8; 32] {
    Transcript(sha256(&[nonce])).quote(event_log, &Exporter::Absent)
}

#[cfg(test)]
mod tests {
    use super::*;

    // Computed apart from this code with Python's hashlib and hmac, from the formulas of docs/protocol.md.
    const M1: &[u8] = b"{\"m\":1}";
    const M2: &[u8] = b"{\"m\":2,\"x\":0}";
    const CSR: &[u8] = b"csr";
    const LOG: &[u8] = b"log";

    #[test]
    fn known_answers() {
        let t = Transcript::new(M1, M2);
        let exporter = Exporter::Bound([7; 32]);
        let secret = [9; 32];
        let answers = [
            hex::encode(t.as_bytes()),
            hex::encode(t.certify(CSR, &exporter)),
            hex::encode(t.certify(CSR, &Exporter::Absent)),
            hex::encode(t.quote(Some(LOG), &exporter)),
            hex::encode(t.quote(None, &exporter)),
            hex::encode(t.proof(&secret, b"body")),
            hex::encode(t.token_proof(&secret, CSR, &exporter)),
            hex::encode(report_digest(b"body")),
            hex::encode(report_quote(b"nonce", Some(LOG))),
        ];
        let expected: Vec<&str> = include_str!("binding.known").lines().collect();
        assert_eq!(answers.to_vec(), expected);
    }

    #[test]
    fn lengths_keep_m1_and_m2_apart() {
        assert_ne!(Transcript::new(b"ab", b"c"), Transcript::new(b"a", b"bc"));
    }

    #[test]
    fn a_proof_holds_for_its_own_bytes_only() {
        let t = Transcript::new(M1, M2);
        let proof = t.proof(&[1; 32], b"body");
        assert!(t.proof_holds(&[1; 32], b"body", &proof));
        assert!(!t.proof_holds(&[1; 32], b"body!", &proof));
        assert!(!t.proof_holds(&[2; 32], b"body", &proof));
        assert!(!t.proof_holds(&[1; 32], b"body", &proof[..31]));
        assert!(!Transcript::new(M2, M1).proof_holds(&[1; 32], b"body", &proof));
    }
}
