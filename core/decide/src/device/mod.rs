//! The update machine of one device: what to do next, given what happened.
//!
//! Here: the states (each is a journal record), the events, the effects and the rules between them.
//! Not here: any disk, socket, clock or boot loader. The device client carries effects out and tells what came
//! of them; nothing else does.
//!
//! Grammar: [`Machine::resume`] after every start of the program, [`Machine::handle`] for each fact,
//! [`Machine::poll_effect`] until it has nothing, [`Machine::poll_timeout`] for when to say
//! [`Event::TimePassed`]. An effect that awaits an answer is the only one under way.
//!
//! Invariants, held by the properties in `tests/`: there is always a slot known to run;
//! [`Effect::Persist`] comes before the effect that it permits; no release below the floor is installed; none
//! that was rolled back is installed again unless a newer signed assignment with a higher attempt asks for it.

mod admit;
mod event;
mod facts;
mod machine;
mod policy;
mod progress;
mod state;
mod steps;
mod transfer;
mod trial;

pub use event::{
    ArtefactSurvey, CheckFailure, DeltaOffer, Effect, Event, FetchEnd, FetchFailure, Fetched, HealthVerdict,
    Note, ReportFacts, Survey,
};
pub use facts::{Assigned, Booted, Deadline, Installed, Now, Slot, Wall};
pub use machine::Machine;
pub use policy::{Activation, BootKind, CommitGate, Policy};
pub use state::{
    Ended, Job, Outcome, Quarantined, RECORD_SCHEMA, Record, Refusal, Revert, Saved, Source, Standing, State,
    Tally, WayBack,
};

#[cfg(test)]
mod tests;
