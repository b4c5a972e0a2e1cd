//! The software TPMs that the other suites stand on, looked at with tools that are not ours: tpm2-tools and openssl.

use std::io::{Read, Write};
use std::os::unix::process::ExitStatusExt;
use std::process::Command;

use holdfast_tests::process::run;
use holdfast_tests::scratch::Scratch;
use holdfast_tests::swtpm::{EndorsementKey, Swtpm, SwtpmError, TpmMaker, Transport, Wiring};

#[test]
fn both_endorsement_certificates_chain_to_the_makers_root_and_stand_in_the_chips_memory() {
    let scratch = Scratch::new("tpm");
    let maker = TpmMaker::found(&scratch.join("maker")).unwrap();
    let mut chip = maker.manufacture(&scratch.join("chip"), Wiring::default()).unwrap();
    chip.start().unwrap();

    for (key, index) in [(EndorsementKey::Rsa2048, "0x01c00002"), (EndorsementKey::P384, "0x01c00016")] {
        let certificate = chip.ek_certificate_der(key).unwrap();
        assert_eq!(tpm2(&chip, "tpm2_nvread", &[index]), certificate, "{key:?}");
        let path = scratch.join("ek.der");
        std::fs::File::create(&path).unwrap().write_all(&certificate).unwrap();
        run(Command::new("openssl")
            .args(["verify", "-CAfile"])
            .arg(maker.root_path())
            .arg("-untrusted")
            .arg(maker.issuer_path())
            .arg(&path))
        .unwrap();
    }
}

#[test]
fn another_makers_root_does_not_verify_the_chip() {
    let scratch = Scratch::new("tpm");
    let maker = TpmMaker::found(&scratch.join("maker")).unwrap();
    let stranger = TpmMaker::found(&scratch.join("stranger")).unwrap();
    let chip = maker.manufacture(&scratch.join("chip"), Wiring::default()).unwrap();
    run(Command::new("openssl")
        .args(["verify", "-CAfile"])
        .arg(stranger.root_path())
        .arg("-untrusted")
        .arg(maker.issuer_path())
        .arg(chip.directory().join("ek/ek-rsa2048.crt")))
    .unwrap_err();
}

#[test]
fn two_chips_of_one_maker_have_different_keys_and_the_same_root() {
    let scratch = Scratch::new("tpm");
    let maker = TpmMaker::found(&scratch.join("maker")).unwrap();
    let root = maker.root_pem().unwrap();
    let maker_again = TpmMaker::found(&scratch.join("maker")).unwrap();
    assert_eq!(maker_again.root_pem().unwrap(), root);
    let certificate = |name: &str| {
        let chip = maker_again.manufacture(&scratch.join(name), Wiring::default()).unwrap();
        chip.ek_certificate_der(EndorsementKey::Rsa2048).unwrap()
    };
    assert_ne!(certificate("one"), certificate("two"));
}

#[test]
fn a_power_cut_resets_pcrs_and_keeps_memory_over_both_transports() {
    for transport in [Transport::Unix, Transport::Tcp] {
        let scratch = Scratch::new("tpm");
        let maker = TpmMaker::found(&scratch.join("maker")).unwrap();
        let mut chip =
            maker.manufacture(&scratch.join("chip"), Wiring { transport, ..Wiring::default() }).unwrap();
        chip.start().unwrap();
        let empty = tpm2(&chip, "tpm2_pcrread", &["sha256:7"]);
        let digest = "11".repeat(32);
        tpm2(&chip, "tpm2_pcrextend", &[&format!("7:sha256={digest}")]);
        tpm2(&chip, "tpm2_nvdefine", &["0x01800001", "-s", "4", "-a", "ownerread|ownerwrite"]);
        let kept = scratch.join("kept");
        std::fs::File::create(&kept).unwrap().write_all(b"kept").unwrap();
        tpm2(&chip, "tpm2_nvwrite", &["0x01800001", "-C", "o", "-i", kept.to_str().unwrap()]);
        assert_ne!(tpm2(&chip, "tpm2_pcrread", &["sha256:7"]), empty);

        let ended = chip.kill().unwrap().expect("it was on");
        assert_eq!(ended.signal(), Some(9), "{transport:?}");
        assert!(!chip.is_on());
        chip.start().unwrap();
        assert_eq!(tpm2(&chip, "tpm2_pcrread", &["sha256:7"]), empty, "{transport:?}");
        assert_eq!(tpm2(&chip, "tpm2_nvread", &["0x01800001", "-C", "o"]), b"kept", "{transport:?}");

        // Switched off and taken up by a new handle, as the demo does after its own restart.
        chip.stop().unwrap();
        let mut again = Swtpm::at(chip.directory(), Wiring { transport, ..Wiring::default() }).unwrap();
        again.start().unwrap();
        assert_eq!(tpm2(&again, "tpm2_nvread", &["0x01800001", "-C", "o"]), b"kept", "{transport:?}");
    }
}

#[test]
fn commands_travel_as_they_are_on_the_data_channel() {
    let scratch = Scratch::new("tpm");
    let maker = TpmMaker::found(&scratch.join("maker")).unwrap();
    let mut chip = maker.manufacture(&scratch.join("chip"), Wiring::default()).unwrap();
    chip.start().unwrap();
    let random = || {
        let mut wire = chip.address().connect().unwrap();
        // TPM 2.0 part 3, 16.1 TPM2_GetRandom: no sessions, 12 bytes long, command 0x17b, 16 bytes asked for.
        wire.write_all(&[0x80, 0x01, 0, 0, 0, 12, 0, 0, 1, 0x7b, 0, 16]).unwrap();
        let mut answer = [0_u8; 28];
        wire.read_exact(&mut answer).unwrap();
        assert_eq!(answer[..12], [0x80, 0x01, 0, 0, 0, 28, 0, 0, 0, 0, 0, 16]);
        answer
    };
    assert_ne!(random(), random());
}

#[test]
fn a_directory_too_long_for_a_socket_is_refused_with_its_length() {
    let scratch = Scratch::new("tpm");
    let error = Swtpm::at(&scratch.join("x".repeat(100)), Wiring::default()).unwrap_err();
    assert!(matches!(error, SwtpmError::PathTooLong { len_bytes, .. } if len_bytes > 100), "{error}");
}

fn tpm2(chip: &Swtpm, tool: &str, args: &[&str]) -> Vec<u8> {
    run(Command::new(tool).arg("-T").arg(chip.address().tcti()).args(args)).unwrap()
}
