//! docs/threat-model.md, "Enrolment": each row a vector that is refused for that reason and for no other.
//!
//! Rows that need the service's rows (a genuine TPM on an unused serial, the same serial on another TPM, a spent
//! nonce, a session token of another server) are the service's tests; their codes are `serial-conflict`,
//! `ek-has-other-serial`, `replayed` and `session-mismatch`.

mod join_token;
mod report;

use crate::support::cert::{self, Ca, NOW};
use crate::support::key::{Hash, Key};
use crate::support::tpm::{self, Area, Attest};
use crate::support::{Vector, assert_refused};
use holdfast_proto::Bytes;
use holdfast_proto::api::device::{CheckResult, RootClass, Tier};
use holdfast_tpm::wire::{Attributes, Curve, EkTemplate, SubjectKey};
use holdfast_trust::attest::tpm2::{Clock, EkBasis};
use holdfast_trust::attest::{Claim, Exporter, FirmwareRange, Known, Proof, Reason, Unlisted};

/// One row: what is changed, the reason, and what else the same fault breaks.
macro_rules! attacks {
    ($($name:ident: $reason:ident $([$($also:ident),*])? = $change:expr;)+) => {$(
        #[test]
        fn $name() {
            let mut vector = Vector::default();
            let change: fn(&mut Vector) = $change;
            change(&mut vector);
            assert_refused(vector.prove(), Reason::$reason, &[$($(Reason::$also),*)?]);
        }
    )+};
}

