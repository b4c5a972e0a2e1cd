//! Anchors of endorsement keys: added by an operator, audited, never edited.

pub use super::deny::{allow, deny, deny_key, firmware_range, serial_number};
pub use super::sql::{EkAnchor, denials, ek_roots, trust_version};
use crate::tx;

use super::sql;
use crate::audit;
use crate::http::auth::Operator;
use crate::refusal::Refusal;
use crate::state::AppState;
use holdfast_proto::api::authority::{AddEkRoot, EkRoot};
use sha2::{Digest as _, Sha256};
use x509_parser::certificate::X509Certificate;
use x509_parser::prelude::FromDer as _;

const MAX_CERTIFICATE_BYTES: usize = 16 << 10;
const MAX_PAIRS: usize = 32;
const MAX_INTERMEDIATES: usize = 16;

pub async fn add_ek_root(
    state: &AppState,
    operator: &Operator,
    request: AddEkRoot,
) -> Result<EkRoot, Refusal> {
    let certificate = ca_certificate(&request.certificate)?;
    if request.intermediates.len() > MAX_INTERMEDIATES {
        return Err(Refusal::invalid("too-many-intermediates", format!("at most {MAX_INTERMEDIATES}")));
    }
    for intermediate in &request.intermediates {
        ca_certificate(intermediate)?;
    }
    if request.certifies.is_empty() || request.certifies.len() > MAX_PAIRS {
        let text =
            format!("say which manufacturers it certifies: 1 to {MAX_PAIRS} pairs of san_id and tpm_id");
        return Err(Refusal::invalid("certifies-out-of-range", text));
    }
    let well_formed =
        |text: &str| (1..=64).contains(&text.len()) && text.bytes().all(|b| (0x20..0x7f).contains(&b));
    if !request.certifies.iter().all(|pair| well_formed(&pair.san_id) && well_formed(&pair.tpm_id)) {
        return Err(Refusal::invalid(
            "certifies-malformed",
            "san_id and tpm_id are 1 to 64 printable characters",
        ));
    }
    let now = state.now();
    let anchor = EkAnchor {
        shown: EkRoot {
            id: crate::chance::id("ekr", now),
            subject: audit::printable(&certificate.subject().to_string()),
            fingerprint: hex::encode(Sha256::digest(&*request.certificate)),
            class: request.class,
            certifies: request.certifies,
            not_after: certificate.validity().not_after.timestamp(),
            added_by: operator.principal().to_owned(),
            added_at: now,
        },
        certificate: request.certificate.0.clone(),
        intermediates: request.intermediates.into_iter().map(|der| der.0).collect(),
    };
    tx!(state.db, "authority.add_ek_root", |tx| {
        if sql::has_ek_root(tx, &operator.tenant, &anchor.shown.fingerprint).await? {
            return Err(Refusal::conflict("ek-root-known", "this certificate is an anchor already"));
        }
        sql::insert_ek_root(tx, &operator.tenant, &anchor).await?;
        let resource = format!("ek-root/{}", anchor.shown.id);
        let reason = format!("{} as {:?}", anchor.shown.subject, anchor.shown.class);
        audit::append(tx, &operator.did("authority.ek-root.add", resource, reason), now).await?;
        Ok(anchor.shown.clone())
    })
}

/// One whole certificate of a CA, within the cap.
fn ca_certificate(der: &[u8]) -> Result<X509Certificate<'_>, Refusal> {
    let malformed = |text: &str| Refusal::invalid("malformed-certificate", text.to_owned());
    if der.len() > MAX_CERTIFICATE_BYTES {
        return Err(malformed("the certificate is larger than 16 KiB"));
    }
    let (rest, certificate) = X509Certificate::from_der(der)
        .map_err(|_| malformed("these bytes are no X.509 certificate in DER"))?;
    if !rest.is_empty() {
        return Err(malformed("bytes follow the certificate"));
    }
    if !certificate.is_ca() {
        return Err(Refusal::invalid("not-a-ca", "an anchor must be a CA certificate (basicConstraints CA)"));
    }
    Ok(certificate)
}
