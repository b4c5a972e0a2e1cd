//! TPMS_ATTEST under an AK: certifications and quotes, PCR values, and the event log beneath them.

use super::appraise::Clock;
use super::evidence::UNTRUSTED_PCRS;
use crate::attest::Ledger;
use crate::attest::eventlog::{EventLog, Format, bank_name};
use crate::attest::policy::AkHierarchy;
use crate::attest::reason::Reason;
use crate::chain::{Algorithms, signature};
use crate::limits::PCR_VALUES_MAX;
use holdfast_proto::enroll::{Attestation, PcrValue};
use holdfast_tpm::wire::{
    AlgId, Attest, Attested, Hierarchy, Public, ST_ATTEST_CERTIFY, ST_ATTEST_QUOTE, Signature, WireError,
};
use rustls_pki_types::alg_id;
use std::collections::BTreeMap;

/// What a quote proved.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct QuoteFacts {
    pub clock: Clock,
    /// The AK's hierarchy; under the owner's the counters are obfuscated and mean nothing.
    pub hierarchy: Hierarchy,
    pub bank: u16,
    /// PCR values by index; 16 and 23 are never among them.
    pub pcrs: BTreeMap<u8, Vec<u8>>,
    pub log: Option<LogFacts>,
}

/// What an event log proved, under a quote.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogFacts {
    pub events: usize,
    /// PCRs whose replay gives the quoted value: only their events count.
    pub proved: Vec<u8>,
    log: EventLog,
    bank: u16,
}

impl LogFacts {
    /// Whether `digest` was measured into a PCR that the quote proves.
    pub fn measured(&self, digest: &[u8]) -> Option<u8> {
        self.log.measured(self.bank, digest).into_iter().find(|pcr| self.proved.contains(pcr))
    }
}

/// What an attestation is held against.
#[derive(Clone, Copy)]
pub(crate) struct Expect<'a> {
    pub(crate) ak: &'a Public,
    pub(crate) hierarchy: AkHierarchy,
    pub(crate) algorithms: Algorithms<'a>,
    /// extraData.
    pub(crate) binding: [u8; 32],
}

/// The reasons of one kind of attestation.
struct Rules {
    malformed: Reason,
    magic: Reason,
    kind: Reason,
    signer: Reason,
    signature: Reason,
    binding: Reason,
    wanted: u16,
}

const CERTIFY: Rules = Rules {
    malformed: Reason::CertifyMalformed,
    magic: Reason::CertifyNotTpmGenerated,
    kind: Reason::CertifyType,
    signer: Reason::CertifySigner,
    signature: Reason::CertifySignature,
    binding: Reason::CertifyBinding,
    wanted: ST_ATTEST_CERTIFY,
};

const QUOTE: Rules = Rules {
    malformed: Reason::QuoteMalformed,
    magic: Reason::QuoteNotTpmGenerated,
    kind: Reason::QuoteType,
    signer: Reason::QuoteSigner,
    signature: Reason::QuoteSignature,
    binding: Reason::QuoteBinding,
    wanted: ST_ATTEST_QUOTE,
};

/// docs/protocol.md M3, 2 to 4: the device key was certified by the AK, for this session.
pub(crate) fn certified(
    attestation: &Attestation,
    name: &[u8],
    expect: Expect<'_>,
    ledger: &mut Ledger,
) -> Option<()> {
    let (attest, _) = attested(attestation, &CERTIFY, expect, ledger)?;
    let certified = match &attest.attested {
        Attested::Certify { name, .. } => name.as_slice(),
        _ => &[],
    };
    let detail = format!("certified {}, the device key is {}", hex::encode(certified), hex::encode(name));
    ledger.require(Reason::CertifyName, certified == name, detail).then_some(())
}

/// A quote's request: the bank and the PCRs that were asked for.
#[derive(Clone, Copy)]
pub(crate) struct Asked<'a> {
    pub(crate) bank: u16,
    pub(crate) pcrs: &'a [u8],
    pub(crate) values: &'a [PcrValue],
    pub(crate) log: Option<&'a [u8]>,
}

