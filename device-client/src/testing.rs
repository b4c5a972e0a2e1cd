//! For unit tests: a blob server over real TLS that fails on command, small file systems, real firmware.

use crate::net::{Service, Site};
use holdfast_delta::BlockList;
use holdfast_proto::Digest;
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::{ServerConfig, ServerConnection, StreamOwned};
use sha2::Digest as _;
use std::collections::BTreeMap;
use std::io::{BufReader, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

pub(crate) fn digest(bytes: &[u8]) -> Digest {
    Digest(sha2::Sha256::digest(bytes).into())
}

/// Fails where `act` waits for ever, so that the test does not.
pub(crate) fn in_time<T: Send + 'static>(act: impl FnOnce() -> T + Send + 'static) -> T {
    let (sender, receiver) = std::sync::mpsc::channel();
    std::thread::spawn(move || sender.send(act()));
    receiver.recv_timeout(std::time::Duration::from_mins(1)).expect("it ends well, and in time")
}

/// How the server fails.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Faults {
    /// A connection breaks after so many bytes of a body.
    pub(crate) cut_after: Option<u64>,
    /// It knows no ranges, as old proxies do.
    pub(crate) no_ranges: bool,
    /// It answers this status to everything.
    pub(crate) status: Option<u16>,
}

/// Blobs over HTTPS.
pub(crate) struct BlobServer {
    port: u16,
    root: Vec<u8>,
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    blobs: Mutex<BTreeMap<String, Vec<u8>>>,
    faults: Mutex<Faults>,
    served: Mutex<u64>,
}

impl BlobServer {
    pub(crate) fn start() -> Self {
        let shared = Arc::new(Shared::default());
        let accepting = Arc::clone(&shared);
        let (port, root) = listen(move |stream| serve(stream, &accepting));
        Self { port, root, shared }
    }

    pub(crate) fn service(&self) -> Service {
        Service::anonymous(&Site::of_test(self.port, self.root.clone())).unwrap()
    }

    /// Stores a blob and its block list; the list's root.
    pub(crate) fn put(&self, bytes: &[u8]) -> Digest {
        let list = BlockList::from_reader(&mut &bytes[..]).unwrap();
        self.put_as(digest(bytes), bytes);
        self.put_as(digest(list.as_bytes()), list.as_bytes());
        digest(list.as_bytes())
    }

    /// Stores bytes under a digest that need not be theirs.
    pub(crate) fn put_as(&self, digest: Digest, bytes: &[u8]) {
        self.shared.blobs.lock().unwrap().insert(digest.to_string(), bytes.to_vec());
    }

    pub(crate) fn fail(&self, faults: Faults) {
        *self.shared.faults.lock().unwrap() = faults;
    }

    /// Bytes of bodies that were sent since the last question.
    pub(crate) fn served(&self) -> u64 {
        std::mem::take(&mut *self.shared.served.lock().unwrap())
    }
}

/// The server's side of one connection.
pub(crate) type Served = StreamOwned<ServerConnection, TcpStream>;

/// Serves every connection on localhost in a thread of its own; the port, and the root of its certificate.
pub(crate) fn listen(serve: impl Fn(Served) + Send + Sync + 'static) -> (u16, Vec<u8>) {
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let root = made.cert.der().to_vec();
    let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(made.signing_key.serialize_der()));
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    let config = config.with_no_client_auth().with_single_cert(vec![made.cert.der().clone()], key).unwrap();
    let (config, serve) = (Arc::new(config), Arc::new(serve));
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let (config, serve) = (Arc::clone(&config), Arc::clone(&serve));
            std::thread::spawn(move || {
                if let Ok(connection) = ServerConnection::new(config) {
                    serve(StreamOwned::new(connection, stream));
                }
            });
        }
    });
    (port, root)
}

/// A service that gives every request body to `answer` and sends back what that says, as JSON.
pub(crate) fn answering(answer: impl Fn(&[u8]) -> String + Send + Sync + 'static) -> Service {
    let (port, root) = listen(move |stream| {
        let mut stream = BufReader::new(stream);
        while let Some(body) = request_body(&mut stream) {
            let json = answer(&body);
            let head = format!("HTTP/1.1 200 X\r\ncontent-length: {}\r\n\r\n{json}", json.len());
            let out = stream.get_mut();
            if out.write_all(head.as_bytes()).and_then(|()| out.flush()).is_err() {
                return;
            }
        }
    });
    Service::anonymous(&Site::of_test(port, root)).unwrap()
}

