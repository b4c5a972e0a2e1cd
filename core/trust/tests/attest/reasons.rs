//! Every stable reason code: what it means stands in a golden file, and a vector here is refused for it. A code that
//! no vector produces is either the service's own (its rows decide it) or dead: each is named.

use crate::support::cert::{self, NOW, extension};
use crate::support::key::Key;
use crate::support::report::Report;
use crate::support::token::TokenVector;
use crate::support::{Vector, tpm};
use holdfast_proto::Bytes;
use holdfast_tpm::wire::{Attributes, EkTemplate, SubjectKey};
use holdfast_trust::attest::policy::EventLogPolicy;
use holdfast_trust::attest::tpm2::Clock;
use holdfast_trust::attest::{FirmwareRange, Known, Reason, Refusal, reason};
use std::collections::BTreeSet;
use std::fmt::Write as _;

/// Codes that only the service's rows can decide; the service's own tests produce them.
const OF_THE_SERVICE: [Reason; 13] = [
    Reason::Replayed,
    Reason::TokenUnknown,
    Reason::TokenExpired,
    Reason::TokenSpent,
    Reason::TokenClaim,
    Reason::SerialConflict,
    Reason::EkHasOtherSerial,
    Reason::RecordSuspended,
    Reason::RecordClosed,
    Reason::RecordUnknown,
    Reason::RecordRevoked,
    Reason::OperatorRefused,
    Reason::KindNotAllowed,
];

fn tpm(change: fn(&mut Vector)) -> Refusal {
    let mut vector = Vector::default();
    change(&mut vector);
    vector.prove().expect_err("refused")
}

fn token(mut vector: TokenVector, change: fn(&mut TokenVector)) -> Refusal {
    change(&mut vector);
    vector.prove().expect_err("refused")
}

fn report(change: fn(&mut Report)) -> Refusal {
    let mut vector = Report::new();
    change(&mut vector);
    vector.verify().expect_err("refused")
}

/// The EK certificate changed before it is signed.
fn ek(change: fn(&mut cert::Spec)) -> Refusal {
    let mut vector = Vector::default();
    change(&mut vector.ek_certificate);
    vector.start().expect_err("refused")
}

fn m1(change: fn(&mut holdfast_proto::enroll::TpmStart)) -> Refusal {
    let mut vector = Vector::default();
    vector.change_m1 = Some(Box::new(move |m1| change(m1.tpm.as_mut().unwrap())));
    vector.start().expect_err("refused")
}

fn m3(change: fn(&mut holdfast_proto::enroll::TpmProof)) -> Refusal {
    let mut vector = Vector::default();
    vector.change_proof = Some(Box::new(move |m3| change(m3.tpm.as_mut().unwrap())));
    vector.prove().expect_err("refused")
}

/// An EK whose modulus bears the weak generator's fingerprint: a power of 65537 modulo all small primes.
fn roca() -> Refusal {
    let primes = (2_u32..=167).filter(|n| (2..*n).all(|d| n % d != 0));
    let m = primes.fold(rsa::BigUint::from(1_u32), |m, prime| m * prime);
    let most = (rsa::BigUint::from(1_u32) << 1024_usize) / &m;
    let weak = |less: u32| (&most - less) * &m + 65_537_u32;
    let modulus = weak(1_000_003) * weak(2_000_029);
    let key = SubjectKey::Rsa { modulus: modulus.to_bytes_be(), exponent: 65_537 };
    let mut vector = Vector::default();
    vector.ek_certificate = cert::ek(key.to_spki_der(), &vector.issuing);
    let public = EkTemplate::H1Rsa2048.public(&key).unwrap().to_tpm2b();
    vector.change_m1 = Some(Box::new(move |m1| m1.tpm.as_mut().unwrap().ek_public = Bytes(public.clone())));
    vector.start().expect_err("refused")
}

