//! `holdfast inspect`: offline. What would the service say of this file, and why? 0 accepted, 1 refused, 2 usage.

use crate::output::{Format, Rows, facts, json, show, word};
use crate::terminal::{now, when};
use anyhow::Context as _;
use holdfast_trust::attest::inspect::{self, EkInspection, EventLogReport, Inspection};
use holdfast_trust::chain::{CertificateFacts, Certifies, TimePolicy};
use serde_json::{Value, json as object};
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// No certificate, log or folder entry that is looked at is larger.
const FILE_MAX_BYTES: u64 = 16 << 20;
/// Files of a folder that are looked at.
const FILES_MAX: usize = 4096;

#[derive(Debug, clap::Subcommand)]
pub(crate) enum Inspect {
    /// Replay a TCG event log: PCR values per bank, events, what was refused
    Eventlog { file: PathBuf },
    /// Check an EK certificate against roots
    Ek {
        certificate: PathBuf,
        /// Folder of root certificates (PEM or DER)
        #[arg(long)]
        roots: Option<PathBuf>,
        /// Folder of intermediates
        #[arg(long)]
        intermediates: Option<PathBuf>,
        /// Pair SAN-ID=TPM-ID that the roots may certify; any without
        #[arg(long = "certifies")]
        certifies: Vec<String>,
        /// Demand that every certificate of the path is valid now, not when the EK certificate was issued
        #[arg(long)]
        strict_time: bool,
    },
    /// Read a certificate as the service would
    Cert { file: PathBuf },
}

impl Inspect {
    pub(crate) fn run(&self, format: Format) -> ExitCode {
        self.judge(format).unwrap_or_else(|error| {
            // A file that cannot be read at all is wrong usage; what is wrong inside it is a refusal.
            eprintln!("holdfast: {error:#}");
            ExitCode::from(2)
        })
    }

    fn judge(&self, format: Format) -> anyhow::Result<ExitCode> {
        match self {
            Self::Eventlog { file } => match inspect::event_log(&read(file)?) {
                Ok(report) => show_log(format, &report).map(|()| ExitCode::SUCCESS),
                Err(error) => refuse(format, "event-log", &error.to_string()),
            },
            Self::Cert { file } => match inspect::cert(&read(file)?) {
                Ok(certificates) => show_certificates(format, &certificates).map(|()| ExitCode::SUCCESS),
                Err(error) => refuse(format, "certificate", &error.to_string()),
            },
            Self::Ek { certificate, roots, intermediates, certifies, strict_time } => {
                let (roots, intermediates) = (folder(roots.as_deref())?, folder(intermediates.as_deref())?);
                let certifies: Vec<Certifies> = certifies
                    .iter()
                    .map(|pair| pair.parse().map_err(|_| anyhow::anyhow!("`{pair}` is not SAN-ID=TPM-ID")))
                    .collect::<Result<_, _>>()?;
                let with = EkInspection {
                    roots: &roots,
                    intermediates: &intermediates,
                    certifies: &certifies,
                    time: if *strict_time { TimePolicy::Strict } else { TimePolicy::ValidAtIssuance },
                    sha1_issuers: &BTreeSet::new(),
                    algorithms: rustls::crypto::aws_lc_rs::default_provider()
                        .signature_verification_algorithms
                        .all,
                    now: now(),
                };
                match inspect::ek(&read(certificate)?, &with) {
                    Ok(inspection) => show_ek(format, &inspection),
                    Err(error) => refuse(format, "certificate", &error.to_string()),
                }
            }
        }
    }
}

fn refuse(format: Format, reason: &str, detail: &str) -> anyhow::Result<ExitCode> {
    let verdict = object!({"accepted": false, "reason": reason, "detail": detail});
    facts(
        format,
        &verdict,
        vec![("verdict", "refused".into()), ("reason", reason.into()), ("detail", detail.into())],
    )?;
    Ok(ExitCode::from(1))
}

fn show_ek(format: Format, inspection: &Inspection) -> anyhow::Result<ExitCode> {
    let verdict = if inspection.accepted { "accepted" } else { "refused" };
    let reason = inspection.reason.map_or("-", |reason| reason.code());
    if format == Format::Json {
        json(&object!({
            "accepted": inspection.accepted,
            "reason": inspection.reason.map(holdfast_trust::attest::Reason::code),
            "what_to_do": inspection.reason.map(holdfast_trust::attest::Reason::what_to_do),
            "checks": inspection.checks,
            "certificate": inspection.facts.as_ref().map(certificate),
        }))?;
    } else {
        let mut lines = vec![("verdict", verdict.to_owned()), ("reason", reason.to_owned())];
        if let Some(reason) = inspection.reason {
            lines.push(("meaning", reason.means().to_owned()));
            lines.push(("to do", reason.what_to_do().to_owned()));
        }
        if let Some(told) = &inspection.facts {
            lines.extend(certificate_lines(told));
        }
        facts(format, &Value::Null, lines)?;
        println!();
        show(format, &inspection.checks, || Rows {
            head: &["RESULT", "RULE", "DETAIL"],
            rows: inspection
                .checks
                .iter()
                .map(|check| vec![word(&check.result), check.rule.clone(), check.detail.clone()])
                .collect(),
        })?;
    }
    Ok(if inspection.accepted { ExitCode::SUCCESS } else { ExitCode::from(1) })
}

