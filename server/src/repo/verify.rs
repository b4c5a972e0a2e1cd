//! Loading what is about to be published with the device's own client (`core/trust`), within its transaction.
//!
//! Two devices walk: one that was made with the first root, and one that stands where the last publish left it.
//! Whatever either refuses is not published.

use super::publish::{Newest, is_offline};
use super::sign::{ASSIGNMENT_EPOCH, AssignedManifest};
use super::{Repo, sql};
use crate::db::Tx;
use crate::refusal::Refusal;
use holdfast_proto::DeviceId;
use holdfast_proto::assignment::{AssignmentBody, AssignmentWord};
use holdfast_trust::tuf::assignment::{assignment_keys, ca_bundle, verify_assignment};
use holdfast_trust::tuf::release::{ThisDevice, verify_release};
use holdfast_trust::tuf::time::{DeviceClock, WallClock};
use holdfast_trust::tuf::{self, Source, SourceError, Store, Trusted, TufError};
use std::collections::BTreeMap;
use std::error::Error as _;
use std::fmt::Write as _;

/// Signatures of the client's walk are verified by aws-lc-rs; the first call of a process counts.
pub(super) fn install_provider() {
    tuf::install_provider(
        rustls::crypto::aws_lc_rs::default_provider().signature_verification_algorithms.all,
    );
}

/// A release that some channel lists, as a device that follows the channel would be assigned it.
#[derive(Debug)]
pub(crate) struct Listed<'a> {
    pub(crate) channel: &'a str,
    pub(crate) manifest: AssignedManifest<'a>,
    /// A floor that may install it.
    pub(crate) floor: u64,
}

impl Repo {
    /// Has a new device, and one that stands at `before`, walk to `all` and into every delegated role.
    pub(super) async fn verify_walks(
        &self,
        tx: &mut Tx,
        before: &Newest,
        all: &Newest,
        now: i64,
    ) -> Result<(), Refusal> {
        let mut shelf = self.shelf(tx, all).await?;
        let first = sql::metadata_roots(tx, &self.tenant).await?.into_iter().next();
        let first = first.ok_or_else(|| Refusal::invalid("no-root", "publish root and targets first"))?;
        let new = Pocket(BTreeMap::from([("root.json".to_owned(), first.bytes)]));
        let kept = ["root", "timestamp", "snapshot", "targets"].map(|role| (role, before.get(role)));
        let held = kept
            .into_iter()
            .filter_map(|(role, stored)| Some((format!("{role}.json"), stored?.bytes.clone())));
        let standing = Pocket(held.collect());
        for mut pocket in [Some(new), Some(standing).filter(|pocket| pocket.0.contains_key("root.json"))]
            .into_iter()
            .flatten()
        {
            let mut trusted = walk(&mut pocket, &mut shelf, now)?;
            self.verify_top(&mut trusted, &mut pocket, &mut shelf)?;
            for role in all.keys() {
                if let Some(path) = some_path(role) {
                    trusted.find(&path, &mut pocket, &mut shelf).map_err(refused)?;
                }
            }
            check_delegated(before, all, &pocket)?;
        }
        Ok(())
    }

    /// The lists that the top-level role names: who signs assignments, and who vouches for this service.
    fn verify_top(
        &self,
        trusted: &mut Trusted,
        pocket: &mut Pocket,
        shelf: &mut Shelf,
    ) -> Result<(), Refusal> {
        assignment_keys(trusted, pocket, shelf).map_err(refused)?;
        let bundle = ca_bundle(trusted, pocket, shelf).map_err(refused)?;
        if bundle.roots.iter().all(|root| root.0 != *self.ca_root) {
            let text = "trust/ca.json lacks the root of this service's CA: devices would not find it again; draft targets with `holdfast tuf keys` of today";
            return Err(Refusal::invalid("ca-root-missing", text));
        }
        Ok(())
    }