attacks! {
    // The EK.
    ek_certificate_of_a_with_the_ek_blob_of_b: EkCertificateOtherKey = |v| {
        v.ek_key = Key::p256();
    };
    ek_of_another_tpm_answers_the_challenge: ProofMac = |v| v.secret_of_device = [0x11; 32];
    ek_with_an_attribute_more_than_its_template: EkTemplateMismatch = |v| {
        v.change_m1 = Some(Box::new(|m1| {
            let ek = &mut m1.tpm.as_mut().unwrap().ek_public.0;
            // TPM2B: size, type, nameAlg, then the attributes.
            ek[2 + 4 + 1] |= (Attributes::SIGN >> 16) as u8;
        }));
    };
    ek_that_is_deny_listed: EkDenyListed = |v| {
        v.house.deny.ek_hashes.insert(v.ek_hash());
    };
    ek_certificate_that_is_deny_listed: EkDenyListed = |v| {
        v.house.deny.certificate_serials.insert("4b010203".into());
    };
    ek_issuer_that_is_deny_listed: EkDenyListed = |v| {
        v.house.deny.certificate_serials.insert(hex::encode(&v.issuing.spec.serial));
    };
    ek_without_certificate_on_no_list: EkNotListed = |v| {
        v.change_m1 = Some(Box::new(|m1| m1.tpm.as_mut().unwrap().ek_certificates.clear()));
    };
    ek_public_with_a_trailing_byte: EkPublicMalformed = |v| {
        v.change_m1 = Some(Box::new(|m1| m1.tpm.as_mut().unwrap().ek_public.0.push(0)));
    };
    firmware_on_the_deny_list_though_m1_claims_another: FirmwareDenied = |v| {
        v.change_m1 = Some(Box::new(|m1| m1.tpm.as_mut().unwrap().firmware_version = 99));
        v.house.deny.firmware.push(FirmwareRange { manufacturer: "id:00001014".parse().unwrap(), from: tpm::FIRMWARE - 1, to: tpm::FIRMWARE });
    };

    // The AK.
    unrestricted_ak_that_can_sign_forged_attestations: AkAttributes = |v| v.ak.attributes &= !Attributes::RESTRICTED;
    ak_that_can_leave_the_tpm: AkAttributes = |v| v.ak.attributes &= !Attributes::FIXED_TPM;
    ak_that_can_leave_its_parent: AkAttributes = |v| v.ak.attributes &= !Attributes::FIXED_PARENT;
    ak_made_outside: AkAttributes = |v| v.ak.attributes &= !Attributes::SENSITIVE_DATA_ORIGIN;
    ak_that_cannot_sign: AkAttributes = |v| v.ak.attributes &= !Attributes::SIGN;
    ak_without_user_auth: AkAttributes = |v| v.ak.attributes &= !Attributes::USER_WITH_AUTH;
    ak_that_decrypts: AkAttributes = |v| v.ak.attributes |= Attributes::DECRYPT;
    ak_with_encrypted_duplication: AkAttributes = |v| v.ak.attributes |= Attributes::ENCRYPTED_DUPLICATION;
    ak_with_admin_policy: AkAttributes = |v| v.ak.attributes |= Attributes::ADMIN_WITH_POLICY;
    ak_limited_to_firmware: AkAttributes = |v| v.ak.attributes |= Attributes::FIRMWARE_LIMITED;
    ak_limited_to_svn: AkAttributes = |v| v.ak.attributes |= Attributes::SVN_LIMITED;
    ak_with_an_attribute_that_has_no_meaning_yet: AkAttributes = |v| v.ak.attributes |= 1 << 30;
    ak_without_a_fixed_scheme: AkScheme [CertifySignature, QuoteSignature, QuoteDigest] = |v| v.ak.scheme = tpm::words(&[0x0010]);
    ak_that_hashes_with_sha1: AkScheme [CertifySignature, QuoteSignature, QuoteDigest] = |v| v.ak.scheme = tpm::words(&[0x0018, 0x0004]);
    ak_with_a_symmetric_algorithm: AkScheme = |v| v.ak.symmetric = tpm::words(&[0x0006, 128, 0x0043]);
    ak_on_p521: AkKey = |v| {
        v.ak_key = Key::ec(Curve::P521);
    };
    ak_public_with_a_trailing_byte: AkPublicMalformed = |v| {
        v.change_m1 = Some(Box::new(|m1| m1.tpm.as_mut().unwrap().ak_public.0.push(0)));
    };
    ak_swapped_and_then_renewed: AkChanged = |v| v.known = Known { ak_name: Some(vec![0, 11, 1, 2]), ..Known::default() };
    renewal_from_another_tpm: EkChanged = |v| v.known = Known { ek_hash: Some(holdfast_proto::Digest([1; 32])), ..Known::default() };
    no_bank_but_sha1: NoUsableBank = |v| {
        v.change_m1 = Some(Box::new(|m1| m1.tpm.as_mut().unwrap().pcr_banks.truncate(1)));
    };

    // The session.
    proof_after_the_session_ended: SessionExpired = |v| v.now_at_m3 = NOW + 900;
    m1_of_another_session: SessionMismatch = |v| v.change_session = Some(Box::new(|session| session.m1.0[0] ^= 1));
    nonce_of_another_session: SessionMismatch = |v| v.change_session = Some(Box::new(|session| session.nonce[0] ^= 1));
    session_of_another_ak: SessionMismatch = |v| {
        v.change_session = Some(Box::new(|session| session.tpm.as_mut().unwrap().ak_name[5] ^= 1));
    };
    session_of_another_ek: SessionMismatch = |v| {
        v.change_session = Some(Box::new(|session| session.tpm.as_mut().unwrap().ek_hash.0[5] ^= 1));
    };
    m2_that_asks_for_fewer_pcrs_than_the_session: SessionMismatch = |v| {
        v.change_m2 = Some(Box::new(|m2| { m2.tpm.as_mut().unwrap().pcr_selection.pop(); }));
    };
    m3_body_changed_on_its_way: ProofMac = |v| v.change_body = Some(Box::new(|body| body.push(b' ')));

    // The certification.
    wrong_magic_in_the_certification_under_a_genuine_ak: CertifyNotTpmGenerated = |v| {
        v.change_certify = Some(Box::new(|attest| attest.magic = 0x0054_4347));
    };
    quote_offered_as_certification: CertifyType = |v| {
        v.change_certify = Some(Box::new(|attest| {
            attest.kind = 0x8018;
            attest.attested = [vec![0; 4], vec![0; 2]].concat();
        }));
    };
    certification_by_a_key_that_is_no_endorsement_primary: CertifySigner = |v| {
        v.change_certify = Some(Box::new(|attest| attest.qualified_signer[9] ^= 1));
    };
    certification_signed_by_another_key: CertifySignature [QuoteSignature] = |v| v.attest_key = Some(Key::p256());
    certification_with_the_signature_algorithm_downgraded: CertifySignature = |v| {
        v.change_proof = Some(Box::new(|m3| {
            let signature = &mut m3.tpm.as_mut().unwrap().certify.signature.0;
            signature[3] = 0x0C;
        }));
    };
    certification_with_a_constant_nonce: CertifyBinding = |v| {
        v.change_certify = Some(Box::new(|attest| attest.extra_data = vec![0; 32]));
    };
    certification_of_another_key: CertifyName = |v| {
        v.change_certify = Some(Box::new(|attest| attest.attested[5] ^= 1));
    };
    certified_name_that_only_contains_the_right_one: CertifyName = |v| {
        v.change_certify = Some(Box::new(|attest| {
            let name = attest.attested[2..36].to_vec();
            let longer = [&name[..], &[0]].concat();
            attest.attested = [crate::support::key::sized(&longer), crate::support::key::sized(&name)].concat();
        }));
    };
    certification_with_a_trailing_byte: CertifyMalformed = |v| {
        v.change_certify = Some(Box::new(|attest| attest.trailing = vec![0]));
    };
    certification_of_a_megabyte: CertifyMalformed = |v| {
        v.change_certify = Some(Box::new(|attest| attest.trailing = vec![0; 1 << 20]));
    };
    certification_over_another_connection: CertifyBinding [QuoteBinding] = |v| v.exporter_of_service = Exporter::Bound([0x0E; 32]);

    // The device key.
    imported_software_key_activated_and_certified: DeviceKeyNotTpmBorn = |v| {
        v.device.attributes &= !(Attributes::FIXED_TPM | Attributes::FIXED_PARENT | Attributes::SENSITIVE_DATA_ORIGIN);
    };
    loaded_external_key_that_keeps_fixed_tpm: DeviceKeyNotTpmBorn = |v| v.device.attributes &= !Attributes::SENSITIVE_DATA_ORIGIN;
    device_key_that_can_leave_its_parent: DeviceKeyNotTpmBorn = |v| v.device.attributes &= !Attributes::FIXED_PARENT;
    device_key_not_born_in_this_tpm: DeviceKeyNotTpmBorn = |v| v.device.attributes &= !Attributes::FIXED_TPM;
    restricted_device_key: DeviceKeyNotTpmBorn = |v| v.device.attributes |= Attributes::RESTRICTED;
    device_key_that_decrypts: DeviceKeyNotTpmBorn = |v| v.device.attributes |= Attributes::DECRYPT;
    device_key_on_another_curve: DeviceKeyType = |v| {
        v.device_key = Key::ec(Curve::P384);
        v.device = Area::new(tpm::DEVICE, &v.device_key);
        v.csr_key = v.device_key.clone();
    };
    device_key_with_a_trailing_byte: DeviceKeyMalformed [CertifyName] = |v| {
        v.change_proof = Some(Box::new(|m3| m3.tpm.as_mut().unwrap().device_public.0.push(0)));
    };

    // The request.
    csr_for_another_key: CsrKey = |v| v.csr_key = Key::p256();
    csr_signed_by_another_key: CsrSignature [CsrKey] = |v| v.csr_signer = Some(Key::p256());
    csr_that_asks_for_a_ca: CsrAsksForCa [CsrKey] = |v| v.csr_extensions = vec![cert::ca_basic(None)];
    csr_that_asks_to_sign_certificates: CsrAsksForCa [CsrKey] = |v| v.csr_extensions = vec![cert::key_usage(&[0, 5])];
    csr_with_a_trailing_byte: CsrMalformed [CsrKey, CertifyBinding] = |v| {
        v.change_proof = Some(Box::new(|m3| m3.csr.0.push(0)));
    };

    // The quote.
    wrong_magic_in_the_quote_under_a_genuine_ak: QuoteNotTpmGenerated = |v| {
        v.change_quote = Some(Box::new(|attest| attest.magic = 1));
    };
    certification_offered_as_quote: QuoteType = |v| {
        v.change_quote = Some(Box::new(|attest| {
            attest.kind = 0x8017;
            attest.attested = vec![0; 4];
        }));
    };
    quote_by_a_key_that_is_no_endorsement_primary: QuoteSigner = |v| {
        v.change_quote = Some(Box::new(|attest| attest.qualified_signer[9] ^= 1));
    };
    replayed_quote_of_another_session: QuoteBinding = |v| {
        v.change_quote = Some(Box::new(|attest| attest.extra_data[0] ^= 1));
    };
    quote_with_an_empty_selection: QuoteSelection = |v| v.quoted_selection = Some(tpm::selection(0x0B, &[]));
    quote_over_no_bank_at_all: QuoteSelection = |v| v.quoted_selection = Some(holdfast_tpm::wire::PcrSelections(Vec::new()));
    quote_with_a_pcr_swapped: QuoteSelection = |v| v.quoted_selection = Some(tpm::selection(0x0B, &[0, 1, 2, 3, 4, 5, 6, 7, 8, 10]));
    quote_with_a_pcr_less: QuoteSelection = |v| v.quoted_selection = Some(tpm::selection(0x0B, &[0, 1, 2, 3, 4, 5, 6, 7, 8]));
    quote_over_the_sha1_bank: QuoteSelection = |v| v.quoted_selection = Some(tpm::selection(0x04, &crate::support::PCRS));
    quote_over_two_banks: QuoteSelection = |v| {
        let both = [tpm::selection(0x0B, &crate::support::PCRS).0, tpm::selection(0x04, &[0]).0].concat();
        v.quoted_selection = Some(holdfast_tpm::wire::PcrSelections(both));
    };
    pcr_value_that_was_not_quoted: QuoteDigest [EventLogReplay] = |v| {
        v.change_proof = Some(Box::new(|m3| m3.tpm.as_mut().unwrap().pcr_values[3].value.0[0] ^= 1));
    };
    pcr_values_of_two_indices_swapped: QuoteDigest [EventLogReplay] = |v| {
        v.change_proof = Some(Box::new(|m3| {
            let values = &mut m3.tpm.as_mut().unwrap().pcr_values;
            (values[0].index, values[7].index) = (7, 0);
        }));
    };
    pcr_value_missing: PcrValues = |v| {
        v.change_proof = Some(Box::new(|m3| { m3.tpm.as_mut().unwrap().pcr_values.pop(); }));
    };
    pcr_value_twice: PcrValues = |v| {
        v.change_proof = Some(Box::new(|m3| {
            let values = &mut m3.tpm.as_mut().unwrap().pcr_values;
            values[9] = values[8].clone();
        }));
    };
    pcr_value_of_another_bank: PcrValues = |v| {
        v.change_proof = Some(Box::new(|m3| m3.tpm.as_mut().unwrap().pcr_values[0].alg = 4));
    };
    pcr_value_more_than_asked_for: PcrValues = |v| {
        v.change_proof = Some(Box::new(|m3| {
            let values = &mut m3.tpm.as_mut().unwrap().pcr_values;
            let more = holdfast_proto::enroll::PcrValue { index: 11, ..values[0].clone() };
            values.push(more);
        }));
    };
    quote_with_a_trailing_byte: QuoteMalformed = |v| v.change_quote = Some(Box::new(|attest| attest.trailing = vec![0]));
    signature_with_a_trailing_byte: QuoteMalformed = |v| {
        v.change_proof = Some(Box::new(|m3| m3.tpm.as_mut().unwrap().quote.signature.0.push(0)));
    };
    clock_that_went_back: TpmClock = |v| v.known.clock = Some(clock(50_001, 7));

    // The event log.
    event_log_of_another_boot: EventLogReplay = |v| {
        let log = v.log.as_mut().unwrap();
        log.pcrs.insert((0x0B, 4), vec![9; 32]);
    };
    event_log_exchanged_after_the_quote: QuoteBinding [EventLogReplay] = |v| {
        v.change_proof = Some(Box::new(|m3| {
            let log = crate::support::log::Log::new(&[4, 11]).separators();
            m3.tpm.as_mut().unwrap().event_log = Some(Bytes(log.bytes));
        }));
    };
    event_log_cut: QuoteBinding [EventLogMalformed] = |v| {
        v.change_proof = Some(Box::new(|m3| { m3.tpm.as_mut().unwrap().event_log.as_mut().unwrap().0.pop(); }));
    };
    event_type_forged_to_hide_an_event: QuoteBinding [EventLogReplay] = |v| {
        v.change_proof = Some(Box::new(|m3| {
            let log = &mut m3.tpm.as_mut().unwrap().event_log.as_mut().unwrap().0;
            let at = log.windows(6).position(|bytes| bytes == b"loader").unwrap();
            // The type of the last event but one: before its digests (count, 2 + 20, 2 + 32) and its size.
            let kind = at - 4 - 34 - 22 - 4 - 4;
            log[kind..kind + 4].copy_from_slice(&3_u32.to_le_bytes());
        }));
    };
    event_log_of_sha1_alone: EventLogMalformed = |v| {
        let log = v.log.as_mut().unwrap();
        log.bytes = crate::support::log::legacy_event(0, 8, &[7; 20], b"firmware 1.0");
    };
    event_log_of_two_megabytes: EventLogMalformed = |v| {
        let log = v.log.as_mut().unwrap();
        log.bytes.resize(2 << 20, 0);
    };
    event_log_missing_though_required: EventLogMissing = |v| {
        v.log = None;
        v.house.event_log = holdfast_trust::attest::policy::EventLogPolicy::Required;
    };

    // Messages.
    m3_with_an_unknown_field: MalformedMessage = |v| {
        v.change_body = Some(Box::new(|body| { body.pop(); body.extend(b",\"x\":1}"); }));
    };
    m1_with_both_kinds: MalformedMessage = |v| {
        v.change_m1 = Some(Box::new(|m1| {
            m1.join_token = Some(holdfast_proto::enroll::JoinTokenStart { token_id: "t".into(), expired_certificate: None });
        }));
    };
    m1_with_a_serial_of_control_characters: MalformedMessage = |v| {
        v.change_m1 = Some(Box::new(|m1| m1.serial = "SN\n1".into()));
    };
    m3_without_its_tpm_part: MalformedMessage = |v| v.change_proof = Some(Box::new(|m3| m3.tpm = None));
}

