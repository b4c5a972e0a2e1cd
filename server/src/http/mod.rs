//! What every handler stands on: answers and refusals, who asks, bodies, pages, limits, and the TLS listener.
//!
//! No noun is named here.

pub mod auth;
pub mod body;
pub mod frame;
pub mod gate;
pub mod idle;
pub mod limit;
pub mod listen;
pub mod page;
pub mod peer;
pub mod problem;
pub mod tls;

pub use body::{Body, JsonBody, Parameters};
pub use problem::{Accepted, Answer, Created, NoContent};