fn vectors() -> Vec<(Reason, Refusal)> {
    use Reason as R;
    vec![
        (R::MalformedMessage, tpm(|v| v.change_body = Some(Box::new(Vec::clear)))),
        (R::EkPublicMalformed, m1(|tpm| tpm.ek_public.0.push(0))),
        (R::EkCertificateMalformed, m1(|tpm| tpm.ek_certificates[0].bytes.0.clear())),
        (R::EkCertificateOtherKey, tpm(|v| v.ek_key = Key::p256())),
        (R::EkCertificateVersion, ek(|spec| spec.version = Some(1))),
        (R::EkCertificateSerial, ek(|spec| spec.serial = vec![0])),
        (R::EkCertificateIssuer, ek(|spec| spec.issuer = cert::name(&[]))),
        (R::EkCertificateIsCa, ek(|spec| spec.set("2.5.29.19", Some(cert::ca_basic(None))))),
        (R::EkCertificateKeyIdentifier, ek(|spec| spec.set("2.5.29.35", None))),
        (R::EkCertificateKeyUsage, ek(|spec| spec.set("2.5.29.15", None))),
        (R::EkCertificateSubjectAlternativeName, ek(|spec| spec.set("2.5.29.17", None))),
        (
            R::EkCertificateCriticalExtension,
            ek(|spec| spec.extensions.push(extension("1.3.6.1.4.1.999.1", true, &[5, 0]))),
        ),
        (R::EkCertificateExtendedKeyUsage, ek(|spec| spec.set("2.5.29.37", None))),
        (R::EkCertificateKey, {
            let mut vector = Vector::default();
            let SubjectKey::Ecc { curve, x, mut y } = vector.ek_key.subject() else { panic!("P-256") };
            y[31] ^= 1;
            vector.ek_certificate.spki = SubjectKey::Ecc { curve, x, y: y.clone() }.to_spki_der();
            vector.change_m1 = Some(Box::new(move |m1| {
                let ek = &mut m1.tpm.as_mut().unwrap().ek_public.0;
                *ek.last_mut().unwrap() = y[31];
            }));
            vector.start().expect_err("refused")
        }),
        (R::EkKeyRoca, roca()),
        (R::EkCertificatePath, tpm(|v| v.house.anchors.anchors.clear())),
        (R::EkCertificateTime, ek(|spec| spec.not_after = NOW - 1)),
        (
            R::EkCertificateManufacturer,
            ek(|spec| spec.set("2.5.29.17", Some(cert::san("id:49465800", "m", "v")))),
        ),
        (
            R::EkDenyListed,
            tpm(|v| {
                v.house.deny.ek_hashes.insert(v.ek_hash());
            }),
        ),
        (R::EkNotListed, m1(|tpm| tpm.ek_certificates.clear())),
        (R::EkTemplateMismatch, m1(|tpm| tpm.ek_public.0[2 + 4 + 1] ^= (Attributes::SIGN >> 16) as u8)),
        (R::AkPublicMalformed, m1(|tpm| tpm.ak_public.0.push(0))),
        (R::AkKey, tpm(|v| v.ak_key = Key::ec(holdfast_tpm::wire::Curve::P521))),
        (R::AkAttributes, tpm(|v| v.ak.attributes &= !Attributes::RESTRICTED)),
        (R::AkScheme, tpm(|v| v.ak.scheme = tpm::words(&[0x0010]))),
        (R::NoUsableBank, m1(|tpm| tpm.pcr_banks.clear())),
        (R::SessionMismatch, tpm(|v| v.change_session = Some(Box::new(|session| session.nonce[0] ^= 1)))),
        (R::SessionExpired, tpm(|v| v.now_at_m3 = NOW + 900)),
        (R::ProofMac, tpm(|v| v.secret_of_device = [0; 32])),
        (
            R::EkChanged,
            tpm(|v| v.known = Known { ek_hash: Some(holdfast_proto::Digest([1; 32])), ..Known::default() }),
        ),
        (R::AkChanged, tpm(|v| v.known = Known { ak_name: Some(vec![0, 11]), ..Known::default() })),
        (R::CertifyMalformed, m3(|tpm| tpm.certify.attest.0.clear())),
        (R::CertifyNotTpmGenerated, tpm(|v| v.change_certify = Some(Box::new(|attest| attest.magic = 1)))),
        (
            R::CertifyType,
            tpm(|v| {
                v.change_certify =
                    Some(Box::new(|attest| (attest.kind, attest.attested) = (0x8018, vec![0; 6])));
            }),
        ),
        (
            R::CertifySigner,
            tpm(|v| v.change_certify = Some(Box::new(|attest| attest.qualified_signer[9] ^= 1))),
        ),
        (R::CertifySignature, tpm(|v| v.attest_key = Some(Key::p256()))),
        (R::CertifyBinding, tpm(|v| v.change_certify = Some(Box::new(|attest| attest.extra_data[0] ^= 1)))),
        (R::CertifyName, tpm(|v| v.change_certify = Some(Box::new(|attest| attest.attested[5] ^= 1)))),
        (R::DeviceKeyMalformed, m3(|tpm| tpm.device_public.0.push(0))),
        (R::DeviceKeyNotTpmBorn, tpm(|v| v.device.attributes &= !Attributes::SENSITIVE_DATA_ORIGIN)),
        (R::DeviceKeyType, tpm(|v| v.device.scheme = tpm::words(&[0x0018, 0x000C]))),
        (R::CsrMalformed, token(TokenVector::default(), |v| v.csr = Some(vec![0x30]))),
        (R::CsrKey, tpm(|v| v.csr_key = Key::p256())),
        (R::CsrSignature, tpm(|v| v.csr_signer = Some(Key::p256()))),
        (R::CsrAsksForCa, tpm(|v| v.csr_extensions = vec![cert::ca_basic(None)])),
        (R::QuoteMalformed, m3(|tpm| tpm.quote.attest.0.clear())),
        (R::QuoteNotTpmGenerated, tpm(|v| v.change_quote = Some(Box::new(|attest| attest.magic = 1)))),
        (
            R::QuoteType,
            tpm(|v| {
                v.change_quote =
                    Some(Box::new(|attest| (attest.kind, attest.attested) = (0x8017, vec![0; 4])));
            }),
        ),
        (R::QuoteSigner, tpm(|v| v.change_quote = Some(Box::new(|attest| attest.qualified_signer[9] ^= 1)))),
        (R::QuoteSignature, m3(|tpm| *tpm.quote.signature.0.last_mut().unwrap() ^= 1)),
        (R::QuoteBinding, tpm(|v| v.change_quote = Some(Box::new(|attest| attest.extra_data[0] ^= 1)))),
        (R::QuoteSelection, tpm(|v| v.quoted_selection = Some(tpm::selection(0x0B, &[])))),
        (
            R::PcrValues,
            m3(|tpm| {
                tpm.pcr_values.pop();
            }),
        ),
        (R::QuoteDigest, m3(|tpm| tpm.pcr_values[3].value.0[0] ^= 1)),
        (
            R::TpmClock,
            tpm(|v| {
                v.known.clock = Some(Clock {
                    clock_ms: 50_001,
                    reset_count: 7,
                    restart_count: 0,
                    safe: true,
                    firmware_version: 1,
                });
            }),
        ),
        (
            R::FirmwareDenied,
            tpm(|v| {
                let manufacturer = "id:00001014".parse().unwrap();
                v.house.deny.firmware.push(FirmwareRange { manufacturer, from: 0, to: u64::MAX });
            }),
        ),
        (R::EventLogMissing, tpm(|v| (v.log, v.house.event_log) = (None, EventLogPolicy::Required))),
        (R::EventLogMalformed, tpm(|v| v.log.as_mut().unwrap().bytes.push(1))),
        (
            R::EventLogReplay,
            tpm(|v| {
                v.log.as_mut().unwrap().pcrs.insert((0x0B, 4), vec![9; 32]);
            }),
        ),
        (R::RebootMissing, report(|r| r.reset_count_at_arming = 7)),
        (R::MeasurementMissing, report(|r| r.digest[0] ^= 1)),
        (R::TokenMac, token(TokenVector::default(), |v| v.token_of_device = [0; 32])),
        (R::RecoveryCertificate, token(TokenVector::recovery(), |v| v.house.issuers.clear())),
        (
            R::RecoverySignature,
            token(TokenVector::recovery(), |v| v.expired.as_mut().unwrap().1 = Key::p256()),
        ),
        (R::RecoveryWindow, token(TokenVector::recovery(), |v| v.house.recovery_window_s = Some(0))),
    ]
}

