//! What the service takes from the desk, and what a device then finds.

use crate::both_services;
use crate::testing::desk::{
    self, Desk, PRODUCT, Parcel, ROOT, STABLE, TARGETS, firmware, list, manifest, target,
};
use crate::testing::service::{Answer, Service};
use serde_json::{Map, Value, json};

const HOUR_S: i64 = 3600;
const DAY_S: i64 = 86_400;

fn versions(status: &Value) -> Vec<(String, u64)> {
    let roles = status["roles"].as_array().unwrap();
    roles
        .iter()
        .map(|role| (role["role"].as_str().unwrap().to_owned(), role["version"].as_u64().unwrap()))
        .collect()
}

fn version(status: &Value, role: &str) -> u64 {
    versions(status).into_iter().find(|(name, _)| name == role).unwrap().1
}

async fn status(service: &Service) -> Value {
    service.get("release-manager", "/tuf/status").await
}

/// Refused for this reason, and nothing of it stays.
#[track_caller]
fn refused(answer: &Answer, code: &str) {
    let (status, found) = answer.refusal();
    assert_eq!(found, code, "{status}: {}", answer.text());
    assert!((400..500).contains(&status), "{status}");
}

both_services! {
    async fn a_device_walks_to_what_the_desk_published_and_verifies_its_release(service: Service) {
        let mut desk = Desk::open(&service).await;
        assert_eq!(service.fetch(None, "/v1/tuf/timestamp.json", &[]).await.status, 404);
        let foundation = desk.foundation(service.state.now());
        let published = foundation.publish(&service).await.good();
        assert_eq!(published["new_releases"], json!([]));
        let mut device = service.device("serial-1", &json!({})).await;
        let root = &foundation.metadata["root"];
        device.walk(&service, root).unwrap();

        desk.publish(&service, "r1", 1, &firmware("7.22.0", "primehub")).await;
        let before = status(&service).await;
        assert_eq!(version(&before, "product-primehub"), 1);
        assert_eq!(version(&before, "channel-stable"), 1);
        // The device that trusted the metadata before goes on to this one; so does a new one.
        let mut trusted = device.walk(&service, root).unwrap();
        let (mut store, mut wire) = (std::collections::BTreeMap::new(), crate::testing::device::Wire(&service));
        let found = trusted.find("products/primehub/r1.json", &mut crate::testing::device::Pocket(&mut store), &mut wire);
        assert_eq!(found.unwrap().unwrap().0, "product-primehub");
        service.device("serial-2", &json!({})).await.walk(&service, root).unwrap();

        let releases = service.get("viewer", "/releases").await;
        assert_eq!(releases["items"][0]["release"], "r1");
        assert_eq!(releases["items"][0]["channels"], json!(["stable"]));
        assert_eq!(service.get("viewer", "/releases/primehub/r1").await, releases["items"][0]);
        assert_eq!(service.operator("viewer", "GET", "/releases/primehub/r9", &Value::Null).await.status, 404);
    }

    async fn each_wrong_publish_is_refused_for_its_reason_and_leaves_nothing(service: Service) {
        let desk = Desk::open(&service).await;
        let now = service.state.now();
        let good = desk.foundation(now);
        let with = |role: &str, bytes: Vec<u8>| {
            let mut parcel = good.clone();
            parcel.metadata.insert(role.into(), bytes);
            parcel
        };
        let mut ending = desk.root(1, now);
        ending["expires"] = json!(desk::expires(now));
        let mut other_ca = desk.targets(1, now);
        let bundle = json!({"version": 1, "roots": ["AAAA"]}).to_string().into_bytes();
        other_ca["targets"]["trust/ca.json"] = target(&bundle);
        let mut without_ca = with("targets", desk.sign(&other_ca, TARGETS));
        without_ca.files.insert("trust/ca.json".into(), bundle);
        let mut no_files = good.clone();
        no_files.files.clear();
        for (parcel, code) in [
            (with("root", desk.sign(&desk.root(1, now), &["root-1"])), "metadata-unsigned"),
            (with("root", desk.sign(&ending, ROOT)), "metadata-expired"),
            (with("targets", desk.sign(&desk.targets(1, now), &["targets-1"])), "metadata-unsigned"),
            (with("targets", desk.sign(&desk.targets(2, now), TARGETS)), "metadata-version"),
            (with("snapshot", desk.sign(&desk.targets(1, now), TARGETS)), "metadata-malformed"),
            (with("../root", good.metadata["root"].clone()), "metadata-malformed"),
            (with("root", b"{}".to_vec()), "metadata-malformed"),
            (with("root", b"not json".to_vec()), "metadata-malformed"),
            (without_ca, "ca-root-missing"),
            (no_files, "metadata-absent"),
            (Parcel::default(), "publish-size"),
        ] {
            refused(&parcel.publish(&service).await, code);
            assert_eq!(versions(&status(&service).await), [], "{code}");
        }
        good.publish(&service).await.good();
    }

    async fn each_wrong_release_is_refused_for_its_reason_and_leaves_nothing(service: Service) {
        let mut desk = Desk::ready(&service).await;
        let now = service.state.now();
        desk.publish(&service, "r1", 1, &firmware("7.22.0", "movehub")).await;
        let artefact = service.upload("firmware", &firmware("7.27.0", "movehub")).await;
        let body = manifest("r2", 1, std::slice::from_ref(&artefact));
        let good = desk.release(&body, now);
        let before = versions(&status(&service).await);
        let listed = |role: &str| {
            let document: Value = serde_json::from_slice(&good.metadata[role]).unwrap();
            document["signed"]["targets"].as_object().unwrap().clone()
        };
        let with = |role: &str, signed: &Value, names: &[&str]| {
            let mut parcel = good.clone();
            parcel.metadata.insert(role.into(), desk.sign(signed, names));
            parcel
        };
        let mut swapped = listed("channel-stable");
        swapped["channels/stable/primehub/r2.json"] = target(b"other");
        let mut edited: Map<String, Value> = listed("product-primehub");
        let other = manifest("r1", 7, std::slice::from_ref(&artefact)).to_string().into_bytes();
        edited["products/primehub/r1.json"] = target(&other);
        let mut editing = with("product-primehub", &list(2, &edited, now), PRODUCT);
        editing.files.insert("products/primehub/r1.json".into(), other);
        let mut unlisted = listed("product-primehub");
        unlisted.remove("products/primehub/r1.json");
        let mut missing = artefact.clone();
        missing["sha256"] = json!("ab".repeat(32));
        let mut shorter = artefact.clone();
        shorter["length"] = json!(1);
        let mut no_manifest = good.clone();
        no_manifest.files.clear();
        let mut misplaced = body.clone();
        misplaced["release"] = json!("r3");
        let misplaced_bytes = misplaced.to_string().into_bytes();
        let mut lists = listed("product-primehub");
        lists["products/primehub/r2.json"] = target(&misplaced_bytes);
        let mut misplacing = with("product-primehub", &list(2, &lists, now), PRODUCT);
        misplacing.files.insert("products/primehub/r2.json".into(), misplaced_bytes);
        let (product, channel) = (listed("product-primehub"), listed("channel-stable"));
        for (parcel, code) in [
            // One of two product signatures; the right number of the wrong keys.
            (with("product-primehub", &list(2, &product, now), &["product-2"]), "metadata-unsigned"),
            (with("product-primehub", &list(2, &product, now), &["other", "channel-1"]), "metadata-unsigned"),
            (with("channel-stable", &list(2, &channel, now), &["other"]), "metadata-unsigned"),
            (with("product-primehub", &list(3, &product, now), PRODUCT), "metadata-version"),
            (with("product-primehub", &list(1, &product, now), PRODUCT), "metadata-version"),
            (with("product-primehub", &list(2, &product, now - 31 * DAY_S), PRODUCT), "metadata-expired"),
            (with("channel-stable", &list(2, &swapped, now), STABLE), "not-in-channel"),
            (with("product-primehub", &list(2, &unlisted, now), PRODUCT), "not-signed"),
            (editing, "release-edited"),
            (no_manifest, "manifest-missing"),
            (misplacing, "manifest-misplaced"),
            (desk.release(&manifest("r2", 1, &[missing]), now), "artifact-missing"),
            (desk.release(&manifest("r2", 1, &[shorter]), now), "artifact-differs"),
        ] {
            refused(&parcel.publish(&service).await, code);
            assert_eq!(versions(&status(&service).await), before, "{code}");
        }
        // What was refused stands in no audit row as done, and the right one is still taken.
        good.publish(&service).await.good();
        assert_eq!(service.get("viewer", "/releases").await["items"].as_array().unwrap().len(), 2);
    }

    async fn a_role_that_nobody_delegates_to_is_refused_and_so_is_a_file_that_nobody_lists(service: Service) {
        let mut desk = Desk::ready(&service).await;
        desk.publish(&service, "r1", 1, &firmware("7.22.0", "movehub")).await;
        let now = service.state.now();
        let before = versions(&status(&service).await);
        // Without a signature, and with one of a key that signs other roles by right.
        for role in ["product-evil", "channel-evil"] {
            for names in [&[][..], PRODUCT] {
                let mut parcel = Parcel::default();
                parcel.metadata.insert(role.into(), desk.sign(&list(1, &Map::new(), now), names));
                refused(&parcel.publish(&service).await, "not-signed");
                assert_eq!(versions(&status(&service).await), before, "{role}");
            }
        }
        // What an undelegated role lists is no release either.
        let artefact = service.upload("firmware", &firmware("7.27.0", "movehub")).await;
        let mut body = manifest("r2", 1, std::slice::from_ref(&artefact));
        body["hardware"] = json!(["evil"]);
        let bytes = body.to_string().into_bytes();
        let path = "products/evil/r2.json";
        let mut parcel = Parcel::default();
        let listed = Map::from_iter([(path.to_owned(), target(&bytes))]);
        parcel.metadata.insert("product-evil".into(), desk.sign(&list(1, &listed, now), &[]));
        parcel.files.insert(path.into(), bytes.clone());
        refused(&parcel.publish(&service).await, "not-signed");
        assert_eq!(service.operator("viewer", "GET", "/releases/evil/r2", &Value::Null).await.status, 404);

        let good = desk.release(&manifest("r2", 1, &[artefact]), now);
        let mut stray = good.clone();
        stray.files.insert(path.into(), bytes);
        refused(&stray.publish(&service).await, "file-unlisted");
        // Of two versions in one publish the first would be looked at by nobody.
        let mut twice = good.body();
        let again = twice["metadata"][1].clone();
        twice["metadata"].as_array_mut().unwrap().push(again);
        let answer = service.operator("release-manager", "POST", "/tuf/publish", &twice).await;
        refused(&answer, "metadata-malformed");
        assert_eq!(versions(&status(&service).await), before);
        good.publish(&service).await.good();
    }

    async fn the_root_goes_on_only_by_the_old_and_the_new_keys(service: Service) {
        let desk = Desk::ready(&service).await;
        let now = service.state.now();
        let publish = async |root: Vec<u8>| {
            let mut parcel = Parcel::default();
            parcel.metadata.insert("root".into(), root);
            parcel.publish(&service).await
        };
        refused(&publish(desk.sign(&desk.root(2, now), &["root-3"])).await, "metadata-unsigned");
        refused(&publish(desk.sign(&desk.root(3, now), ROOT)).await, "metadata-version");
        let mut device = service.device("serial-1", &json!({})).await;
        let first = service.fetch(None, "/v1/tuf/1.root.json", &[]).await.body;
        device.walk(&service, &first).unwrap();
        publish(desk.sign(&desk.root(2, now), ROOT)).await.good();
        assert_eq!(device.walk(&service, &first).unwrap().root().version, 2);
        // Every root is kept and served.
        assert_eq!(service.fetch(None, "/v1/tuf/1.root.json", &[]).await.body, first);
    }

    async fn the_timestamp_is_signed_anew_every_six_hours_and_by_the_clock(service: Service) {
        let mut desk = Desk::ready(&service).await;
        desk.publish(&service, "r1", 1, &firmware("7.22.0", "movehub")).await;
        let root = service.fetch(None, "/v1/tuf/1.root.json", &[]).await.body;
        let mut device = service.device("serial-1", &json!({})).await;
        device.walk(&service, &root).unwrap();
        let renew = async || crate::release::work::renew_metadata(service.state.clone()).await.unwrap();
        let before = status(&service).await;

        service.clock.advance(6 * HOUR_S - 1);
        renew().await;
        assert_eq!(versions(&status(&service).await), versions(&before), "too early");

        service.clock.advance(1);
        renew().await;
        let after = status(&service).await;
        // max(stored + 1, Unix seconds)
        assert_eq!(version(&after, "timestamp"), service.state.now() as u64);
        assert_eq!(version(&after, "snapshot"), version(&before, "snapshot"), "the snapshot still has time");
        device.walk(&service, &root).unwrap();

        // In the last third of its life the snapshot goes on too; a device that slept follows.
        service.clock.advance(21 * DAY_S);
        renew().await;
        assert_eq!(version(&status(&service).await, "snapshot"), service.state.now() as u64);
        device.walk(&service, &root).unwrap();
        // The channel's own life is the desk's to renew, and `tuf status` says so.
        let soon = status(&service).await;
        let channel = soon["roles"].as_array().unwrap().iter().find(|role| role["role"] == "channel-stable").unwrap().clone();
        assert_eq!(channel["renew_soon"], true);
    }

    async fn two_changes_within_a_second_have_rising_versions(service: Service) {
        let mut desk = Desk::ready(&service).await;
        let first = version(&status(&service).await, "timestamp");
        desk.publish(&service, "r1", 1, &firmware("7.22.0", "movehub")).await;
        desk.publish(&service, "r2", 1, &firmware("7.27.0", "movehub")).await;
        assert_eq!(version(&status(&service).await, "timestamp"), first + 2);
    }
}

