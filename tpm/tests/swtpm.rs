//! Everything a device does with its TPM, against real software TPMs.

mod common;

use common::{Options, Socket, Swtpm, file, run};
use holdfast_tpm::wire::{
    AlgId, Attest, Attested, Attributes, CredentialError, EkTemplate, Hierarchy, MAGIC, PcrSelections,
    Public, Sha2, Signature, SubjectKey, Unique, make_credential,
};
use holdfast_tpm::{Attestation, DeviceKey, Ek, Tpm, TpmError, TpmSigningKey, insecure_impostor_key};
use p256::ecdsa::signature::Verifier as _;
use p256::elliptic_curve::sec1::ToEncodedPoint as _;
use p256::pkcs8::DecodePublicKey as _;
use std::process::Command;
use std::sync::{Arc, Mutex};

const SECRET: [u8; 32] = [0x5a; 32];

fn verifies(public: &Public, message: &[u8], signature: &[u8]) -> bool {
    let signature = Signature::parse(signature).unwrap();
    assert_eq!((signature.scheme, signature.hash), (AlgId::ECDSA, AlgId::SHA256));
    verifies_der(&public.to_spki_der().unwrap(), message, &signature.to_x509())
}

fn verifies_der(spki: &[u8], message: &[u8], signature: &[u8]) -> bool {
    let key = p256::ecdsa::VerifyingKey::from_public_key_der(spki).unwrap();
    key.verify(message, &p256::ecdsa::Signature::from_der(signature).unwrap()).is_ok()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |text, byte| text + &format!("{byte:02x}"))
}

fn challenge(ek: &Public, ak_name: &[u8]) -> (Vec<u8>, Vec<u8>) {
    let (blob, secret) = make_credential(ek, ak_name, &SECRET).unwrap();
    (blob.to_tpm2b(), secret.to_tpm2b())
}

#[test]
fn no_credential_is_made_for_a_point_that_is_not_on_its_curve() {
    let swtpm = Swtpm::new();
    let mut tpm = Tpm::open(&swtpm.spec()).unwrap();
    let name = tpm.ak_public().unwrap().name();
    for template in [EkTemplate::L2P256, EkTemplate::H2P256, EkTemplate::H3P384] {
        let ek = Ek::derive(&mut tpm, template).unwrap().public;
        assert!(make_credential(&ek, &name, &SECRET).is_ok());
        let mut bytes = ek.as_tpmt().to_vec();
        // The end of y.
        *bytes.last_mut().unwrap() ^= 1;
        let refused = make_credential(&Public::parse_tpmt(&bytes).unwrap(), &name, &SECRET).unwrap_err();
        assert!(matches!(refused, CredentialError::InvalidEk), "{template:?}: {refused}");
    }
}

#[test]
fn credentials_made_in_software_open_in_the_tpm_for_every_kind_of_ek() {
    let swtpm = Swtpm::new();
    let mut tpm = Tpm::open(&swtpm.spec()).unwrap();
    let ak = tpm.ak_public().unwrap();
    for template in [
        EkTemplate::L1Rsa2048,
        EkTemplate::L2P256,
        EkTemplate::H1Rsa2048,
        EkTemplate::H2P256,
        EkTemplate::H3P384,
        EkTemplate::H6Rsa3072,
    ] {
        let ek = Ek::derive(&mut tpm, template).unwrap();
        let (blob, secret) = challenge(&ek.public, &ak.name());
        assert_eq!(*ek.activate(&mut tpm, &blob, &secret).unwrap(), SECRET, "{template:?}");

        let another = Public::parse_tpmt(&holdfast_tpm::wire::ak_template()).unwrap().name();
        let (blob, secret) = challenge(&ek.public, &another);
        assert!(ek.activate(&mut tpm, &blob, &secret).is_err(), "{template:?}: made for another AK");
    }
}

