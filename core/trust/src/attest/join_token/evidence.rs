//! What a device with a join token says: the wire's words.

pub use holdfast_proto::enroll::{JoinTokenProof, JoinTokenStart};
