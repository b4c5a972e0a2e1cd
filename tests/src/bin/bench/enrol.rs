//! What an enrolment costs the service: its CPU for whole enrolments by TPM, over that of the cryptography that an
//! enrolment cannot do without.
//!
//! The operations are measured alone, in this process, each once after every enrolment: like the service they then
//! meet caches that a TPM, a device and its start have filled meanwhile. What they take when repeated at once is told
//! beside it.

use crate::measure::{build_programs, cpu_of_threads_ns};
use crate::report::Report;
use anyhow::ensure;
use aws_lc_rs::agreement::{ECDH_P384, EphemeralPrivateKey, UnparsedPublicKey as Peer, agree_ephemeral};
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_ASN1, ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair, KeyPair as _,
    RSA_PKCS1_2048_8192_SHA256, RSA_PKCS1_SHA256, RsaKeyPair, UnparsedPublicKey,
};
use holdfast_tests::plant::{Device, Plant};
use holdfast_tests::process::Lifetime;
use holdfast_tests::scratch::Scratch;
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, ExtendedKeyUsagePurpose, IsCa, KeyPair, RsaKeySize,
};
use rustls::client::Resumption;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, ServerName};
use rustls::server::WebPkiClientVerifier;
use rustls::{ClientConfig, ClientConnection, HandshakeKind, RootCertStore, ServerConfig, ServerConnection};
use std::sync::Arc;

const HARDWARE: &str = "gateway";
/// The first warms the service up and is not counted.
const ENROLMENTS: usize = 25;
const ROUNDS: usize = 100;
/// What the service may need, in sums of its cryptographic operations.
const RATIO: f64 = 2.0;

pub(crate) fn measure(report: &mut Report) -> anyhow::Result<()> {
    build_programs()?;
    let operations = Operations::new()?;
    let scratch = Scratch::new("bench-enrol");
    let mut plant = Plant::start(&scratch.join("plant"), Lifetime::WithUs)?;
    plant.trust_maker()?;
    let devices = (0..ENROLMENTS).map(|n| claimed(&plant, n)).collect::<anyhow::Result<Vec<_>>>()?;
    let pid = plant.service().pid().to_string();
    let (mut spent, mut alone) = (Vec::new(), Vec::new());
    for device in &devices {
        let before = cpu_of_threads_ns(&pid)?;
        device.run(&["enroll"])?.well(&["enroll"])?;
        let after = cpu_of_threads_ns(&pid)?;
        spent.push(after.iter().map(|(thread, ns)| ns - before.get(thread).unwrap_or(&0)).sum::<u64>());
        alone.push(operations.once_ns()?);
    }
    let (each, alone) = (median(&mut spent[1..]), median(&mut alone[1..]));
    let mut at_once = (0..ROUNDS).map(|_| operations.once_ns()).collect::<anyhow::Result<Vec<_>>>()?;
    ensure!(each > 0.0, "the kernel counts no CPU time of threads here");
    report.at_most("enrol_cpu", each / alone, "x", RATIO, Some(1.0));
    report.fact("enrol_cpu.service", each / 1e6, "ms", Some(alone / 1e6));
    report.fact("enrol_cpu.repeated", median(&mut at_once) / 1e6, "ms", None);
    Ok(())
}

/// What the service does for itself meanwhile belongs to nobody's enrolment.
fn median(of: &mut [u64]) -> f64 {
    of.sort_unstable();
    of[of.len() / 2] as f64
}

/// A device with its own TPM, claimed and not yet enrolled.
fn claimed(plant: &Plant, n: usize) -> anyhow::Result<Device> {
    let device = plant.device(&format!("BENCH-E{n}"), HARDWARE, "")?;
    let record = device.manufacture()?.display().to_string();
    plant.well("operator", &["device", "register", &record])?;
    Ok(device)
}

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
struct Operations {
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
    fn new() -> anyhow::Result<Self> {
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

    /// Two handshakes (of M1 and M3, and of M5 with the device's new certificate), the EK certificate's path of two RSA
    /// signatures, the credential's ECDH with an EK on P-384, three ECDSA signatures to verify (the key's
    /// certification, the quote, the request) and one to make (the certificate).
    fn once_ns(&self) -> anyhow::Result<u64> {
        let mut spent = self.house.handshakes_ns()?;
        let random = SystemRandom::new();
        let rsa = UnparsedPublicKey::new(&RSA_PKCS1_2048_8192_SHA256, &self.maker.0);
        for _ in 0..2 {
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
        server.ticketer = rustls::crypto::aws_lc_rs::Ticketer::new()?;
        let client = || -> anyhow::Result<_> {
            Ok(ClientConfig::builder_with_provider(Arc::clone(&provider))
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
