//! Devices of these tests: real software TPMs, few and shared since making one takes seconds, and software keys.

use super::wire::{Reply, Wire, client};
use super::world::World;
use holdfast_proto::Bytes;
use holdfast_proto::enroll::{
    Attestation, NvCertificate, PROOF_HEADER, PcrBank, PcrValue, TpmProof, TpmStart,
};
use holdfast_tests::process::Lifetime;
use holdfast_tests::scratch::Scratch;
use holdfast_tests::swtpm::{Swtpm, TpmMaker, Transport, Wiring};
use holdfast_tpm::wire::{AlgId, PcrSelections};
use holdfast_tpm::{DeviceKey, Ek, Tpm, TpmSigningKey};
use holdfast_trust::attest::binding::Exporter;
use holdfast_trust::attest::{join_token, tpm2};
use rustls::ClientConfig;
use serde_json::{Value, json};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

pub(crate) const MODEL: &str = "primehub";

/// The maker of the TPMs of this process.
pub(crate) fn maker() -> &'static TpmMaker {
    static MAKER: OnceLock<(TpmMaker, Scratch)> = OnceLock::new();
    let made = || {
        let folder = Scratch::new("mk");
        (TpmMaker::found(folder.path()).unwrap(), folder)
    };
    &MAKER.get_or_init(made).0
}

/// A device with a TPM.
pub(crate) struct Chip {
    tpm: Arc<Mutex<Tpm>>,
    ek: Ek,
    certificates: Vec<(u32, Vec<u8>)>,
    pub(crate) key: DeviceKey,
    _swtpm: Swtpm,
    _folder: Scratch,
}

/// The chip of that number, for this test alone, with a new device key. Tests that need both take 0 first.
pub(crate) fn chip(number: usize) -> MutexGuard<'static, Chip> {
    static CHIPS: [OnceLock<Mutex<Chip>>; 3] = [const { OnceLock::new() }; 3];
    let chip = CHIPS[number].get_or_init(|| Mutex::new(Chip::make()));
    let mut chip = chip.lock().unwrap_or_else(PoisonError::into_inner);
    chip.new_key();
    chip
}

/// What goes into M3 beyond M1 and M2.
pub(crate) struct Parts {
    pub(crate) csr: Vec<u8>,
    pub(crate) proof: TpmProof,
}

impl Chip {
    fn make() -> Self {
        let folder = Scratch::new("ch");
        let wiring = Wiring { transport: Transport::Unix, pcr_banks: "sha256", lifetime: Lifetime::WithUs };
        let mut swtpm = maker().manufacture(&folder.join("t"), wiring).unwrap();
        swtpm.start().unwrap();
        let path = swtpm.address().tcti().replace("swtpm:path=", "swtpm-unix:");
        let mut tpm = Tpm::open(&path).unwrap();
        let certificates = tpm.ek_certificates().unwrap();
        let ek = Ek::find(&mut tpm, &certificates).unwrap();
        let key = DeviceKey::create(&mut tpm).unwrap();
        Self { tpm: Arc::new(Mutex::new(tpm)), ek, certificates, key, _swtpm: swtpm, _folder: folder }
    }

    fn tpm(&self) -> MutexGuard<'_, Tpm> {
        self.tpm.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn new_key(&mut self) {
        let key = DeviceKey::create(&mut self.tpm()).unwrap();
        self.key = key;
    }

    /// Claims the chip's EK for this serial.
    pub(crate) fn claim(&self, world: &World, serial: &str) -> String {
        let ek_hash = tpm2::ek_hash(&self.ek.public.to_tpm2b()).unwrap().to_hex();
        let body = json!({"record": {"serial": serial, "model": MODEL, "ek_hash": ek_hash}});
        let made = world.operator("operator", "POST", "/devices", &body).ok().json();
        made["id"].as_str().unwrap().to_owned()
    }

