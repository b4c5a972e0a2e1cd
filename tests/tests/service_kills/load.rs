//! The load: operators and devices, each asking for one thing after the other and noting what it was told.

use crate::api::{Answer, Api, certificate_serial, from_base64, to_base64};
use crate::ledger::{Claim, Enrolled, Grant, Known, Ledger, Rollout};
use crate::{HARDWARE, MODEL};
use anyhow::{Context as _, bail, ensure};
use holdfast_tests::chance::Chance;
use holdfast_tests::plant::{Device, Plant, write};
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard};
use std::time::Duration;

/// What all callers share.
pub(crate) struct Load {
    pub(crate) stop: AtomicBool,
    ledger: Mutex<Ledger>,
}

/// Secrets that are written over and over.
pub(crate) const SECRETS: u64 = 6;

impl Load {
    pub(crate) fn new() -> Self {
        Self { stop: AtomicBool::new(false), ledger: Mutex::new(Ledger::default()) }
    }

    /// What was noted.
    ///
    /// # Panics
    /// When a caller panicked.
    pub(crate) fn ledger(&self) -> MutexGuard<'_, Ledger> {
        self.ledger.lock().unwrap()
    }

    fn goes_on(&self) -> bool {
        !self.stop.load(Ordering::Relaxed)
    }

    /// Asks once there is somebody to ask, and counts the answer.
    fn ask(&self, ask: impl Fn() -> Answer) -> Answer {
        loop {
            let answer = ask();
            match &answer {
                Answer::Done(_) => self.ledger().acknowledged += 1,
                Answer::Refused(..) => {}
                Answer::Lost => self.ledger().lost += 1,
                Answer::Away if self.goes_on() => {
                    // Asked again soon, not at once: the service needs the processor to start.
                    std::thread::sleep(Duration::from_millis(20));
                    continue;
                }
                Answer::Away => return Answer::Lost,
            }
            return answer;
        }
    }

    /// Asks again until an answer comes or the load ends.
    fn until_answered(&self, ask: impl Fn() -> Answer) -> Option<Result<Value, (u16, Value)>> {
        while self.goes_on() {
            match self.ask(&ask) {
                Answer::Done(value) => return Some(Ok(value)),
                Answer::Refused(status, problem) => return Some(Err((status, problem))),
                Answer::Lost | Answer::Away => {}
            }
        }
        None
    }

    /// Claims devices, and changes the labels of claims.
    pub(crate) fn claim_devices(&self, operator: &Api, mut chance: Chance) -> anyhow::Result<()> {
        for number in 0.. {
            let serial = format!("C-{number:04}");
            let claim = json!({"record": {"serial": serial, "model": MODEL}, "labels": {"turn": "0"}});
            let mut first_lost = false;
            // Asked again after a lost answer, a serial is known already or is not: never claimed twice.
            loop {
                if !self.goes_on() {
                    self.ledger().claims.entry(serial).or_default().turns_lost.insert(0);
                    return Ok(());
                }
                match self.ask(|| operator.post("/api/v1/devices", &claim)) {
                    Answer::Done(device) => {
                        self.note_claim(&serial, &device)?;
                        break;
                    }
                    Answer::Refused(409, _) if first_lost => {
                        self.ledger().claims.entry(serial.clone()).or_default().turn = Some(0);
                        break;
                    }
                    Answer::Refused(status, problem) => bail!("the claim of {serial}: {status} {problem}"),
                    Answer::Lost | Answer::Away => first_lost = true,
                }
            }
            let again = format!("C-{:04}", chance.below(number + 1));
            self.label(operator, &again, number + 1)?;
        }
        Ok(())
    }

    fn note_claim(&self, serial: &str, device: &Value) -> anyhow::Result<()> {
        let id = device["id"].as_str().context("a claim without an id")?.to_owned();
        let mut ledger = self.ledger();
        let claim = ledger.claims.entry(serial.to_owned()).or_default();
        claim.ids.insert(id);
        claim.turn = Some(0);
        Ok(())
    }

    fn label(&self, operator: &Api, serial: &str, turn: u64) -> anyhow::Result<()> {
        let path = format!("/api/v1/devices?serial={serial}");
        let Some(Ok(found)) = self.until_answered(|| operator.get(&path)) else { return Ok(()) };
        let [device] = found["items"].as_array().map(Vec::as_slice).unwrap_or_default() else {
            bail!("{serial} is claimed {} times: {found}", found["items"].as_array().map_or(0, Vec::len));
        };
        let id = device["id"].as_str().context("no id")?;
        let version = device["version"].as_i64().context("no version")?;
        let body = json!({"labels": {"turn": turn.to_string()}});
        let answer =
            self.ask(|| operator.put_if_match(&format!("/api/v1/devices/{id}/labels"), &body, version));
        let mut ledger = self.ledger();
        let claim: &mut Claim = ledger.claims.entry(serial.to_owned()).or_default();
        claim.ids.insert(id.to_owned());
        match answer {
            Answer::Done(_) => {
                claim.turn = Some(turn);
                claim.turns_lost.clear();
                claim.relabelled += 1;
            }
            Answer::Lost | Answer::Away => {
                claim.turns_lost.insert(turn);
            }
            Answer::Refused(status, problem) => bail!("labels of {serial}: {status} {problem}"),
        }
        Ok(())
    }

    /// Writes version after version of a few secrets; a value is written once.
    pub(crate) fn put_secrets(&self, writer: &Api, mut chance: Chance) -> anyhow::Result<()> {
        for number in 0_u64.. {
            if !self.goes_on() {
                break;
            }
            let path = format!("kill/s{}", chance.below(SECRETS));
            let value = format!("value {number} of {path}");
            let body = json!({"value": to_base64(value.as_bytes()), "content_type": "text/plain"});
            let answer = self.ask(|| writer.put(&format!("/api/v1/secrets/{path}"), &body));
            let mut ledger = self.ledger();
            let versions = ledger.secrets.entry(path.clone()).or_default();
            match answer {
                Answer::Done(secret) => {
                    let version = secret["current_version"].as_u64().context("no version")?;
                    let before = versions.acknowledged.insert(version, value);
                    ensure!(before.is_none(), "version {version} of {path} was given twice");
                }
                Answer::Lost | Answer::Away => {
                    versions.lost.insert(value);
                }
                Answer::Refused(status, problem) => bail!("{path}: {status} {problem}"),
            }
        }
        Ok(())
    }

    /// Proposes grants, and has another person approve them.
    pub(crate) fn grant(&self, admin: &Api, approver: &Api) -> anyhow::Result<()> {
        for number in 0_u64.. {
            if !self.goes_on() {
                break;
            }
            let resource = format!("grants/g{number}");
            let proposal = json!({"effect": "allow", "subject": {"kind": "device", "selector": "none=such"},
                "resource": resource, "verbs": ["read"], "constraints": {}});
            let id = match self.ask(|| admin.post("/api/v1/grants", &proposal)) {
                Answer::Done(grant) => grant["id"].as_str().context("a grant without an id")?.to_owned(),
                Answer::Lost | Answer::Away => {
                    self.ledger().grants.insert(resource, Grant::default());
                    continue;
                }
                Answer::Refused(status, problem) => bail!("{resource}: {status} {problem}"),
            };
            let path = format!("/api/v1/grants/{id}/approve");
            let approved = match self.ask(|| approver.post(&path, &json!({}))) {
                Answer::Done(_) => Known::Acknowledged,
                Answer::Lost | Answer::Away => Known::Lost,
                Answer::Refused(status, problem) => bail!("approval of {resource}: {status} {problem}"),
            };
            self.ledger().grants.insert(resource, Grant { id: Some(id), approved });
        }
        Ok(())
    }

    /// Drafts rollouts over the enrolled devices, starts, pauses and resumes them, and cancels each: the next needs
    /// its devices.
    pub(crate) fn roll_out(&self, manager: &Api, operator: &Api, mut chance: Chance) -> anyhow::Result<()> {
        for number in 0_u64.. {
            if !self.goes_on() {
                break;
            }
            // Matches every device of the lane; the draft is known by it.
            let selector = format!("lane=kill,draft!=d{number}");
            let draft = json!({"hardware": HARDWARE, "release": "1", "selector": selector, "phases": [{"size": "rest"}]});
            let id = match self.ask(|| manager.post("/api/v1/rollouts", &draft)) {
                Answer::Done(rollout) => {
                    rollout["id"].as_str().context("a rollout without an id")?.to_owned()
                }
                Answer::Lost | Answer::Away => {
                    self.ledger().drafts_lost.insert(selector);
                    continue;
                }
                Answer::Refused(status, problem) => bail!("{selector}: {status} {problem}"),
            };
            self.ledger().rollouts.insert(id.clone(), Rollout { selector, ..Rollout::default() });
            let more: &[&'static str] = match chance.below(3) {
                0 => &["start", "cancel"],
                1 => &["start", "pause", "cancel"],
                _ => &["start", "pause", "resume", "cancel"],
            };
            for order in more {
                self.order(operator, &id, order)?;
                self.until_offered(operator, &id, order)?;
            }
        }
        Ok(())
    }

    /// Gives an order until it is answered. Refused after a lost answer, it was carried out then, or cannot be now.
    fn order(&self, operator: &Api, id: &str, order: &'static str) -> anyhow::Result<()> {
        let path = format!("/api/v1/rollouts/{id}/{order}");
        let note = |known| {
            let mut ledger = self.ledger();
            if let Some(rollout) = ledger.rollouts.get_mut(id) {
                rollout.orders.insert(order, known);
            }
        };
        while self.goes_on() {
            match self.ask(|| operator.post(&path, &json!({}))) {
                Answer::Done(_) => {
                    note(Known::Acknowledged);
                    return Ok(());
                }
                // Carried out before its answer was lost, or the planner was faster: what it left cannot be paused.
                Answer::Refused(409 | 412, _) => return Ok(()),
                Answer::Refused(status, problem) => bail!("{order} of {id}: {status} {problem}"),
                Answer::Lost | Answer::Away => note(Known::Lost),
            }
        }
        Ok(())
    }

    /// A started rollout is left until it has offered something, so that devices are assigned something at all.
    fn until_offered(&self, operator: &Api, id: &str, order: &str) -> anyhow::Result<()> {
        if order != "start" || self.ledger().enrolled.is_empty() {
            return Ok(());
        }
        // Bounded: a planner that runs at all has run by then.
        for _ in 0..40 {
            let path = format!("/api/v1/assignments?rollout={id}");
            match self.until_answered(|| operator.get(&path)) {
                Some(Ok(page)) if page["items"].as_array().is_some_and(|items| !items.is_empty()) => break,
                Some(Err((status, problem))) => bail!("{path}: {status} {problem}"),
                Some(Ok(_)) => std::thread::sleep(Duration::from_millis(25)),
                None => break,
            }
        }
        Ok(())
    }

    /// Devices with join tokens enrol one after the other, come back for other certificates, and poll.
    pub(crate) fn enrol(&self, place: &Place, operator: &Api, mut chance: Chance) -> anyhow::Result<()> {
        let mut enrolled: Vec<Device> = Vec::new();
        for number in 0_u64.. {
            if !self.goes_on() {
                break;
            }
            if enrolled.len() < 12 {
                let serial = format!("T-{number:04}");
                enrolled.extend(self.enrol_one(place, operator, &serial)?);
            }
            for _ in 0..4 {
                let Some(device) = pick(&enrolled, &mut chance) else { break };
                self.poll(place, device)?;
            }
            if let Some(device) = pick(&enrolled, &mut chance) {
                self.recover(device)?;
            }
        }
        Ok(())
    }

    pub(crate) fn enrol_one(
        &self,
        place: &Place,
        operator: &Api,
        serial: &str,
    ) -> anyhow::Result<Option<Device>> {
        let body = json!({"serial": serial, "model": MODEL, "ttl_s": 86_400,
            "labels": {"lane": "kill", "hardware": HARDWARE}});
        // A token whose answer was lost is nobody's: the next one is for the same record.
        let Some(made) = self.until_answered(|| operator.post("/api/v1/devices/tokens", &body)) else {
            return Ok(None);
        };
        let made =
            made.map_err(|(status, problem)| anyhow::anyhow!("token of {serial}: {status} {problem}"))?;
        let device = place.device(serial, &made["join_token"])?;
        while self.goes_on() {
            let said = device.run(&["enroll"])?;
            match said.status {
                0 => {
                    let id = device.id()?;
                    ensure!(
                        made["device"] == json!(id),
                        "{serial} enrolled as {id}, its token is for {made}"
                    );
                    let certificates = vec![certificate_serial(&device)?];
                    let mut ledger = self.ledger();
                    ledger.acknowledged += 1;
                    ledger
                        .enrolled
                        .insert(serial.to_owned(), Enrolled { id, certificates, recoveries_lost: 0 });
                    return Ok(Some(device));
                }
                1 => self.ledger().lost += 1,
                status => bail!("{serial} does not enrol: {status} {}{}", said.err, said.out),
            }
        }
        Ok(None)
    }

    /// A new certificate by the door for lost ones: renewal is open late in a certificate's life only.
    fn recover(&self, device: &Device) -> anyhow::Result<()> {
        let said = device.run(&["recover"])?;
        let mut ledger = self.ledger();
        let entry = ledger.enrolled.get_mut(&device.serial).context("it has not enrolled")?;
        match said.status {
            0 => entry.certificates.push(certificate_serial(device)?),
            1 => entry.recoveries_lost += 1,
            status => bail!("{} does not recover: {status} {}{}", device.serial, said.err, said.out),
        }
        if said.status == 0 {
            ledger.acknowledged += 1;
        } else {
            ledger.lost += 1;
        }
        Ok(())
    }

    /// One device asks what it is assigned, again and again.
    pub(crate) fn poll_always(&self, place: &Place, device: &Device) -> anyhow::Result<()> {
        while self.goes_on() {
            self.poll(place, device)?;
        }
        Ok(())
    }

    fn poll(&self, place: &Place, device: &Device) -> anyhow::Result<()> {
        let api = Api::device(&place.url, &place.ca, device)?;
        let answer = match self.ask(|| api.get("/v1/state")) {
            Answer::Done(answer) => answer,
            // A recovery whose answer was lost has left this certificate behind.
            Answer::Refused(..) | Answer::Lost | Answer::Away => return Ok(()),
        };
        if answer["assignment"].is_null() {
            return Ok(());
        }
        let envelope: Value = serde_json::from_slice(&from_base64(&answer["assignment"])?)?;
        let body = &envelope["signed"]["x-holdfast-assignment"];
        let number = |name: &str| body[name].as_u64().with_context(|| format!("no {name} in {body}"));
        let key = (device.serial.clone(), number("epoch")?, number("sequence")?);
        let rollout = body["rollout"].as_str().context("no rollout")?.to_owned();
        self.ledger().served.entry(key).or_default().insert(rollout);
        Ok(())
    }

    /// Devices with TPMs prove themselves; they go on once nobody kills any more, and end enrolled.
    pub(crate) fn prove(&self, devices: &[Device]) -> anyhow::Result<()> {
        for device in devices {
            let mut left_alone = 0;
            loop {
                let said = device.run(&["enroll"])?;
                match said.status {
                    0 => break,
                    1 if left_alone < 5 => self.ledger().lost += 1,
                    status => bail!("{} does not enrol: {status} {}{}", device.serial, said.err, said.out),
                }
                left_alone += u32::from(!self.goes_on());
            }
            let certificates = vec![certificate_serial(device)?];
            let enrolled = Enrolled { id: device.id()?, certificates, recoveries_lost: 0 };
            let mut ledger = self.ledger();
            ledger.acknowledged += 1;
            ledger.enrolled.insert(device.serial.clone(), enrolled);
        }
        Ok(())
    }
}

