//! Why a device was refused: stable codes, each with what it means and what to do.
//!
//! The same codes name the rules in an evidence record ([`holdfast_proto::api::device::Check::rule`]): a check is
//! called by the refusal that it ends in. Codes are never renamed and never used again for something else.

macro_rules! reasons {
    ($($(#[doc = $doc:literal])* $name:ident = $code:literal, $means:literal, $todo:literal;)+) => {
        /// A stable reason code.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum Reason {
            $(#[doc = $means] $name,)+
        }

        impl Reason {
            /// Every reason, in the order in which checks run.
            pub const ALL: &'static [Self] = &[$(Self::$name,)+];

            /// The stable code, kebab-case.
            pub fn code(self) -> &'static str {
                match self { $(Self::$name => $code,)+ }
            }

            /// What it means.
            pub fn means(self) -> &'static str {
                match self { $(Self::$name => $means,)+ }
            }

            /// What to do about it.
            pub fn what_to_do(self) -> &'static str {
                match self { $(Self::$name => $todo,)+ }
            }
        }
    };
}

reasons! {
    MalformedMessage = "malformed-message",
        "The message is not the JSON that the protocol asks for, is too large, or its parts do not fit its kind.",
        "Update the device's client; if it is current, look at what stands between it and the service.";
    EkPublicMalformed = "ek-public-malformed",
        "The EK's public area is not exactly one TPM2B_PUBLIC of an RSA or NIST-curve key.",
        "Check that the client sends the TPM's bytes unchanged.";
    EkCertificateMalformed = "ek-certificate-malformed",
        "No X.509 certificate can be read from the EK certificate's bytes.",
        "Read the NV index with tpm2_nvread and try `holdfast inspect ek` on it.";
    EkCertificateOtherKey = "ek-certificate-other-key",
        "The EK certificates that the device sent certify other keys than the EK that it sent.",
        "Treat as an attempt to use another TPM's certificate, unless the TPM was provisioned wrongly by its maker.";
    EkCertificateVersion = "ek-certificate-version",
        "The EK certificate is not X.509 version 3.",
        "Ask the TPM's maker for a proper certificate, or list the EK's hash (tier T3).";
    EkCertificateSerial = "ek-certificate-serial",
        "The EK certificate's serial number is not positive, or is longer than 20 octets.",
        "Ask the TPM's maker for a proper certificate, or list the EK's hash (tier T3).";
    EkCertificateIssuer = "ek-certificate-issuer",
        "The EK certificate names no issuer.",
        "Ask the TPM's maker for a proper certificate, or list the EK's hash (tier T3).";
    EkCertificateIsCa = "ek-certificate-is-ca",
        "The certificate offered as the EK's belongs to a CA.",
        "Send the EK certificate itself, not its issuer.";
    EkCertificateKeyIdentifier = "ek-certificate-key-identifier",
        "The EK certificate has no authority key identifier.",
        "Ask the TPM's maker for a proper certificate, or list the EK's hash (tier T3).";
    EkCertificateKeyUsage = "ek-certificate-key-usage",
        "The EK certificate's key usage lacks keyEncipherment (RSA) or keyAgreement (ECC), or allows to sign certificates or CRLs.",
        "Check that this is an EK's certificate and not an attestation key's.";
    EkCertificateSubjectAlternativeName = "ek-certificate-subject-alternative-name",
        "The EK certificate does not name the TPM's manufacturer, model and version in exactly one directoryName.",
        "Check that this is an EK's certificate; some virtual TPMs need a named vendor rule.";
    EkCertificateCriticalExtension = "ek-certificate-critical-extension",
        "The EK certificate has a critical extension that this service does not know.",
        "Report the certificate; a critical extension is never ignored.";
    EkCertificateExtendedKeyUsage = "ek-certificate-extended-key-usage",
        "The EK certificate's extended key usage lacks tcg-kp-EKCertificate, and no vendor rule waives it.",
        "Check that this is an EK's certificate.";
    EkCertificateKey = "ek-certificate-key",
        "The EK's key is too small, of an unknown kind, or its point is not on its curve.",
        "Use an EK of RSA-2048 or larger, P-256, P-384 or P-521.";
    EkKeyRoca = "ek-key-roca",
        "The EK's RSA key was made by the weak generator of CVE-2017-15361 (ROCA) and can be factored.",
        "Update the TPM's firmware and have it make a new EK, or replace the part.";
    EkCertificatePath = "ek-certificate-path",
        "No valid path leads from the EK certificate to an anchor that the operator trusts.",
        "Add the maker's root with `holdfast authority ek-root add`; missing intermediates can be added alike.";
    EkCertificateTime = "ek-certificate-time",
        "A certificate of the EK's path was not valid at the time that the anchor's policy asks for.",
        "If the maker's issuers have expired, use the anchor's policy valid-at-issuance.";
    EkCertificateManufacturer = "ek-certificate-manufacturer",
        "The anchor may not certify TPMs of the manufacturer that the certificate names.",
        "Widen the anchor with --certifies SAN-ID=TPM-ID if this maker really signs for that manufacturer.";
    EkDenyListed = "ek-deny-listed",
        "The EK, its certificate or its issuer's serial number is on the deny list.",
        "Find out why it was denied before anything else; the deny list names who added it.";
    EkNotListed = "ek-not-listed",
        "The TPM has no EK certificate and its EK is on no list of the maker or of the line.",
        "Register the device's manufacture record, or let an operator approve it.";
    EkTemplateMismatch = "ek-template-mismatch",
        "The EK's public area differs from every known EK template with that key.",
        "Create the EK from a standard template (L-1, L-2, H-1 to H-4, H-6, H-7).";
    AkPublicMalformed = "ak-public-malformed",
        "The AK's public area is not exactly one TPM2B_PUBLIC.",
        "Check that the client sends the TPM's bytes unchanged.";
    AkKey = "ak-key",
        "The AK is neither RSA of at least 2048 bits nor on P-256 or P-384, or its point is not on its curve.",
        "Create the AK from the client's template.";
    AkAttributes = "ak-attributes",
        "The AK's attributes are not those of a restricted signing key that was born in, and cannot leave, the TPM.",
        "Create the AK from the client's template; an unrestricted key can sign forged attestations.";
    AkScheme = "ak-scheme",
        "The AK has no fixed signing scheme with SHA-2, or has a symmetric algorithm.",
        "Create the AK from the client's template.";
    NoUsableBank = "no-usable-bank",
        "The TPM has neither a SHA-256 nor a SHA-384 bank with the PCRs that are asked for.",
        "Allocate a SHA-256 bank (tpm2_pcrallocate, then reboot).";
    SessionMismatch = "session-mismatch",
        "M1 or M2 as repeated in M3 are not those that this session was opened with.",
        "Start again at M1.";
    SessionExpired = "session-expired",
        "The proof came after the session's end.",
        "Start again at M1; a slow TPM may need a longer session.";
    Replayed = "replayed",
        "The session's nonce was spent before.",
        "Start again at M1. If the device did not send it twice, somebody recorded its messages.";
    ProofMac = "proof-mac",
        "The proof does not show the challenge's secret: the TPM that holds the EK and the AK did not open it.",
        "Check that EK and AK live in the same TPM.";
    EkChanged = "ek-changed",
        "The record's device has another EK.",
        "Enrol the device as a replacement, or find out where the old TPM went.";
    AkChanged = "ak-changed",
        "The record's device has another AK; a renewal must use the same.",
        "Recover the device under its EK instead of renewing it.";
    CertifyMalformed = "certify-malformed",
        "The certification is not exactly one TPMS_ATTEST with one TPMT_SIGNATURE.",
        "Check that the client sends the TPM's bytes unchanged.";
    CertifyNotTpmGenerated = "certify-not-tpm-generated",
        "The certification's magic is not TPM_GENERATED_VALUE: no TPM made this structure.",
        "Treat as a forgery.";
    CertifyType = "certify-type",
        "The attestation offered as a certification is of another type.",
        "Treat as a forgery, or update the device's client.";
    CertifySigner = "certify-signer",
        "The certification's qualified signer is not the AK under the hierarchy that is asked for.",
        "Create the AK as a primary of the endorsement hierarchy.";
    CertifySignature = "certify-signature",
        "The certification's signature does not hold under the AK with the AK's own scheme and hash.",
        "Treat as a forgery.";
    CertifyBinding = "certify-binding",
        "The certification does not carry this session's nonce, request and connection.",
        "Start again at M1; if it stays, something between device and service ends its TLS.";
    CertifyName = "certify-name",
        "The certified name is not the Name of the device key that was sent.",
        "Treat as an attempt to have another key certified.";
    DeviceKeyMalformed = "device-key-malformed",
        "The device key's public area is not exactly one TPM2B_PUBLIC.",
        "Check that the client sends the TPM's bytes unchanged.";
    DeviceKeyNotTpmBorn = "device-key-not-tpm-born",
        "The device key was not born in this TPM, can leave it, or is no plain signing key.",
        "Let the client make the key inside the TPM. An imported or loaded software key is never accepted.";
    DeviceKeyType = "device-key-type",
        "The device key is not of the kind that the challenge asked for, or its point is not on its curve.",
        "Let the client make the key from the challenge's template.";
    CsrMalformed = "csr-malformed",
        "The signing request is not exactly one PKCS#10 structure of a bounded size.",
        "Update the device's client.";
    CsrKey = "csr-key",
        "The signing request is for another key than the one that was proved.",
        "Treat as an attempt to get a certificate for a software key.";
    CsrSignature = "csr-signature",
        "The signing request is not signed by its own key, or with an algorithm that is not accepted.",
        "Update the device's client.";
    CsrAsksForCa = "csr-asks-for-ca",
        "The signing request asks for a certificate that can sign certificates.",
        "Treat as an attack; no device is a CA.";
    QuoteMalformed = "quote-malformed",
        "The quote is not exactly one TPMS_ATTEST with one TPMT_SIGNATURE.",
        "Check that the client sends the TPM's bytes unchanged.";
    QuoteNotTpmGenerated = "quote-not-tpm-generated",
        "The quote's magic is not TPM_GENERATED_VALUE: no TPM made this structure.",
        "Treat as a forgery.";
    QuoteType = "quote-type",
        "The attestation offered as a quote is of another type.",
        "Treat as a forgery, or update the device's client.";
    QuoteSigner = "quote-signer",
        "The quote's qualified signer is not the AK under the hierarchy that is asked for.",
        "Create the AK as a primary of the endorsement hierarchy.";
    QuoteSignature = "quote-signature",
        "The quote's signature does not hold under the AK with the AK's own scheme and hash.",
        "Treat as a forgery.";
    QuoteBinding = "quote-binding",
        "The quote does not carry this session's nonce, event log and connection.",
        "Start again; a quote cannot be used twice.";
    QuoteSelection = "quote-selection",
        "The quote covers other PCRs or another bank than those asked for, or none.",
        "Check that the bank is allocated; a quote over an unallocated bank has an empty selection.";
    PcrValues = "pcr-values",
        "The PCR values are not exactly one for each PCR asked for, of the bank's length.",
        "Update the device's client.";
    QuoteDigest = "quote-digest",
        "The PCR values sent are not those quoted.",
        "The client re-reads at most 5 times; a PCR that changes all the time cannot be quoted.";
    TpmClock = "tpm-clock",
        "The TPM's clock went back although the TPM says that it may not.",
        "Treat as a sign of a replayed or forged attestation.";
    FirmwareDenied = "firmware-denied",
        "The TPM's firmware version, as signed by the AK, is on the deny list, or cannot be judged.",
        "Update the TPM's firmware.";
    EventLogMissing = "event-log-missing",
        "The policy asks for an event log and none was sent.",
        "Check that the kernel exposes binary_bios_measurements, or relax the policy.";
    EventLogMalformed = "event-log-malformed",
        "The event log cannot be read to its end.",
        "Try `holdfast inspect eventlog` on it.";
    EventLogReplay = "event-log-replay",
        "Replaying the event log does not give the quoted PCR values.",
        "Treat the log as forged or cut until explained.";
    RebootMissing = "reboot-missing",
        "The TPM was not reset since the update was armed: the new software has not booted.",
        "Let the device reboot into the new slot.";
    MeasurementMissing = "measurement-missing",
        "The boot log does not show the digest that was to boot.",
        "Check which slot booted; the boot loader may have fallen back.";
    TokenUnknown = "token-unknown",
        "No such join token exists for this tenant.",
        "Make a new one with `holdfast device token`.";
    TokenExpired = "token-expired",
        "The join token has expired.",
        "Make a new one with `holdfast device token`.";
    TokenSpent = "token-spent",
        "The join token was used before.",
        "Make a new one, and find out who used the first.";
    TokenClaim = "token-claim",
        "The join token was made for another tenant, model or serial.",
        "Use the token that was made for this device.";
    TokenMac = "token-mac",
        "The proof does not show the join token's secret.",
        "Check that the device's blob holds the token that its id names.";
    RecoveryCertificate = "recovery-certificate",
        "The certificate shown for recovery is not one of this service's for that record.",
        "Use a new join token.";
    RecoverySignature = "recovery-signature",
        "The recovery is not signed by the expired certificate's key.",
        "Use a new join token.";
    RecoveryWindow = "recovery-window",
        "The certificate expired longer ago than the tenant's recovery window.",
        "Use a new join token.";
    SerialConflict = "serial-conflict",
        "The serial number belongs to a record with another EK.",
        "Resolve it in the conflict queue: a replaced board, or an impostor.";
    EkHasOtherSerial = "ek-has-other-serial",
        "The EK belongs to a record with another serial number.",
        "Alarm: a TPM was moved, or a device lies about its serial.";
    RecordSuspended = "record-suspended",
        "The record is suspended.",
        "Resume it once the reason is settled.";
    RecordClosed = "record-closed",
        "The record is retired, scrapped or replaced.",
        "Register the device anew if it is really to come back.";
    RecordUnknown = "record-unknown",
        "No record that was ever active has this serial number and key.",
        "Enrol instead of recovering.";
    RecordRevoked = "record-revoked",
        "The record's certificate was revoked; expired would have been no matter.",
        "Find out why it was revoked, then enrol by an operator's approval.";
    OperatorRefused = "operator-refused",
        "An operator refused this TPM for this serial number.",
        "Ask whoever refused it; approving the enrolment lifts the refusal.";
    KindNotAllowed = "kind-not-allowed",
        "The tenant's policy does not accept this kind of attestation or this tier.",
        "Change the policy, or use a device with a TPM.";
}

impl std::fmt::Display for Reason {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.code())
    }
}

impl std::str::FromStr for Reason {
    type Err = ();

    fn from_str(code: &str) -> Result<Self, ()> {
        Self::ALL.iter().copied().find(|reason| reason.code() == code).ok_or(())
    }
}

/// The table of the reference book, Markdown.
pub fn table() -> String {
    let head = "| code | what it means | what to do |\n|---|---|---|\n".to_owned();
    Reason::ALL.iter().fold(head, |table, reason| {
        table + &format!("| `{reason}` | {} | {} |\n", reason.means(), reason.what_to_do())
    })
}
