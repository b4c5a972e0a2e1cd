//! How bytes reach a TPM: the kernel's device node, or swtpm's data channel over TCP or a Unix socket.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::unix::net::UnixStream;
use std::time::Duration;

/// Largest response: TPM_MAX_RESPONSE_SIZE of the reference implementation.
const RESPONSE_MAX_BYTES: usize = 4096;
/// RSA key generation takes minutes on real parts.
const TIMEOUT: Duration = Duration::from_secs(300);

/// Why a command did not reach the TPM, or its answer us.
#[derive(Debug, thiserror::Error)]
pub enum TransportError {
    #[error("no TPM transport {0:?}: it is device:PATH, swtpm:HOST:PORT or swtpm-unix:PATH")]
    Unknown(String),
    #[error("the TPM at {at} cannot be opened: is it there, and may this user open it?")]
    Open { at: String, source: std::io::Error },
    #[error("the TPM did not answer")]
    Io(#[from] std::io::Error),
    #[error("the TPM answered {0} bytes; at most {RESPONSE_MAX_BYTES} are taken, and 10 are needed")]
    Size(usize),
}

/// Sends one command, gives its response.
pub trait Transport: Send {
    /// # Errors
    /// When the command could not be sent, or no whole response came back.
    fn transact(&mut self, command: &[u8]) -> Result<Vec<u8>, TransportError>;
}

/// Opens `device:/dev/tpmrm0`, `swtpm:127.0.0.1:2321` or `swtpm-unix:/path`.
///
/// # Errors
/// When the text names no transport, or the TPM cannot be opened.
pub fn open(spec: &str) -> Result<Box<dyn Transport>, TransportError> {
    let at = |source| TransportError::Open { at: spec.to_owned(), source };
    match spec.split_once(':') {
        Some(("device", path)) => {
            let file = std::fs::OpenOptions::new().read(true).write(true).open(path).map_err(at)?;
            Ok(Box::new(DeviceNode(file)))
        }
        Some(("swtpm", address)) => {
            let stream = TcpStream::connect(address).map_err(at)?;
            stream.set_nodelay(true).map_err(at)?;
            stream.set_read_timeout(Some(TIMEOUT)).map_err(at)?;
            Ok(Box::new(Stream(stream)))
        }
        Some(("swtpm-unix", path)) => {
            let stream = UnixStream::connect(path).map_err(at)?;
            stream.set_read_timeout(Some(TIMEOUT)).map_err(at)?;
            Ok(Box::new(Stream(stream)))
        }
        _ => Err(TransportError::Unknown(spec.to_owned())),
    }
}

/// The device node: one write is a command, one read is its whole response.
struct DeviceNode(std::fs::File);

impl Transport for DeviceNode {
    fn transact(&mut self, command: &[u8]) -> Result<Vec<u8>, TransportError> {
        self.0.write_all(command)?;
        let mut response = vec![0; RESPONSE_MAX_BYTES];
        let length = self.0.read(&mut response)?;
        response.truncate(length);
        if length < 10 { Err(TransportError::Size(length)) } else { Ok(response) }
    }
}

/// A byte stream: the header says how long the response is.
struct Stream<S>(S);

impl<S: Read + Write + Send> Transport for Stream<S> {
    fn transact(&mut self, command: &[u8]) -> Result<Vec<u8>, TransportError> {
        self.0.write_all(command)?;
        self.0.flush()?;
        let mut header = [0; 10];
        self.0.read_exact(&mut header)?;
        // Unwrap safety: four bytes of a ten byte array.
        let length = u32::from_be_bytes(header[2..6].try_into().unwrap()) as usize;
        if !(10..=RESPONSE_MAX_BYTES).contains(&length) {
            return Err(TransportError::Size(length));
        }
        let mut response = header.to_vec();
        response.resize(length, 0);
        self.0.read_exact(&mut response[10..])?;
        Ok(response)
    }
}