both_services! {
    async fn a_delta_is_built_served_and_applied_and_withdrawn_once_enough_devices_report_it(service: Service) {
        let mut desk = Desk::ready(&service).await;
        let (old, new) = (firmware("7.27.0", "primehub"), firmware("7.28.0", "primehub"));
        desk.publish(&service, "r1", 1, &old).await;
        desk.publish(&service, "r2", 1, &new).await;
        let queued = service.operator("release-manager", "POST", "/deltas",
            &json!({"hardware": "primehub", "from": "r1", "to": "r2"})).await;
        assert_eq!(queued.status, 202);
        assert_eq!(queued.json()[0]["state"], "queued");
        crate::release::work::build(service.state.clone()).await.unwrap();
        let delta = service.get("viewer", "/deltas").await["items"][0].clone();
        assert_eq!(delta["state"], "published", "{delta}");
        let (bytes, full) = (delta["bytes"].as_u64().unwrap(), delta["full_bytes"].as_u64().unwrap());
        assert_eq!(full, new.len() as u64);
        assert!(bytes * 100 <= full * 70, "{bytes} of {full}");

        // A device finds it where its client looks, fetches the patch and rebuilds the image.
        let root = service.fetch(None, "/v1/tuf/1.root.json", &[]).await.body;
        let mut devices = Vec::new();
        for serial in ["serial-1", "serial-2", "serial-3"] {
            devices.push(service.device(serial, &json!({})).await);
        }
        let path = format!("delta/{}-{}", delta["base"].as_str().unwrap(), delta["output"].as_str().unwrap());
        let mut found = find(&service, &mut devices[0], &root, &path).unwrap();
        let patch = found.remove("sha256").unwrap();
        let patch = service.fetch(Some(&devices[0]), &format!("/v1/blob/sha256/{patch}"), &[]).await.body;
        assert_eq!(patch.len() as u64, bytes);
        assert!(rebuilt(&old, &patch, &new) == new);

        // One device alone cannot take it from the others, however often it says so.
        let line = format!("delta-bad:{}-{}", delta["base"].as_str().unwrap(), delta["output"].as_str().unwrap());
        for index in [0, 0, 0, 0, 1] {
            complain(&service, &mut devices[index], &line).await;
            assert!(find(&service, &mut devices[0], &root, &path).is_some());
        }
        complain(&service, &mut devices[2], &line).await;
        service.clock.advance(1);
        assert!(find(&service, &mut devices[0], &root, &path).is_none());
        let delta = service.get("viewer", "/deltas").await["items"][0].clone();
        assert_eq!(delta["state"], "withdrawn");
        assert_eq!(delta["reason"], "3 devices report that it does not give its output");
        // Asked for again it stays withdrawn.
        service.post("release-manager", "/deltas", &json!({"hardware": "primehub", "from": "r1", "to": "r2"})).await;
        crate::release::work::build(service.state.clone()).await.unwrap();
        assert_eq!(service.get("viewer", "/deltas").await["items"][0]["state"], "withdrawn");
    }

    async fn a_delta_that_saves_too_little_is_declined_with_its_reason(service: Service) {
        let mut desk = Desk::ready(&service).await;
        // Two real images with nothing in common: the second is compressed.
        let other = firmware("7.28.0", "cityhub");
        let compressed = holdfast_delta::encode::encode(holdfast_delta::Codec::Full, &[], &other,
            &holdfast_delta::encode::Budget::for_images(0, other.len() as u64)).unwrap().bytes;
        desk.publish(&service, "r1", 1, &firmware("7.27.0", "movehub")).await;
        desk.publish(&service, "r2", 1, &compressed).await;
        service.post("release-manager", "/deltas", &json!({"hardware": "primehub", "from": "r1", "to": "r2"})).await;
        crate::release::work::build(service.state.clone()).await.unwrap();
        let delta = service.get("viewer", "/deltas").await["items"][0].clone();
        assert_eq!(delta["state"], "declined");
        assert!(delta["reason"].as_str().unwrap().starts_with("no delta is worth it against"), "{delta}");
        let unknown = json!({"hardware": "primehub", "from": "r0", "to": "r2"});
        let answer = service.operator("release-manager", "POST", "/deltas", &unknown).await;
        assert_eq!(answer.refusal(), (404, "not-found".into()));
    }
}

