//! One TLS connection under ureq: opened by hand and given to it, or dialled when it asks.

use super::pace::{Limits, Paced, Patience};
use crate::clock;
use crate::error::DeviceError;
use holdfast_proto::enroll::EXPORTER_LABEL;
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection, StreamOwned};
use std::fmt;
use std::io::{Read as _, Write as _};
use std::net::{TcpStream, ToSocketAddrs as _};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use ureq::unversioned::transport::{
    Buffers, ConnectionDetails, Connector, LazyBuffers, NextTimeout, Transport,
};

const CONNECT_TIMEOUT: Duration = Duration::from_secs(15);
const BUFFER_BYTES: usize = 16 << 10;

/// Where, and under which TLS configuration.
pub(super) struct Target {
    pub(super) url: String,
    pub(super) host: String,
    pub(super) port: u16,
    pub(super) tls: Arc<ClientConfig>,
    pub(super) limits: Limits,
    /// With what is being answered; one request at a time.
    pub(super) patience: Arc<Patience>,
}

impl fmt::Debug for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Target").field("url", &self.url).finish_non_exhaustive()
    }
}

impl Target {
    pub(super) fn connect(&self) -> Result<Link, DeviceError> {
        let failed = |source: Box<dyn std::error::Error + Send + Sync>| DeviceError::Unreachable {
            url: self.url.clone(),
            source,
        };
        let mut last = None;
        let addresses =
            (self.host.as_str(), self.port).to_socket_addrs().map_err(|error| failed(error.into()))?;
        let until_ms = clock::boottime_ms().saturating_add(self.limits.handshake_ms);
        for address in addresses {
            let left = Duration::from_millis(until_ms.saturating_sub(clock::boottime_ms()));
            // However many addresses a name has, they share the time.
            if left.is_zero() {
                break;
            }
            match TcpStream::connect_timeout(&address, left.min(CONNECT_TIMEOUT)) {
                Ok(stream) => return self.handshake(stream).map_err(failed),
                Err(error) => last = Some(error),
            }
        }
        Err(failed(last.map_or_else(|| "the name has no address".into(), Into::into)))
    }

    fn handshake(&self, socket: TcpStream) -> Result<Link, Box<dyn std::error::Error + Send + Sync>> {
        socket.set_nodelay(true)?;
        let name = ServerName::try_from(self.host.clone())?;
        let mut connection = ClientConnection::new(Arc::clone(&self.tls), name)?;
        let mut stream = Paced { socket, patience: Patience::new(self.limits) };
        connection.complete_io(&mut stream)?;
        stream.patience = Arc::clone(&self.patience);
        let exporter = connection.export_keying_material([0; 32], EXPORTER_LABEL, None)?;
        let buffers = LazyBuffers::new(BUFFER_BYTES, BUFFER_BYTES);
        Ok(Link { stream: StreamOwned::new(connection, stream), buffers, exporter })
    }

    /// What ureq says, as we say it: our own errors come back as they were.
    pub(super) fn failed(&self, error: ureq::Error) -> DeviceError {
        let error = match error {
            ureq::Error::Other(inner) => match inner.downcast::<DeviceError>() {
                Ok(ours) => return *ours,
                Err(inner) => ureq::Error::Other(inner),
            },
            other => other,
        };
        DeviceError::Unreachable { url: self.url.clone(), source: error.into() }
    }
}

/// One TLS connection, its handshake done.
pub(super) struct Link {
    stream: StreamOwned<ClientConnection, Paced>,
    buffers: LazyBuffers,
    /// RFC 9266, 32 bytes.
    pub(super) exporter: [u8; 32],
}

impl Link {
    /// The socket once more, to see whether the connection lives while ureq has it.
    pub(super) fn socket(&self) -> std::io::Result<TcpStream> {
        self.stream.sock.socket.try_clone()
    }
}

/// Whether a connection over which nothing was asked is open: there is nothing to read, its end neither.
pub(super) fn is_quiet(socket: &TcpStream) -> bool {
    if socket.set_nonblocking(true).is_err() {
        return false;
    }
    let quiet =
        matches!(socket.peek(&mut [0; 1]), Err(error) if error.kind() == std::io::ErrorKind::WouldBlock);
    quiet && socket.set_nonblocking(false).is_ok()
}

impl fmt::Debug for Link {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Link")
    }
}

impl Transport for Link {
    fn buffers(&mut self) -> &mut dyn Buffers {
        &mut self.buffers
    }

    fn transmit_output(&mut self, amount: usize, _: NextTimeout) -> Result<(), ureq::Error> {
        self.stream.sock.patience.sending(amount);
        // Unwrap safety: ureq asks for no more than it wrote into this buffer.
        self.stream.write_all(&self.buffers.output()[..amount])?;
        Ok(self.stream.flush()?)
    }

    fn await_input(&mut self, _: NextTimeout) -> Result<bool, ureq::Error> {
        let amount = self.stream.read(self.buffers.input_append_buf())?;
        self.buffers.input_appended(amount);
        self.stream.sock.patience.received(amount);
        Ok(amount > 0)
    }

    fn is_open(&mut self) -> bool {
        is_quiet(&self.stream.sock.socket)
    }

    fn is_tls(&self) -> bool {
        true
    }
}

/// Gives the one connection that was opened before.
#[derive(Debug)]
pub(super) struct Prepared(Mutex<Option<Link>>);

impl Prepared {
    pub(super) fn new(link: Link) -> Self {
        Self(Mutex::new(Some(link)))
    }
}

impl Connector<()> for Prepared {
    type Out = Link;

    fn connect(&self, _: &ConnectionDetails<'_>, _: Option<()>) -> Result<Option<Link>, ureq::Error> {
        let link = self.0.lock().unwrap_or_else(PoisonError::into_inner).take();
        link.map(Some).ok_or(ureq::Error::ConnectionFailed)
    }
}

/// Opens a connection when one is needed.
#[derive(Debug)]
pub(super) struct Dialer(pub(super) Arc<Target>);

impl Connector<()> for Dialer {
    type Out = Link;

    fn connect(&self, _: &ConnectionDetails<'_>, _: Option<()>) -> Result<Option<Link>, ureq::Error> {
        self.0.connect().map(Some).map_err(|error| ureq::Error::Other(Box::new(error)))
    }
}
