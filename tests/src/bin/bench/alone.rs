//! An enrolment's cryptographic operations on the service's side, measured alone in this process.

use anyhow::ensure;
use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use aws_lc_rs::agreement::{ECDH_P384, EphemeralPrivateKey, UnparsedPublicKey as Peer, agree_ephemeral};
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_ASN1, ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair, KeyPair as _,
    RSA_PKCS1_2048_8192_SHA256, RSA_PKCS1_SHA256, RsaKeyPair, UnparsedPublicKey,
};
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, ExtendedKeyUsagePurpose, IsCa, KeyPair, RsaKeySize,
};
use rustls::client::Resumption;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, ServerName};
use rustls::server::WebPkiClientVerifier;
use rustls::{ClientConfig, ClientConnection, HandshakeKind, RootCertStore, ServerConfig, ServerConnection};
use sha2::{Digest as _, Sha256};
use std::sync::Arc;

fn thread_ns() -> u64 {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    now.tv_sec as u64 * 1_000_000_000 + now.tv_nsec as u64
}

fn timed<T>(spent: &mut u64, run: impl FnOnce() -> T) -> T {
    let began = thread_ns();
    let out = run();
    *spent += thread_ns() - began;
    out
}

/// One enrolment's operations on the service's side.
pub(crate) struct Operations {
    house: House,
    /// An EK certificate's issuer: RSA-3072, as the maker's of our TPMs.
    maker: (Vec<u8>, Vec<u8>),
    /// A key and what it signed.
    p256: (EcdsaKeyPair, Vec<u8>),
    /// An EK's point.
    ek: Vec<u8>,
}

const MESSAGE: &[u8] = b"message";

impl Operations {
    pub(crate) fn new() -> anyhow::Result<Self> {
        let random = SystemRandom::new();
        let made = KeyPair::generate_rsa_for(&rcgen::PKCS_RSA_SHA256, RsaKeySize::_3072)?;
        let pair = RsaKeyPair::from_pkcs8(&made.serialize_der())?;
        let mut signature = vec![0; pair.public_modulus_len()];
        pair.sign(&RSA_PKCS1_SHA256, &random, MESSAGE, &mut signature)?;
        let maker = (pair.public_key().as_ref().to_vec(), signature);

        let algorithm = &ECDSA_P256_SHA256_ASN1_SIGNING;
        let p256 =
            EcdsaKeyPair::from_pkcs8(algorithm, EcdsaKeyPair::generate_pkcs8(algorithm, &random)?.as_ref())?;
        let signed = p256.sign(&random, MESSAGE)?.as_ref().to_vec();
        let ek = EphemeralPrivateKey::generate(&ECDH_P384, &random)?.compute_public_key()?.as_ref().to_vec();
        Ok(Self { house: House::new()?, maker, p256: (p256, signed), ek })
    }

    /// Two handshakes (of M1 and M3, and of M5 with the device's new certificate); the EK certificate's path of two RSA
    /// signatures, for M1 and again for M3, when a certificate is at stake; the credential's ECDH with an EK on P-384;
    /// three ECDSA signatures to verify (the key's certification, the quote, the request) and one to make (the
    /// certificate); the records of TLS, and three digests of what was received (session, proof, evidence).
    pub(crate) fn once_ns(&self, traffic: Traffic) -> anyhow::Result<u64> {
        let mut spent = self.house.handshakes_ns()? + records_ns(traffic)?;
        let random = SystemRandom::new();
        let rsa = UnparsedPublicKey::new(&RSA_PKCS1_2048_8192_SHA256, &self.maker.0);
        for _ in 0..4 {
            timed(&mut spent, || rsa.verify(MESSAGE, &self.maker.1))?;
        }
        timed(&mut spent, || {
            let ephemeral = EphemeralPrivateKey::generate(&ECDH_P384, &random)?;
            ephemeral.compute_public_key()?;
            let peer = Peer::new(&ECDH_P384, &self.ek);
            agree_ephemeral(ephemeral, peer, aws_lc_rs::error::Unspecified, |_| Ok(()))
        })?;
        let (pair, signed) = &self.p256;
        let p256 = UnparsedPublicKey::new(&ECDSA_P256_SHA256_ASN1, pair.public_key().as_ref());
        for _ in 0..3 {
            timed(&mut spent, || p256.verify(MESSAGE, signed))?;
        }
        timed(&mut spent, || pair.sign(&random, MESSAGE))?;
        Ok(spent)
    }
}

/// Bytes of one enrolment.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Traffic {
    pub(crate) received: usize,
    pub(crate) sent: usize,
}

fn records_ns(traffic: Traffic) -> anyhow::Result<u64> {
    let key = LessSafeKey::new(UnboundKey::new(&AES_256_GCM, &[7; 32])?);
    let nonce = || Nonce::assume_unique_for_key([0; NONCE_LEN]);
    let mut spent = 0;
    for length in records(traffic.received) {
        let mut record = vec![0; length];
        key.seal_in_place_append_tag(nonce(), Aad::empty(), &mut record)?;
        timed(&mut spent, || key.open_in_place(nonce(), Aad::empty(), &mut record).map(|_| ()))?;
    }
    for length in records(traffic.sent) {
        let mut record = vec![0; length];
        timed(&mut spent, || key.seal_in_place_append_tag(nonce(), Aad::empty(), &mut record))?;
    }
    let received = vec![0; traffic.received];
    for _ in 0..3 {
        timed(&mut spent, || std::hint::black_box(Sha256::digest(&received)));
    }
    Ok(spent)
}

