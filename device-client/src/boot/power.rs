//! The power line of a software TPM: swtpm's control channel (CMD_INIT), as firmware's reset does for a chip.

use crate::error::DeviceError;
use holdfast_tpm::Tpm;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::unix::net::UnixStream;
use std::time::Duration;

/// swtpm's control protocol: CMD_INIT, then flags; big-endian (swtpm_ioctls(3)).
const CMD_INIT: u32 = 2;
const PATIENCE: Duration = Duration::from_secs(30);

/// Switches the TPM off in order and on again. A chip behind a device node is reset by the machine's own reset.
///
/// # Errors
/// When it does not answer.
pub(super) fn cycle(spec: &str) -> Result<(), DeviceError> {
    let failed = |source: std::io::Error| {
        DeviceError::unusable(format!("the software TPM's control channel: {source}"))
    };
    if spec.starts_with("device:") {
        return Ok(());
    }
    let mut tpm = Tpm::open(spec)?;
    tpm.shutdown_clear()?;
    tpm.release();
    if let Some(path) = spec.strip_prefix("swtpm-unix:") {
        // By tpm2-tss' convention the control channel is at the data channel's path with `.ctrl` after it,
        let stream = UnixStream::connect(format!("{path}.ctrl")).map_err(failed)?;
        stream.set_read_timeout(Some(PATIENCE)).map_err(failed)?;
        init(stream).map_err(failed)
    } else {
        // or at its port plus one.
        let (host, port) = host_and_port(spec).ok_or_else(|| DeviceError::usage("tpm names no port"))?;
        let stream = TcpStream::connect((host, port.saturating_add(1))).map_err(failed)?;
        stream.set_read_timeout(Some(PATIENCE)).map_err(failed)?;
        init(stream).map_err(failed)
    }
}

fn init(mut stream: impl Read + Write) -> std::io::Result<()> {
    stream.write_all(&[CMD_INIT.to_be_bytes(), 0_u32.to_be_bytes()].concat())?;
    let mut answer = [0; 4];
    stream.read_exact(&mut answer)?;
    match u32::from_be_bytes(answer) {
        0 => Ok(()),
        code => Err(std::io::Error::other(format!("CMD_INIT ended with {code:#x}"))),
    }
}

fn host_and_port(spec: &str) -> Option<(&str, u16)> {
    let (mut host, mut port) = ("127.0.0.1", None);
    for part in spec.strip_prefix("swtpm:")?.split(',') {
        match part.split_once('=')? {
            ("host", value) => host = value,
            ("port", value) => port = value.parse().ok(),
            _ => return None,
        }
    }
    Some((host, port?))
}
