//! What a join token and a recovery by an expired certificate can meet.

use crate::support::assert_refused;
use crate::support::cert::{self, Ca, DAY, NOW};
use crate::support::key::{Hash, Key};
use crate::support::token::TokenVector;
use holdfast_proto::Bytes;
use holdfast_proto::api::device::Tier;
use holdfast_tpm::wire::Curve;
use holdfast_trust::attest::join_token::{JoinTokenClaim, JoinTokenProven};
use holdfast_trust::attest::{Claim, Exporter, Proof, Reason, Transcript};

macro_rules! attacks {
    ($($name:ident: $reason:ident $([$($also:ident),*])? by $base:ident = $change:expr;)+) => {$(
        #[test]
        fn $name() {
            let mut vector = TokenVector::$base();
            let change: fn(&mut TokenVector) = $change;
            change(&mut vector);
            assert_refused(vector.prove(), Reason::$reason, &[$($(Reason::$also),*)?]);
        }
    )+};
}

attacks! {
    another_tokens_secret: TokenMac by default = |v| v.token_of_device[31] ^= 1;
    token_over_another_connection: TokenMac by default = |v| v.exporter_of_service = Exporter::Bound([0x0E; 32]);
    token_over_no_connection_though_there_is_one: TokenMac by default = |v| v.exporter_of_device = Exporter::Absent;
    mac_cut_by_a_byte: TokenMac by default = |v| {
        v.change_proof = Some(Box::new(|m3| { m3.join_token.as_mut().unwrap().mac.0.pop(); }));
    };
    mac_with_a_byte_more: TokenMac by default = |v| {
        v.change_proof = Some(Box::new(|m3| m3.join_token.as_mut().unwrap().mac.0.push(0)));
    };
    mac_missing: TokenMac by default = |v| {
        v.change_proof = Some(Box::new(|m3| m3.join_token.as_mut().unwrap().mac.0.clear()));
    };
    csr_exchanged_after_the_mac: TokenMac by default = |v| {
        let other = Key::p256();
        let csr = cert::csr(&other, &other, &[]);
        v.change_proof = Some(Box::new(move |m3| m3.csr = Bytes(csr.clone())));
    };
    session_without_a_secret: TokenMac by default = |v| v.change_session = Some(Box::new(|session| session.secret = None));
    key_on_another_curve: DeviceKeyType by default = |v| v.key = Key::ec(Curve::P384);
    rsa_key: DeviceKeyType by default = |v| v.key = Key::rsa(0);
    token_and_certificate_at_once: MalformedMessage by default = |v| {
        v.change_m1 = Some(Box::new(|m1| m1.join_token.as_mut().unwrap().expired_certificate = Some(Bytes(vec![1]))));
    };
    neither_token_nor_certificate: MalformedMessage by default = |v| v.token_id.clear();
    token_id_with_a_space: MalformedMessage by default = |v| v.token_id = "tok 1".into();
    token_id_beyond_ascii: MalformedMessage by default = |v| v.token_id = "tök".into();
    token_id_of_129_bytes: MalformedMessage by default = |v| v.token_id = "t".repeat(129);
    m3_without_its_part: MalformedMessage by default = |v| v.change_proof = Some(Box::new(|m3| m3.join_token = None));

    recovery_where_none_is_allowed: RecoveryWindow by recovery = |v| v.house.recovery_window_s = None;
    certificate_of_another_issuer: RecoveryCertificate by recovery = |v| {
        v.house.issuers = vec![Ca::new("Other CA", Key::p256(), None, |_| {}).der];
    };
    certificate_of_a_forged_issuer_with_our_name: RecoveryCertificate by recovery = |v| {
        v.house.issuers = vec![Ca::new("Device CA", Key::p256(), None, |_| {}).der];
    };
    certificate_where_we_have_no_issuer: RecoveryCertificate by recovery = |v| v.house.issuers.clear();
    certificate_with_a_trailing_byte: RecoveryCertificate by recovery = |v| v.expired.as_mut().unwrap().0.push(0);
    certificate_of_nine_kilobytes: RecoveryCertificate by recovery = |v| v.expired.as_mut().unwrap().0.resize(9 << 10, 0);
    signature_by_another_key: RecoverySignature by recovery = |v| v.expired.as_mut().unwrap().1 = Key::p256();
    signature_over_another_connection: RecoverySignature by recovery = |v| v.exporter_of_service = Exporter::Absent;
    signature_over_another_request: RecoverySignature by recovery = |v| {
        let other = Key::p256();
        let csr = cert::csr(&other, &other, &[]);
        v.change_proof = Some(Box::new(move |m3| m3.csr = Bytes(csr.clone())));
    };
    signature_missing: RecoverySignature by recovery = |v| {
        v.change_proof = Some(Box::new(|m3| m3.join_token.as_mut().unwrap().mac.0.clear()));
    };
}