    /// Has a device of each channel verify each release that its channel lists, by a genuine assignment.
    pub(crate) async fn verify_releases(
        &self,
        tx: &mut Tx,
        all: &Newest,
        listed: &[Listed<'_>],
        now: i64,
    ) -> Result<(), Refusal> {
        let mut shelf = self.shelf(tx, all).await?;
        let newest = all.get("root").map(|root| root.bytes.clone()).unwrap_or_default();
        let mut pocket = Pocket(BTreeMap::from([("root.json".to_owned(), newest)]));
        let mut trusted = walk(&mut pocket, &mut shelf, now)?;
        let keys = assignment_keys(&mut trusted, &mut pocket, &mut shelf).map_err(refused)?;
        for entry in listed {
            let device = DeviceId::from("dev_publish");
            let body = AssignmentBody {
                device: device.clone(),
                epoch: ASSIGNMENT_EPOCH,
                sequence: 1,
                lease_s: 1,
                attempt: 1,
                state: AssignmentWord::Active,
                rollout: None,
            };
            let envelope = self.sign_assignment(&body, &entry.manifest, now)?;
            let assignment = verify_assignment(&envelope, &keys, &device, None, now).map_err(refused)?;
            let this =
                ThisDevice { hardware: entry.manifest.hardware, channel: entry.channel, floor: entry.floor };
            verify_release(&mut trusted, &assignment, this, &mut pocket, &mut shelf).map_err(refused)?;
        }
        Ok(())
    }

    /// What devices could fetch if `all` were published.
    async fn shelf(&self, tx: &mut Tx, all: &Newest) -> Result<Shelf, Refusal> {
        let mut shelf = Shelf::default();
        for root in sql::metadata_roots(tx, &self.tenant).await? {
            shelf.metadata.insert(format!("{}.root.json", root.version), root.bytes);
        }
        for (role, stored) in all {
            let name = if role == "timestamp" {
                "timestamp.json".into()
            } else {
                format!("{}.{role}.json", stored.version)
            };
            shelf.metadata.insert(name, stored.bytes.clone());
            if role == "targets" || role.starts_with("product-") {
                for (path, digest) in super::publish::targets_of(stored)? {
                    if let Some(bytes) = sql::target_at(tx, &self.tenant, &path, digest).await? {
                        shelf.targets.insert(consistent(&path, &digest.to_hex()), bytes);
                    }
                }
            }
        }
        Ok(shelf)
    }
}

/// Refuses an offered role that the walk never reached: nobody delegates to it, so nobody's signature was asked for.
/// The client stores a delegated role only once its delegator's keys have signed it.
fn check_delegated(before: &Newest, all: &Newest, pocket: &Pocket) -> Result<(), Refusal> {
    let offered = all
        .iter()
        .filter(|(role, _)| is_offline(role) && !matches!(role.as_str(), "root" | "targets"))
        .filter(|(role, stored)| before.get(*role).is_none_or(|there| there.version != stored.version));
    for (role, stored) in offered {
        if pocket.0.get(&format!("{role}.json")) != Some(&stored.bytes) {
            let text = format!(
                "no role that devices trust delegates to {role}, so no key may sign it: delegate to it in targets first"
            );
            return Err(Refusal::invalid("not-signed", text));
        }
    }
    Ok(())
}

fn walk(pocket: &mut Pocket, shelf: &mut Shelf, now: i64) -> Result<Trusted, Refusal> {
    let clock = DeviceClock { build_time: 0, wall: WallClock::Synchronised(now), signed: None };
    tuf::refresh(pocket, shelf, &clock).map_err(refused)
}

/// A path that a search for leads into this role.
fn some_path(role: &str) -> Option<String> {
    match role.split_once('-') {
        Some(("product", hardware)) => Some(format!("products/{hardware}/-.json")),
        Some(("channel", name)) => Some(format!("channels/{name}/-/-.json")),
        _ if role == "deltas" => Some("delta/-".to_owned()),
        _ => None,
    }
}

/// TUF 5.7.3: `<folder>/<hash>.<file>`.
fn consistent(path: &str, hash: &str) -> String {
    match path.rsplit_once('/') {
        Some((folder, file)) => format!("{folder}/{hash}.{file}"),
        None => format!("{hash}.{path}"),
    }
}

/// The client's own code and words: what a device would report.
fn refused(error: TufError) -> Refusal {
    let mut text = format!("a device would refuse this: {error}");
    let mut next = error.source();
    while let Some(cause) = next {
        _ = write!(text, ": {cause}");
        next = cause.source();
    }
    Refusal::invalid(error.code(), text)
}

#[derive(Debug, Default)]
struct Shelf {
    metadata: BTreeMap<String, Vec<u8>>,
    targets: BTreeMap<String, Vec<u8>>,
}

impl Source for Shelf {
    fn metadata(&mut self, name: &str, _: u64) -> Result<Option<Vec<u8>>, SourceError> {
        Ok(self.metadata.get(name).cloned())
    }

    fn target(&mut self, path: &str, _: u64) -> Result<Option<Vec<u8>>, SourceError> {
        Ok(self.targets.get(path).cloned())
    }
}

/// A device's store, for the length of a walk.
#[derive(Debug)]
struct Pocket(BTreeMap<String, Vec<u8>>);

impl Store for Pocket {
    fn load(&self, name: &str) -> Option<Vec<u8>> {
        self.0.get(name).cloned()
    }

    fn save(&mut self, name: &str, bytes: &[u8]) -> Result<(), SourceError> {
        self.0.insert(name.to_owned(), bytes.to_vec());
        Ok(())
    }
}
