//! What the service says is published, as far as the desk believes it. The service holds none of the desk's keys: what
//! a draft is built upon must carry the desk's own signatures, or the next signature would be over a stranger's words.

use super::Desk;
use super::draft::{Plan, target};
use super::envelope::Envelope;
use super::keys;
use anyhow::{Context as _, ensure};
use holdfast_proto::manifest::Manifest;

/// Refuses metadata without the threshold of this desk's valid signatures.
pub(crate) fn check_threshold(desk: &Desk, plan: &Plan, role: &str, bytes: &[u8]) -> anyhow::Result<()> {
    let envelope = Envelope::read(bytes).with_context(|| format!("{role}.json"))?;
    let known: Vec<_> = keys::publics(desk, role)?.into_iter().map(|file| (file.key_id, file.key)).collect();
    let (signed, threshold) = (envelope.valid_signatures(&known)? as u64, plan.threshold(role));
    ensure!(
        signed >= threshold,
        "{role}.json has {signed} valid signatures of the desk's keys, {threshold} are needed: sign it with `holdfast tuf sign`"
    );
    Ok(())
}

/// What the service told of a role: signed by this desk, and no older than what this desk published itself.
pub(crate) fn published(desk: &Desk, role: &str, told: Option<Vec<u8>>) -> anyhow::Result<Option<Vec<u8>>> {
    let ours = desk.published().join(format!("{role}.json"));
    let ours =
        ours.exists().then(|| std::fs::read(&ours)).transpose().context("the desk's published folder")?;
    let version = |bytes: &[u8]| Envelope::read(bytes)?.version();
    let least = ours.as_deref().map(version).transpose()?.unwrap_or(0);
    let Some(bytes) = told else {
        ensure!(
            least == 0,
            "the service says that {role} was never published, and this desk published its version {least}: the service lost it or hides it; publish it again, or restore the service's backup"
        );
        return Ok(None);
    };
    check_threshold(desk, &Plan::read(desk)?, role, &bytes).with_context(|| {
        format!("what the service says is published as {role} does not carry this desk's signatures: nothing is built upon it")
    })?;
    let envelope = Envelope::read(&bytes)?;
    ensure!(
        envelope.signed["_type"] == "targets",
        "what the service says is published as {role} is not targets metadata"
    );
    let found = envelope.version()?;
    ensure!(
        found >= least,
        "the service shows version {found} of {role}, and this desk published version {least}: it holds something back"
    );
    Ok(Some(bytes))
}

/// The highest security counter among the releases that the product's metadata lists, from the manifests that this desk
/// keeps; 1 before the first.
pub(crate) fn newest_counter(desk: &Desk, product: Option<&[u8]>) -> anyhow::Result<u64> {
    let Some(bytes) = product else { return Ok(1) };
    let envelope = Envelope::read(bytes)?;
    let targets = envelope.signed["targets"].as_object().cloned().unwrap_or_default();
    let mut newest = 1;
    for (path, listed) in targets {
        let kept = std::fs::read(desk.published().join("files").join(&path)).ok();
        let kept = kept.filter(|bytes| target(bytes) == listed).with_context(|| {
            format!("{path} is not kept at this desk, so the last security counter is not known: give --security-counter")
        })?;
        let manifest: Manifest = serde_json::from_slice(&kept).with_context(|| path.clone())?;
        newest = newest.max(manifest.security_counter);
    }
    Ok(newest)
}

#[cfg(test)]
mod tests {
    use super::super::{Privacy, keys, write_file};
    use super::*;
    use serde_json::{Value, json};
    use std::collections::BTreeMap;

    const ROLE: &str = "product-hub";

    fn desk(folder: &std::path::Path) -> (Desk, Vec<keys::SigningKey>) {
        let desk = Desk::at(folder);
        let made = ["product-hub-1", "product-hub-2", "channel-stable-1"].map(|name| {
            keys::generate(&desk, name, "a passphrase").unwrap();
            keys::open(&desk, name, "a passphrase").unwrap()
        });
        let thresholds = BTreeMap::from([(ROLE.to_owned(), 2)]);
        let plan = Plan { hardware: vec!["hub".into()], channels: vec!["stable".into()], thresholds };
        write_file(&desk.plan_file(), &serde_json::to_vec(&plan).unwrap(), Privacy::Public).unwrap();
        (desk, made.into())
    }

