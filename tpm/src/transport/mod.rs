//! How command bytes reach a TPM and response bytes come back. Nothing here knows a command.

mod node;
mod swtpm;

pub use node::DeviceNode;
pub use swtpm::{SwtpmTcp, SwtpmUnix};

use std::io;

/// The largest command and response; the PC Client profile's TPMs have 4096 at most.
pub const MAX_FRAME_BYTES: usize = 4096;
/// Tag, size, code.
pub const HEADER_BYTES: usize = 10;

/// Carries one command at a time.
pub trait Transport: Send {
    /// Sends one whole command and returns the one whole response to it.
    ///
    /// After an error the command may or may not have been carried out; nothing is sent twice here.
    fn transact(&mut self, command: &[u8]) -> Result<Vec<u8>, TransportError>;

    /// Whether the TPM keeps what a killed predecessor left loaded (no resource manager in between).
    fn keeps_leftovers(&self) -> bool;

    /// Lets go of the TPM, if it is held, until the next command.
    fn release(&mut self) {}
}

/// Why a command did not come back.
#[derive(Debug, thiserror::Error)]
pub enum TransportError {
    /// The specification names no transport.
    #[error("TPM {spec:?} is none of device:PATH, swtpm:host=HOST,port=PORT, swtpm-unix:PATH")]
    BadSpec { spec: String },
    #[error("cannot open TPM {target}")]
    Open {
        target: String,
        #[source]
        source: io::Error,
    },
    #[error("TPM {target} broke off")]
    Io {
        target: String,
        #[source]
        source: io::Error,
    },
    /// The response's header gives an impossible size.
    #[error("TPM's response claims {claimed} bytes, limit {MAX_FRAME_BYTES}, received {received}")]
    BadSize { claimed: usize, received: usize },
    #[error("command of {0} bytes is above {MAX_FRAME_BYTES}")]
    CommandTooLong(usize),
}

/// Opens the transport that `spec` names: `device:/dev/tpmrm0`, `swtpm:host=127.0.0.1,port=2321` or
/// `swtpm-unix:/path`. The swtpm ones connect at the first command.
pub fn open(spec: &str) -> Result<Box<dyn Transport>, TransportError> {
    let bad = || TransportError::BadSpec { spec: spec.to_owned() };
    let (kind, rest) = spec.split_once(':').ok_or_else(bad)?;
    match kind {
        "device" if !rest.is_empty() => Ok(Box::new(DeviceNode::open(rest.as_ref())?)),
        "swtpm-unix" if !rest.is_empty() => Ok(Box::new(SwtpmUnix::new(rest.as_ref()))),
        "swtpm" => {
            let (mut host, mut port) = ("127.0.0.1", None);
            for part in rest.split(',') {
                match part.split_once('=') {
                    Some(("host", value)) => host = value,
                    Some(("port", value)) => port = Some(value.parse().map_err(|_| bad())?),
                    _ => return Err(bad()),
                }
            }
            Ok(Box::new(SwtpmTcp::new(host, port.ok_or_else(bad)?)))
        }
        _ => Err(bad()),
    }
}

fn check_command(command: &[u8]) -> Result<(), TransportError> {
    if command.len() > MAX_FRAME_BYTES { Err(TransportError::CommandTooLong(command.len())) } else { Ok(()) }
}

/// The size that a response's header claims.
fn claimed_size(header: &[u8]) -> usize {
    match header {
        [_, _, a, b, c, d, ..] => u32::from_be_bytes([*a, *b, *c, *d]) as usize,
        _ => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn specs_name_a_transport_or_are_refused() {
        for good in ["swtpm:host=127.0.0.1,port=2321", "swtpm:port=2321", "swtpm-unix:/run/tpm.sock"] {
            assert!(open(good).is_ok(), "{good}");
        }
        for bad in [
            "",
            "swtpm",
            "swtpm:",
            "swtpm:port=70000",
            "swtpm:host=a",
            "swtpm:port=1,x=2",
            "device:",
            "tcp:1",
        ] {
            assert!(matches!(open(bad), Err(TransportError::BadSpec { .. })), "{bad}");
        }
        assert!(matches!(open("device:/nonexistent/tpm"), Err(TransportError::Open { .. })));
    }
}
