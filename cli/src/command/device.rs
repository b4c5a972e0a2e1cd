//! `holdfast device`

use super::{all, key_value, labels, read_json};
use crate::client::{Client, Connection, escaped};
use crate::desk::{Privacy, write_file};
use crate::output::{Format, Rows, facts, or_dash, show, word};
use crate::terminal::when;
use anyhow::Context as _;
use holdfast_proto::api::device::{Device as Record, JoinTokenCreated, RegisterDevice};
use holdfast_proto::blob::{DeviceBlob, ManufactureRecord};
use serde_json::{Value, json};
use std::path::PathBuf;

#[derive(Debug, clap::Subcommand)]
pub(crate) enum Device {
    /// Claim one device before it enrols, from its manufacture record
    Register {
        /// Record printed by `holdfast-device manufacture` (`-` for standard input)
        record: PathBuf,
        /// Label KEY=VALUE, repeatable
        #[arg(long = "label", value_parser = key_value)]
        labels: Vec<(String, String)>,
    },
    /// Claim many: a JSON array of records, or one record a line
    Import {
        records: PathBuf,
        #[arg(long = "label", value_parser = key_value)]
        labels: Vec<(String, String)>,
    },
    /// Make a one-time join token for a device without a TPM; shown once
    Token {
        #[arg(long)]
        serial: String,
        #[arg(long)]
        model: String,
        /// Seconds until it expires
        #[arg(long, default_value_t = 86_400)]
        ttl_s: u64,
    },
    /// Write what a device carries: CA roots, TUF root, URL, hardware, channel
    Blob {
        #[arg(long)]
        hardware: String,
        #[arg(long, default_value = "stable")]
        channel: String,
        /// A join token as `device token -o json` gave it
        #[arg(long)]
        join_token: Option<PathBuf>,
        /// Where to write it; standard output without
        #[arg(long)]
        file: Option<PathBuf>,
    },
    /// List devices
    List {
        /// Label selector, e.g. `plant=a,!spare`
        #[arg(short = 'l', long)]
        selector: Option<String>,
        /// PENDING, ACTIVE, SUSPENDED, RETIRED or SCRAPPED
        #[arg(long)]
        state: Option<String>,
    },
    /// Show one device
    Show { device: String },
    /// Read the evidence of a device's enrolment, check by check
    Evidence { device: String },
    /// Replace the labels of a device by these (KEY=VALUE)
    Label {
        device: String,
        #[arg(required = true, value_parser = key_value)]
        labels: Vec<(String, String)>,
    },
    /// Say whose device a pending enrolment is
    Approve {
        /// Id of the enrolment (`holdfast enrollment list`)
        enrollment: String,
        /// Why; needed where the serial number is another TPM's (state `conflict`)
        #[arg(long, default_value = "")]
        reason: String,
        /// Label KEY=VALUE of the record, repeatable
        #[arg(long = "label", value_parser = key_value)]
        labels: Vec<(String, String)>,
    },
    /// Block secrets, certificates and updates of a device at once
    Quarantine {
        device: String,
        #[arg(long)]
        reason: String,
    },
    /// Take a device out of quarantine
    Reinstate {
        device: String,
        #[arg(long)]
        reason: String,
    },
    /// End a device's life: its keys are denied from then on
    Retire {
        device: String,
        #[arg(long)]
        reason: String,
    },
}