fn clock(clock_ms: u64, reset_count: u32) -> Clock {
    Clock { clock_ms, reset_count, restart_count: 0, safe: true, firmware_version: tpm::FIRMWARE }
}

#[test]
fn the_good_vector_is_believed_and_says_so_check_by_check() {
    let vector = Vector::default();
    let proven = vector.prove().unwrap();
    assert_eq!((proven.tier, proven.root_class), (Tier::T4, Some(RootClass::Software)));
    assert_eq!(proven.device_spki, vector.device_key.spki());
    assert!(proven.checks.iter().all(|check| check.result != CheckResult::Fail));
    let Claim::Tpm2(claim) = &proven.claim else { panic!("a TPM's claim") };
    assert!(matches!(&claim.basis, EkBasis::Certificate(certificate) if certificate.model == "swtpm"));
    let Proof::Tpm2(proof) = &proven.proof else { panic!("a TPM's proof") };
    assert_eq!(proof.quote.clock.reset_count, 7);
    let log = proof.quote.log.as_ref().unwrap();
    assert_eq!(log.proved, crate::support::PCRS);
    assert_eq!(log.measured(&holdfast_trust::attest::binding::sha256(&[b"loader"])), Some(4));
    assert_eq!(log.measured(&[0; 32]), None);
}

