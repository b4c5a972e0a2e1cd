//! The service's half: M1 and M3 of a TPM 2.0.

use super::appraise::{Clock, Reboot};
use super::ek::{self, EkCertificate, Read};
use super::evidence::{DEVICE_KEY, UNTRUSTED_PCRS, usable_bank};
use super::quote::{self, Asked, Expect, QuoteFacts};
use super::{ak, curve};
use crate::attest::binding::sha256;
use crate::attest::policy::EventLogPolicy;
use crate::attest::reason::Reason;
use crate::attest::registry::{Checks, Kind};
use crate::attest::verify::{Claim, Evidence, Proof};
use crate::attest::{Failures, Ledger, Policy, Unlisted};
use crate::chain::ManufacturerId;
use crate::chain::path::Search;
use crate::limits::{EK_CERTIFICATES_MAX, PCR_BANKS_MAX};
use holdfast_proto::Digest;
use holdfast_proto::api::device::{RootClass, Tier};
use holdfast_proto::enroll::{AttestKind, EnrollStart, TpmStart};
use holdfast_tpm::wire::{Curve, EkTemplate, Hierarchy, Public, SubjectKey};

/// The kind `tpm2`.
pub struct Tpm2;

/// Why an EK is believed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum EkBasis {
    /// Its maker certified it.
    Certificate(Box<EkCertificate>),
    /// A maker, the line or an operator listed its hash.
    Listed,
    /// Nobody knows it; an operator must say so (PENDING).
    Unlisted,
}

/// What M1 showed of a TPM.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TpmClaim {
    /// For MakeCredential: its Name is over the bytes received.
    pub ek: Public,
    /// SHA-256 of the EK's SubjectPublicKeyInfo.
    pub ek_hash: Digest,
    pub ek_template: EkTemplate,
    pub basis: EkBasis,
    pub ak: Public,
    /// Computed here.
    pub ak_name: Vec<u8>,
    pub tier: Tier,
    pub root_class: Option<RootClass>,
    /// From the certificate if there is one, else as the TPM claims.
    pub manufacturer: Option<ManufacturerId>,
    /// The bank to ask the quote over.
    pub pcr_bank: u16,
}

/// What M3 proved of a TPM.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TpmProven {
    /// The device key's public area.
    pub device_key: Public,
    pub quote: QuoteFacts,
    /// Since the record's last attestation, if there is one.
    pub reboot: Option<Reboot>,
}

impl Kind for Tpm2 {
    fn kind(&self) -> AttestKind {
        AttestKind::Tpm2
    }

    fn start(
        &self,
        message: &EnrollStart,
        policy: &Policy<'_>,
        now: i64,
        ledger: &mut Checks<'_>,
    ) -> Option<Claim> {
        let claim = start(message.tpm.as_ref()?, policy, now, ledger.0)?;
        Some(Claim::Tpm2(Box::new(claim)))
    }

    fn prove(
        &self,
        claim: &Claim,
        evidence: &Evidence<'_>,
        policy: &Policy<'_>,
        ledger: &mut Checks<'_>,
    ) -> Option<Proof> {
        let Claim::Tpm2(claim) = claim else { return None };
        Some(Proof::Tpm2(Box::new(prove(claim, evidence, policy, ledger.0)?)))
    }
}