#[test]
fn a_credential_for_another_tpm_or_altered_does_not_open() {
    let (here, there) = (Swtpm::new(), Swtpm::new());
    let (mut here, mut there) = (Tpm::open(&here.spec()).unwrap(), Tpm::open(&there.spec()).unwrap());
    let ek = Ek::derive(&mut here, EkTemplate::H3P384).unwrap();
    let foreign = Ek::derive(&mut there, EkTemplate::H3P384).unwrap();
    let name = here.ak_public().unwrap().name();
    let (blob, secret) = challenge(&foreign.public, &name);
    assert!(ek.activate(&mut here, &blob, &secret).is_err());
    let (blob, secret) = challenge(&ek.public, &name);
    for at in [2, 10, blob.len() - 1] {
        let mut altered = blob.clone();
        altered[at] ^= 1;
        assert!(ek.activate(&mut here, &altered, &secret).is_err(), "byte {at}");
    }
    assert_eq!(*ek.activate(&mut here, &blob, &secret).unwrap(), SECRET, "no slot was left occupied");
}

#[test]
fn certificates_in_nv_certify_the_keys_that_the_templates_derive() {
    let swtpm = Swtpm::new();
    let mut tpm = Tpm::open(&swtpm.spec()).unwrap();
    let certificates = tpm.ek_certificates().unwrap();
    assert_eq!(certificates.iter().map(|(index, _)| *index).collect::<Vec<_>>(), [0x01C0_0002, 0x01C0_0016]);
    assert_eq!(Ek::find(&mut tpm, &certificates).unwrap().template, EkTemplate::H3P384);
    assert!(tpm.ek_chain().unwrap().is_empty());
    for (index, der) in &certificates {
        let template = EkTemplate::of_certificate_index(*index).unwrap();
        let (_, certificate) = x509_parser::parse_x509_certificate(der).unwrap();
        let key = SubjectKey::from_spki_der(certificate.public_key().raw).unwrap();
        let rebuilt = template.public(&key).unwrap();
        let ek = Ek::derive(&mut tpm, template).unwrap();
        rebuilt.equal_after_left_padding(&ek.public).unwrap();
        assert_eq!(rebuilt.name(), ek.public.name());
        assert_eq!(ek.public.to_spki_der().unwrap(), key.to_spki_der());

        let other = Ek::derive(&mut tpm, EkTemplate::L2P256).unwrap();
        assert!(rebuilt.equal_after_left_padding(&other.public).is_err());
    }
    // The chain up to the authority that the launcher names.
    let dir = tempfile::tempdir().unwrap();
    let leaf = file(dir.path(), "ek.der", &certificates[1].1);
    let pem = dir.path().join("ek.pem");
    run(Command::new("openssl").args(["x509", "-inform", "DER", "-in"]).arg(leaf).arg("-out").arg(&pem));
    let authority = swtpm.authority();
    run(Command::new("openssl")
        .args(["verify", "-ignore_critical", "-CAfile"])
        .arg(authority.root_certificate())
        .arg("-untrusted")
        .arg(authority.issuer_certificate())
        .arg(&pem));
}

#[test]
fn a_tpm_without_certificates_has_none() {
    let swtpm = Swtpm::manufacture(&Options { ek_certificates: false, ..Options::default() });
    let mut tpm = Tpm::open(&swtpm.spec()).unwrap();
    assert!(tpm.ek_certificates().unwrap().is_empty());
    let ek = Ek::find(&mut tpm, &[]).unwrap();
    assert_eq!(ek.template, EkTemplate::L2P256);
    assert!(ek.nonce.is_none() && ek.nv_template.is_none());
}

