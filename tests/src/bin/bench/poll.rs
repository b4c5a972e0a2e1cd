//! What a device costs that has nothing to do: bytes of a poll, writes to the database, polls a second.
//!
//! The device's key is a file here, so that this program can speak TLS as the device; its polls are the agent's.

use crate::bare;
use crate::measure::build_programs;
use crate::report::Report;
use anyhow::{Context as _, bail, ensure};
use base64::Engine as _;
use holdfast_tests::plant::{Device, Plant, until, write};
use holdfast_tests::process::Lifetime;
use holdfast_tests::scratch::Scratch;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};
use serde_json::Value;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

const HARDWARE: &str = "gateway";
/// Bytes of an answer that says "nothing new", headers included.
const POLL_BYTES: f64 = 300.0;
const CONNECTIONS: usize = 4;
const POLLS_PER_CONNECTION: usize = 2_000;

pub(crate) fn measure(report: &mut Report) -> anyhow::Result<()> {
    build_programs()?;
    let scratch = Scratch::new("bench-poll");
    let plant = Plant::start(&scratch.join("plant"), Lifetime::WithUs)?;
    plant.found_repository(&[HARDWARE])?;
    let device = enrolled(&plant, "BENCH-POLL")?;
    let identity = Identity::of(&device)?;
    let root = CertificateDer::from_pem_file(plant.data().join("ca.pem")).context("ca.pem")?;
    let service = Target {
        address: plant.url.trim_start_matches("https://").to_owned(),
        tls: client_config(&root, &identity)?,
    };

    let mut connection = Connection::open(&service)?;
    let etag = connection.poll(None)?.etag.context("the first answer has no ETag")?;
    let nothing_new = connection.poll(Some(&etag))?;
    ensure!(nothing_new.status == 304, "the second poll was answered with {}", nothing_new.status);
    report.at_most("poll", nothing_new.bytes as f64, "B", POLL_BYTES, None);
    no_write(&plant, &mut connection, &etag)?;
    drop(connection);

    let bare = bare::serve(identity.issuer()?, nothing_new.bytes)?;
    let bare = Target { address: bare.address, tls: client_config(&bare.root, &identity)? };
    // Turns taken in between, so that both meet the same machine.
    let (mut ours, mut theirs) = (0.0_f64, 0.0_f64);
    for _ in 0..3 {
        ours = ours.max(polls_per_s(&service, &etag)?);
        theirs = theirs.max(polls_per_s(&bare, &etag)?);
    }
    report.fact("poll_rate", ours, "/s", Some(theirs));
    Ok(())
}

/// A device without a TPM: it enrols by a join token.
pub(crate) fn enrolled(plant: &Plant, serial: &str) -> anyhow::Result<Device> {
    let folder = plant.root().join("devices").join(serial);
    let token = plant.json("operator", &["device", "token", "--serial", serial, "--model", HARDWARE])?;
    let token_path = folder.join("token.json");
    write(&token_path, token.to_string().as_bytes())?;
    let config = format!(
        "serial = \"{serial}\"\nmodel = \"{HARDWARE}\"\nstate_dir = \"state\"\nblob = \"blob.json\"\nkeystore = \"file\"\n"
    );
    write(&folder.join("device.toml"), config.as_bytes())?;
    plant.blob(HARDWARE, &folder.join("blob.json"), Some(&token_path))?;
    let device = Device { serial: serial.into(), folder, tpm: None };
    device.manufacture()?;
    device.run(&["enroll"])?.well(&["enroll"])?;
    Ok(device)
}

/// The device's certificate chain and key, from its state folder.
pub(crate) struct Identity {
    chain: Vec<CertificateDer<'static>>,
    key: Vec<u8>,
}

impl Identity {
    pub(crate) fn of(device: &Device) -> anyhow::Result<Self> {
        let state = device.folder.join("state");
        let identity: Value = serde_json::from_slice(&std::fs::read(state.join("identity.json"))?)?;
        let chain = identity["certificate_chain"].as_array().context("identity.json has no chain")?;
        let der = |one: &Value| -> anyhow::Result<CertificateDer<'static>> {
            let bytes =
                base64::engine::general_purpose::STANDARD.decode(one.as_str().context("no base64")?)?;
            Ok(CertificateDer::from(bytes))
        };
        let chain = chain.iter().map(der).collect::<anyhow::Result<Vec<_>>>()?;
        Ok(Self { chain, key: std::fs::read(state.join("key.pk8"))? })
    }

    /// The authority whose certificate ends the chain: whom the bare handler asks clients to come from.
    fn issuer(&self) -> anyhow::Result<CertificateDer<'static>> {
        self.chain.last().cloned().context("the chain is empty")
    }
}

pub(crate) struct Target {
    pub(crate) address: String,
    pub(crate) tls: Arc<ClientConfig>,
}

