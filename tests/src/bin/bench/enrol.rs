//! What an enrolment costs the service: its CPU for whole enrolments by TPM, over that of the cryptography that an
//! enrolment cannot do without, measured alone in this process in the same run.

use crate::measure::{build_programs, cpu_of_threads_ns};
use crate::report::Report;
use anyhow::{Context as _, ensure};
use holdfast_tests::plant::{Device, Plant};
use holdfast_tests::process::Lifetime;
use holdfast_tests::scratch::Scratch;
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, ExtendedKeyUsagePurpose, IsCa, KeyPair, RsaKeySize,
};
use ring::rand::SystemRandom;
use ring::signature::{
    ECDSA_P256_SHA256_ASN1, ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair, KeyPair as _,
    RSA_PKCS1_2048_8192_SHA256, RSA_PKCS1_SHA256, RsaKeyPair, UnparsedPublicKey,
};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, ServerName};
use rustls::server::WebPkiClientVerifier;
use rustls::{ClientConfig, ClientConnection, RootCertStore, ServerConfig, ServerConnection};
use std::sync::Arc;

const HARDWARE: &str = "gateway";
/// The first warms the service up and is not counted.
const ENROLMENTS: usize = 13;
const ROUNDS: u32 = 200;
/// What the service may need, in sums of its cryptographic operations.
const RATIO: f64 = 2.0;

pub(crate) fn measure(report: &mut Report) -> anyhow::Result<()> {
    build_programs()?;
    let operations = operations_ns()?;
    let scratch = Scratch::new("bench-enrol");
    let mut plant = Plant::start(&scratch.join("plant"), Lifetime::WithUs)?;
    plant.trust_maker()?;
    let devices = (0..ENROLMENTS).map(|n| claimed(&plant, n)).collect::<anyhow::Result<Vec<_>>>()?;
    let pid = plant.service().pid().to_string();
    let mut spent = Vec::new();
    for device in &devices {
        let before = cpu_of_threads_ns(&pid)?;
        device.run(&["enroll"])?.well(&["enroll"])?;
        let after = cpu_of_threads_ns(&pid)?;
        spent.push(after.iter().map(|(thread, ns)| ns - before.get(thread).unwrap_or(&0)).sum::<u64>());
    }
    // The median: what the service does for itself meanwhile belongs to nobody's enrolment.
    let counted = &mut spent[1..];
    counted.sort_unstable();
    let each = counted[counted.len() / 2] as f64;
    ensure!(each > 0.0, "the kernel counts no CPU time of threads here");
    report.at_most("enrol_cpu", each / operations, "x", RATIO, Some(1.0));
    report.fact("enrol_cpu.service", each / 1e6, "ms", Some(operations / 1e6));
    Ok(())
}

/// A device with its own TPM, claimed and not yet enrolled.
fn claimed(plant: &Plant, n: usize) -> anyhow::Result<Device> {
    let device = plant.device(&format!("BENCH-E{n}"), HARDWARE, "")?;
    let record = device.manufacture()?.display().to_string();
    plant.well("operator", &["device", "register", &record])?;
    Ok(device)
}

/// One enrolment's operations on the service's side: two handshakes (the second with the device's new certificate),
/// the EK certificate's two RSA signatures, the credential's RSA encryption, three ECDSA signatures to verify (the
/// key's certification, the quote, the request) and one to make (the certificate).
fn operations_ns() -> anyhow::Result<f64> {
    let house = House::new()?;
    let anonymous = house.handshake_ns(false)?;
    let mutual = house.handshake_ns(true)?;
    let (rsa, (sign, verify)) = (rsa_ns()?, ecdsa_ns()?);
    println!(
        "  alone, microseconds: handshake {:.0}, mutual {:.0}, RSA-2048 public {:.0}, P-256 sign {:.0}, verify {:.0}",
        anonymous / 1e3,
        mutual / 1e3,
        rsa / 1e3,
        sign / 1e3,
        verify / 1e3
    );
    Ok(anonymous + mutual + 3.0 * rsa + 3.0 * verify + sign)
}

