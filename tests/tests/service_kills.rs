//! SIGKILL to `holdfastd` at random instants of a mixed load, first starts among them: no acknowledged write is lost,
//! and nothing is issued twice.
//!
//! The instants are seeded. What each caller was told is in a ledger, and so is what it does not know; the service is
//! held against both at the end, through its own API, and a device's own client takes the last release from it.

#[path = "service_kills/api.rs"]
mod api;
#[path = "service_kills/checks.rs"]
mod checks;
#[path = "service_kills/ledger.rs"]
mod ledger;
#[path = "service_kills/load.rs"]
mod load;

use anyhow::{Context as _, bail, ensure};
use api::{Answer, Api};
use checks::Eyes;
use holdfast_tests::agent::{Image, agent_config};
use holdfast_tests::cache::pybricks;
use holdfast_tests::chance::Chance;
use holdfast_tests::life::Life;
use holdfast_tests::plant::{Device, Plant, serve, until};
use holdfast_tests::postgres;
use holdfast_tests::process::Lifetime;
use holdfast_tests::scratch::Scratch;
use load::{Load, Place};
use serde_json::{Value, json};
use std::path::Path;
use std::sync::atomic::Ordering;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

const HARDWARE: &str = "movehub";
const MODEL: &str = "movehub";
/// Starts on an empty folder that are killed, before one is left alone.
const FIRST_STARTS: u32 = 10;
/// A first start is killed within so many milliseconds.
const FIRST_START_MS: u64 = 1000;
/// The longest that a service lives after it was ready, milliseconds; one in so many lives longer, so that what takes
/// several requests is done at all.
const LONGEST_LIFE_MS: u64 = 700;
const LONG_LIFE_MS: u64 = 3000;
const LONG: u64 = 5;
/// One in so many is killed anywhere, while it starts too.
const ANYWHERE: u64 = 5;
/// Devices with a TPM that enrol under the kills.
const WITH_TPM: usize = 3;

#[test]
fn sqlite_loses_nothing_and_issues_nothing_twice() -> anyhow::Result<()> {
    survives("sqlite", None, 150, 20_261_126)
}

#[test]
fn postgres_loses_nothing_and_issues_nothing_twice() -> anyhow::Result<()> {
    survives("postgres", Some(&postgres::fresh_database()), 50, 20_261_127)
}

fn survives(label: &str, database: Option<&str>, kills: u32, seed: u64) -> anyhow::Result<()> {
    // Side by side, each would only slow the other down.
    static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());
    let _turn = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
    let scratch = Scratch::new(label);
    let mut chance = Chance::seeded(seed);
    kill_first_starts(scratch.path(), database, &mut chance)?;
    let mut plant = Plant::start_on(scratch.path(), Lifetime::WithUs, database)?;
    let world = World::prepare(&plant)?;
    let load = Load::new();
    let (kills, starting) = under_kills(&mut plant, &world, &load, kills, &mut chance)?;

    let ledger = load.ledger();
    println!(
        "{label}: {kills} kills ({starting} of services that were starting) and {FIRST_STARTS} of first starts; {} \
         requests acknowledged, {} lost; {} claims, {} secret versions, {} grants, {} rollouts, {} devices enrolled, {} \
         assignments seen",
        ledger.acknowledged,
        ledger.lost,
        ledger.claims.len(),
        ledger.secrets.values().map(|versions| versions.acknowledged.len()).sum::<usize>(),
        ledger.grants.len(),
        ledger.rollouts.len(),
        ledger.enrolled.len(),
        ledger.served.len(),
    );
    ensure!(ledger.lost > 0, "no request was cut off: the kills met no load");
    ensure!(ledger.is_rich(), "not every kind of write was acknowledged between the kills");
    checks::hold(&world.eyes(&plant)?, &ledger)?;
    drop(ledger);
    world.last_release(&plant)
}

/// The service is killed while it makes its database, its keys and its first tokens.
fn kill_first_starts(root: &Path, database: Option<&str>, chance: &mut Chance) -> anyhow::Result<()> {
    for _ in 0..FIRST_STARTS {
        let mut service = serve(root, Lifetime::WithUs, "127.0.0.1:0", database)?;
        live_on(chance.below(FIRST_START_MS));
        ensure!(service.is_running(), "a first start ended by itself: {}", service.log_text());
        service.kill()?;
    }
    Ok(())
}

/// Kills the service under the load, at least so often; how often, and how many of them were starting.
fn under_kills(
    plant: &mut Plant,
    world: &World,
    load: &Load,
    kills: u32,
    chance: &mut Chance,
) -> anyhow::Result<(u32, u32)> {
    let place = Place::of(plant)?;
    let operator = |role: &str| Api::operator(plant, role);
    let callers = [operator("operator")?, operator("operator")?, operator("operator")?];
    let (manager, writer) = (operator("release-manager")?, operator("secret-writer")?);
    let (admin, approver) = (operator("grant-admin")?, operator("grant-approver")?);
    let mut seed = || Chance::seeded(chance.next_u64());
    let seeds = [seed(), seed(), seed(), seed()];
    let [of_claims, of_secrets, of_rollouts, of_devices] = seeds;
    // One is there from the first kill on, so that the first rollout has somebody to assign to.
    let first = load.enrol_one(&place, &callers[2], "T-first")?.context("nobody stopped it")?;
    let mut killed = (0, 0);
    std::thread::scope(|scope| {
        let watched = |caller: anyhow::Result<()>| {
            if caller.is_err() {
                load.stop.store(true, Ordering::Relaxed);
            }
            caller
        };
        let (load, place, first, [one, two, three]) = (load, &place, &first, &callers);
        let callers = vec![
            scope.spawn(move || watched(load.claim_devices(one, of_claims))),
            scope.spawn(move || watched(load.put_secrets(&writer, of_secrets))),
            scope.spawn(move || watched(load.grant(&admin, &approver))),
            scope.spawn(move || watched(load.roll_out(&manager, two, of_rollouts))),
            scope.spawn(move || watched(load.enrol(place, three, of_devices))),
            scope.spawn(move || watched(load.poll_always(place, first))),
            scope.spawn(move || watched(load.prove(&world.with_tpm))),
        ];
        let ended = kill(plant, load, kills, chance, &mut killed);
        // Left alone, what still asks is answered.
        load.stop.store(true, Ordering::Relaxed);
        for caller in callers {
            caller.join().map_err(|_| anyhow::anyhow!("a caller panicked"))??;
        }
        ended
    })?;
    Ok(killed)
}

