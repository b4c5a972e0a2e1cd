//! Every cap of this crate: default, unit, the attack that it answers.
