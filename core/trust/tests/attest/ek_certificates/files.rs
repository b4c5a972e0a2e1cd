//! Files of certificates, as `holdfast inspect` reads them.

use super::*;

#[test]
fn files_of_pem_and_der_are_read_alike() {
    use base64::Engine as _;
    let pem = |der: &[u8]| {
        let text = base64::engine::general_purpose::STANDARD.encode(der);
        let lines: Vec<&str> =
            text.as_bytes().chunks(64).map(|line| std::str::from_utf8(line).unwrap()).collect();
        format!("-----BEGIN CERTIFICATE-----\n{}\n-----END CERTIFICATE-----\n", lines.join("\n"))
    };
    let mut case = Case::new();
    let (ek, root) = (case.der(), case.root.der.clone());
    let issuing = case.intermediates[0].clone();
    // One file with the EK first and its issuer after it needs no other intermediates.
    case.intermediates.clear();
    let bundle = format!("a comment\n{}{}", pem(&ek), pem(&issuing));
    assert!(case.inspect_bytes(bundle.as_bytes()).accepted);
    assert!(!case.inspect_bytes(pem(&ek).as_bytes()).accepted);
    case.intermediates = vec![pem(&issuing).into_bytes()];
    case.root.der = pem(&root).into_bytes();
    assert!(case.inspect_bytes(&ek).accepted);
    case.root.der = [root.clone(), issuing.clone()].concat();
    assert!(case.inspect_bytes(&ek).accepted);
    let facts = inspect::cert(bundle.as_bytes()).unwrap();
    assert_eq!(facts.iter().map(|facts| facts.is_ca).collect::<Vec<_>>(), [false, true]);
    assert!(inspect::cert(b"-----BEGIN CERTIFICATE-----\n!!\n-----END CERTIFICATE-----").is_err());
    assert!(inspect::cert(b"nothing").is_err() && inspect::cert(&[]).is_err());
    assert!(inspect::cert(&vec![0x30; (4 << 20) + 1]).unwrap_err().to_string().contains("above the cap"));
}

#[test]
fn facts_say_what_stands_in_the_certificate() {
    let mut case = Case::for_key(&Key::rsa(0));
    case.ek.set("2.5.29.37", Some(cert::eku(&["2.23.133.8.1", "1.3.6.1.5.5.7.3.2", "1.2.3"])));
    case.ek.extensions.push(policies());
    case.ek.extensions.push(cert::ski(&case.issuing.key));
    let der = case.der();
    let facts = inspect::cert(&der).unwrap().remove(0);
    assert_eq!(
        (facts.key.as_str(), facts.serial.as_str(), facts.is_ca, facts.path_len),
        ("RSA-2048", "4b010203", false, None)
    );
    assert_eq!(facts.key_usage, ["Key Encipherment"]);
    assert_eq!(facts.extended_key_usage, ["clientAuth", "tcg-kp-EKCertificate (2.23.133.8.1)", "1.2.3"]);
    assert_eq!(
        facts.alternative_names,
        ["dirName:2.23.133.2.1=id:00001014,2.23.133.2.2=swtpm,2.23.133.2.3=id:20191023"]
    );
    assert_eq!(facts.policies, ["1.2.840.113741.1.5.2.1"]);
    assert_eq!(facts.critical, ["2.5.29.17", "2.5.29.15", "2.5.29.19", "2.5.29.32"]);
    assert_eq!(facts.subject_key_id, facts.authority_key_id);
    assert_eq!((facts.not_before, facts.not_after), (NOW - 400 * DAY, NOW + 4000 * DAY));
    assert_eq!(facts.signature_algorithm, "1.2.840.10045.4.3.2");
    assert_eq!(facts.fingerprint, hex::encode(sha256(&[&der])));
    let names = [Curve::P256, Curve::P384, Curve::P521]
        .map(|curve| inspect::cert(&Case::for_key(&Key::ec(curve)).der()).unwrap().remove(0).key);
    assert_eq!(names, ["P-256", "P-384", "P-521"]);
    let ca = inspect::cert(
        &Ca::new("x", Key::p256(), None, |s| s.set("2.5.29.19", Some(cert::ca_basic(Some(3))))).der,
    )
    .unwrap()
    .remove(0);
    assert_eq!((ca.is_ca, ca.path_len), (true, Some(3)));
}

#[test]
fn a_file_is_bounded_in_bytes_and_certificates() {
    let der = Case::new().der();
    let mut file = der.clone();
    file.resize(4 << 20, 0);
    assert_eq!(inspect::cert(&file).unwrap().len(), 1);
    file.push(0);
    assert!(inspect::cert(&file).unwrap_err().to_string().contains("above the cap"));
    for (count, read) in [(511, 511), (512, 512), (513, 512)] {
        assert_eq!(inspect::cert(&der.repeat(count)).unwrap().len(), read, "{count} certificates");
    }
}
