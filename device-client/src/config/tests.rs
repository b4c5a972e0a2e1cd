use super::*;

const HEAD: &str =
    "serial = \"S\"\nmodel = \"m\"\nstate_dir = \"state\"\nblob = \"blob.json\"\nkeystore = \"file\"\n";

fn read(more: &str) -> Result<Config, String> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("device.toml");
    crate::files::write(&path, format!("{HEAD}{more}").as_bytes()).unwrap();
    Config::read(&path).map_err(|error| error.to_string())
}

#[test]
fn a_device_with_two_slots_and_a_fake_boot_loader() {
    let config = read(
        "[slots]\ninstaller = \"ab_slot\"\na = { rootfs = \"a.img\" }\nb = { rootfs = \"/dev/b\" }\n\
         [boot]\nkind = \"fake\"\nstyle = \"counted\"\ntries = 2\n\
         [update]\npoll_min_s = 1\ncommit_gate = \"both\"\n\
         [health.default]\ncommands = [[\"true\"]]\n",
    )
    .unwrap();
    let Some(Slots::AbSlot { a, b }) = &config.slots else { panic!("{:?}", config.slots) };
    assert!(a["rootfs"].is_absolute() && a["rootfs"].ends_with("a.img"));
    assert_eq!(b["rootfs"], Path::new("/dev/b"));
    let Some(Boot::Fake { style, tries, .. }) = &config.boot else { panic!("no boot") };
    assert_eq!(style.kind(*tries), holdfast_decide::device::BootKind::Counted(2));
    assert_eq!(config.health["default"].deadline_s, 60);
}

#[test]
fn what_is_not_known_or_does_not_fit_is_an_error_that_says_so() {
    let slots = "[slots]\ninstaller = \"ab_slot\"\na = { rootfs = \"a\" }\nb = { rootfs = \"b\" }\n";
    let fake = "[boot]\nkind = \"fake\"\n";
    let file = "[slots]\ninstaller = \"file\"\nfolder = \"app\"\n";
    for (text, why) in [
        ("speed = 3\n".to_owned(), "unknown field `speed`"),
        (format!("{slots}{fake}lies = true\n"), "unknown field `lies`"),
        (format!("{slots}{fake}[update]\npoll = 1\n"), "unknown field `poll`"),
        (format!("{slots}{fake}[health.x]\ncommands = []\ntries = 1\n"), "unknown field `tries`"),
        (format!("{slots}{fake}[health.x]\ncommands = [[]]\n"), "empty command"),
        (format!("{slots}{fake}[update]\npoll_min_s = 0\n"), "poll_min_s = 0: give at least 1"),
        (format!("{slots}{fake}[update]\ntrial_boots = 0\n"), "trial_boots = 0: give at least 1"),
        (format!("{slots}{fake}[update]\ntrial_s = 0\n"), "trial_s = 0: give at least 1"),
        (slots.replace("\"b\"", "\"./a\"") + fake, "one place twice"),
        (
            slots.replace("\"a\"", "\"a\", home = \"h\"").replace("\"b\"", "\"b\", home = \"a\"") + fake,
            "one place twice",
        ),
        (slots.to_owned(), "needs a section [boot]"),
        (fake.to_owned(), "boots nothing"),
        (format!("{file}{fake}"), "takes no [boot]"),
        (slots.replace("b = { rootfs", "b = { kernel") + fake, "name the same artefacts"),
        ("[slots]\ninstaller = \"magic\"\n".to_owned(), "unknown variant `magic`"),
    ] {
        let error = read(&text).unwrap_err();
        assert!(error.contains(why), "{text}\n{error}");
    }
    assert!(read(file).is_ok());
}