/// docs/protocol.md M3, 2, 3, 7, 8: the quote, its values, its log.
pub(crate) fn quoted(
    attestation: &Attestation,
    asked: Asked<'_>,
    expect: Expect<'_>,
    ledger: &mut Ledger,
) -> Option<QuoteFacts> {
    let (attest, hierarchy) = attested(attestation, &QUOTE, expect, ledger)?;
    let Attested::Quote { selection, digest } = &attest.attested else { return None };
    let mut wanted = asked.pcrs.to_vec();
    wanted.sort_unstable();
    wanted.dedup();
    let single = selection.single_bank();
    let right = single.as_ref().is_some_and(|(bank, pcrs)| bank.0 == asked.bank && pcrs.iter().eq(&wanted));
    let sha2 = AlgId(asked.bank).sha2();
    let detail = format!("quoted {single:?}, asked for {:?} of {}", wanted, bank_name(asked.bank));
    ledger.require(Reason::QuoteSelection, right && sha2.is_some(), detail);
    let values = values(asked.values, asked.bank, &wanted, ledger)?;
    let all: Vec<&[u8]> = values.values().map(Vec::as_slice).collect();
    // Part 3, 18.4: the digest uses the hash of the signing scheme.
    let scheme_hash = expect.ak.scheme().and_then(|scheme| scheme.hash).and_then(AlgId::sha2);
    let computed = scheme_hash.map(|hash| hash.digest(&all)).unwrap_or_default();
    let same = !digest.is_empty() && computed == *digest;
    let detail = format!("quoted {}, the values give {}", hex::encode(digest), hex::encode(&computed));
    ledger.require(Reason::QuoteDigest, same, detail);
    let dropped: Vec<_> = wanted.iter().filter(|pcr| UNTRUSTED_PCRS.contains(pcr)).collect();
    if !dropped.is_empty() {
        ledger.note(Reason::PcrValues, format!("PCRs {dropped:?} can be reset by software: not trusted"));
    }
    let pcrs = values.into_iter().filter(|(pcr, _)| !UNTRUSTED_PCRS.contains(pcr)).collect();
    let log = match asked.log {
        None => {
            ledger.skip(Reason::EventLogReplay, "no event log was sent");
            None
        }
        Some(bytes) => Some(replayed(bytes, asked.bank, &pcrs, ledger)?),
    };
    let clock = Clock::of(attest.clock, attest.firmware_version);
    Some(QuoteFacts { clock, hierarchy, bank: asked.bank, pcrs, log })
}

/// What certifications and quotes have in common.
fn attested(
    attestation: &Attestation,
    rules: &Rules,
    expect: Expect<'_>,
    ledger: &mut Ledger,
) -> Option<(Attest, Hierarchy)> {
    let attest =
        ledger.take(rules.malformed, Attest::parse(&attestation.attest), "one TPMS_ATTEST to its last byte");
    signed(attestation, rules, expect, ledger);
    let attest = attest?;
    let magic = attest.magic;
    ledger.require(rules.magic, magic == holdfast_tpm::wire::MAGIC, format!("magic {magic:#010x}"));
    let right_kind = ledger.require(
        rules.kind,
        attest.kind == rules.wanted,
        format!("type {:#06x}, wanted {:#06x}", attest.kind, rules.wanted),
    );
    let held = attest.extra_data == expect.binding;
    let detail =
        format!("extraData {}, wanted {}", hex::encode(&attest.extra_data), hex::encode(expect.binding));
    ledger.require(rules.binding, held, detail);
    let hierarchy = signer(&attest, rules, expect, ledger);
    right_kind.then_some((attest, hierarchy?))
}