#[test]
fn certify_and_quote_say_what_was_asked_and_verify() {
    let swtpm = Swtpm::new();
    let mut tpm = Tpm::open(&swtpm.spec()).unwrap();
    let ak = tpm.ak_public().unwrap();
    let key = DeviceKey::create(&mut tpm).unwrap();

    let Attestation { attest, signature } = key.certify(&mut tpm, &[7; 32]).unwrap();
    assert!(verifies(&ak, &attest, &signature));
    let certified = Attest::parse(&attest).unwrap();
    assert_eq!((certified.magic, certified.kind), (MAGIC, 0x8017));
    assert_eq!(certified.extra_data, [7; 32]);
    assert_eq!(certified.qualified_signer, ak.qualified_name(Hierarchy::Endorsement));
    let public = key.public_area().unwrap();
    assert!(matches!(&certified.attested, Attested::Certify { name, .. } if *name == public.name()));
    assert!(
        public
            .attributes()
            .all_of(Attributes::FIXED_TPM | Attributes::SENSITIVE_DATA_ORIGIN | Attributes::NO_DA)
    );

    for index in [0, 7, 23] {
        tpm.pcr_extend(index, Sha2::Sha256, &[index; 32]).unwrap();
    }
    let selection = PcrSelections::single(AlgId::SHA256, 0..24).unwrap();
    let values = tpm.pcr_read(&selection).unwrap();
    assert_eq!(values.iter().map(|value| value.index).collect::<Vec<_>>(), (0..24).collect::<Vec<_>>());
    assert_eq!(values[7].value, Sha2::Sha256.digest(&[&[0; 32], &[7; 32]]));
    let Attestation { attest, signature } = tpm.quote(&[9; 32], &selection).unwrap();
    assert!(verifies(&ak, &attest, &signature));
    assert!(!verifies(&public, &attest, &signature));
    let quoted = Attest::parse(&attest).unwrap();
    assert_eq!((quoted.kind, quoted.extra_data.as_slice()), (0x8018, [9; 32].as_slice()));
    assert_eq!(quoted.clock.reset_count, certified.clock.reset_count);
    assert_eq!(quoted.firmware_version, tpm.properties().unwrap().firmware_version, "not obfuscated");
    let Attested::Quote { selection: said, digest } = quoted.attested else { panic!("not a quote") };
    assert_eq!(said.single_bank(), selection.single_bank());
    let values = values.iter().map(|value| value.value.as_slice()).collect::<Vec<_>>();
    assert_eq!(digest, Sha2::Sha256.digest(&values));
}

#[test]
fn a_quote_over_a_bank_that_is_not_allocated_succeeds_and_is_empty() {
    let swtpm = Swtpm::new();
    let mut tpm = Tpm::open(&swtpm.spec()).unwrap();
    assert_eq!(tpm.pcr_banks().unwrap().0.iter().map(|bank| bank.bank).collect::<Vec<_>>(), [AlgId::SHA256]);
    let absent = PcrSelections::single(AlgId::SHA384, [0, 1]).unwrap();
    let quote = tpm.quote(&[1; 32], &absent).unwrap();
    let Attested::Quote { selection, .. } = Attest::parse(&quote.attest).unwrap().attested else { panic!() };
    assert!(selection.is_empty() && selection.single_bank().is_none());
    assert!(matches!(tpm.pcr_read(&absent), Err(TpmError::Incomplete(_))));

    let both = Swtpm::manufacture(&Options { pcr_banks: "sha256,sha384", ..Options::default() });
    let mut tpm = Tpm::open(&both.spec()).unwrap();
    assert_eq!(tpm.pcr_banks().unwrap().0.len(), 2);
    assert_eq!(tpm.pcr_read(&absent).unwrap()[0].value.len(), 48);
}

#[test]
fn after_a_clear_the_attestation_key_is_the_same_and_the_device_key_is_gone() {
    let swtpm = Swtpm::new();
    let mut tpm = Tpm::open(&swtpm.spec()).unwrap();
    let ak = tpm.ak_public().unwrap();
    let ek = Ek::derive(&mut tpm, EkTemplate::H3P384).unwrap();
    let key = DeviceKey::create(&mut tpm).unwrap();
    key.sign(&mut tpm, b"before").unwrap();
    tpm.clear().unwrap();
    assert_eq!(tpm.ak_public().unwrap().name(), ak.name());
    assert_eq!(Ek::derive(&mut tpm, EkTemplate::H3P384).unwrap().public, ek.public);
    for _ in 0..5 {
        assert!(matches!(key.sign(&mut tpm, b"after"), Err(TpmError::ForeignBlob)));
    }
    let key = DeviceKey::create(&mut tpm).unwrap();
    let certified = key.certify(&mut tpm, &[3; 32]).unwrap();
    assert!(verifies(&ak, &certified.attest, &certified.signature));
}

#[test]
fn a_device_key_of_another_tpm_does_not_load() {
    let (here, there) = (Swtpm::new(), Swtpm::new());
    let key = DeviceKey::create(&mut Tpm::open(&there.spec()).unwrap()).unwrap();
    let result = key.sign(&mut Tpm::open(&here.spec()).unwrap(), b"x");
    assert!(matches!(result, Err(TpmError::ForeignBlob)), "{result:?}");
}