fn request_body(stream: &mut impl std::io::BufRead) -> Option<Vec<u8>> {
    let mut length = 0;
    loop {
        let mut header = String::new();
        stream.read_line(&mut header).ok().filter(|read| *read > 0)?;
        if header.trim().is_empty() {
            break;
        }
        if let Some(value) = header.to_ascii_lowercase().strip_prefix("content-length:") {
            length = value.trim().parse().ok()?;
        }
    }
    let mut body = vec![0; length];
    stream.read_exact(&mut body).ok()?;
    Some(body)
}

fn serve(stream: Served, shared: &Shared) {
    let mut stream = BufReader::new(stream);
    while let Some((digest, range)) = request(&mut stream) {
        let faults = *shared.faults.lock().unwrap();
        let found = shared.blobs.lock().unwrap().get(&digest).cloned();
        let (status, body) = match (found, faults.status) {
            (_, Some(status)) => (status, Vec::new()),
            (None, None) => (404, Vec::new()),
            (Some(bytes), None) => match range.filter(|_| !faults.no_ranges) {
                Some((start, end)) => (206, bytes[start..=end.min(bytes.len() - 1)].to_vec()),
                None => (200, bytes),
            },
        };
        let sent = faults.cut_after.map_or(body.len(), |cut| body.len().min(cut as usize));
        let head = format!("HTTP/1.1 {status} X\r\ncontent-length: {}\r\n\r\n", body.len());
        let out = stream.get_mut();
        *shared.served.lock().unwrap() += sent as u64;
        let ended = out
            .write_all(head.as_bytes())
            .and_then(|()| out.write_all(&body[..sent]))
            .and_then(|()| out.flush());
        if ended.is_err() || sent < body.len() {
            return;
        }
    }
}

/// Digest and range of one request; none when there is no further.
fn request(stream: &mut impl std::io::BufRead) -> Option<(String, Option<(usize, usize)>)> {
    let mut line = String::new();
    stream.read_line(&mut line).ok().filter(|read| *read > 0)?;
    // What is no blob's path has a last segment too: no blob is found by it.
    let digest = line.split(' ').nth(1)?.rsplit('/').next()?.to_owned();
    let mut range = None;
    loop {
        let mut header = String::new();
        stream.read_line(&mut header).ok().filter(|read| *read > 0)?;
        if header.trim().is_empty() {
            return Some((digest, range));
        }
        let lower = header.to_ascii_lowercase();
        if let Some(bytes) = lower.strip_prefix("range: bytes=") {
            let (start, end) = bytes.trim().split_once('-')?;
            range = Some((start.parse().ok()?, end.parse().unwrap_or(usize::MAX)));
        }
    }
}

/// A real firmware image from the cache that `tests/setup/firmware.sh` fills.
pub(crate) fn firmware(name: &str) -> Vec<u8> {
    let cache = std::env::var_os("HOLDFAST_CACHE").map_or_else(
        || PathBuf::from(std::env::var_os("HOME").unwrap_or_else(|| "/root".into())).join(".cache/holdfast"),
        PathBuf::from,
    );
    let path = cache.join("firmware").join(name);
    std::fs::read(&path)
        .unwrap_or_else(|_| panic!("{} is missing: run tests/setup/firmware.sh", path.display()))
}

/// A file system of its own, gone at the end.
pub(crate) struct SmallDisk(PathBuf);

impl SmallDisk {
    pub(crate) fn mount(path: &Path, size: &str) -> Self {
        let options = format!("size={size}");
        let mounted = std::process::Command::new("mount")
            .args(["-t", "tmpfs", "-o", &options, "tmpfs"])
            .arg(path)
            .status();
        assert!(mounted.unwrap().success(), "a tmpfs needs root");
        Self(path.to_owned())
    }

    /// Fills it to the last byte.
    pub(crate) fn fill(&self) {
        let mut file = std::fs::File::create(self.0.join("filler")).unwrap();
        let ended = std::io::copy(&mut std::io::repeat(7), &mut file);
        assert_eq!(ended.unwrap_err().kind(), std::io::ErrorKind::StorageFull);
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = std::process::Command::new("umount").arg(&self.0).status();
    }
}