/// The lengths of the TLS records that so many bytes come in.
fn records(bytes: usize) -> impl Iterator<Item = usize> {
    const RECORD: usize = 16 << 10;
    (0..bytes).step_by(RECORD).map(move |at| RECORD.min(bytes - at))
}

/// Keys and certificates of the service's shape: root and tenant on P-384, issuers of devices and servers under them.
struct House {
    server: Arc<ServerConfig>,
    /// Without a certificate, and with a device's.
    client: [ClientConfig; 2],
}

impl House {
    fn new() -> anyhow::Result<Self> {
        let mut ca = CertificateParams::new(Vec::<String>::new())?;
        ca.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let p384 = || KeyPair::generate_for(&rcgen::PKCS_ECDSA_P384_SHA384);
        let root = CertifiedIssuer::self_signed(ca.clone(), p384()?)?;
        let tenant = CertifiedIssuer::signed_by(ca.clone(), p384()?, &root)?;
        let servers = CertifiedIssuer::signed_by(ca.clone(), KeyPair::generate()?, &tenant)?;
        let devices = CertifiedIssuer::signed_by(ca, KeyPair::generate()?, &tenant)?;
        let key = KeyPair::generate()?;
        let server = CertificateParams::new(vec!["localhost".to_owned()])?.signed_by(&key, &servers)?;
        let device_key = KeyPair::generate()?;
        let mut device = CertificateParams::new(vec!["device".to_owned()])?;
        device.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        let device = device.signed_by(&device_key, &devices)?;

        let mut roots = RootCertStore::empty();
        roots.add(root.der().clone())?;
        let roots = Arc::new(roots);
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let private = |key: &KeyPair| PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
        let verifier = WebPkiClientVerifier::builder_with_provider(Arc::clone(&roots), Arc::clone(&provider))
            .allow_unauthenticated()
            .build()?;
        let chain = |leaf: &CertificateDer<'static>, issuer: &CertificateDer<'static>| {
            vec![leaf.clone(), issuer.clone(), tenant.der().clone()]
        };
        let mut server = ServerConfig::builder_with_provider(Arc::clone(&provider))
            .with_protocol_versions(&[&rustls::version::TLS13])?
            .with_client_cert_verifier(verifier)
            .with_single_cert(chain(server.der(), servers.der()), private(&key))?;
        server.send_tls13_tickets = 1;
        server.ticketer = rustls::crypto::aws_lc_rs::Ticketer::new()?;
        // As a device does it, whose library has no other.
        let mut x25519 = rustls::crypto::aws_lc_rs::default_provider();
        x25519.kx_groups = vec![rustls::crypto::aws_lc_rs::kx_group::X25519];
        let x25519 = Arc::new(x25519);
        let client = || -> anyhow::Result<_> {
            Ok(ClientConfig::builder_with_provider(Arc::clone(&x25519))
                .with_protocol_versions(&[&rustls::version::TLS13])?
                .with_root_certificates(Arc::clone(&roots)))
        };
        let device_chain = chain(device.der(), devices.der());
        let client = [
            client()?.with_no_client_auth(),
            client()?.with_client_auth_cert(device_chain, private(&device_key))?,
        ];
        Ok(Self { server: Arc::new(server), client })
    }

    /// The server's part of an enrolment's two.
    fn handshakes_ns(&self) -> anyhow::Result<u64> {
        let [nobody, device] = &self.client;
        Ok(self.handshake_ns(nobody)? + self.handshake_ns(device)?)
    }

    fn handshake_ns(&self, client: &ClientConfig) -> anyhow::Result<u64> {
        let client = Arc::new(forgetful(client));
        let mut client = ClientConnection::new(client, ServerName::try_from("localhost")?)?;
        let mut spent = 0;
        let mut server = timed(&mut spent, || ServerConnection::new(Arc::clone(&self.server)))?;
        let mut bytes = Vec::new();
        // To the last ticket.
        while client.wants_write() || server.wants_write() {
            bytes.clear();
            client.write_tls(&mut bytes)?;
            timed(&mut spent, || feed(&mut server, &bytes))?;
            bytes.clear();
            timed(&mut spent, || server.write_tls(&mut bytes))?;
            let mut rest = &bytes[..];
            while !rest.is_empty() {
                client.read_tls(&mut rest)?;
                client.process_new_packets()?;
            }
        }
        timed(&mut spent, || server.export_keying_material([0; 32], b"EXPORTER-bench", None))?;
        ensure!(server.handshake_kind() == Some(HandshakeKind::Full), "a handshake alone was resumed");
        Ok(spent)
    }
}

fn feed(server: &mut ServerConnection, mut bytes: &[u8]) -> anyhow::Result<()> {
    while !bytes.is_empty() {
        server.read_tls(&mut bytes)?;
        server.process_new_packets()?;
    }
    Ok(())
}

/// A device that enrols has no session of an earlier one to resume.
fn forgetful(config: &ClientConfig) -> ClientConfig {
    let mut config = config.clone();
    config.resumption = Resumption::in_memory_sessions(8);
    config
}
