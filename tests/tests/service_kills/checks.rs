//! The service after all kills, held against what its callers were told.

use crate::api::{Api, from_base64};
use crate::ledger::{Known, Ledger};
use anyhow::{Context as _, bail, ensure};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};

/// Who looks.
pub(crate) struct Eyes {
    pub(crate) viewer: Api,
    pub(crate) auditor: Api,
    pub(crate) grants: Api,
    pub(crate) secrets: Api,
    /// A device that may read every secret of the load.
    pub(crate) reader: Api,
}

/// Everything holds of the ledger, or what does not.
pub(crate) fn hold(eyes: &Eyes, ledger: &Ledger) -> anyhow::Result<()> {
    let audit = Audit::read(&eyes.auditor)?;
    let checks = [
        claims(eyes, ledger, &audit),
        secrets(eyes, ledger, &audit),
        grants(eyes, ledger, &audit),
        rollouts(eyes, ledger, &audit),
        certificates(eyes, ledger, &audit),
        assignments(eyes, ledger),
    ];
    let broken: Vec<String> = checks.into_iter().filter_map(Result::err).map(|e| format!("{e:#}")).collect();
    ensure!(broken.is_empty(), "{}", broken.join("\n"));
    Ok(())
}

/// The audit trail, by action and resource.
struct Audit(BTreeMap<(String, String), Vec<String>>);

impl Audit {
    fn read(auditor: &Api) -> anyhow::Result<Self> {
        let mut rows: BTreeMap<_, Vec<String>> = BTreeMap::new();
        for row in auditor.all("/api/v1/audit?outcome=done")? {
            let key = (text(&row, "action")?, text(&row, "resource")?);
            rows.entry(key).or_default().push(text(&row, "reason")?);
        }
        Ok(Self(rows))
    }

    /// The reasons of the rows.
    fn of(&self, action: &str, resource: &str) -> &[String] {
        self.0.get(&(action.to_owned(), resource.to_owned())).map_or(&[], Vec::as_slice)
    }

    fn once(&self, action: &str, resource: &str) -> anyhow::Result<()> {
        let rows = self.of(action, resource).len();
        ensure!(rows == 1, "{action} of {resource} has {rows} audit rows");
        Ok(())
    }

    fn count(&self, action: &str) -> usize {
        self.0.iter().filter(|((found, _), _)| found == action).map(|(_, rows)| rows.len()).sum()
    }
}

fn claims(eyes: &Eyes, ledger: &Ledger, audit: &Audit) -> anyhow::Result<()> {
    let devices = eyes.viewer.all("/api/v1/devices")?;
    let found = by(&devices, "serial")?;
    for (serial, claim) in &ledger.claims {
        ensure!(claim.ids.len() <= 1, "{serial} was told to have the ids {:?}", claim.ids);
        let Some(id) = claim.ids.first() else { continue };
        let device = found.get(serial).with_context(|| format!("the claim of {serial} is lost"))?;
        ensure!(device["id"] == id.as_str(), "{serial} is {device}, not {id}");
        let turn: u64 = text(&device["labels"], "turn")?.parse()?;
        ensure!(
            claim.turn == Some(turn) || claim.turns_lost.contains(&turn),
            "{serial} has turn {turn}, told was {:?}, unknown {:?}",
            claim.turn,
            claim.turns_lost
        );
        audit.once("device.register", &format!("device/{id}"))?;
        let changes = audit.of("device.label", &format!("device/{id}")).len();
        ensure!(changes >= claim.relabelled, "{serial}: {changes} audit rows, {} changes", claim.relabelled);
    }
    ensure!(audit.count("device.register") == devices.len(), "devices and their audit rows differ in number");
    Ok(())
}