/// Mean CPU time of this thread for one run.
fn mean_ns(mut once: impl FnMut() -> anyhow::Result<u64>) -> anyhow::Result<f64> {
    once()?;
    let mut sum = 0;
    for _ in 0..ROUNDS {
        sum += once()?;
    }
    Ok(sum as f64 / f64::from(ROUNDS))
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

fn rsa_ns() -> anyhow::Result<f64> {
    let made = KeyPair::generate_rsa_for(&rcgen::PKCS_RSA_SHA256, RsaKeySize::_2048)?;
    let pair = RsaKeyPair::from_pkcs8(&made.serialize_der()).map_err(|error| anyhow::anyhow!("{error}"))?;
    let mut signature = vec![0; pair.public().modulus_len()];
    let failed = |_| anyhow::anyhow!("RSA failed");
    pair.sign(&RSA_PKCS1_SHA256, &SystemRandom::new(), b"message", &mut signature).map_err(failed)?;
    let public = UnparsedPublicKey::new(&RSA_PKCS1_2048_8192_SHA256, pair.public().as_ref());
    mean_ns(|| {
        let mut spent = 0;
        timed(&mut spent, || public.verify(b"message", &signature)).map_err(failed)?;
        Ok(spent)
    })
}

/// To make, and to verify.
fn ecdsa_ns() -> anyhow::Result<(f64, f64)> {
    let (random, failed) = (SystemRandom::new(), |_| anyhow::anyhow!("ECDSA failed"));
    let algorithm = &ECDSA_P256_SHA256_ASN1_SIGNING;
    let made = EcdsaKeyPair::generate_pkcs8(algorithm, &random).map_err(failed)?;
    let pair = EcdsaKeyPair::from_pkcs8(algorithm, made.as_ref(), &random)
        .map_err(|error| anyhow::anyhow!("{error}"))?;
    let signature = pair.sign(&random, b"message").map_err(failed)?;
    let sign = mean_ns(|| {
        let mut spent = 0;
        timed(&mut spent, || pair.sign(&random, b"message")).map_err(failed)?;
        Ok(spent)
    })?;
    let public = UnparsedPublicKey::new(&ECDSA_P256_SHA256_ASN1, pair.public_key().as_ref());
    let verify = mean_ns(|| {
        let mut spent = 0;
        timed(&mut spent, || public.verify(b"message", signature.as_ref())).map_err(failed)?;
        Ok(spent)
    })?;
    Ok((sign, verify))
}

/// Keys and certificates of the service's shape: a root, an issuer of devices, a server, a device.
struct House {
    server: [Arc<ServerConfig>; 2],
    client: [Arc<ClientConfig>; 2],
}

impl House {
    fn new() -> anyhow::Result<Self> {
        let mut ca = CertificateParams::new(Vec::<String>::new())?;
        ca.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let root = CertifiedIssuer::self_signed(ca.clone(), KeyPair::generate()?)?;
        let devices = CertifiedIssuer::signed_by(ca, KeyPair::generate()?, &root)?;
        let key = KeyPair::generate()?;
        let server = CertificateParams::new(vec!["localhost".to_owned()])?.signed_by(&key, &root)?;
        let device_key = KeyPair::generate()?;
        let mut device = CertificateParams::new(vec!["device".to_owned()])?;
        device.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        let device = device.signed_by(&device_key, &devices)?;
        let chain = vec![device.der().clone(), devices.der().clone()];

        let mut roots = RootCertStore::empty();
        roots.add(root.der().clone())?;
        let roots = Arc::new(roots);
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let private = |key: &KeyPair| PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
        let verifier = WebPkiClientVerifier::builder_with_provider(Arc::clone(&roots), Arc::clone(&provider))
            .allow_unauthenticated()
            .build()?;
        let server = ServerConfig::builder_with_provider(Arc::clone(&provider))
            .with_protocol_versions(&[&rustls::version::TLS13])?
            .with_client_cert_verifier(verifier)
            .with_single_cert(vec![CertificateDer::clone(server.der())], private(&key))?;
        let server = Arc::new(server);
        let client = || -> anyhow::Result<_> {
            Ok(ClientConfig::builder_with_provider(Arc::clone(&provider))
                .with_protocol_versions(&[&rustls::version::TLS13])?
                .with_root_certificates(Arc::clone(&roots)))
        };
        let client = [
            Arc::new(without_resumption(client()?.with_no_client_auth())),
            Arc::new(without_resumption(client()?.with_client_auth_cert(chain, private(&device_key))?)),
        ];
        Ok(Self { server: [Arc::clone(&server), server], client })
    }

    /// The server's part of a handshake.
    fn handshake_ns(&self, mutual: bool) -> anyhow::Result<f64> {
        let at = usize::from(mutual);
        mean_ns(|| {
            let mut client =
                ClientConnection::new(Arc::clone(&self.client[at]), ServerName::try_from("localhost")?)?;
            let mut spent = 0;
            let mut server = timed(&mut spent, || ServerConnection::new(Arc::clone(&self.server[at])))?;
            let mut bytes = Vec::new();
            while client.is_handshaking() || server.is_handshaking() {
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
            ensure!(server.peer_certificates().is_some() == mutual, "the handshake was not of its kind");
            Ok(spent)
        })
        .context("a handshake alone")
    }
}

fn feed(server: &mut ServerConnection, mut bytes: &[u8]) -> anyhow::Result<()> {
    while !bytes.is_empty() {
        server.read_tls(&mut bytes)?;
        server.process_new_packets()?;
    }
    Ok(())
}

/// A device that enrols has no session to resume.
fn without_resumption(mut config: ClientConfig) -> ClientConfig {
    config.resumption = rustls::client::Resumption::disabled();
    config
}