#[test]
fn every_code_is_produced_by_a_vector_or_is_the_services_own() {
    let mut produced = BTreeSet::new();
    for (reason, refusal) in vectors() {
        assert_eq!(refusal.reason, reason, "{:#?}", refusal.checks);
        assert!(!refusal.detail().is_empty(), "{reason} says nothing to the operator");
        assert_eq!(refusal.to_string(), reason.code(), "the peer hears the code alone");
        assert!(produced.insert(reason), "{reason} twice");
    }
    for reason in Reason::ALL {
        let by_rows = OF_THE_SERVICE.contains(reason);
        assert_ne!(
            produced.contains(reason),
            by_rows,
            "{reason}: a vector here, or the service's, and one of them"
        );
    }
}

#[test]
fn codes_are_unique_kebab_case_and_read_back() {
    let codes: BTreeSet<&str> = Reason::ALL.iter().map(|reason| reason.code()).collect();
    assert_eq!(codes.len(), Reason::ALL.len());
    for reason in Reason::ALL {
        let code = reason.code();
        assert!(code.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-'), "{code}");
        assert!(!code.starts_with('-') && !code.ends_with('-') && !code.contains("--"), "{code}");
        assert_eq!(code.parse(), Ok(*reason));
        assert!(reason.means().ends_with('.') && reason.what_to_do().ends_with('.'), "{code}");
    }
    assert_eq!("no-such-code".parse::<Reason>(), Err(()));
}

/// Codes are never renamed and never used again for something else: a change here is a change of the protocol.
#[test]
fn the_list_is_the_golden_file() {
    let mut text = String::new();
    for reason in Reason::ALL {
        let by = if OF_THE_SERVICE.contains(reason) { "service" } else { "trust" };
        _ = writeln!(text, "{by:<7} {:<40} {}", reason.code(), reason.means());
    }
    crate::support::check_golden("reasons.txt", &text);
    let table = reason::table();
    assert_eq!(table.lines().count(), Reason::ALL.len() + 2);
    assert!(Reason::ALL.iter().all(|reason| table.contains(&format!(
        "| `{reason}` | {} | {} |\n",
        reason.means(),
        reason.what_to_do()
    ))));
}