    pub(crate) fn m1(&self, serial: &str) -> Vec<u8> {
        let mut tpm = self.tpm();
        let properties = tpm.properties().unwrap();
        let banks = tpm.pcr_banks().unwrap();
        let start = TpmStart {
            ek_certificates: self
                .certificates
                .iter()
                .map(|(nv_index, bytes)| NvCertificate { nv_index: *nv_index, bytes: bytes.clone().into() })
                .collect(),
            ek_chain: Vec::new(),
            ek_public: self.ek.public.to_tpm2b().into(),
            ek_nonce: None,
            ek_template: None,
            ak_public: tpm.ak_public().unwrap().to_tpm2b().into(),
            manufacturer: format!("{:08x}", properties.manufacturer),
            vendor: properties.vendor,
            firmware_version: properties.firmware_version,
            pcr_banks: banks
                .0
                .iter()
                .map(|bank| PcrBank { alg: bank.bank.0, pcrs: bank.pcrs().into_iter().collect() })
                .filter(|bank| !bank.pcrs.is_empty())
                .collect(),
        };
        tpm2::collect::start("default".into(), serial.into(), MODEL.into(), start).unwrap()
    }

    /// M3 and its proof, over the connection that will carry it; `change` spoils it before the proof is made.
    pub(crate) fn m3(
        &self,
        m1: &[u8],
        m2: &[u8],
        exporter: [u8; 32],
        change: impl FnOnce(&mut Parts),
    ) -> (Vec<u8>, String) {
        let challenge = tpm2::collect::challenge(m2).unwrap();
        let mut tpm = self.tpm();
        let secret =
            self.ek.activate(&mut tpm, &challenge.credential_blob, &challenge.encrypted_secret).unwrap();
        let csr = self.key.csr(&mut tpm).unwrap();
        let (certify, quote) = tpm2::collect::qualifying_data(m1, m2, &csr, None, &Exporter::Bound(exporter));
        let selection =
            PcrSelections::single(AlgId(challenge.pcr_bank), challenge.pcr_selection.iter().copied())
                .unwrap();
        let certified = self.key.certify(&mut tpm, &certify).unwrap();
        let quoted = tpm.quote(&quote, &selection).unwrap();
        let values = tpm.pcr_read(&selection).unwrap();
        let proof = TpmProof {
            device_public: self.key.public.clone().into(),
            certify: Attestation { attest: certified.attest.into(), signature: certified.signature.into() },
            quote: Attestation { attest: quoted.attest.into(), signature: quoted.signature.into() },
            pcr_values: values
                .into_iter()
                .map(|value| PcrValue { alg: value.bank.0, index: value.index, value: value.value.into() })
                .collect(),
            event_log: None,
        };
        let mut parts = Parts { csr, proof };
        change(&mut parts);
        let secret: &[u8; 32] = secret.as_slice().try_into().unwrap();
        let (body, mac) = tpm2::collect::proof(m1, m2, &parts.csr, parts.proof, secret).unwrap();
        (body, Bytes(mac.to_vec()).to_base64())
    }

    /// M1 to M4 through a door, as whom `config` says.
    pub(crate) fn through(
        &self,
        world: &World,
        door: &str,
        serial: &str,
        config: &Arc<ClientConfig>,
    ) -> Reply {
        let m1 = self.m1(serial);
        let started = world.open(config).call("POST", &format!("/v1/{door}/start"), &[], &m1).unwrap();
        if started.status != 200 {
            return started;
        }
        let mut wire = world.open(config);
        let (m3, proof) = self.m3(&m1, &started.body, wire.exporter(), |_| {});
        send(&mut wire, door, &m3, &proof)
    }

    /// A client with the certificate of an M4.
    pub(crate) fn client(&self, world: &World, issued: &Value) -> Arc<ClientConfig> {
        let key = TpmSigningKey::new(Arc::clone(&self.tpm), self.key.clone()).unwrap();
        client(&world.root, Some((chain(issued), Arc::new(key))))
    }