fn secrets(eyes: &Eyes, ledger: &Ledger, audit: &Audit) -> anyhow::Result<()> {
    let stored = eyes.secrets.all("/api/v1/secrets")?;
    let found = by(&stored, "path")?;
    for (path, versions) in &ledger.secrets {
        let newest = found.get(path).and_then(|secret| secret["current_version"].as_u64()).unwrap_or(0);
        let acknowledged = versions.acknowledged.keys().next_back().copied().unwrap_or(0);
        ensure!(newest >= acknowledged, "{path} is at version {newest}, told was {acknowledged}");
        let mut unknown = versions.lost.clone();
        for version in 1..=newest {
            let value = eyes.reader.read(&format!("/v1/secret/{path}?version={version}"))?;
            let value = String::from_utf8(from_base64(&value["value"])?)?;
            match versions.acknowledged.get(&version) {
                Some(told) => ensure!(*told == value, "{path} {version} is {value:?}, told was {told:?}"),
                // Removed: a value that was written once is found once.
                None => ensure!(unknown.remove(&value), "{path} {version} is {value:?}: nobody wrote that"),
            }
        }
        let numbered = audit.of("secret.put", &format!("secret/{path}"));
        let numbers: BTreeSet<u64> = numbered.iter().filter_map(|reason| version_of(reason)).collect();
        ensure!(
            numbered.len() as u64 == newest && numbers == (1..=newest).collect(),
            "{path} has {newest} versions and the audit rows {numbered:?}"
        );
    }
    Ok(())
}

/// `version 7, 12 bytes`
fn version_of(reason: &str) -> Option<u64> {
    reason.strip_prefix("version ")?.split(',').next()?.parse().ok()
}

fn grants(eyes: &Eyes, ledger: &Ledger, audit: &Audit) -> anyhow::Result<()> {
    let stored = eyes.grants.all("/api/v1/grants")?;
    let stored: Vec<Value> = stored
        .into_iter()
        .filter(|grant| grant["resource"].as_str().is_some_and(|r| r.starts_with("grants/")))
        .collect();
    let mut found = BTreeMap::new();
    for grant in &stored {
        let resource = text(grant, "resource")?;
        ensure!(ledger.grants.contains_key(&resource), "{resource}: nobody proposed that");
        ensure!(
            found.insert(resource.clone(), grant).is_none(),
            "{resource} was proposed once and is there twice"
        );
        audit.once("grant.propose", &format!("grant/{}", text(grant, "id")?))?;
    }
    for (resource, told) in &ledger.grants {
        let Some(id) = &told.id else { continue };
        let grant = found.get(resource).with_context(|| format!("the proposal {resource} is lost"))?;
        let approvals = audit.of("grant.approve", &format!("grant/{id}")).len();
        let is_right = match (told.approved, grant["state"].as_str()) {
            (Known::Acknowledged, Some("active")) => approvals == 1,
            (Known::Lost, Some("active")) => approvals == 1,
            (Known::Lost | Known::No, Some("proposed")) => approvals == 0,
            _ => false,
        };
        ensure!(
            grant["id"] == id.as_str() && is_right,
            "{resource}: {grant}, told was {told:?}, {approvals} approvals"
        );
    }
    Ok(())
}

fn rollouts(eyes: &Eyes, ledger: &Ledger, audit: &Audit) -> anyhow::Result<()> {
    let stored = eyes.viewer.all("/api/v1/rollouts")?;
    let found = by(&stored, "id")?;
    let mut selectors = BTreeSet::new();
    for (id, rollout) in &found {
        let selector = text(rollout, "selector")?;
        ensure!(selectors.insert(selector.clone()), "{selector} was drafted once and is there twice");
        let known = ledger.rollouts.get(id).map(|told| &told.selector);
        ensure!(
            known == Some(&selector) || ledger.drafts_lost.contains(&selector),
            "{id} with {selector}: nobody drafted that"
        );
        audit.once("rollout.create", &format!("rollout/{id}"))?;
    }
    for (id, told) in &ledger.rollouts {
        let rollout = found.get(id).with_context(|| format!("the rollout {id} is lost"))?;
        for (order, known) in &told.orders {
            let rows = audit.of(&format!("rollout.{order}"), &format!("rollout/{id}")).len();
            let is_right = match known {
                Known::Acknowledged => rows == 1,
                Known::Lost | Known::No => rows <= 1,
            };
            ensure!(is_right, "{order} of {id} is {known:?} and has {rows} audit rows");
        }
        let cancelled = told.orders.get("cancel") == Some(&Known::Acknowledged);
        ensure!(
            !cancelled || rollout["state"] == "Cancelled",
            "{id} was cancelled and is {}",
            rollout["state"]
        );
    }
    Ok(())
}