#[test]
fn every_ek_template_and_an_rsa_ak_are_believed() {
    let eks = [
        (Key::rsa(0), EkTemplate::L1Rsa2048),
        (Key::rsa(0), EkTemplate::H1Rsa2048),
        (Key::p256(), EkTemplate::L2P256),
        (Key::p256(), EkTemplate::H2P256),
        (Key::ec(Curve::P384), EkTemplate::H3P384),
        (Key::ec(Curve::P521), EkTemplate::H4P521),
    ];
    for (key, template) in eks {
        let mut vector = Vector::with_ek(key, template);
        vector.ak_key = Key::rsa(1);
        vector.ak = Area::new(tpm::AK, &vector.ak_key);
        let proven = vector.prove().unwrap_or_else(|refusal| panic!("{template:?}: {refusal:#?}"));
        let Claim::Tpm2(claim) = &proven.claim else { panic!("a TPM's claim") };
        assert_eq!(claim.ek_template, template);
    }
}

#[test]
fn an_ek_whose_stack_strips_leading_zeros_is_the_same_ek() {
    // Look for a key with a leading zero in x: one in 256.
    let key = std::iter::repeat_with(Key::p256)
        .find(|key| matches!(key.subject(), SubjectKey::Ecc { x, .. } if x[0] == 0))
        .unwrap();
    let mut vector = Vector::with_ek(key, EkTemplate::H2P256);
    let SubjectKey::Ecc { x, .. } = vector.ek_key.subject() else { panic!("P-256") };
    vector.change_m1 = Some(Box::new(move |m1| {
        let ek = &mut m1.tpm.as_mut().unwrap().ek_public.0;
        let at = ek.windows(34).position(|bytes| bytes[..2] == [0, 32] && bytes[2..] == x).unwrap();
        ek[at + 1] = 31;
        ek.remove(at + 2);
        let length = (ek.len() - 2) as u16;
        ek[..2].copy_from_slice(&length.to_be_bytes());
    }));
    vector.prove().unwrap();
}