    /// Claimed, enrolled and acknowledged: its id, its M4 and its client.
    pub(crate) fn enrolled(&self, world: &World, serial: &str) -> (String, Value, Arc<ClientConfig>) {
        self.claim(world, serial);
        let issued = self.through(world, "enroll", serial, &world.anonymous).ok().json();
        let config = self.client(world, &issued);
        acknowledge(world, &config).ok();
        (issued["device"].as_str().unwrap().to_owned(), issued, config)
    }
}

/// M5.
pub(crate) fn acknowledge(world: &World, config: &Arc<ClientConfig>) -> Reply {
    world.open(config).call("POST", "/v1/ack", &[], b"{}").unwrap()
}

pub(crate) fn send(wire: &mut Wire, door: &str, m3: &[u8], proof: &str) -> Reply {
    wire.call("POST", &format!("/v1/{door}/proof"), &[(PROOF_HEADER, proof)], m3).unwrap()
}

pub(crate) fn chain(issued: &Value) -> Vec<Vec<u8>> {
    let ders = issued["certificate_chain"].as_array().unwrap().iter();
    ders.map(|der| Bytes::from_base64(der.as_str().unwrap()).unwrap().0).collect()
}

/// A device without a TPM.
pub(crate) struct Soft {
    pub(crate) key: rcgen::KeyPair,
}

/// What proves a device without a TPM.
pub(crate) enum Shown<'a> {
    /// The answer of `POST /devices/tokens`.
    Token(&'a Value),
    /// Its last certificate, by the key of it.
    Certificate(&'a [u8], &'a rcgen::KeyPair),
}

impl Soft {
    pub(crate) fn new() -> Self {
        Self { key: rcgen::KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256).unwrap() }
    }

    pub(crate) fn through(
        &self,
        world: &World,
        door: &str,
        serial: &str,
        shown: &Shown<'_>,
        config: &Arc<ClientConfig>,
    ) -> Reply {
        let (id, certificate) = match shown {
            Shown::Token(made) => (made["join_token"]["id"].as_str().unwrap(), None),
            Shown::Certificate(der, _) => ("", Some(*der)),
        };
        let m1 =
            join_token::collect::start("default".into(), serial.into(), MODEL.into(), id.into(), certificate)
                .unwrap();
        let started = world.open(config).call("POST", &format!("/v1/{door}/start"), &[], &m1).unwrap();
        if started.status != 200 {
            return started;
        }
        let m2 = started.body;
        let csr = rcgen::CertificateParams::default().serialize_request(&self.key).unwrap().der().to_vec();
        let mut wire = world.open(config);
        let exporter = Exporter::Bound(wire.exporter());
        let m3 = match shown {
            Shown::Token(made) => {
                let secret = Bytes::from_base64(made["join_token"]["secret"].as_str().unwrap()).unwrap();
                let secret: &[u8; 32] = secret.as_ref().try_into().unwrap();
                join_token::collect::proof(&m1, &m2, &csr, secret, &exporter)
            }
            Shown::Certificate(_, key) => {
                use rcgen::SigningKey as _;
                let message = join_token::collect::recovery_message(&m1, &m2, &csr, &exporter);
                join_token::collect::recovery_proof(&m1, &m2, &csr, key.sign(&message).unwrap())
            }
        };
        send(&mut wire, door, &m3.unwrap(), "")
    }

    pub(crate) fn client(&self, world: &World, issued: &Value) -> Arc<ClientConfig> {
        let der = rustls::pki_types::PrivatePkcs8KeyDer::from(self.key.serialize_der());
        let key = rustls::crypto::aws_lc_rs::sign::any_ecdsa_type(&der.into()).unwrap();
        client(&world.root, Some((chain(issued), key)))
    }
}

/// Makes a join token.
pub(crate) fn token(world: &World, serial: &str) -> Value {
    let body = json!({"serial": serial, "model": MODEL, "ttl_s": 3600});
    world.operator("operator", "POST", "/devices/tokens", &body).ok().json()
}