#[test]
fn forty_power_cuts_lock_nothing_out() {
    let mut swtpm = Swtpm::new();
    let mut tpm = Tpm::open(&swtpm.spec()).unwrap();
    let ak = tpm.ak_public().unwrap();
    let key = DeviceKey::create(&mut tpm).unwrap();
    let public = key.public_area().unwrap().to_spki_der().unwrap();
    let mut resets = Vec::new();
    for cut in 0..40_u8 {
        // The cut comes right after a use of both keys, without TPM2_Shutdown; the open TPM outlives it.
        swtpm.power_cut();
        let signature = key.sign(&mut tpm, &[cut]).unwrap();
        assert!(verifies_der(&public, &[cut], &signature.to_x509()), "cut {cut}");
        let attestation = key.certify(&mut tpm, &[cut; 32]).unwrap();
        assert!(verifies(&ak, &attestation.attest, &attestation.signature), "cut {cut}");
        resets.push(Attest::parse(&attestation.attest).unwrap().clock.reset_count);
    }
    assert!(resets.windows(2).all(|pair| pair[0] < pair[1]), "every cut is a reset: {resets:?}");
    assert_eq!(tpm.ak_public().unwrap().name(), ak.name());
}

#[test]
fn what_a_killed_client_left_loaded_does_not_use_up_the_slots() {
    let swtpm = Swtpm::new();
    {
        let mut tpm = Tpm::open(&swtpm.spec()).unwrap();
        let fill = |tpm: &mut Tpm| tpm.create_primary(Hierarchy::Owner, &holdfast_tpm::wire::srk_template());
        let filled = (0..64).map(|_| fill(&mut tpm)).take_while(Result::is_ok).count();
        assert!(filled < 64, "the slots are few");
        assert!(tpm.ak_public().is_err(), "and now they are full");
    }
    let mut tpm = Tpm::open(&swtpm.spec()).unwrap();
    tpm.ak_public().unwrap();
    // Failing uses leave nothing loaded either.
    let key = DeviceKey::create(&mut tpm).unwrap();
    for _ in 0..10 {
        let ek = Ek::derive(&mut tpm, EkTemplate::L2P256).unwrap();
        assert!(ek.activate(&mut tpm, &[0, 0], &[0, 0]).is_err());
        let failed: Result<(), _> = key.with(&mut tpm, |_, _| Err(TpmError::NoEndorsementKey));
        assert!(failed.is_err());
    }
    key.sign(&mut tpm, b"still").unwrap();
}

#[test]
fn both_sockets_work_and_reconnect_after_a_restart() {
    for socket in [Socket::Tcp, Socket::Unix] {
        let mut swtpm = Swtpm::manufacture(&Options { socket, ek_certificates: false, ..Options::default() });
        let mut tpm = Tpm::open(&swtpm.spec()).unwrap();
        let name = tpm.ak_public().unwrap().name();
        swtpm.power_cut();
        assert_eq!(tpm.ak_public().unwrap().name(), name, "{socket:?}");
        tpm.release();
        assert_eq!(Tpm::open(&swtpm.spec()).unwrap().ak_public().unwrap().name(), name, "{socket:?}");
        swtpm.kill();
        assert!(matches!(tpm.ak_public(), Err(TpmError::Transport(_))), "{socket:?}");
        swtpm.start();
        assert_eq!(tpm.ak_public().unwrap().name(), name, "{socket:?}");
    }
}

#[test]
fn properties_are_those_of_swtpm() {
    let swtpm = Swtpm::manufacture(&Options { ek_certificates: false, ..Options::default() });
    let properties = Tpm::open(&swtpm.spec()).unwrap().properties().unwrap();
    assert_eq!(properties.manufacturer.to_be_bytes(), *b"IBM\0");
    assert!(properties.vendor.contains("SW") && properties.vendor.contains("TPM"), "{}", properties.vendor);
    assert_ne!(properties.firmware_version, 0);
}

