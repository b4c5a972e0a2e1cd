//! One TLS connection with HTTP/1.1 on it, whose exporter can be read before anything is sent. Not for use outside of
//! tests: it reads what our own service writes.

use rustls::pki_types::{CertificateDer, ServerName};
use rustls::sign::{CertifiedKey, SigningKey, SingleCertAndKey};
use rustls::{ClientConfig, ClientConnection, HandshakeKind, RootCertStore, StreamOwned};
use serde_json::Value;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::sync::Arc;

use holdfast_server::clock::Clock;

/// An answer.
#[derive(Debug)]
pub(crate) struct Reply {
    pub(crate) status: u16,
    pub(crate) head: String,
    pub(crate) body: Vec<u8>,
}

impl Reply {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or(Value::Null)
    }

    /// The problem document's stable word.
    pub(crate) fn code(&self) -> String {
        self.json()["code"].as_str().unwrap_or_default().to_owned()
    }

    /// Itself if it is a 200 or 201.
    #[track_caller]
    pub(crate) fn ok(self) -> Self {
        assert!(matches!(self.status, 200 | 201), "{}: {}", self.status, String::from_utf8_lossy(&self.body));
        self
    }
}

/// A certificate chain and its key.
pub(crate) type Identity = (Vec<Vec<u8>>, Arc<dyn SigningKey>);

/// How a client speaks: it verifies the service, by the time of its start, and may have a certificate.
pub(crate) fn client(root: &[u8], identity: Option<Identity>) -> Arc<ClientConfig> {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from(root.to_vec())).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder =
        ClientConfig::builder_with_details(provider, Arc::new(Clock::standing_at(super::world::NOON)))
            .with_protocol_versions(&[&rustls::version::TLS13])
            .unwrap()
            .with_root_certificates(roots);
    Arc::new(match identity {
        None => builder.with_no_client_auth(),
        Some((chain, key)) => {
            let chain = chain.into_iter().map(CertificateDer::from).collect();
            builder.with_client_cert_resolver(Arc::new(SingleCertAndKey::from(CertifiedKey::new(chain, key))))
        }
    })
}

/// An open connection.
pub(crate) struct Wire(StreamOwned<ClientConnection, TcpStream>);

impl Wire {
    pub(crate) fn open(address: &str, config: &Arc<ClientConfig>) -> std::io::Result<Self> {
        let mut stream = TcpStream::connect(address)?;
        let name = ServerName::try_from("localhost").unwrap();
        let mut connection = ClientConnection::new(Arc::clone(config), name).unwrap();
        connection.complete_io(&mut stream)?;
        Ok(Self(StreamOwned::new(connection, stream)))
    }

    pub(crate) fn exporter(&self) -> [u8; 32] {
        let label = holdfast_proto::enroll::EXPORTER_LABEL;
        self.0.conn.export_keying_material([0; 32], label, None).unwrap()
    }

    pub(crate) fn is_resumed(&self) -> bool {
        self.0.conn.handshake_kind() == Some(HandshakeKind::Resumed)
    }

    /// One request and its answer; the connection stays open.
    pub(crate) fn call(
        &mut self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: &[u8],
    ) -> std::io::Result<Reply> {
        let mut head =
            format!("{method} {path} HTTP/1.1\r\nhost: localhost\r\ncontent-length: {}\r\n", body.len());
        for (name, value) in headers {
            head = head + name + ": " + value + "\r\n";
        }
        head.push_str("content-type: application/json\r\n\r\n");
        // In one piece: a service that answers before a body that it does not need has come closes the connection.
        let request = [head.as_bytes(), body].concat();
        // A service that has heard enough answers and closes: what it said counts, not that it stopped reading.
        let sent = self.0.write_all(&request).and_then(|()| self.0.flush());
        let mut answer = Vec::new();
        let end = loop {
            if let Some(at) = answer.windows(4).position(|four| four == b"\r\n\r\n") {
                break at + 4;
            }
            if self.read_more(&mut answer)? == 0 {
                sent?;
                return Err(std::io::ErrorKind::UnexpectedEof.into());
            }
        };
        let head = String::from_utf8_lossy(&answer[..end]).to_ascii_lowercase();
        let status = head.split(' ').nth(1).and_then(|word| word.parse().ok()).unwrap_or(0);
        let length = head
            .lines()
            .find_map(|line| line.strip_prefix("content-length: ")?.trim().parse().ok())
            .unwrap_or(0);
        while answer.len() < end + length {
            if self.read_more(&mut answer)? == 0 {
                break;
            }
        }
        Ok(Reply { status, head, body: answer.split_off(end) })
    }

    fn read_more(&mut self, into: &mut Vec<u8>) -> std::io::Result<usize> {
        let mut buffer = [0; 16 << 10];
        let count = self.0.read(&mut buffer)?;
        into.extend_from_slice(&buffer[..count]);
        Ok(count)
    }
}