impl Device {
    pub(crate) fn run(&self, connection: &Connection, format: Format) -> anyhow::Result<()> {
        let client = Client::open(connection)?;
        match self {
            Self::Register { record, labels: pairs } => {
                let record: ManufactureRecord = read_json(record)?;
                let body = RegisterDevice { record, labels: labels(pairs) };
                one(format, &client.post("/devices", &body)?)
            }
            Self::Import { records, labels: pairs } => {
                let bodies: Vec<RegisterDevice> = records_of(&super::read_input(records)?)?
                    .into_iter()
                    .map(|record| RegisterDevice { record, labels: labels(pairs) })
                    .collect();
                let answer: Value = client.post("/devices/import", &json!({"devices": bodies}))?;
                crate::output::json(&answer)
            }
            Self::Token { serial, model, ttl_s } => {
                let answer: Value = client
                    .post("/devices/tokens", &json!({"serial": serial, "model": model, "ttl_s": ttl_s}))?;
                let token = ["id", "secret"].map(|key| (key, text(&answer["join_token"][key])));
                let rest = ["device", "expires_at"].map(|key| (key, text(&answer[key])));
                facts(format, &answer, [token, rest].concat())
            }
            Self::Blob { hardware, channel, join_token, file } => {
                let query =
                    format!("/devices/blob?hardware={}&channel={}", escaped(hardware), escaped(channel));
                let mut blob: DeviceBlob = client.get(&query)?;
                if let Some(path) = join_token {
                    let created: JoinTokenCreated = read_json(path)?;
                    blob.join_token = Some(created.join_token);
                }
                let bytes = serde_json::to_vec_pretty(&blob)?;
                match file {
                    Some(path) => write_file(path, &bytes, Privacy::Secret),
                    None => crate::output::json(&blob),
                }
            }
            Self::List { selector, state } => {
                let mut query = vec!["limit=200".to_owned()];
                query.extend(selector.iter().map(|text| format!("selector={}", escaped(text))));
                query.extend(state.iter().map(|text| format!("state={}", escaped(text))));
                let devices: Vec<Record> = all(&client, &format!("/devices?{}", query.join("&")))?;
                show(format, &devices, || rows(&devices))
            }
            Self::Show { device } => one(format, &client.get(&format!("/devices/{}", escaped(device)))?),
            Self::Evidence { device } => {
                let answer: Value = client.get(&format!("/devices/{}/evidence", escaped(device)))?;
                super::enrollment::show_evidence(format, &answer)
            }
            Self::Label { device, labels: pairs } => one(
                format,
                &client.put(
                    &format!("/devices/{}/labels", escaped(device)),
                    &json!({"labels": labels(pairs)}),
                )?,
            ),
            Self::Approve { enrollment, reason, labels: pairs } => {
                let body = json!({"reason": reason, "labels": labels(pairs)});
                let answer: Value =
                    client.post(&format!("/enrollments/{}/approve", escaped(enrollment)), &body)?;
                super::enrollment::one(format, &answer)
            }
            Self::Quarantine { device, reason } => change(&client, format, device, "quarantine", reason),
            Self::Reinstate { device, reason } => change(&client, format, device, "reinstate", reason),
            Self::Retire { device, reason } => change(&client, format, device, "retire", reason),
        }
    }
}

fn change(client: &Client, format: Format, device: &str, verb: &str, reason: &str) -> anyhow::Result<()> {
    one(format, &client.post(&format!("/devices/{}/{verb}", escaped(device)), &json!({"reason": reason}))?)
}

/// A JSON array, or one JSON record a line.
fn records_of(bytes: &[u8]) -> anyhow::Result<Vec<ManufactureRecord>> {
    if let Ok(records) = serde_json::from_slice(bytes) {
        return Ok(records);
    }
    serde_json::Deserializer::from_slice(bytes)
        .into_iter()
        .enumerate()
        .map(|(number, record)| {
            record.with_context(|| format!("record {} is not a manufacture record", number + 1))
        })
        .collect()
}

fn one(format: Format, device: &Record) -> anyhow::Result<()> {
    let labels: Vec<String> = device.labels.iter().map(|(key, value)| format!("{key}={value}")).collect();
    facts(
        format,
        device,
        vec![
            ("id", device.id.to_string()),
            ("serial", device.serial.clone()),
            ("model", device.model.clone()),
            ("state", word(&device.state)),
            ("tier", tier(device)),
            ("labels", labels.join(",")),
            ("release", or_dash(device.release.as_ref())),
            ("slot", or_dash(device.slot.as_ref())),
            ("certificate", or_dash(device.certificate_serial.as_ref())),
            ("expires", device.certificate_not_after.map_or("-".into(), when)),
            ("last seen", device.last_seen.map_or("-".into(), when)),
        ],
    )
}

fn rows(devices: &[Record]) -> Rows<'static> {
    let row = |device: &Record| {
        vec![
            device.id.to_string(),
            device.serial.clone(),
            device.model.clone(),
            word(&device.state),
            tier(device),
            or_dash(device.release.as_ref()),
            device.last_seen.map_or("-".into(), when),
        ]
    };
    Rows {
        head: &["ID", "SERIAL", "MODEL", "STATE", "TIER", "RELEASE", "LAST SEEN"],
        rows: devices.iter().map(row).collect(),
    }
}

/// `T4/software`: the tier together with the class of its root.
fn tier(device: &Record) -> String {
    match (device.tier, device.root_class) {
        (Some(tier), Some(class)) => format!("{}/{}", word(&tier), word(&class)),
        (Some(tier), None) => word(&tier),
        (None, _) => "-".into(),
    }
}

pub(super) fn text(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Null => "-".into(),
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn records_come_as_an_array_or_one_a_line() {
        let record = r#"{"serial":"a","model":"m"}"#;
        assert_eq!(super::records_of(format!("[{record},{record}]").as_bytes()).unwrap().len(), 2);
        assert_eq!(super::records_of(format!("{record}\n{record}\n").as_bytes()).unwrap().len(), 2);
        let error = super::records_of(format!("{record}\n{{}}").as_bytes()).unwrap_err();
        assert_eq!(error.to_string(), "record 2 is not a manufacture record");
    }
}