fn start(tpm: &TpmStart, policy: &Policy<'_>, now: i64, ledger: &mut Ledger) -> Option<TpmClaim> {
    let counts = tpm.ek_certificates.len() <= EK_CERTIFICATES_MAX && tpm.pcr_banks.len() <= PCR_BANKS_MAX;
    let detail = format!("{} EK certificates, {} banks", tpm.ek_certificates.len(), tpm.pcr_banks.len());
    if !ledger.require(Reason::MalformedMessage, counts, detail) {
        return None;
    }
    let ek = ledger.take(Reason::EkPublicMalformed, Public::parse_tpm2b(&tpm.ek_public), "one TPM2B_PUBLIC");
    let ak = ledger.take(Reason::AkPublicMalformed, Public::parse_tpm2b(&tpm.ak_public), "one TPM2B_PUBLIC");
    if let Some(ak) = &ak {
        ak::check_ak(ak, ledger);
    }
    let bank = usable_bank(&tpm.pcr_banks, policy.pcr_selection);
    let detail = format!("bank {bank:?} with PCRs {:?}", policy.pcr_selection);
    ledger.require(Reason::NoUsableBank, bank.is_some(), detail);
    let ek = ek?;
    let key = ledger.take(Reason::EkPublicMalformed, ek.subject_key(), "a key stands in it")?;
    let ek_hash = Digest(sha256(&[&key.to_spki_der()]));
    let denied = policy.deny.ek_hashes.contains(&ek_hash);
    ledger.require(Reason::EkDenyListed, !denied, format!("EK {ek_hash}"));
    let basis = basis(tpm, &key, ek_hash, policy, now, ledger);
    let template = template(&ek, &key, ledger);
    let (basis, ak) = (basis?, ak?);
    let (tier, root_class, certified) = match &basis {
        EkBasis::Certificate(certificate) => {
            (Tier::T4, Some(certificate.class), Some(certificate.manufacturer))
        }
        EkBasis::Listed | EkBasis::Unlisted => (Tier::T3, None, None),
    };
    let claimed = tpm.manufacturer.parse::<ManufacturerId>().ok();
    lint_manufacturer(certified, claimed, policy, &basis, ledger);
    let ak_name = ak.name();
    Some(TpmClaim {
        ek,
        ek_hash,
        ek_template: template?,
        basis,
        ak,
        ak_name,
        tier,
        root_class,
        manufacturer: certified.or(claimed),
        pcr_bank: bank?,
    })
}

/// Which certificate, list or operator stands behind the EK.
fn basis(
    tpm: &TpmStart,
    key: &SubjectKey,
    ek_hash: Digest,
    policy: &Policy<'_>,
    now: i64,
    ledger: &mut Ledger,
) -> Option<EkBasis> {
    let listed = policy.listed_eks.contains(&ek_hash);
    let mut same_shape_of_others = 0;
    for nv in &tpm.ek_certificates {
        let mut own = Ledger::default();
        let Some(read) = ek::read(&nv.bytes, &mut own) else {
            // Another index may hold the right one; without any, this stays a failure.
            let failures =
                if tpm.ek_certificates.len() > 1 || listed { Failures::AsNotes } else { Failures::Stay };
            ledger.absorb(own, failures);
            continue;
        };
        if read.key.as_ref() != Some(key) {
            ledger.note(
                Reason::EkCertificateOtherKey,
                format!("NV {:#010x} certifies another key", nv.nv_index),
            );
            same_shape_of_others += usize::from(read.key.as_ref().is_none_or(|other| same_shape(other, key)));
            continue;
        }
        ledger.absorb(own, Failures::Stay);
        ledger.require(
            Reason::EkCertificateOtherKey,
            true,
            format!("NV {:#010x} certifies this EK", nv.nv_index),
        );
        return certified(&read, tpm, listed, policy, now, ledger);
    }
    if same_shape_of_others > 0 {
        ledger.fail(Reason::EkCertificateOtherKey, "no EK certificate is for the EK that was sent");
        return None;
    }
    if ledger.failed() == Some(Reason::EkCertificateMalformed) {
        return None;
    }
    unproven(listed, ek_hash, policy, ledger)
}

fn certified(
    read: &Read<'_>,
    tpm: &TpmStart,
    listed: bool,
    policy: &Policy<'_>,
    now: i64,
    ledger: &mut Ledger,
) -> Option<EkBasis> {
    let chain = ek::chain(tpm.ek_chain.iter().map(|bytes| bytes.0.as_slice()), ledger);
    let search = Search { anchors: policy.anchors, algorithms: policy.algorithms, now };
    let mut own = Ledger::default();
    let certificate = ek::appraise(read, &chain, search, policy.deny, &mut own);
    // A listed EK keeps tier T3 without its maker's word, but nothing lets a denied or a weak key through.
    let fatal = [Reason::EkDenyListed, Reason::EkKeyRoca, Reason::EkCertificateKey];
    let down_to_t3 = listed && own.failed().is_some() && !own.has_failed_any(&fatal);
    if down_to_t3 {
        ledger.absorb(own, Failures::AsNotes);
        ledger.note(Reason::EkCertificatePath, "the EK is listed: tier T3, without the maker's certificate");
        return Some(EkBasis::Listed);
    }
    ledger.absorb(own, Failures::Stay);
    certificate.map(|certificate| EkBasis::Certificate(Box::new(certificate)))
}

