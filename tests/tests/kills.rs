//! SIGKILL at random instants of an update: the device always boots, and once left alone runs what it was assigned.
//!
//! The instants are seeded. Some kills are power cuts (the boot loader chooses again), one or two in an update, since
//! each may cost one of the three trial boots that a release gets; the others restart the program alone.

use anyhow::ensure;
use holdfast_tests::agent::{Image, REBOOT, agent_config};
use holdfast_tests::cache::pybricks;
use holdfast_tests::plant::{Device, Plant};
use holdfast_tests::process::Lifetime;
use holdfast_tests::scratch::Scratch;
use std::time::Duration;

const HARDWARE: &str = "movehub";
const KILLS: u32 = 200;
/// Kills in one update, so that most fall into the middle of one.
const KILLS_IN_ONE: u32 = 10;
/// One more ends the torment: a release has three trial boots.
const POWER_CUTS_IN_ONE: u32 = 1;
/// The longest that an agent is left alive before it is killed, milliseconds.
const LONGEST_LIFE_MS: u64 = 900;

/// splitmix64, seeded: the same instants in every run.
struct Chance(u64);

impl Chance {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        (z ^ (z >> 31)) % limit
    }
}

#[test]
#[ignore = "written and compiled, not yet run to its end: it takes minutes"]
fn two_hundred_kills_end_on_a_bootable_slot_and_on_the_assigned_release() -> anyhow::Result<()> {
    let scratch = Scratch::new("kills");
    let plant = Plant::start(&scratch.join("plant"), Lifetime::WithUs)?;
    plant.found_repository(&[HARDWARE])?;
    plant.trust_maker()?;
    let firmware = pybricks(HARDWARE)?;
    let images = [0, 1].map(|n| (n, plant.root().join(format!("images/{n}.img"))));
    let images = images.map(|(n, path): (usize, _)| Image::sound(&firmware[n].path, &path));
    for (image, release) in images.iter().zip(["1", "2"]) {
        let image = image.as_ref().map_err(|error| anyhow::anyhow!("{error:#}"))?;
        plant.publish_image(HARDWARE, release, image)?;
    }
    let device = plant.device("SN-K", HARDWARE, &agent_config(""))?;
    device.put_release(&plant, HARDWARE, "1", &plant.root().join("images/0.img"))?;
    device.claim_and_enroll(&plant, HARDWARE)?;
    device.run_until_release("1")?;

    let mut chance = Chance(20_261_125);
    let (mut kills, mut cuts, mut updates) = (0, 0, 0);
    while kills < KILLS {
        let release = if updates % 2 == 0 { "2" } else { "1" };
        let rollout = plant.roll_out(HARDWARE, release)?;
        let (killed, cut) = torment(&device, release, &mut chance)?;
        // Left alone: it boots, and ends where it was told to.
        device.boot()?;
        let status = device.run_until_release(release)?;
        ensure!(
            status["update"]["quarantine"].as_array().is_some_and(Vec::is_empty),
            "update {updates}: {status}"
        );
        let all = plant.assignments(&rollout)?;
        ensure!(all.len() == 1 && all[0]["state"] == "Confirmed", "update {updates}: {all:?}");
        (kills, cuts, updates) = (kills + killed, cuts + cut, updates + 1);
    }
    println!("{kills} kills, {cuts} of them power cuts, in {updates} updates");
    ensure!(cuts > 0, "no power was cut");
    Ok(())
}

/// Kills the agent until the update is done or has been killed often enough; kills and power cuts.
fn torment(device: &Device, release: &str, chance: &mut Chance) -> anyhow::Result<(u32, u32)> {
    let (mut kills, mut cuts) = (0, 0);
    while kills < KILLS_IN_ONE {
        let mut agent = device.start_agent()?;
        // Not a wait for something to be ready: the instant itself is what is tested.
        std::thread::sleep(Duration::from_millis(chance.below(LONGEST_LIFE_MS)));
        let ended = if agent.is_running() { agent.kill()? } else { agent.wait(Duration::from_secs(1))? };
        match ended.code() {
            Some(REBOOT) => drop(device.boot()?),
            Some(status) => anyhow::bail!("the agent ended with {status}: {}", agent.log_text()),
            None => {
                kills += 1;
                if cuts < POWER_CUTS_IN_ONE && chance.below(4) == 0 {
                    device.boot()?;
                    cuts += 1;
                }
            }
        }
        let update = &device.status()?["update"];
        if update["release"] == release && update["state"] == "idle" && update["on_trial"] == false {
            break;
        }
    }
    Ok((kills, cuts))
}