fn show_log(format: Format, report: &EventLogReport) -> anyhow::Result<()> {
    if format == Format::Json {
        let events: Vec<Value> = report
            .events
            .iter()
            .map(|event| {
                object!({
                    "number": event.number, "pcr": event.pcr, "type": event.kind, "type_name": event.kind_name,
                    "digests": event.digests, "data": hex::encode(&event.data),
                    "data_bound": event.binding.is_some(),
                })
            })
            .collect();
        return json(&object!({
            "accepted": true, "format": format!("{:?}", report.format), "startup_locality": report.startup_locality,
            "pcrs": report.pcrs, "unsupported_banks": report.unsupported_banks, "notes": report.notes, "events": events,
        }));
    }
    let mut lines = vec![
        ("verdict", "accepted".to_owned()),
        ("format", format!("{:?}", report.format)),
        ("events", report.events.len().to_string()),
    ];
    lines.extend(report.startup_locality.map(|locality| ("startup locality", locality.to_string())));
    lines.extend(report.unsupported_banks.iter().map(|bank| ("not computed", bank.clone())));
    lines.extend(report.notes.iter().map(|note| ("note", note.clone())));
    facts(format, &Value::Null, lines)?;
    println!();
    let mut rows = Vec::new();
    for (bank, pcrs) in &report.pcrs {
        rows.extend(pcrs.iter().map(|(pcr, value)| vec![bank.clone(), pcr.to_string(), value.clone()]));
    }
    show(format, &Value::Null, || Rows { head: &["BANK", "PCR", "VALUE"], rows })?;
    if format == Format::Wide {
        println!();
        let row = |event: &inspect::EventLine| {
            let bound = if event.binding.is_some() { "yes" } else { "no" };
            vec![
                event.number.to_string(),
                event.pcr.to_string(),
                event.kind_name.to_owned(),
                event.data.len().to_string(),
                bound.to_owned(),
            ]
        };
        show(format, &Value::Null, || Rows {
            head: &["EVENT", "PCR", "TYPE", "BYTES", "DATA PROVEN"],
            rows: report.events.iter().map(row).collect(),
        })?;
    }
    Ok(())
}

fn show_certificates(format: Format, certificates: &[CertificateFacts]) -> anyhow::Result<()> {
    if format == Format::Json {
        return json(&certificates.iter().map(certificate).collect::<Vec<_>>());
    }
    for (number, told) in certificates.iter().enumerate() {
        if number > 0 {
            println!();
        }
        facts(format, &Value::Null, certificate_lines(told))?;
    }
    Ok(())
}

fn certificate(told: &CertificateFacts) -> Value {
    object!({
        "subject": told.subject, "issuer": told.issuer, "serial": told.serial,
        "not_before": told.not_before, "not_after": told.not_after, "key": told.key,
        "signature_algorithm": told.signature_algorithm, "is_ca": told.is_ca, "path_len": told.path_len,
        "key_usage": told.key_usage, "extended_key_usage": told.extended_key_usage,
        "alternative_names": told.alternative_names, "policies": told.policies,
        "subject_key_id": told.subject_key_id, "authority_key_id": told.authority_key_id,
    })
}

fn certificate_lines(told: &CertificateFacts) -> Vec<(&'static str, String)> {
    vec![
        ("subject", told.subject.clone()),
        ("issuer", told.issuer.clone()),
        ("serial", told.serial.clone()),
        ("valid from", when(told.not_before)),
        ("valid until", when(told.not_after)),
        ("key", told.key.clone()),
        ("CA", if told.is_ca { "yes" } else { "no" }.to_owned()),
        ("key usage", told.key_usage.join(", ")),
        ("extended key usage", told.extended_key_usage.join(", ")),
        ("names", told.alternative_names.join(", ")),
        ("policies", told.policies.join(", ")),
    ]
}

fn read(path: &Path) -> anyhow::Result<Vec<u8>> {
    use std::io::Read as _;
    let file = std::fs::File::open(path).with_context(|| format!("{} cannot be read", path.display()))?;
    let mut bytes = Vec::new();
    file.take(FILE_MAX_BYTES + 1)
        .read_to_end(&mut bytes)
        .with_context(|| format!("{} cannot be read", path.display()))?;
    anyhow::ensure!(
        bytes.len() as u64 <= FILE_MAX_BYTES,
        "{} is above {FILE_MAX_BYTES} bytes",
        path.display()
    );
    Ok(bytes)
}

/// Every file of a folder, in the order of names.
fn folder(path: Option<&Path>) -> anyhow::Result<Vec<Vec<u8>>> {
    let Some(path) = path else { return Ok(Vec::new()) };
    let entries =
        std::fs::read_dir(path).with_context(|| format!("the folder {} cannot be read", path.display()))?;
    let mut files: Vec<PathBuf> =
        entries.filter_map(|entry| Some(entry.ok()?.path())).filter(|path| path.is_file()).collect();
    files.sort();
    anyhow::ensure!(files.len() <= FILES_MAX, "{} holds more than {FILES_MAX} files", path.display());
    files.iter().map(|file| read(file)).collect()
}