/// docs/protocol.md M3, 2: qualifiedSigner is nameAlg ‖ H(hierarchy ‖ AK Name).
fn signer(attest: &Attest, rules: &Rules, expect: Expect<'_>, ledger: &mut Ledger) -> Option<Hierarchy> {
    let allowed: &[Hierarchy] = match expect.hierarchy {
        AkHierarchy::Endorsement => &[Hierarchy::Endorsement],
        AkHierarchy::EndorsementOrOwner => &[Hierarchy::Endorsement, Hierarchy::Owner],
    };
    let found = allowed
        .iter()
        .copied()
        .find(|hierarchy| attest.qualified_signer == expect.ak.qualified_name(*hierarchy));
    let detail = format!(
        "qualifiedSigner {}, a primary of {found:?}; {allowed:?} allowed",
        hex::encode(&attest.qualified_signer)
    );
    ledger.require(rules.signer, found.is_some(), detail);
    if found == Some(Hierarchy::Owner) {
        ledger.note(rules.signer, "owner hierarchy: no reboot detection, firmware version obfuscated");
    }
    found
}

/// docs/protocol.md M3, 3: scheme and hash are the AK's own, never the signature's choice.
fn signed(attestation: &Attestation, rules: &Rules, expect: Expect<'_>, ledger: &mut Ledger) {
    let Some(signature) =
        ledger.take(rules.malformed, Signature::parse(&attestation.signature), "one TPMT_SIGNATURE")
    else {
        return;
    };
    let own = expect.ak.scheme();
    let same = own.is_some_and(|own| own.alg == signature.scheme && own.hash == Some(signature.hash));
    let verified = match (same, algorithm(signature.scheme, signature.hash)) {
        (false, _) => {
            Err(format!("made with {} and {}, the AK's scheme is {own:?}", signature.scheme, signature.hash))
        }
        (true, None) => Err(format!("{} with {} is not accepted", signature.scheme, signature.hash)),
        (true, Some(id)) => {
            expect.ak.to_spki_der().map_err(|why: WireError| why.to_string()).and_then(|spki| {
                signature::verify(
                    expect.algorithms,
                    &spki,
                    id.as_ref(),
                    &attestation.attest,
                    &signature.to_x509(),
                )
                .map_err(|why| why.to_string())
            })
        }
    };
    ledger.take(
        rules.signature,
        verified,
        format!("{} with {}, the AK's own", signature.scheme, signature.hash),
    );
}

fn algorithm(scheme: AlgId, hash: AlgId) -> Option<rustls_pki_types::AlgorithmIdentifier> {
    Some(match (scheme, hash) {
        (AlgId::ECDSA, AlgId::SHA256) => alg_id::ECDSA_SHA256,
        (AlgId::ECDSA, AlgId::SHA384) => alg_id::ECDSA_SHA384,
        (AlgId::ECDSA, AlgId::SHA512) => alg_id::ECDSA_SHA512,
        (AlgId::RSASSA, AlgId::SHA256) => alg_id::RSA_PKCS1_SHA256,
        (AlgId::RSASSA, AlgId::SHA384) => alg_id::RSA_PKCS1_SHA384,
        (AlgId::RSASSA, AlgId::SHA512) => alg_id::RSA_PKCS1_SHA512,
        (AlgId::RSAPSS, AlgId::SHA256) => alg_id::RSA_PSS_SHA256,
        (AlgId::RSAPSS, AlgId::SHA384) => alg_id::RSA_PSS_SHA384,
        (AlgId::RSAPSS, AlgId::SHA512) => alg_id::RSA_PSS_SHA512,
        _ => return None,
    })
}

/// Exactly one value of the bank's length for each PCR asked for, keyed by index.
fn values(sent: &[PcrValue], bank: u16, wanted: &[u8], ledger: &mut Ledger) -> Option<BTreeMap<u8, Vec<u8>>> {
    let length = AlgId(bank).sha2().map_or(0, holdfast_tpm::wire::Sha2::len_bytes);
    let mut by_index = BTreeMap::new();
    for value in
        sent.iter().take(PCR_VALUES_MAX).filter(|value| value.alg == bank && value.value.len() == length)
    {
        by_index.insert(value.index, value.value.0.clone());
    }
    // One that stands twice leaves another out: as many were sent as are wanted.
    let complete = sent.len() == wanted.len() && by_index.keys().eq(wanted);
    let detail = format!("{} values sent, {} of {} asked for", sent.len(), wanted.len(), bank_name(bank));
    ledger.require(Reason::PcrValues, complete, detail).then_some(by_index)
}

