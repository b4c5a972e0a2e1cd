//! SIGKILL at random instants of an update: the device always boots, and once left alone runs what it was assigned.
//!
//! The instants are seeded. One in three is any instant of the agent's life; the others are a random moment after the
//! agent wrote one of the next states, drawn, so that the short ones are hit as often as the long ones. Some kills are
//! power cuts (the boot loader chooses again), one in an update, since each may cost one of the three trial boots that
//! a release gets; the others restart the program alone.

use anyhow::{Context as _, ensure};
use holdfast_tests::agent::{Image, REBOOT, agent_config};
use holdfast_tests::cache::pybricks;
use holdfast_tests::chance::Chance;
use holdfast_tests::plant::{Device, Plant, until};
use holdfast_tests::process::{Deadline, Lifetime, Process};
use holdfast_tests::scratch::Scratch;
use serde_json::Value;
use std::collections::BTreeMap;
use std::time::Duration;

const HARDWARE: &str = "movehub";
/// So many find the journal in the middle of an update.
const KILLS: u32 = 200;
/// Kills in one update, so that most fall into the middle of one.
const KILLS_IN_ONE: u32 = 10;
/// One more ends the torment: a release has three trial boots.
const POWER_CUTS_IN_ONE: u32 = 1;
/// The longest that an agent is left alive before it is killed, milliseconds.
const LONGEST_LIFE_MS: u64 = 600;
/// The longest that it lives on after it wrote the state that was drawn, milliseconds.
const LONGEST_AFTER_MS: u64 = 40;
/// Of the link, so that a fetch takes about as long as everything else.
const RATE: &str = "rate_bytes_per_s = 32768\n";
/// What the agent writes into its journal on the way, in order.
const STATES: [&str; 10] = [
    "idle",
    "planning",
    "fetching",
    "verifying",
    "staged",
    "awaiting-window",
    "arming",
    "rebooting",
    "trial",
    "committing",
];
/// How many states ahead the one that is waited for may be.
const AHEAD: u64 = 3;

/// Kills by the state that the journal held after them.
type Found = BTreeMap<String, u32>;

#[test]
fn two_hundred_kills_end_on_a_bootable_slot_and_on_the_assigned_release() -> anyhow::Result<()> {
    let scratch = Scratch::new("kills");
    let plant = Plant::start(&scratch.join("plant"), Lifetime::WithUs)?;
    plant.found_repository(&[HARDWARE])?;
    plant.trust_maker()?;
    // Three releases in turn: the slot that is written never holds what it shall hold.
    let firmware = pybricks(HARDWARE)?;
    for (release, firmware) in firmware.iter().enumerate().take(3) {
        let path = plant.root().join(format!("images/{release}.img"));
        plant.publish_image(HARDWARE, &release.to_string(), &Image::sound(&firmware.path, &path)?)?;
    }
    let device = plant.device("SN-K", HARDWARE, &agent_config(RATE))?;
    device.put_release(&plant, HARDWARE, "0", &plant.root().join("images/0.img"))?;
    device.claim_and_enroll(&plant, HARDWARE)?;
    device.run_until_release("0")?;

    let mut chance = Chance::seeded(20_261_125);
    let (mut kills, mut cuts, mut updates, mut found) = (0, 0, 0, Found::new());
    while inside(&found) < KILLS {
        updates += 1;
        ensure!(updates <= KILLS, "the kills do not fall into updates: {found:?}");
        let release = (updates % 3).to_string();
        let rollout = plant.roll_out(HARDWARE, &release)?;
        let is_offered = || Ok((!plant.assignments(&rollout)?.is_empty()).then_some(()));
        until("the release to be offered", Duration::from_mins(1), is_offered)?;
        let (killed, cut) = torment(&device, &release, &mut found, &mut chance)?;
        // Left alone: it boots, and ends where it was told to.
        device.boot()?;
        let status = device.run_until_release(&release)?;
        ensure!(
            status["update"]["quarantine"].as_array().is_some_and(Vec::is_empty),
            "update {updates}: {status}"
        );
        let all = plant.assignments(&rollout)?;
        ensure!(all.len() == 1 && all[0]["state"] == "Confirmed", "update {updates}: {all:?}");
        (kills, cuts) = (kills + killed, cuts + cut);
    }
    println!(
        "{kills} kills, {cuts} of them power cuts, in {updates} updates; found in the journal: {found:?}"
    );
    ensure!(cuts > 0, "no power was cut");
    for state in ["fetching", "staged", "arming", "rebooting", "trial"] {
        ensure!(found.contains_key(state), "no kill found the journal at {state}: {found:?}");
    }
    Ok(())
}

/// Kills in the middle of an update: how many of all are, is a matter of the machine's speed.
fn inside(found: &Found) -> u32 {
    found.iter().filter(|(state, _)| *state != "idle").map(|(_, kills)| kills).sum()
}

/// Kills the agent until the update is done or has been killed often enough; kills and power cuts.
fn torment(
    device: &Device,
    release: &str,
    found: &mut Found,
    chance: &mut Chance,
) -> anyhow::Result<(u32, u32)> {
    let (mut kills, mut cuts, mut state) = (0, 0, "idle".to_owned());
    while kills < KILLS_IN_ONE {
        let ended = one_life(device, &state, chance)?;
        let update = device.status()?["update"].clone();
        update["state"].as_str().context("no state")?.clone_into(&mut state);
        match ended {
            Some(REBOOT) => drop(device.boot()?),
            Some(status) => anyhow::bail!("the agent ended with {status}: {update}"),
            None => {
                kills += 1;
                *found.entry(state.clone()).or_default() += 1;
                if cuts < POWER_CUTS_IN_ONE && chance.below(4) == 0 {
                    device.boot()?;
                    cuts += 1;
                }
            }
        }
        if is_done(&update, release) {
            break;
        }
    }
    Ok((kills, cuts))
}

/// Starts the agent in this state and kills it; how it ended if it ended by itself before that.
fn one_life(device: &Device, state: &str, chance: &mut Chance) -> anyhow::Result<Option<i32>> {
    let at =
        STATES.iter().position(|one| *one == state).with_context(|| format!("{state} is not on the way"))?;
    let before = std::fs::metadata(device.agent_log()).map_or(0, |log| log.len() as usize);
    let mut agent = device.start_agent()?;
    if chance.below(3) == 0 {
        live_on(chance.below(LONGEST_LIFE_MS));
    } else {
        let state = STATES[(at + 1 + chance.below(AHEAD) as usize) % STATES.len()];
        until_written(&mut agent, before, state);
        live_on(chance.below(LONGEST_AFTER_MS));
    }
    Ok(agent.kill()?.code())
}

/// Not a wait for something to be ready: the instant itself is what is tested.
fn live_on(milliseconds: u64) {
    std::thread::sleep(Duration::from_millis(milliseconds));
}

/// Until this life of the agent writes the state, has ended, or has lived for its longest.
fn until_written(agent: &mut Process, before: usize, state: &str) {
    let words = format!("holdfast-device: {state}");
    let deadline = Deadline::after(Duration::from_millis(LONGEST_LIFE_MS));
    let written = |log: String| log.get(before..).is_some_and(|new| new.contains(&words));
    while agent.is_running() && !deadline.is_over() && !written(agent.log_text()) {
        live_on(1);
    }
}

fn is_done(update: &Value, release: &str) -> bool {
    update["release"] == release && update["state"] == "idle" && update["on_trial"] == false
}
