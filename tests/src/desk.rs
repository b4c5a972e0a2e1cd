//! The signing desk of a plant, worked as a person would: `holdfast tuf` and `holdfast release`, one signature at a time.
//!
//! Two holders of root keys sign copies of a draft apart from each other and merge them: a threshold of 2 of 3.

use crate::plant::Plant;
use anyhow::Context as _;
use std::path::Path;

/// A release to be drafted, signed and published.
#[derive(Debug, Clone, Copy)]
pub struct NewRelease<'a> {
    /// Hardware id.
    pub hardware: &'a str,
    /// Name of the release, e.g. `1`.
    pub release: &'a str,
    /// The maker's version, for people.
    pub version: &'a str,
    /// The image; its artefact is called `rootfs`.
    pub image: &'a Path,
    /// None: that of the newest release.
    pub security_counter: Option<u64>,
    /// Name of the health profile, if any.
    pub health_profile: Option<&'a str>,
}

impl Plant {
    /// Makes a desk for these hardware ids and publishes the first root and targets.
    ///
    /// # Errors
    /// When a command fails.
    pub fn found_repository(&self, hardware: &[&str]) -> anyhow::Result<()> {
        let mut args = vec!["tuf", "init"];
        for id in hardware {
            args.extend(["--hardware", id]);
        }
        self.well("release-manager", &args)?;
        self.well("release-manager", &["tuf", "keys", "--file", "online.json"])?;
        for role in ["root", "targets"] {
            self.well("release-manager", &["tuf", "draft", role, "--online", "online.json"])?;
        }
        self.sign_apart("desk/out/root.json", ["root-1", "root-3"])?;
        self.well(
            "release-manager",
            &["tuf", "sign", "desk/out/targets.json", "--key", "targets-1", "--key", "targets-2"],
        )?;
        self.well("release-manager", &["tuf", "publish"]).map(|_| ())
    }

    /// Each holder signs a copy of his own; the copies are merged into the draft.
    ///
    /// # Errors
    /// When a command fails.
    pub fn sign_apart(&self, draft: &str, keys: [&str; 2]) -> anyhow::Result<()> {
        let copies = keys.map(|key| format!("{draft}.{key}"));
        for (copy, key) in copies.iter().zip(keys) {
            std::fs::copy(self.root().join(draft), self.root().join(copy))
                .with_context(|| format!("{draft} was not drafted"))?;
            self.well("release-manager", &["tuf", "sign", copy, "--key", key])?;
        }
        self.well("release-manager", &["tuf", "merge", "--into", draft, &copies[0], &copies[1]])?;
        for copy in &copies {
            std::fs::remove_file(self.root().join(copy))?;
        }
        Ok(())
    }

    /// Drafts a release; nothing is signed yet.
    ///
    /// # Errors
    /// When the command fails.
    pub fn draft_release(&self, new: &NewRelease<'_>) -> anyhow::Result<()> {
        let artefact = format!("rootfs={}", new.image.display());
        let mut args = vec!["release", "draft", "--hardware", new.hardware, "--release", new.release];
        args.extend(["--version", new.version, "--artefact", &artefact]);
        let counter = new.security_counter.map(|counter| counter.to_string());
        if let Some(counter) = &counter {
            args.extend(["--security-counter", counter]);
        }
        if let Some(profile) = new.health_profile {
            args.extend(["--health-profile", profile]);
        }
        self.well("release-manager", &args).map(|_| ())
    }

    /// Drafts a release, has it signed by two holders of the product's keys and one of the channel's, and publishes it.
    ///
    /// # Errors
    /// When a command fails.
    pub fn publish_release(&self, new: &NewRelease<'_>) -> anyhow::Result<()> {
        self.draft_release(new)?;
        let product = format!("product-{}", new.hardware);
        let keys = [format!("{product}-1"), format!("{product}-2")];
        self.sign_apart(&format!("desk/out/{product}.json"), [&keys[0], &keys[1]])?;
        self.well(
            "release-manager",
            &["tuf", "sign", "desk/out/channel-stable.json", "--key", "channel-stable-1"],
        )?;
        self.well("release-manager", &["tuf", "publish"]).map(|_| ())
    }

    /// `holdfast` as a role; anything but success is an error with its words.
    ///
    /// # Errors
    /// When it fails.
    pub fn well(&self, role: &str, args: &[&str]) -> anyhow::Result<String> {
        Ok(self.holdfast(role, args)?.well(args)?.out)
    }
}
