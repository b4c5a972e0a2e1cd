//! The planner: scripts over virtual time that a reviewer can read, tables of its rules, a simulated fleet.

mod rules;
mod script;
mod simulation;
mod world;

use super::*;
use crate::access::Selector;
use holdfast_proto::api::device::DeviceState;
use holdfast_proto::{DeviceId, ReleaseName, RolloutId};
use std::collections::BTreeMap;

pub(crate) const HARDWARE: &str = "hub";

/// SplitMix64: seeded chance.
pub(crate) struct Chance(pub(crate) u64);

impl RngCore for Chance {
    fn next_u32(&mut self) -> u32 {
        (self.next_u64() >> 32) as u32
    }

    fn next_u64(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    fn fill_bytes(&mut self, dst: &mut [u8]) {
        for chunk in dst.chunks_mut(8) {
            chunk.copy_from_slice(&self.next_u64().to_le_bytes()[..chunk.len()]);
        }
    }
}

/// An active device of the hardware that runs `running`, heard of at the start.
pub(crate) fn device(id: &str, running: &str) -> DeviceRow {
    DeviceRow {
        id: DeviceId::from(id),
        hardware: HARDWARE.to_owned(),
        site: None,
        labels: BTreeMap::new(),
        state: DeviceState::Active,
        running: Some(ReleaseName::from(running)),
        floor: 1,
        last_seen: Some(0),
        joined_at: 0,
    }
}

pub(crate) fn release(name: &str, security_counter: u64) -> ReleaseRow {
    ReleaseRow {
        hardware: HARDWARE.to_owned(),
        release: ReleaseName::from(name),
        security_counter,
        min_counter_from: None,
        allow_downgrade_from: None,
        listed: true,
    }
}

/// A draft of one phase that takes everybody.
pub(crate) fn rollout(id: &str, release: &str) -> RolloutRow {
    RolloutRow {
        id: RolloutId::from(id),
        hardware: HARDWARE.to_owned(),
        release: ReleaseName::from(release),
        cohort: Cohort { selector: Selector::default(), membership: Membership::Live },
        phases: vec![PhasePlan { size: PhaseSize::Rest, soak_s: 0, max_failures: None }],
        policy: Policy::default(),
        priority: 0,
        author: "rita".to_owned(),
        approval: Approval::NotNeeded,
        start_at: None,
        deltas_ready: true,
        state: RolloutState::Draft,
        reason: None,
        phase: 0,
        stage: Stage::Admit,
        phase_since: 0,
        stage_since: 0,
        resumed_at: None,
        created_at: 0,
    }
}
