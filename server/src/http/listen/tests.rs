//! Over real sockets: who says nothing is let go, and one address never has every place.

use super::*;
use crate::clock::Clock;
use crate::http::tls::{ServerCertificate, server_config};
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpSocket;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream as ClientStream;

/// Far longer than any bound below.
const LONG: Duration = Duration::from_secs(20);
const IDLE: Duration = Duration::from_secs(1);

struct House {
    address: SocketAddr,
    /// Lets `/slow` answer.
    go_on: Arc<tokio::sync::Notify>,
    certificate: CertificateDer<'static>,
}

impl House {
    /// Listens; `/slow` takes until it is told to go on.
    async fn open(max_connections: usize, idle: Duration) -> Self {
        let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        let certificate = made.cert.der().clone();
        let key = zeroize::Zeroizing::new(made.signing_key.serialize_der());
        let shown = Arc::new(ServerCertificate::new(vec![certificate.clone()], &key).unwrap());
        let tls = server_config(shown, std::slice::from_ref(&certificate), Clock::system()).unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let go_on = Arc::new(tokio::sync::Notify::new());
        let told = Arc::clone(&go_on);
        let slow = axum::routing::get(async move || {
            told.notified().await;
            "done"
        });
        let router = Router::new().route("/slow", slow);
        let bounds = Bounds { max_connections, handshake: LONG, idle, drain: Duration::ZERO };
        tokio::spawn(serve(listener, Arc::new(tls), router, bounds, std::future::pending()));
        Self { address, go_on, certificate }
    }

    /// From this address of the loopback network.
    async fn connect(&self, from: &str, protocol: &str) -> std::io::Result<ClientStream<TcpStream>> {
        let mut roots = rustls::RootCertStore::empty();
        roots.add(self.certificate.clone()).unwrap();
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let mut config = ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&rustls::version::TLS13])
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        config.alpn_protocols = vec![protocol.as_bytes().to_vec()];
        let socket = TcpSocket::new_v4()?;
        socket.bind(SocketAddr::new(from.parse().unwrap(), 0))?;
        let stream = socket.connect(self.address).await?;
        let name = ServerName::try_from("localhost").unwrap();
        TlsConnector::from(Arc::new(config)).connect(name, stream).await
    }
}

/// Reads until the service closes; `None` when it does not.
async fn read_all(mut stream: ClientStream<TcpStream>) -> Option<Vec<u8>> {
    let mut read = Vec::new();
    // An end without close_notify is an end.
    tokio::time::timeout(LONG, stream.read_to_end(&mut read)).await.ok().map(|_| read)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_connection_that_says_nothing_is_let_go_in_either_protocol() {
    let house = House::open(64, IDLE).await;
    let silent = house.connect("127.0.0.1", "http/1.1").await.unwrap();
    let mut preface_alone = house.connect("127.0.0.1", "h2").await.unwrap();
    preface_alone.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0").await.unwrap();
    let mut half_a_preface = house.connect("127.0.0.1", "h2").await.unwrap();
    half_a_preface.write_all(b"PRI * HT").await.unwrap();
    for (what, stream) in
        [("silent", silent), ("preface alone", preface_alone), ("half a preface", half_a_preface)]
    {
        assert!(read_all(stream).await.is_some(), "{what}: still open");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_request_that_takes_longer_than_the_idle_bound_is_answered() {
    let house = House::open(64, IDLE).await;
    let mut stream = house.connect("127.0.0.1", "http/1.1").await.unwrap();
    stream.write_all(b"GET /slow HTTP/1.1\r\nhost: localhost\r\n\r\n").await.unwrap();
    // Connections that say nothing are let go one after the other meanwhile: so often has the bound passed.
    for _ in 0..3 {
        assert!(read_all(house.connect("127.0.0.1", "http/1.1").await.unwrap()).await.is_some());
    }
    house.go_on.notify_one();
    let answer = String::from_utf8(read_all(stream).await.unwrap()).unwrap();
    assert!(answer.starts_with("HTTP/1.1 200") && answer.ends_with("done"), "{answer}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_address_holds_a_quarter_of_all_connections_and_others_still_come_in() {
    let house = House::open(8, LONG).await;
    let first = house.connect("127.0.0.1", "h2").await.unwrap();
    let _second = house.connect("127.0.0.1", "h2").await.unwrap();
    assert!(house.connect("127.0.0.1", "h2").await.is_err(), "a third of one address came in");
    house.connect("127.0.0.2", "h2").await.unwrap();
    drop(first);
    let again = async { while house.connect("127.0.0.1", "h2").await.is_err() {} };
    tokio::time::timeout(LONG, again).await.expect("what was given back can be taken");
}
