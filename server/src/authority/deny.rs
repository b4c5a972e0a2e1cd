//! The deny list: endorsement keys, serial numbers of certificates, and firmware that are refused whatever they show.

use super::sql;
use crate::audit::{self, Entry};
use crate::db::{Error, Tx};
use crate::http::auth::Operator;
use crate::refusal::Refusal;
use crate::state::AppState;
use crate::tx;
use holdfast_proto::Digest;
use holdfast_proto::api::authority::{DenialKind, DenyEk, EkDenial};
use holdfast_trust::attest::FirmwareRange;

/// Denies it from the next M1 and M3 on. Denying it twice changes nothing.
pub async fn deny(state: &AppState, operator: &Operator, request: DenyEk) -> Result<EkDenial, Refusal> {
    if request.reason.trim().is_empty() {
        return Err(Refusal::invalid("reason-needed", "say why it is denied"));
    }
    let now = state.now();
    let denial = EkDenial {
        kind: request.kind,
        value: normal(request.kind, &request.value)?,
        reason: audit::printable(&request.reason),
        added_by: operator.principal().to_owned(),
        added_at: now,
    };
    tx!(state.db, "authority.deny", |tx| {
        if sql::denial_insert(tx, &operator.tenant, &denial).await? {
            let entry = operator.did(
                "authority.ek-deny",
                resource(denial.kind, &denial.value),
                denial.reason.as_str(),
            );
            audit::append(tx, &entry, now).await?;
        }
        Ok::<_, Refusal>(())
    })?;
    Ok(denial)
}

/// Takes a denial back.
pub async fn allow(state: &AppState, operator: &Operator, kind: &str, value: &str) -> Result<(), Refusal> {
    let now = state.now();
    let unknown = || Refusal::not_found(format_args!("denial `{}`", audit::printable(value)));
    let kind: DenialKind = serde_json::from_value(serde_json::Value::from(kind)).map_err(|_| unknown())?;
    let value = normal(kind, value)?;
    tx!(state.db, "authority.allow", |tx| {
        if !sql::denial_delete(tx, &operator.tenant, kind, &value).await? {
            return Err(unknown());
        }
        let entry = operator.did("authority.ek-allow", resource(kind, &value), "");
        Ok(audit::append(tx, &entry, now).await?)
    })
}

/// For `device`: the key of a device whose life has ended, in the transaction that ends it.
pub async fn deny_key(
    tx: &mut Tx,
    operator: &Operator,
    ek: &Digest,
    reason: &str,
    now: i64,
) -> Result<(), Error> {
    let denial = EkDenial {
        kind: DenialKind::Ek,
        value: ek.to_hex(),
        reason: audit::printable(reason),
        added_by: operator.principal().to_owned(),
        added_at: now,
    };
    if sql::denial_insert(tx, &operator.tenant, &denial).await? {
        let what = resource(denial.kind, &denial.value);
        let entry = Entry::done(
            &operator.tenant,
            operator.actor(),
            "authority.ek-deny",
            what,
            denial.reason.as_str(),
        );
        audit::append(tx, &entry, now).await?;
    }
    Ok(())
}

fn resource(kind: DenialKind, value: &str) -> String {
    format!("ek-denial/{}/{value}", crate::db::json(&kind).trim_matches('"'))
}

/// The one way in which a value is written, or why it is none.
fn normal(kind: DenialKind, text: &str) -> Result<String, Refusal> {
    let text = text.trim();
    let (found, form) = match kind {
        DenialKind::Ek => {
            (text.parse::<Digest>().ok().map(|ek| ek.to_hex()), "an EK is denied by 64 lower-case hex digits")
        }
        DenialKind::CertificateSerial => (serial_number(text), "a serial number is 1 to 40 hex digits"),
        DenialKind::Firmware => {
            let form = "firmware is denied as MANUFACTURER:FROM-TO, versions of up to 16 hex digits each, FROM not above TO";
            (firmware_range(text).map(|_| text.to_owned()), form)
        }
    };
    found.ok_or_else(|| Refusal::invalid("malformed-denial", form))
}

/// Lower-case hex without leading zeros.
pub fn serial_number(text: &str) -> Option<String> {
    let digits = text.trim_start_matches('0').to_ascii_lowercase();
    let fits = (1..=40).contains(&digits.len()) && digits.bytes().all(|b| b.is_ascii_hexdigit());
    fits.then_some(digits)
}

/// `MANUFACTURER:FROM-TO`, versions in hex, both included.
pub fn firmware_range(text: &str) -> Option<FirmwareRange> {
    let (manufacturer, versions) = text.rsplit_once(':')?;
    let (from, to) = versions.split_once('-')?;
    let version = |text: &str| u64::from_str_radix(text, 16).ok();
    let range =
        FirmwareRange { manufacturer: manufacturer.parse().ok()?, from: version(from)?, to: version(to)? };
    (range.from <= range.to).then_some(range)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_denial_is_written_in_one_way_or_refused() {
        let ek = "0".repeat(63) + "1";
        assert_eq!(normal(DenialKind::Ek, &ek).unwrap(), ek);
        assert_eq!(normal(DenialKind::CertificateSerial, " 00AB12 ").unwrap(), "ab12");
        assert_eq!(normal(DenialKind::Firmware, "IFX:0-ff").unwrap(), "IFX:0-ff");
        let malformed = [
            (DenialKind::Ek, "12"),
            (DenialKind::CertificateSerial, "000"),
            (DenialKind::CertificateSerial, "xyz"),
            (DenialKind::Firmware, "IFX:2-1"),
            (DenialKind::Firmware, "IFX"),
        ];
        for (kind, text) in malformed {
            assert_eq!(normal(kind, text).unwrap_err().code, "malformed-denial", "{text}");
        }
    }
}