#[test]
fn an_ek_is_named_by_the_hash_of_its_key_in_x509s_form() {
    let vector = Vector::default();
    let public = vector.ek_public().to_tpm2b();
    assert_eq!(holdfast_trust::attest::tpm2::ek_hash(&public), Some(vector.ek_hash()));
    assert_eq!(holdfast_trust::attest::tpm2::ek_hash(&public[1..]), None);
}

#[test]
fn a_listed_ek_without_certificate_is_t3_and_an_unlisted_one_may_await_an_operator() {
    let mut vector = Vector::default();
    vector.change_m1 = Some(Box::new(|m1| m1.tpm.as_mut().unwrap().ek_certificates.clear()));
    vector.house.listed.insert(vector.ek_hash());
    let proven = vector.prove().unwrap();
    assert_eq!((proven.tier, proven.root_class), (Tier::T3, None));
    vector.house.listed.clear();
    vector.house.unlisted = Unlisted::Await;
    let proven = vector.prove().unwrap();
    let Claim::Tpm2(claim) = &proven.claim else { panic!("a TPM's claim") };
    assert_eq!(claim.basis, EkBasis::Unlisted);
    assert_eq!(proven.tier, Tier::T3);
}

#[test]
fn a_listed_ek_with_a_certificate_of_an_unknown_maker_is_t3_with_the_failures_noted() {
    let mut vector = Vector::default();
    vector.house.anchors.anchors.clear();
    vector.house.listed.insert(vector.ek_hash());
    let proven = vector.prove().unwrap();
    assert_eq!(proven.tier, Tier::T3);
    let noted = |check: &&holdfast_proto::api::device::Check| {
        check.rule == "ek-certificate-path" && check.result == CheckResult::Noted
    };
    assert!(proven.checks.iter().any(|check| noted(&check)));
    // A denied certificate stays denied, listed or not.
    vector.house.deny.certificate_serials.insert("4b010203".into());
    assert_refused(vector.prove(), Reason::EkCertificatePath, &[Reason::EkDenyListed]);
}

