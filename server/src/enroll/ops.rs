//! What may be done with enrolments, one name each; the parts stand in the files beside this one.

pub use super::believed::{Believed, QUOTED_PCRS, anchors, policy};
