//! The update repository as a device believes it: the workflow's rules one by one, what Holdfast adds to them, and a
//! server that plays every trick its keys allow.

mod client_cli;
mod hostile;
mod machine;
mod properties;
mod release;
mod store;
mod support;
mod time;
mod workflow;