#[test]
fn reboots_are_counted_and_a_cleared_tpm_raises_no_alarm() {
    use holdfast_trust::attest::tpm2::Reboot;
    for (earlier, expected) in
        [(clock(1, 7), Reboot::None), (clock(1, 5), Reboot::Reset(2)), (clock(90_000, 9), Reboot::Cleared)]
    {
        let mut vector = Vector::default();
        vector.known.clock = Some(earlier);
        let proven = vector.prove().unwrap();
        let Proof::Tpm2(proof) = &proven.proof else { panic!("a TPM's proof") };
        assert_eq!(proof.reboot, Some(expected));
    }
}

#[test]
fn an_owner_ak_is_accepted_only_by_policy_and_cannot_be_judged_by_firmware() {
    let owner = |vector: &mut Vector| {
        let name = vector.ak_public().qualified_name(holdfast_tpm::wire::Hierarchy::Owner);
        let set = move |attest: &mut Attest| attest.qualified_signer = name.clone();
        vector.change_certify = Some(Box::new(set.clone()));
        vector.change_quote = Some(Box::new(set));
    };
    let mut vector = Vector::default();
    owner(&mut vector);
    assert_refused(vector.prove(), Reason::CertifySigner, &[Reason::QuoteSigner]);
    vector.house.ak_hierarchy = holdfast_trust::attest::policy::AkHierarchy::EndorsementOrOwner;
    vector.prove().unwrap();
    vector.house.deny.firmware.push(FirmwareRange {
        manufacturer: "id:00001014".parse().unwrap(),
        from: 0,
        to: 1,
    });
    assert_refused(vector.prove(), Reason::FirmwareDenied, &[]);
}