pub(crate) fn client_config(
    root: &CertificateDer<'static>,
    identity: &Identity,
) -> anyhow::Result<Arc<ClientConfig>> {
    let mut roots = RootCertStore::empty();
    roots.add(root.clone())?;
    let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(identity.key.clone()));
    let config = ClientConfig::builder_with_provider(Arc::new(rustls::crypto::aws_lc_rs::default_provider()))
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .with_root_certificates(roots)
        .with_client_auth_cert(identity.chain.clone(), key)?;
    Ok(Arc::new(config))
}

/// A connection that is kept, as an agent keeps its own.
pub(crate) struct Connection {
    stream: StreamOwned<ClientConnection, TcpStream>,
}

/// An answer: its status, all of its bytes, its ETag.
pub(crate) struct Polled {
    pub(crate) status: u16,
    bytes: usize,
    pub(crate) etag: Option<String>,
}

impl Connection {
    pub(crate) fn open(target: &Target) -> anyhow::Result<Self> {
        let socket = TcpStream::connect(&target.address)?;
        socket.set_nodelay(true)?;
        let name = ServerName::try_from("localhost")?;
        Ok(Self { stream: StreamOwned::new(ClientConnection::new(Arc::clone(&target.tls), name)?, socket) })
    }

    pub(crate) fn poll(&mut self, etag: Option<&str>) -> anyhow::Result<Polled> {
        self.get("/v1/state", etag)
    }

    pub(crate) fn get(&mut self, path: &str, etag: Option<&str>) -> anyhow::Result<Polled> {
        let condition = etag.map(|etag| format!("if-none-match: {etag}\r\n")).unwrap_or_default();
        let request = format!("GET {path} HTTP/1.1\r\nhost: localhost\r\n{condition}\r\n");
        self.stream.write_all(request.as_bytes())?;
        let mut answer = Vec::new();
        let head_len = loop {
            if let Some(at) = answer.windows(4).position(|bytes| bytes == b"\r\n\r\n") {
                break at + 4;
            }
            self.read_more(&mut answer)?;
        };
        let head = String::from_utf8_lossy(&answer[..head_len]).into_owned();
        let header = |name: &str| {
            let value = |line: &str| {
                let (found, value) = line.split_once(':')?;
                found.eq_ignore_ascii_case(name).then(|| value.trim().to_owned())
            };
            head.lines().find_map(value)
        };
        let status = head.split_whitespace().nth(1).context("no status")?.parse()?;
        let body_len =
            if status == 304 { 0 } else { header("content-length").context("no length")?.parse()? };
        while answer.len() < head_len + body_len {
            self.read_more(&mut answer)?;
        }
        Ok(Polled { status, bytes: answer.len(), etag: header("etag") })
    }

    fn read_more(&mut self, answer: &mut Vec<u8>) -> anyhow::Result<()> {
        let mut buffer = [0; 4096];
        match self.stream.read(&mut buffer)? {
            0 => bail!("the connection was closed inside an answer"),
            read => answer.extend_from_slice(&buffer[..read]),
        }
        Ok(())
    }
}

/// Two hundred polls leave the database's files as they were. Now and then the service writes for itself (when
/// devices were last seen, once a minute): a stretch with such a write in it is measured again.
fn no_write(plant: &Plant, connection: &mut Connection, etag: &str) -> anyhow::Result<()> {
    until("polls that write nothing", Duration::from_secs(30), || {
        let before = files(&plant.data())?;
        for _ in 0..200 {
            ensure!(connection.poll(Some(etag))?.status == 304, "a poll with nothing new was not a 304");
        }
        Ok((before == files(&plant.data())?).then_some(()))
    })
    .context("every stretch of 200 polls wrote to the database")
}

/// Database and write-ahead log, byte by byte.
fn files(data: &Path) -> anyhow::Result<[Vec<u8>; 2]> {
    Ok([
        std::fs::read(data.join("holdfast.db"))?,
        std::fs::read(data.join("holdfast.db-wal")).unwrap_or_default(),
    ])
}

#[expect(clippy::disallowed_methods, reason = "a rate is measured with a clock")]
fn polls_per_s(target: &Target, etag: &str) -> anyhow::Result<f64> {
    let mut connections =
        (0..CONNECTIONS).map(|_| Connection::open(target)).collect::<anyhow::Result<Vec<_>>>()?;
    for connection in &mut connections {
        ensure!(connection.poll(Some(etag))?.status == 304, "the first poll of a connection was not a 304");
    }
    let began = Instant::now();
    std::thread::scope(|scope| {
        let poll = |connection: &mut Connection| -> anyhow::Result<()> {
            (0..POLLS_PER_CONNECTION).try_for_each(|_| connection.poll(Some(etag)).map(|_| ()))
        };
        let threads: Vec<_> =
            connections.iter_mut().map(|connection| scope.spawn(move || poll(connection))).collect();
        threads
            .into_iter()
            .try_for_each(|thread| thread.join().map_err(|_| anyhow::anyhow!("a client panicked"))?)
    })?;
    Ok((CONNECTIONS * POLLS_PER_CONNECTION) as f64 / began.elapsed().as_secs_f64())
}