#[test]
fn the_signing_key_and_the_request_are_those_of_the_device_key() {
    use rustls::SignatureScheme;
    use rustls::sign::SigningKey as _;
    let swtpm = Swtpm::manufacture(&Options { ek_certificates: false, ..Options::default() });
    let mut tpm = Tpm::open(&swtpm.spec()).unwrap();
    let key = DeviceKey::create(&mut tpm).unwrap();

    let dir = tempfile::tempdir().unwrap();
    let csr = file(dir.path(), "csr.der", &key.csr(&mut tpm).unwrap());
    run(Command::new("openssl").args(["req", "-inform", "DER", "-verify", "-noout", "-in"]).arg(&csr));
    let pem =
        run(Command::new("openssl").args(["req", "-inform", "DER", "-pubkey", "-noout", "-in"]).arg(&csr));
    let spki = key.public_area().unwrap().to_spki_der().unwrap();
    let ours = p256::PublicKey::from_public_key_der(&spki).unwrap();
    assert_eq!(ours, p256::PublicKey::from_public_key_pem(&pem).unwrap());

    let signing = TpmSigningKey::new(Arc::new(Mutex::new(tpm)), key).unwrap();
    assert_eq!(signing.public_key().unwrap().as_ref(), spki);
    assert!(signing.choose_scheme(&[SignatureScheme::ED25519]).is_none());
    let signer =
        signing.choose_scheme(&[SignatureScheme::ED25519, SignatureScheme::ECDSA_NISTP256_SHA256]).unwrap();
    for message in [&b""[..], b"transcript"] {
        assert!(verifies_der(&spki, message, &signer.sign(message).unwrap()));
    }
}

#[test]
fn a_genuine_tpm_certifies_and_activates_an_imported_key_and_only_its_attributes_tell() {
    let swtpm = Swtpm::new();
    let mut tpm = Tpm::open(&swtpm.spec()).unwrap();
    let software = p256::SecretKey::from_slice(&[0x11; 32]).unwrap();
    let point = software.public_key().to_encoded_point(false);
    let (x, y) = ((*point.x().unwrap()).into(), (*point.y().unwrap()).into());
    let key = insecure_impostor_key(&mut tpm, &[0x11; 32], &x, &y).unwrap();
    let public = key.public_area().unwrap();

    let ak = tpm.ak_public().unwrap();
    let certified = key.certify(&mut tpm, &[1; 32]).unwrap();
    assert!(verifies(&ak, &certified.attest, &certified.signature));
    let ek = Ek::derive(&mut tpm, EkTemplate::H3P384).unwrap();
    let (blob, secret) = challenge(&ek.public, &public.name());
    let opened = ek
        .with(&mut tpm, |tpm, ek| key.with(tpm, |tpm, key| tpm.activate_credential(key, ek, &blob, &secret)));
    assert_eq!(*opened.unwrap(), SECRET);
    let born_here = Attributes::FIXED_TPM | Attributes::FIXED_PARENT | Attributes::SENSITIVE_DATA_ORIGIN;
    assert!(!public.attributes().any_of(born_here), "{:?}", public.attributes());
    let signature = key.sign(&mut tpm, b"m").unwrap();
    assert!(verifies_der(&public.to_spki_der().unwrap(), b"m", &signature.to_x509()));
}