/// Which certificates were issued, by the evidence behind each: the row is of the same transaction.
fn certificates(eyes: &Eyes, ledger: &Ledger, audit: &Audit) -> anyhow::Result<()> {
    let mut issued: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for attempt in eyes.viewer.all("/api/v1/enrollments?state=issued")? {
        let id = text(&attempt, "id")?;
        let shown = eyes.viewer.read(&format!("/api/v1/enrollments/{id}"))?;
        let serial = text(&shown, "certificate_serial")?;
        let device = text(&attempt, "device")?;
        let reasons = audit.of("enroll.issue", &format!("device/{device}"));
        let told = format!("{id} certificate {serial}");
        ensure!(reasons.iter().filter(|reason| **reason == told).count() == 1, "no one audit row `{told}`");
        issued.entry(device).or_default().insert(serial);
    }
    let all: Vec<&String> = issued.values().flatten().collect();
    let distinct: BTreeSet<&String> = all.iter().copied().collect();
    ensure!(all.len() == distinct.len(), "a certificate was issued to two devices");
    for (serial, told) in &ledger.enrolled {
        let found = issued.get(&told.id).with_context(|| format!("no certificate of {serial} is known"))?;
        for certificate in &told.certificates {
            ensure!(found.contains(certificate), "{serial}: the certificate {certificate} is lost");
        }
        let taken: BTreeSet<&String> = told.certificates.iter().collect();
        ensure!(taken.len() == told.certificates.len(), "{serial} took a certificate twice: {told:?}");
        // An enrolment asked for again after a lost answer is answered with the same certificate.
        ensure!(
            found.len() <= told.certificates.len() + told.recoveries_lost,
            "{serial} was issued {found:?}, it asked for {told:?}"
        );
        let shown = eyes.viewer.read(&format!("/api/v1/devices/{}", told.id))?;
        let newest = text(&shown, "certificate_serial")?;
        ensure!(
            told.recoveries_lost > 0 || told.certificates.last() == Some(&newest),
            "{serial} holds {told:?}, the service {newest}"
        );
        ensure!(shown["state"] == "ACTIVE", "{serial} acknowledged its certificate: {shown}");
    }
    Ok(())
}

/// One assignment for a device and a sequence, none skipped; what a device was shown is what is written.
fn assignments(eyes: &Eyes, ledger: &Ledger) -> anyhow::Result<()> {
    let mut written: BTreeMap<(String, u64), BTreeMap<u64, String>> = BTreeMap::new();
    for row in eyes.viewer.all("/api/v1/assignments")? {
        let number = |name: &str| row[name].as_u64().with_context(|| format!("no {name} in {row}"));
        let of_device = written.entry((text(&row, "device")?, number("epoch")?)).or_default();
        let before = of_device.insert(number("sequence")?, text(&row, "rollout")?);
        ensure!(before.is_none(), "two assignments of one sequence: {row}");
    }
    for (device, sequences) in &written {
        let numbers: Vec<u64> = sequences.keys().copied().collect();
        ensure!(numbers == (1..=numbers.len() as u64).collect::<Vec<_>>(), "{device:?} has {numbers:?}");
        let rollouts: BTreeSet<&String> = sequences.values().collect();
        ensure!(
            rollouts.len() == sequences.len(),
            "{device:?} was assigned by one rollout twice: {sequences:?}"
        );
    }
    for ((serial, epoch, sequence), rollouts) in &ledger.served {
        let Some(told) = ledger.enrolled.get(serial) else {
            bail!("{serial} was served and has not enrolled")
        };
        let row = written.get(&(told.id.clone(), *epoch)).and_then(|sequences| sequences.get(sequence));
        let row = row.with_context(|| format!("{serial} was served {sequence}, which is not written"))?;
        ensure!(
            rollouts.len() == 1 && rollouts.contains(row),
            "{serial} {sequence}: served {rollouts:?}, written {row}"
        );
    }
    Ok(())
}

/// Items by a text of theirs that must be unique.
fn by<'a>(items: &'a [Value], name: &str) -> anyhow::Result<BTreeMap<String, &'a Value>> {
    let mut found = BTreeMap::new();
    for item in items {
        let key = text(item, name)?;
        ensure!(found.insert(key.clone(), item).is_none(), "the {name} {key} is there twice");
    }
    Ok(found)
}

fn text(value: &Value, name: &str) -> anyhow::Result<String> {
    value[name].as_str().map(str::to_owned).with_context(|| format!("no {name} in {value}"))
}
