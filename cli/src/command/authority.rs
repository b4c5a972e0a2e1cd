//! `holdfast authority`

use super::{all, read_input};
use crate::client::{Client, Connection, escaped};
use crate::output::{Format, Rows, show, word};
use crate::terminal::when;
use anyhow::Context as _;
use holdfast_proto::Bytes;
use holdfast_proto::api::authority::{AddEkRoot, Authority as Record, Certifies, EkDenial, EkRoot as Anchor};
use std::path::PathBuf;

#[derive(Debug, clap::Subcommand)]
pub(crate) enum Authority {
    /// The service's own CAs
    List,
    /// Roots that may vouch for endorsement keys
    #[command(subcommand)]
    EkRoot(EkRoot),
    /// Endorsement keys that are refused whatever they show
    #[command(subcommand)]
    EkDeny(EkDeny),
}

#[derive(Debug, clap::Subcommand)]
pub(crate) enum EkDeny {
    /// Deny an endorsement key, a certificate's serial number, or a range of firmware
    Add {
        /// ek, certificate-serial or firmware
        kind: String,
        /// SHA-256 of the EK, serial number in hex, or MANUFACTURER:FROM-TO (versions in hex)
        value: String,
        #[arg(long)]
        reason: String,
    },
    /// List what is denied
    List,
    /// Deny it no longer
    Remove { kind: String, value: String },
}

#[derive(Debug, clap::Subcommand)]
pub(crate) enum EkRoot {
    /// Trust a root or intermediate for EK certificates of the named makers
    Add {
        /// Certificate, PEM or DER
        certificate: PathBuf,
        /// discrete, firmware, virtual or software
        #[arg(long)]
        class: String,
        /// Pair SAN-ID=TPM-ID that it may certify, e.g. `id:00001014=IBM`; repeatable
        #[arg(long = "certifies", required = true)]
        certifies: Vec<String>,
    },
    /// List the anchors
    List,
}

impl Authority {
    pub(crate) fn run(&self, connection: &Connection, format: Format) -> anyhow::Result<()> {
        let client = Client::open(connection)?;
        match self {
            Self::List => {
                let items: Vec<Record> = all(&client, "/authorities")?;
                show(format, &items, || Rows {
                    head: &["NAME", "STATE", "SERIAL", "EXPIRES"],
                    rows: items
                        .iter()
                        .map(|ca| {
                            vec![ca.name.clone(), ca.state.clone(), ca.serial.clone(), when(ca.not_after)]
                        })
                        .collect(),
                })
            }
            Self::EkRoot(EkRoot::Add { certificate, class, certifies }) => {
                let mut ders = certificates(&read_input(certificate)?)?.into_iter();
                let body = AddEkRoot {
                    certificate: ders.next().context("the file holds no certificate")?,
                    class: serde_json::from_value(serde_json::json!(class)).map_err(|_| {
                        anyhow::anyhow!("`{class}` is no class: discrete, firmware, virtual, software")
                    })?,
                    certifies: certifies.iter().map(|text| pair(text)).collect::<Result<_, _>>()?,
                    intermediates: ders.collect(),
                };
                let anchor: Anchor = client.post("/authorities/ek-roots", &body)?;
                show(format, &anchor, || rows(std::slice::from_ref(&anchor)))
            }
            Self::EkDeny(EkDeny::Add { kind, value, reason }) => {
                let body = serde_json::json!({"kind": kind, "value": value, "reason": reason});
                let denial: EkDenial = client.post("/authorities/ek-denials", &body)?;
                show(format, &denial, || denials(std::slice::from_ref(&denial)))
            }
            Self::EkDeny(EkDeny::List) => {
                let items: Vec<EkDenial> = all(&client, "/authorities/ek-denials")?;
                show(format, &items, || denials(&items))
            }
            Self::EkDeny(EkDeny::Remove { kind, value }) => {
                let path = format!("/authorities/ek-denials/{}/{}", escaped(kind), escaped(value));
                let _: serde_json::Value = client.delete(&path)?;
                Ok(())
            }
            Self::EkRoot(EkRoot::List) => {
                let items: Vec<Anchor> = all(&client, "/authorities/ek-roots")?;
                show(format, &items, || rows(&items))
            }
        }
    }
}

/// One DER certificate, or every certificate of a PEM file: the anchor first, then intermediates below it.
fn certificates(bytes: &[u8]) -> anyhow::Result<Vec<Bytes>> {
    let ders = holdfast_trust::chain::certificates_of(bytes).context("no certificate, PEM or DER")?;
    Ok(ders.into_iter().map(Bytes).collect())
}

/// `id:00001014=IBM`
fn pair(text: &str) -> anyhow::Result<Certifies> {
    let (san_id, tpm_id) = text.split_once('=').with_context(|| format!("`{text}` is not SAN-ID=TPM-ID"))?;
    Ok(Certifies { san_id: san_id.to_owned(), tpm_id: tpm_id.to_owned() })
}

fn denials(items: &[EkDenial]) -> Rows<'static> {
    let row = |denial: &EkDenial| {
        vec![
            word(&denial.kind),
            denial.value.clone(),
            denial.reason.clone(),
            denial.added_by.clone(),
            when(denial.added_at),
        ]
    };
    Rows { head: &["KIND", "VALUE", "REASON", "BY", "SINCE"], rows: items.iter().map(row).collect() }
}

fn rows(anchors: &[Anchor]) -> Rows<'static> {
    let row = |anchor: &Anchor| {
        let pairs: Vec<String> =
            anchor.certifies.iter().map(|pair| format!("{}={}", pair.san_id, pair.tpm_id)).collect();
        vec![
            anchor.id.clone(),
            anchor.subject.clone(),
            word(&anchor.class),
            pairs.join(" "),
            when(anchor.not_after),
        ]
    };
    Rows {
        head: &["ID", "SUBJECT", "CLASS", "CERTIFIES", "EXPIRES"],
        rows: anchors.iter().map(row).collect(),
    }
}