/// The hashes of what the deltas role names at `path`, as the device's client finds it.
fn find(
    service: &Service,
    device: &mut crate::testing::device::TestDevice,
    root: &[u8],
    path: &str,
) -> Option<std::collections::BTreeMap<String, String>> {
    let mut trusted = device.walk(service, root).unwrap();
    let mut wire = crate::testing::device::Wire(service);
    let found =
        trusted.find(path, &mut crate::testing::device::Pocket(&mut device.store), &mut wire).unwrap();
    found.map(|(role, target)| {
        assert_eq!(role, "deltas");
        target.hashes.iter().map(|(name, hash)| (name.clone(), hash.clone())).collect()
    })
}

async fn complain(service: &Service, device: &mut crate::testing::device::TestDevice, line: &str) {
    let mut report = device.report(holdfast_proto::report::Progress::Idle);
    report.detail = Some(line.to_owned());
    device.send(service, &report).await.good();
}

fn rebuilt(old: &[u8], patch: &[u8], new: &[u8]) -> Vec<u8> {
    use holdfast_delta::{Digest, Expected, Limits, Start};
    let expected = Expected {
        base_sha256: Some(Digest::of(old)),
        output_sha256: Digest::of(new),
        output_len: new.len() as u64,
    };
    let (mut base, mut output) = (std::io::Cursor::new(old), std::io::Cursor::new(Vec::new()));
    holdfast_delta::apply(
        &mut { patch },
        &mut base,
        &mut output,
        &expected,
        &Limits::default(),
        Start::Beginning,
    )
    .unwrap();
    output.into_inner()
}

both_services! {
    async fn a_build_breaks_off_when_the_service_ends_and_is_made_after_the_next_start(service: Service) {
        let mut desk = Desk::ready(&service).await;
        desk.publish(&service, "r1", 1, &firmware("7.27.0", "movehub")).await;
        desk.publish(&service, "r2", 1, &firmware("7.28.0", "movehub")).await;
        service.post("release-manager", "/deltas", &json!({"hardware": "primehub", "from": "r1", "to": "r2"})).await;
        service.state.stopping.store(true, std::sync::atomic::Ordering::Relaxed);
        crate::release::work::build(service.state.clone()).await.unwrap();
        assert_eq!(service.get("viewer", "/deltas").await["items"][0]["state"], "queued");
        service = service.restart().await;
        crate::release::work::build(service.state.clone()).await.unwrap();
        assert_eq!(service.get("viewer", "/deltas").await["items"][0]["state"], "published");
    }
}