#[test]
fn no_exporter_mode_is_noted() {
    let mut vector = Vector::default();
    vector.exporter_of_device = Exporter::Absent;
    vector.exporter_of_service = Exporter::Absent;
    let proven = vector.prove().unwrap();
    assert!(
        proven
            .checks
            .iter()
            .any(|check| check.result == CheckResult::Noted && check.detail.contains("no-exporter"))
    );
}

#[test]
fn pcrs_16_and_23_are_quoted_but_never_trusted_and_userspace_pcrs_may_differ() {
    let mut vector = Vector::default();
    vector.house.pcrs = vec![0, 4, 11, 16, 23];
    let log = vector.log.as_mut().unwrap();
    // systemd extends PCR 11 without writing the firmware's log.
    log.extend(11, &[(0x0B, vec![7; 32])]);
    log.extend(23, &[(0x0B, crate::support::SLOT.to_vec())]);
    let proven = vector.prove().unwrap();
    let Proof::Tpm2(proof) = &proven.proof else { panic!("a TPM's proof") };
    assert_eq!(proof.quote.pcrs.keys().copied().collect::<Vec<_>>(), [0, 4, 11]);
    assert_eq!(proof.quote.log.as_ref().unwrap().proved, [0, 4]);
}

#[test]
fn what_is_believed_with_a_reservation_is_noted_and_nothing_else_is() {
    let notes = |change: fn(&mut Vector)| {
        let mut vector = Vector::default();
        change(&mut vector);
        let proven = vector.prove().unwrap();
        let noted = proven.checks.iter().filter(|check| check.result == CheckResult::Noted);
        noted.map(|check| check.detail.clone()).collect::<Vec<_>>()
    };
    assert_eq!(notes(|_| {}), Vec::<String>::new());
    assert_eq!(
        notes(|v| v.house.pcrs = vec![0, 4, 16, 23]),
        ["PCRs [16, 23] can be reset by software: not trusted"]
    );
    // PCR 10 is the system's (IMA); 9 is the last that the firmware's log must explain.
    assert_eq!(
        notes(|v| {
            v.house.pcrs = vec![0, 4, 9, 10];
            v.log.as_mut().unwrap().extend(10, &[(0x0B, vec![7; 32])]);
        }),
        ["PCRs [10] were extended outside this log: their events do not count"]
    );
    let mut vector = Vector::default();
    vector.log.as_mut().unwrap().extend(9, &[(0x0B, vec![7; 32])]);
    assert_refused(vector.prove(), Reason::EventLogReplay, &[]);
    let owner = notes(|v| {
        let name = v.ak_public().qualified_name(holdfast_tpm::wire::Hierarchy::Owner);
        let set = move |attest: &mut Attest| attest.qualified_signer = name.clone();
        v.change_certify = Some(Box::new(set.clone()));
        v.change_quote = Some(Box::new(set));
        v.house.ak_hierarchy = holdfast_trust::attest::policy::AkHierarchy::EndorsementOrOwner;
    });
    assert_eq!(owner, ["owner hierarchy: no reboot detection, firmware version obfuscated"; 2]);
}