fn unproven(listed: bool, ek_hash: Digest, policy: &Policy<'_>, ledger: &mut Ledger) -> Option<EkBasis> {
    if listed {
        ledger.require(Reason::EkNotListed, true, format!("EK {ek_hash} is listed"));
        return Some(EkBasis::Listed);
    }
    match policy.unlisted {
        Unlisted::Refuse => {
            ledger.fail(Reason::EkNotListed, format!("no certificate, and EK {ek_hash} is on no list"));
            None
        }
        Unlisted::Await => {
            ledger.note(Reason::EkNotListed, format!("EK {ek_hash} awaits an operator"));
            Some(EkBasis::Unlisted)
        }
    }
}

/// Check 9: the TPMT_PUBLIC rebuilt from the key and a known template equals the one sent, field by field.
fn template(ek: &Public, key: &SubjectKey, ledger: &mut Ledger) -> Option<EkTemplate> {
    let sound = curve::check(key, 2048, &[Curve::P256, Curve::P384, Curve::P521]);
    if let Err(why) = &sound {
        ledger.fail(Reason::EkCertificateKey, why);
    }
    let rebuilt =
        EkTemplate::ALL.into_iter().filter_map(|template| Some((template, template.public(key).ok()?)));
    let compared: Vec<_> =
        rebuilt.map(|(template, public)| (template, public.equal_after_left_padding(ek))).collect();
    let found = compared.iter().find(|(_, same)| same.is_ok()).map(|(template, _)| *template);
    let detail = match found {
        Some(template) => format!("{template:?}"),
        None => compared
            .iter()
            .filter_map(|(template, same)| same.as_ref().err().map(|why| format!("{template:?}: {why}")))
            .collect::<Vec<_>>()
            .join("; "),
    };
    ledger.require(Reason::EkTemplateMismatch, found.is_some(), detail);
    found
}

/// What the TPM says of its maker is unsigned: a lint, never a decision.
fn lint_manufacturer(
    certified: Option<ManufacturerId>,
    claimed: Option<ManufacturerId>,
    policy: &Policy<'_>,
    basis: &EkBasis,
    ledger: &mut Ledger,
) {
    let (Some(certified), EkBasis::Certificate(certificate)) = (certified, basis) else { return };
    let anchor = policy
        .anchors
        .anchors
        .iter()
        .find(|anchor| Digest(sha256(&[&anchor.certificate])) == certificate.anchor);
    let expected = anchor.and_then(|anchor| match &anchor.scope {
        crate::chain::Scope::Only(pairs) => Some(pairs),
        crate::chain::Scope::Unscoped => None,
    });
    let fits = expected
        .is_none_or(|pairs| pairs.iter().any(|pair| pair.san == certified && Some(pair.tpm) == claimed));
    if !fits {
        ledger.note(
            Reason::EkCertificateManufacturer,
            format!("the certificate says {certified}, the TPM reports {claimed:?} (unsigned)"),
        );
    }
}

fn same_shape(one: &SubjectKey, other: &SubjectKey) -> bool {
    match (one, other) {
        (SubjectKey::Rsa { .. }, SubjectKey::Rsa { .. }) => one.bits() == other.bits(),
        (SubjectKey::Ecc { curve, .. }, SubjectKey::Ecc { curve: theirs, .. }) => curve == theirs,
        _ => false,
    }
}