#[test]
fn a_good_token_is_tier_t0_and_names_itself() {
    let vector = TokenVector { token_id: "t".repeat(128), ..TokenVector::default() };
    let proven = vector.prove().unwrap();
    assert_eq!((proven.tier, proven.root_class), (Tier::T0, None));
    assert_eq!(proven.device_spki, vector.key.spki());
    assert!(
        matches!(&proven.claim, Claim::JoinToken(JoinTokenClaim::Token { id }) if *id == "t".repeat(128))
    );
    assert!(matches!(proven.proof, Proof::JoinToken(JoinTokenProven::Token)));
}

#[test]
fn a_recovery_shows_whose_certificate_it_was() {
    let vector = TokenVector::recovery();
    let proven = vector.prove().unwrap();
    assert!(matches!(proven.proof, Proof::JoinToken(JoinTokenProven::Recovery)));
    let Claim::JoinToken(JoinTokenClaim::Recovery(expired)) = &proven.claim else { panic!("a recovery") };
    let (der, key) = vector.expired.as_ref().unwrap();
    assert_eq!(
        (expired.spki.clone(), expired.not_after, expired.serial.as_str()),
        (key.spki(), NOW - DAY, "4b010203")
    );
    assert_eq!(expired.fingerprint, holdfast_proto::Digest(holdfast_trust::attest::binding::sha256(&[der])));
    assert_ne!(proven.device_spki, expired.spki, "a new key");
}

#[test]
fn the_recovery_window_holds_to_its_second() {
    let ended = |not_after: i64| {
        let issuer = Ca::new("Device CA", Key::p256(), None, |_| {});
        TokenVector::recovery_by(&issuer, &Key::p256(), |spec| spec.not_after = not_after).prove()
    };
    ended(NOW - 30 * DAY).unwrap();
    assert_refused(ended(NOW - 30 * DAY - 1), Reason::RecoveryWindow, &[]);
    ended(NOW + DAY).unwrap();
}

#[test]
fn one_of_several_issuers_is_enough_and_a_broken_one_does_no_harm() {
    let mut vector = TokenVector::recovery();
    vector.house.issuers.insert(0, Ca::new("Older CA", Key::p256(), None, |_| {}).der);
    vector.house.issuers.insert(0, vec![0xFF; 4]);
    vector.prove().unwrap();
}

#[test]
fn a_recovery_signed_with_another_hash_is_refused() {
    // The protocol says SHA-256, whatever the signature claims: a P-256 signature over SHA-384 does not hold.
    let vector = TokenVector::recovery();
    let signed_with = |hash: Hash| {
        let mut sent = vector.sent();
        let mut message: holdfast_proto::enroll::EnrollProof = serde_json::from_slice(&sent.body).unwrap();
        let transcript = Transcript::new(&message.m1, &message.m2);
        let signed = transcript.recovery_message(&message.csr, &vector.exporter_of_device);
        let (_, key) = vector.expired.as_ref().unwrap();
        message.join_token.as_mut().unwrap().mac = Bytes(key.sign(hash, &signed));
        sent.body = serde_json::to_vec(&message).unwrap();
        vector.judge(&sent)
    };
    signed_with(Hash::Sha256).unwrap();
    for hash in [Hash::Sha1, Hash::Sha384, Hash::Sha512] {
        assert_refused(signed_with(hash), Reason::RecoverySignature, &[]);
    }
}

#[test]
fn a_certificate_is_read_up_to_its_cap() {
    for (length, capped) in [(8 << 10, false), ((8 << 10) + 1, true)] {
        let mut vector = TokenVector::recovery();
        vector.expired.as_mut().unwrap().0.resize(length, 0);
        let refusal = vector.prove().expect_err("refused");
        assert_eq!(refusal.reason, Reason::RecoveryCertificate);
        assert_eq!(refusal.detail().contains("above the cap of 8192"), capped, "{}", refusal.detail());
    }
}