fn kill(
    plant: &mut Plant,
    load: &Load,
    kills: u32,
    chance: &mut Chance,
    (killed, starting): &mut (u32, u32),
) -> anyhow::Result<()> {
    for number in 0.. {
        // On a slow machine few requests fit between two kills: it goes on until each kind was acknowledged.
        if number >= kills && (number >= 3 * kills || load.ledger().is_rich()) {
            break;
        }
        if load.stop.load(Ordering::Relaxed) {
            bail!("a caller was told something that cannot be");
        }
        if chance.below(ANYWHERE) == 0 {
            *starting += 1;
        } else {
            plant.await_ready()?;
        }
        let longest = if chance.below(LONG) == 0 { LONG_LIFE_MS } else { LONGEST_LIFE_MS };
        live_on(chance.below(longest));
        plant.power_off()?;
        plant.power_on()?;
        *killed += 1;
    }
    plant.await_ready()
}

/// Not a wait for something to be ready: the instant itself is what is tested.
fn live_on(milliseconds: u64) {
    std::thread::sleep(Duration::from_millis(milliseconds));
}

/// What is there before the kills.
struct World {
    /// Runs all the time, on release 1.
    agent: Device,
    _life: Life,
    /// May read every secret of the load.
    reader: Device,
    /// Claimed, and still to enrol.
    with_tpm: Vec<Device>,
}

impl World {
    fn prepare(plant: &Plant) -> anyhow::Result<Self> {
        plant.found_repository(&[HARDWARE])?;
        plant.trust_maker()?;
        let firmware = pybricks(HARDWARE)?;
        for release in ["1", "2"] {
            let number: usize = release.parse()?;
            let path = plant.root().join(format!("images/{release}.img"));
            plant.publish_image(HARDWARE, release, &Image::sound(&firmware[number].path, &path)?)?;
        }
        let agent = plant.device("A-1", HARDWARE, &agent_config(""))?;
        agent.put_release(plant, HARDWARE, "1", &plant.root().join("images/1.img"))?;
        agent.claim_and_enroll(plant, HARDWARE)?;
        let with_tpm = (0..WITH_TPM).map(|number| {
            let device = plant.device(&format!("P-{number}"), HARDWARE, "")?;
            let record = device.manufacture()?.display().to_string();
            plant.well("operator", &["device", "register", &record])?;
            Ok(device)
        });
        let with_tpm = with_tpm.collect::<anyhow::Result<_>>()?;
        let reader = reader(plant)?;
        Ok(Self { _life: agent.switch_on(Lifetime::WithUs)?, agent, reader, with_tpm })
    }

    fn eyes(&self, plant: &Plant) -> anyhow::Result<Eyes> {
        Ok(Eyes {
            viewer: Api::operator(plant, "viewer")?,
            auditor: Api::operator(plant, "auditor")?,
            grants: Api::operator(plant, "grant-admin")?,
            secrets: Api::operator(plant, "secret-writer")?,
            reader: Api::device(&plant.url, &plant.data().join("ca.pem"), &self.reader)?,
        })
    }

    /// The agent that ran all the time walks the repository and installs the next release.
    fn last_release(&self, plant: &Plant) -> anyhow::Result<()> {
        let id = self.agent.id()?;
        let selector = format!("id={id}");
        let plan = ["rollout", "plan", "--hardware", HARDWARE, "--release", "2", "--phase", "rest"];
        let drafted = plant.json("release-manager", &[&plan[..], &["--selector", &selector]].concat())?;
        let rollout = drafted["id"].as_str().context("the rollout has no id")?;
        plant.well("operator", &["rollout", "start", "--id", rollout])?;
        until("the agent to run the last release", Duration::from_mins(2), || {
            let all = plant.assignments(rollout)?;
            let ended = all.iter().all(|one| one["state"] == "Confirmed");
            Ok((!all.is_empty() && ended).then_some(()))
        })?;
        let status: Value = self.agent.status()?;
        ensure!(status["update"]["release"] == "2" && status["update"]["on_trial"] == false, "{status}");
        Ok(())
    }
}

/// A device whose grant opens all of `kill/`.
fn reader(plant: &Plant) -> anyhow::Result<Device> {
    let body = json!({"serial": "R-1", "model": MODEL, "ttl_s": 86_400, "labels": {"reader": "yes"}});
    let token = match Api::operator(plant, "operator")?.post("/api/v1/devices/tokens", &body) {
        Answer::Done(made) => made["join_token"].clone(),
        other => bail!("no token: {other:?}"),
    };
    let device = Place::of(plant)?.device("R-1", &token)?;
    device.run(&["enroll"])?.well(&["enroll"])?;
    let propose = ["grant", "propose", "kill/**", "--devices", "reader=yes"];
    let grant = plant.json("grant-admin", &propose)?;
    plant.well("grant-approver", &["grant", "approve", grant["id"].as_str().context("no id")?])?;
    Ok(device)
}