#[test]
fn tpm2_tools_give_the_same_names() {
    let swtpm = Swtpm::manufacture(&Options { socket: Socket::Tcp, ..Options::default() });
    let mut tpm = Tpm::open(&swtpm.spec()).unwrap();
    let dir = tempfile::tempdir().unwrap();
    // swtpm_setup leaves both EKs persistent.
    for (handle, template) in [(0x8101_0001_u32, EkTemplate::L1Rsa2048), (0x8101_0016, EkTemplate::H3P384)] {
        let (public, name) = tpm.read_public(handle).unwrap();
        assert_eq!(public.name(), name);
        assert_eq!(public, Ek::derive(&mut tpm, template).unwrap().public);
        tpm.release();
        let name_file = dir.path().join("name");
        run(Command::new("tpm2_readpublic")
            .env("TPM2TOOLS_TCTI", swtpm.tcti())
            .args(["-c", &format!("{handle:#x}"), "-n"])
            .arg(&name_file));
        assert_eq!(std::fs::read(&name_file).unwrap(), name);
    }
    let ak = tpm.ak_public().unwrap();
    let printed = run(Command::new("tpm2_print").args(["-t", "TPM2B_PUBLIC"]).arg(file(
        dir.path(),
        "ak",
        &ak.to_tpm2b(),
    )));
    let Unique::Ecc { x, y, .. } = ak.unique() else { panic!("an ECC key") };
    assert!(
        printed.contains(&format!("x: {}", hex(x))) && printed.contains(&format!("y: {}", hex(y))),
        "{printed}"
    );
    assert!(printed.contains(&format!("raw: {:#x}", ak.attributes().0)), "{printed}");
    let selection = PcrSelections::single(AlgId::SHA256, [0, 16]).unwrap();
    let quote = tpm.quote(&[0xab; 32], &selection).unwrap();
    let printed = run(Command::new("tpm2_print").args(["-t", "TPMS_ATTEST"]).arg(file(
        dir.path(),
        "quote",
        &quote.attest,
    )));
    assert!(printed.contains(&"ab".repeat(32)) && printed.contains("type: 8018"), "{printed}");
}

/// tpm2-tools as oracle. Not `tpm2_createek -t` with a nonce: 5.4 copies the address of the nonce into `unique`.
#[test]
fn an_ek_nonce_and_an_ek_template_in_nv_make_the_ek_that_tpm2_tools_make() {
    let swtpm =
        Swtpm::manufacture(&Options { socket: Socket::Tcp, ek_certificates: false, ..Options::default() });
    let dir = tempfile::tempdir().unwrap();
    let tool = |program: &str, args: &[&str]| {
        run(Command::new(program).env("TPM2TOOLS_TCTI", swtpm.tcti()).current_dir(dir.path()).args(args));
        run(Command::new("tpm2_flushcontext").env("TPM2TOOLS_TCTI", swtpm.tcti()).arg("-t"));
    };
    let define = |index: &str, bytes: &[u8]| {
        file(dir.path(), "nv", bytes);
        let size = bytes.len().to_string();
        tool("tpm2_nvdefine", &[index, "-C", "o", "-s", &size, "-a", "ownerread|ownerwrite"]);
        tool("tpm2_nvwrite", &[index, "-C", "o", "-i", "nv"]);
    };
    let made = || Public::parse_tpm2b(&std::fs::read(dir.path().join("ek.pub")).unwrap()).unwrap();

    let nonce = [0x42; 32];
    define("0x1c00003", &nonce);
    // The tool takes `unique` as it lies in a little-endian memory.
    file(dir.path(), "unique", &[&[0, 1][..], &nonce, &[0; 224]].concat());
    file(dir.path(), "policy", EkTemplate::L1Rsa2048.auth_policy());
    let primary =
        ["-C", "e", "-G", "rsa2048:aes128cfb", "-L", "policy", "-u", "unique", "-c", "ek.ctx", "-a"];
    let attributes = "fixedtpm|fixedparent|sensitivedataorigin|adminwithpolicy|restricted|decrypt";
    let mut tpm = Tpm::open(&swtpm.spec()).unwrap();
    let ak = tpm.ak_public().unwrap().name();

    // First the default template, then one of the TPM's own with another attribute: noDA.
    let mut own_template = EkTemplate::L1Rsa2048.in_public();
    own_template[6] |= 0x04;
    for own in [None, Some(own_template)] {
        tpm.release();
        let attributes = if own.is_some() { format!("{attributes}|noda") } else { attributes.to_owned() };
        if let Some(own) = &own {
            define("0x1c00004", own);
        }
        tool("tpm2_createprimary", &[&primary[..], &[&attributes]].concat());
        tool("tpm2_readpublic", &["-c", "ek.ctx", "-o", "ek.pub"]);
        let ek = Ek::derive(&mut tpm, EkTemplate::L1Rsa2048).unwrap();
        assert_eq!((ek.nonce.as_deref(), &ek.nv_template), (Some(&nonce[..]), &own));
        assert_eq!(ek.public, made());
        let (blob, secret) = challenge(&ek.public, &ak);
        assert_eq!(*ek.activate(&mut tpm, &blob, &secret).unwrap(), SECRET);
    }
}
