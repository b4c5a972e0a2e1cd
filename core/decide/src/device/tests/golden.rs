//! Transcripts that a reviewer can read. `UPDATE_GOLDEN=1 cargo test` writes them anew.

use super::world::{Nature, World};
use super::*;

fn play(activation: Activation, nature: Nature) -> World {
    let releases = vec![(manifest("r1", 1, 1), Nature::Good), (manifest("r2", 2, 2), nature)];
    let mut world = World::new(activation, releases.clone(), vec![]);
    world.assigned = Some(assigned(releases[1].0.clone(), 1, 1));
    assert!(world.run(200), "{}", world.log.join("\n"));
    world
}

#[expect(clippy::disallowed_methods, reason = "a golden file, on demand")]
fn check(name: &str, world: &World) {
    let path = format!("{}/src/device/tests/golden/{name}.txt", env!("CARGO_MANIFEST_DIR"));
    let text = world.log.join("\n") + "\n";
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::write(&path, &text).unwrap();
    }
    assert_eq!(std::fs::read_to_string(&path).unwrap_or_default(), text, "{name}");
}

#[test]
fn a_good_release_by_a_one_shot_loader() {
    let world = play(Activation::Reboot(BootKind::OneShot), Nature::Good);
    assert_eq!(world.running_release(), 1);
    check("one-shot-good", &world);
}

#[test]
fn a_release_that_fails_its_health_check() {
    let world = play(Activation::Reboot(BootKind::Counted(3)), Nature::FailsHealth);
    assert_eq!(world.running_release(), 0);
    assert_eq!(world.machine.record().standing.floor, 1);
    check("counted-fails-health", &world);
}

#[test]
fn a_release_that_hangs_before_the_agent() {
    let world = play(Activation::Reboot(BootKind::OneShot), Nature::DoesNotBoot);
    assert_eq!(world.running_release(), 0);
    check("one-shot-hangs", &world);
}

#[test]
fn a_swap_and_its_way_back() {
    check("swap-good", &play(Activation::Swap, Nature::Good));
    check("swap-fails-health", &play(Activation::Swap, Nature::FailsHealth));
}