/// docs/protocol.md M3, 8. PCRs 0 to 9 must replay; above them user space and IMA extend without writing this log.
fn replayed(bytes: &[u8], bank: u16, pcrs: &BTreeMap<u8, Vec<u8>>, ledger: &mut Ledger) -> Option<LogFacts> {
    let log = match EventLog::parse(bytes) {
        Ok(log) if log.format == Format::LegacySha1 => {
            ledger.fail(Reason::EventLogMalformed, "a log of SHA-1 alone proves nothing");
            return None;
        }
        parsed => ledger.take(
            Reason::EventLogMalformed,
            parsed,
            format!("{} bytes read to the end", bytes.len()),
        )?,
    };
    log.notes.iter().for_each(|note| ledger.note(Reason::EventLogMalformed, note));
    let Some(replay) = log.replay(bank) else {
        ledger.fail(Reason::EventLogReplay, format!("the log has no bank {}", bank_name(bank)));
        return None;
    };
    let (mut proved, mut differ) = (Vec::new(), Vec::new());
    for (pcr, value) in pcrs {
        let replayed = replay.get(pcr).cloned().unwrap_or_else(|| log.start(*pcr, value.len()));
        if replayed == *value { proved.push(*pcr) } else { differ.push(*pcr) }
    }
    let (firmware, others): (Vec<u8>, Vec<u8>) =
        differ.into_iter().partition(|pcr| *pcr < FIRST_OF_THE_SYSTEM);
    let detail = format!("PCRs {proved:?} replay, {firmware:?} do not");
    let held = ledger.require(Reason::EventLogReplay, firmware.is_empty(), detail);
    if !others.is_empty() {
        ledger.note(
            Reason::EventLogReplay,
            format!("PCRs {others:?} were extended outside this log: their events do not count"),
        );
    }
    held.then_some(LogFacts { events: log.events.len(), proved, log, bank })
}

/// PCRs below are the firmware's and the boot loader's, whose log is complete.
const FIRST_OF_THE_SYSTEM: u8 = 10;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_scheme_and_a_hash_are_one_signature_algorithm_and_what_has_none_is_not_accepted() {
        let table = [
            (AlgId::ECDSA, AlgId::SHA256, alg_id::ECDSA_SHA256),
            (AlgId::ECDSA, AlgId::SHA384, alg_id::ECDSA_SHA384),
            (AlgId::ECDSA, AlgId::SHA512, alg_id::ECDSA_SHA512),
            (AlgId::RSASSA, AlgId::SHA256, alg_id::RSA_PKCS1_SHA256),
            (AlgId::RSASSA, AlgId::SHA384, alg_id::RSA_PKCS1_SHA384),
            (AlgId::RSASSA, AlgId::SHA512, alg_id::RSA_PKCS1_SHA512),
            (AlgId::RSAPSS, AlgId::SHA256, alg_id::RSA_PSS_SHA256),
            (AlgId::RSAPSS, AlgId::SHA384, alg_id::RSA_PSS_SHA384),
            (AlgId::RSAPSS, AlgId::SHA512, alg_id::RSA_PSS_SHA512),
        ];
        for (scheme, hash, wanted) in table {
            assert_eq!(algorithm(scheme, hash), Some(wanted), "{scheme} with {hash}");
        }
        for scheme in [AlgId::ECDSA, AlgId::RSASSA, AlgId::RSAPSS] {
            assert_eq!(algorithm(scheme, AlgId::SHA1), None, "{scheme}");
        }
        assert_eq!(algorithm(AlgId::SHA256, AlgId::SHA256), None);
    }
}