    fn signed(version: u64, targets: &Value, by: &[&keys::SigningKey]) -> Vec<u8> {
        let body = json!({"_type": "targets", "spec_version": "1.0.0", "version": version,
            "expires": "2030-01-01T00:00:00Z", "targets": targets});
        let mut envelope = Envelope::draft(body).unwrap();
        for key in by {
            envelope.sign(key).unwrap();
        }
        envelope.to_bytes().unwrap()
    }

    #[test]
    fn a_service_that_adds_a_target_or_holds_one_back_is_not_built_upon() {
        let folder = tempfile::tempdir().unwrap();
        let (desk, keys) = desk(folder.path());
        let [one, two, other] = &keys[..] else { panic!("three keys") };
        let told = |bytes: Vec<u8>| published(&desk, ROLE, Some(bytes)).map_err(|error| format!("{error:#}"));
        assert_eq!(published(&desk, ROLE, None).unwrap(), None);
        let good = signed(2, &json!({}), &[one, two]);
        assert_eq!(told(good.clone()), Ok(Some(good.clone())));
        // The same signatures over one target more; by too few; by one key twice; by another role's key.
        let evil = json!({"products/hub/evil.json": target(b"evil")});
        let mut spoilt: Value = serde_json::from_slice(&good).unwrap();
        spoilt["signed"]["targets"] = evil.clone();
        let mut doubled: Value = serde_json::from_slice(&signed(2, &evil, &[one])).unwrap();
        let again = doubled["signatures"][0].clone();
        doubled["signatures"].as_array_mut().unwrap().push(again);
        let spoilt = [spoilt, doubled].map(|value| serde_json::to_vec(&value).unwrap());
        let few = [signed(2, &evil, &[one]), signed(2, &evil, &[]), signed(2, &evil, &[one, other])];
        for bytes in spoilt.into_iter().chain(few) {
            let why = told(bytes).unwrap_err();
            assert!(why.contains("does not carry this desk's signatures"), "{why}");
        }
        // An old one, and none, once this desk has published.
        write_file(
            &desk.published().join("product-hub.json"),
            &signed(3, &json!({}), &[one, two]),
            Privacy::Public,
        )
        .unwrap();
        assert!(told(good).unwrap_err().contains("holds something back"));
        assert!(published(&desk, ROLE, None).unwrap_err().to_string().contains("never published"));
    }

    #[test]
    fn the_counter_is_that_of_the_desks_own_manifests() {
        let folder = tempfile::tempdir().unwrap();
        let (desk, keys) = desk(folder.path());
        let manifest = |counter: u64| {
            serde_json::to_vec(
                &json!({"schema": 1, "release": "r", "version": "1", "hardware": ["hub"], "kind": "firmware",
                "security_counter": counter, "artefacts": []}),
            )
            .unwrap()
        };
        assert_eq!(newest_counter(&desk, None).unwrap(), 1);
        let (old, new) = (manifest(7), manifest(4));
        let listed = json!({"products/hub/a.json": target(&old), "products/hub/b.json": target(&new)});
        let product = signed(2, &listed, &[&keys[0], &keys[1]]);
        let why = newest_counter(&desk, Some(&product)).unwrap_err().to_string();
        assert!(why.contains("--security-counter"), "{why}");
        for (name, bytes) in [("a", &old), ("b", &new)] {
            let path = desk.published().join(format!("files/products/hub/{name}.json"));
            write_file(&path, bytes, Privacy::Public).unwrap();
        }
        assert_eq!(newest_counter(&desk, Some(&product)).unwrap(), 7);
        // One that is not what was signed counts as none.
        write_file(&desk.published().join("files/products/hub/b.json"), &manifest(u64::MAX), Privacy::Public)
            .unwrap();
        assert!(newest_counter(&desk, Some(&product)).is_err());
    }
}