#[test]
fn a_challenge_asks_for_what_the_device_has_and_the_service_can_trust() {
    use holdfast_trust::attest::tpm2::verify::challenge_wants;
    let mut vector = Vector::default();
    vector.house.pcrs = vec![0, 7, 16, 23, 11];
    let started = vector.start().unwrap();
    let Claim::Tpm2(claim) = &started.claim else { panic!("a TPM's claim") };
    let wanted = (0x0B, vec![0, 7, 11], "ecdsa-p256-sha256");
    assert_eq!(challenge_wants(claim, &vector.house.policy()), wanted);
}

#[test]
fn a_replaced_issuing_ca_does_not_help_a_forger() {
    // A forger signs an EK certificate with its own CA of the same name.
    let mut vector = Vector::default();
    vector.issuing =
        Ca::new("Issuing CA", Key::p256(), Some(&Ca::new("Root", Key::p256(), None, |_| {})), |_| {});
    assert_refused(vector.prove(), Reason::EkCertificatePath, &[]);
}

#[test]
fn truncation_at_every_byte_refuses_without_a_panic() {
    let vector = Vector::default();
    let m1 = vector.m1();
    for length in 0..m1.len() {
        assert!(
            holdfast_trust::attest::start(&m1[..length], &vector.house.policy(), NOW).is_err(),
            "M1 {length}"
        );
    }
    type Part = fn(&mut holdfast_proto::enroll::EnrollProof) -> &mut Vec<u8>;
    let parts: [Part; 7] = [
        |m3| &mut m3.csr.0,
        |m3| &mut m3.tpm.as_mut().unwrap().device_public.0,
        |m3| &mut m3.tpm.as_mut().unwrap().certify.attest.0,
        |m3| &mut m3.tpm.as_mut().unwrap().certify.signature.0,
        |m3| &mut m3.tpm.as_mut().unwrap().quote.attest.0,
        |m3| &mut m3.tpm.as_mut().unwrap().quote.signature.0,
        |m3| &mut m3.tpm.as_mut().unwrap().event_log.as_mut().unwrap().0,
    ];
    let sent = vector.sent();
    let whole: holdfast_proto::enroll::EnrollProof = serde_json::from_slice(&sent.body).unwrap();
    for part in parts {
        let length = part(&mut whole.clone()).len();
        for at in 0..length {
            let mut cut = whole.clone();
            part(&mut cut).truncate(at);
            let body = serde_json::to_vec(&cut).unwrap();
            let sent = crate::support::Sent {
                m1: sent.m1.clone(),
                session: sent.session.clone(),
                body,
                proof: sent.proof.clone(),
            };
            assert!(vector.judge(&sent).is_err(), "{at} of {length}");
        }
    }
}

#[test]
fn the_downgrade_to_sha1_is_refused_even_with_a_valid_signature() {
    // An RSA AK's TPM can be made to sign with SHA-1 by an unrestricted scheme; the AK's own scheme says SHA-256.
    let mut vector = Vector::default();
    vector.ak_key = Key::rsa(1);
    vector.ak = Area::new(tpm::AK, &vector.ak_key);
    vector.change_quote = Some(Box::new(|attest| attest.hash = Hash::Sha1));
    assert_refused(vector.prove(), Reason::QuoteSignature, &[]);
}
