//! swtpm's data channel, TCP or Unix: plain TPM bytes, one client at a time.
//!
//! The connection is kept. Before each command it is looked at: if swtpm was restarted meanwhile, a new one
//! is made, so that a command is never written into a connection known to be dead. A command whose
//! response got lost is not sent again: it may have been carried out.

use super::{HEADER_BYTES, MAX_FRAME_BYTES, Transport, TransportError, check_command, claimed_size};
use std::io::{self, Read, Write};
use std::net::{TcpStream, ToSocketAddrs as _};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// RSA keys take seconds in swtpm.
const RESPONSE_TIMEOUT: Duration = Duration::from_mins(2);

/// swtpm over TCP.
#[derive(Debug)]
pub struct SwtpmTcp {
    host: String,
    port: u16,
    stream: Option<TcpStream>,
}

/// swtpm over a Unix socket.
#[derive(Debug)]
pub struct SwtpmUnix {
    path: PathBuf,
    stream: Option<UnixStream>,
}

impl SwtpmTcp {
    pub fn new(host: &str, port: u16) -> Self {
        Self { host: host.to_owned(), port, stream: None }
    }

    fn connect(&self) -> io::Result<TcpStream> {
        let mut last = io::Error::from(io::ErrorKind::NotFound);
        for address in (self.host.as_str(), self.port).to_socket_addrs()? {
            match TcpStream::connect_timeout(&address, CONNECT_TIMEOUT) {
                Ok(stream) => {
                    stream.set_nodelay(true)?;
                    stream.set_read_timeout(Some(RESPONSE_TIMEOUT))?;
                    return Ok(stream);
                }
                Err(error) => last = error,
            }
        }
        Err(last)
    }
}

impl SwtpmUnix {
    pub fn new(path: &Path) -> Self {
        Self { path: path.to_owned(), stream: None }
    }

    fn connect(&self) -> io::Result<UnixStream> {
        let stream = UnixStream::connect(&self.path)?;
        stream.set_read_timeout(Some(RESPONSE_TIMEOUT))?;
        Ok(stream)
    }
}

impl Transport for SwtpmTcp {
    fn transact(&mut self, command: &[u8]) -> Result<Vec<u8>, TransportError> {
        check_command(command)?;
        let target = format!("{}:{}", self.host, self.port);
        let kept = self.stream.take().filter(|stream| is_alive(stream, TcpStream::set_nonblocking));
        let mut stream = match kept {
            Some(stream) => stream,
            None => {
                self.connect().map_err(|source| TransportError::Open { target: target.clone(), source })?
            }
        };
        let response = exchange(&mut stream, command, target)?;
        self.stream = Some(stream);
        Ok(response)
    }

    fn keeps_leftovers(&self) -> bool {
        true
    }

    fn release(&mut self) {
        self.stream = None;
    }
}

impl Transport for SwtpmUnix {
    fn transact(&mut self, command: &[u8]) -> Result<Vec<u8>, TransportError> {
        check_command(command)?;
        let target = self.path.display().to_string();
        let kept = self.stream.take().filter(|stream| is_alive(stream, UnixStream::set_nonblocking));
        let mut stream = match kept {
            Some(stream) => stream,
            None => {
                self.connect().map_err(|source| TransportError::Open { target: target.clone(), source })?
            }
        };
        let response = exchange(&mut stream, command, target)?;
        self.stream = Some(stream);
        Ok(response)
    }

    fn keeps_leftovers(&self) -> bool {
        true
    }

    fn release(&mut self) {
        self.stream = None;
    }
}

/// Alive means: open, and with nothing to read, since nothing was asked.
fn is_alive<S>(stream: &S, set_nonblocking: fn(&S, bool) -> io::Result<()>) -> bool
where
    for<'a> &'a S: Read,
{
    if set_nonblocking(stream, true).is_err() {
        return false;
    }
    let mut reader = stream;
    let quiet = matches!(reader.read(&mut [0; 1]), Err(error) if error.kind() == io::ErrorKind::WouldBlock);
    quiet && set_nonblocking(stream, false).is_ok()
}

fn exchange(
    stream: &mut (impl Read + Write),
    command: &[u8],
    target: String,
) -> Result<Vec<u8>, TransportError> {
    let io = |source| TransportError::Io { target: target.clone(), source };
    stream.write_all(command).map_err(io)?;
    let mut response = vec![0; HEADER_BYTES];
    stream.read_exact(&mut response).map_err(io)?;
    let claimed = claimed_size(&response);
    if !(HEADER_BYTES..=MAX_FRAME_BYTES).contains(&claimed) {
        return Err(TransportError::BadSize { claimed, received: HEADER_BYTES });
    }
    response.resize(claimed, 0);
    // Unwrap safety: `claimed` is at least HEADER_BYTES.
    stream.read_exact(&mut response[HEADER_BYTES..]).map_err(io)?;
    Ok(response)
}