fn pick<'a>(devices: &'a [Device], chance: &mut Chance) -> Option<&'a Device> {
    if devices.is_empty() { None } else { devices.get(chance.below(devices.len() as u64) as usize) }
}

/// What is known of the plant while it is killed and started again.
#[derive(Debug, Clone)]
pub(crate) struct Place {
    pub(crate) root: PathBuf,
    pub(crate) url: String,
    pub(crate) ca: PathBuf,
    /// A blob without a token.
    blob: Value,
}

impl Place {
    pub(crate) fn of(plant: &Plant) -> anyhow::Result<Self> {
        let path = plant.root().join("plain-blob.json");
        plant.blob(HARDWARE, &path, None)?;
        let blob = serde_json::from_slice(&std::fs::read(&path)?)?;
        Ok(Self {
            root: plant.root().to_owned(),
            url: plant.url.clone(),
            ca: plant.data().join("ca.pem"),
            blob,
        })
    }

    /// A device that keeps its key in a file.
    pub(crate) fn device(&self, serial: &str, token: &Value) -> anyhow::Result<Device> {
        let folder: &Path = &self.root.join("devices").join(serial);
        let config = format!(
            "serial = \"{serial}\"\nmodel = \"{MODEL}\"\nstate_dir = \"state\"\nblob = \"blob.json\"\nkeystore = \"file\"\n"
        );
        write(&folder.join("device.toml"), config.as_bytes())?;
        let mut blob = self.blob.clone();
        blob["join_token"] = token.clone();
        write(&folder.join("blob.json"), &serde_json::to_vec(&blob)?)?;
        Ok(Device { serial: serial.to_owned(), folder: folder.to_owned(), tpm: None })
    }
}