fn prove(
    claim: &TpmClaim,
    evidence: &Evidence<'_>,
    policy: &Policy<'_>,
    ledger: &mut Ledger,
) -> Option<TpmProven> {
    let session = evidence.attempt.session;
    let (Some(tpm), Some(sealed), Some(secret)) = (&evidence.message.tpm, &session.tpm, &session.secret)
    else {
        ledger.fail(Reason::MalformedMessage, "M3 and its session have a part for a TPM");
        return None;
    };
    let same = sealed.ek_hash == claim.ek_hash && sealed.ak_name == claim.ak_name;
    ledger.require(Reason::SessionMismatch, same, "EK and AK of the session");
    check_known(claim, evidence, ledger);
    // docs/protocol.md M3, 1.
    let held = evidence.transcript.proof_holds(&secret.0, evidence.body, evidence.attempt.proof);
    ledger.require(Reason::ProofMac, held, "HMAC of the activated secret over T and the body");
    let device_key =
        ledger.take(Reason::DeviceKeyMalformed, Public::parse_tpm2b(&tpm.device_public), "one TPM2B_PUBLIC");
    if let Some(device_key) = &device_key {
        ak::check_device_key(device_key, ledger);
        let same = evidence.csr_key.is_some() && device_key.subject_key().ok() == evidence.csr_key;
        ledger.require(Reason::CsrKey, same, "the request's key is the certified key");
    }
    let exporter = &evidence.attempt.exporter;
    let expect = |binding| Expect {
        ak: &claim.ak,
        hierarchy: policy.ak_hierarchy,
        algorithms: policy.algorithms,
        binding,
    };
    let name = device_key.as_ref().map(Public::name).unwrap_or_default();
    let binding = evidence.transcript.certify(&evidence.message.csr, exporter);
    let certified = quote::certified(&tpm.certify, &name, expect(binding), ledger);
    let log = tpm.event_log.as_ref().map(|log| log.0.as_slice());
    if policy.event_log == EventLogPolicy::Required {
        ledger.require(Reason::EventLogMissing, log.is_some(), "the policy asks for an event log");
    }
    let asked = Asked { bank: sealed.pcr_bank, pcrs: &sealed.pcr_selection, values: &tpm.pcr_values, log };
    let binding = evidence.transcript.quote(log, exporter);
    let quote = quote::quoted(&tpm.quote, asked, expect(binding), ledger)?;
    check_firmware(claim.manufacturer, &quote, policy, ledger);
    let reboot = check_clock(&quote.clock, evidence.attempt.known.clock.as_ref(), ledger);
    certified?;
    Some(TpmProven { device_key: device_key?, quote, reboot })
}

/// Renewal and recovery: the record's EK, and in a renewal its AK.
fn check_known(claim: &TpmClaim, evidence: &Evidence<'_>, ledger: &mut Ledger) {
    let known = evidence.attempt.known;
    if let Some(ek_hash) = known.ek_hash {
        ledger.require(
            Reason::EkChanged,
            ek_hash == claim.ek_hash,
            format!("the record has EK {ek_hash}, this is {}", claim.ek_hash),
        );
    }
    if let Some(ak_name) = &known.ak_name {
        let detail =
            format!("the record has AK {}, this is {}", hex::encode(ak_name), hex::encode(&claim.ak_name));
        ledger.require(Reason::AkChanged, *ak_name == claim.ak_name, detail);
    }
}

/// The firmware part of check 7 of M1, on what the AK signed.
pub(crate) fn check_firmware(
    manufacturer: Option<ManufacturerId>,
    quote: &QuoteFacts,
    policy: &Policy<'_>,
    ledger: &mut Ledger,
) {
    let version = quote.clock.firmware_version;
    let of_this_maker =
        |range: &&crate::attest::FirmwareRange| manufacturer.is_none_or(|maker| maker == range.manufacturer);
    let mut ranges = policy.deny.firmware.iter().filter(of_this_maker).peekable();
    let detail = format!("firmware {version:#018x} of {manufacturer:?}");
    if ranges.peek().is_some() && quote.hierarchy != Hierarchy::Endorsement {
        return ledger.fail(
            Reason::FirmwareDenied,
            format!("{detail} is obfuscated under this hierarchy and cannot be judged"),
        );
    }
    let denied = ranges.any(|range| (range.from..=range.to).contains(&version));
    ledger.require(Reason::FirmwareDenied, !denied, detail);
}

pub(crate) fn check_clock(clock: &Clock, earlier: Option<&Clock>, ledger: &mut Ledger) -> Option<Reboot> {
    let Some(earlier) = earlier else {
        ledger.skip(Reason::TpmClock, format!("resetCount {}; no earlier attestation", clock.reset_count));
        return None;
    };
    let since = clock.since(earlier);
    let detail = format!("resetCount {} then {}: {since:?}", earlier.reset_count, clock.reset_count);
    ledger.take(Reason::TpmClock, since, detail)
}

/// M2's part for a TPM, apart from the credential.
pub fn challenge_wants(claim: &TpmClaim, policy: &Policy<'_>) -> (u16, Vec<u8>, &'static str) {
    let pcrs = policy.pcr_selection.iter().copied().filter(|pcr| !UNTRUSTED_PCRS.contains(pcr)).collect();
    (claim.pcr_bank, pcrs, DEVICE_KEY)
}
