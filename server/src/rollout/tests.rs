//! Rollouts through the planner in virtual time, by devices that poll and report.

use crate::both_services;
use crate::testing::desk::{Desk, firmware};
use crate::testing::device::TestDevice;
use crate::testing::service::Service;
use holdfast_proto::report::Progress;
use serde_json::{Value, json};

#[tokio::test]
async fn a_run_of_the_planner_reads_no_assignments_of_rollouts_that_are_over() {
    let (db, _folder) = crate::testing::sqlite().await;
    for rest in [super::sql::OPEN, super::sql::OF_ROLLOUT] {
        crate::testing::assert_reads_few_rows(&db, &format!("SELECT 1 FROM {rest}")).await;
    }
    let open = crate::testing::sqlite_plan(&db, &format!("SELECT 1 FROM {}", super::sql::OPEN)).await;
    assert!(open.iter().any(|step| step.contains("rollout_id=? AND state=?")), "{open:?}");
}

/// `count` devices on `r1`; `r2` is published, and the deltas from the one to the other are built.
async fn fleet(service: &Service, count: usize) -> (Desk, Vec<TestDevice>) {
    let mut desk = Desk::ready(service).await;
    desk.publish(service, "r1", 1, &firmware("7.22.0", "movehub")).await;
    desk.publish(service, "r2", 1, &firmware("7.27.0", "movehub")).await;
    let mut devices = Vec::new();
    for number in 1..=count {
        let mut device = service.device(&format!("serial-{number}"), &json!({"ring": "north"})).await;
        device.running = Some("r1".into());
        device.say(service, Progress::Idle).await;
        devices.push(device);
    }
    (desk, devices)
}

async fn start(service: &Service, body: &Value) -> String {
    let drafted = service.post("release-manager", "/rollouts", body).await;
    assert_eq!(drafted["state"], "Draft");
    assert!(!drafted["report"].as_array().unwrap().is_empty(), "the draft says what the planner would do");
    let id = drafted["id"].as_str().unwrap().to_owned();
    order(service, &id, "start").await;
    crate::release::work::build(service.state.clone()).await.unwrap();
    service.plan().await;
    id
}

async fn order(service: &Service, id: &str, verb: &str) -> Value {
    service.post("operator", &format!("/rollouts/{id}/{verb}"), &json!({})).await
}

async fn rollout(service: &Service, id: &str) -> Value {
    service.get("viewer", &format!("/rollouts/{id}")).await
}

/// State of each device's newest assignment.
async fn states(service: &Service, id: &str) -> Vec<(String, String, u64)> {
    let rows = service.get("viewer", &format!("/assignments?rollout={id}")).await;
    let rows = rows["items"].as_array().unwrap().iter();
    rows.map(|row| {
        let text = |key: &str| row[key].as_str().unwrap_or_default().to_owned();
        (
            text("device"),
            format!(
                "{}{}",
                text("state"),
                row["code"].as_str().map_or(String::new(), |code| format!("({code})"))
            ),
            row["sequence"].as_u64().unwrap(),
        )
    })
    .collect()
}

/// Those whose newest poll brings a release to install.
async fn holders(service: &Service, devices: &mut [TestDevice]) -> Vec<usize> {
    let mut holders = Vec::new();
    for (index, device) in devices.iter_mut().enumerate() {
        device.poll(service).await;
        let running = device.running.clone();
        let row = service.get("viewer", "/assignments").await;
        let newest = row["items"].as_array().unwrap().iter().rfind(|row| row["device"] == device.id.as_str());
        if newest
            .is_some_and(|row| row["state"] == "Offered" && row["release"].as_str() != running.as_deref())
        {
            holders.push(index);
        }
    }
    holders
}

const FORWARD: &str = "r2";

fn plain() -> Value {
    json!({"hardware": "primehub", "release": FORWARD})
}

both_services! {
    async fn one_device_then_the_rest_and_back_again_by_new_assignments(service: Service) {
        let (_desk, mut devices) = fleet(&service, 4).await;
        let id = start(&service, &plain()).await;
        assert_eq!(rollout(&service, &id).await["state"], "Running");
        let root = service.fetch(None, "/v1/tuf/1.root.json", &[]).await.body;
        let canary = holders(&service, &mut devices).await;
        assert_eq!(canary.len(), 1, "{:?}", states(&service, &id).await);
        let (assignment, release) = devices[canary[0]].verify(&service, &root).await.unwrap();
        assert_eq!((assignment.body.sequence, release.manifest.release.as_str()), (1, FORWARD));
        devices[canary[0]].update(&service, FORWARD).await;
        service.plan().await;
        let rest = holders(&service, &mut devices).await;
        assert_eq!(rest.len(), 3);
        for index in rest {
            devices[index].verify(&service, &root).await.unwrap();
            devices[index].update(&service, FORWARD).await;
        }
        service.plan().await;
        let done = rollout(&service, &id).await;
        assert_eq!(done["state"], "Completed", "{done}");
        let assignments = service.get("viewer", "/assignments").await;
        for row in assignments["items"].as_array().unwrap() {
            assert_eq!((&row["state"], &row["evidence"], &row["from_release"]), (&json!("Confirmed"), &json!("claimed"), &json!("r1")));
        }
        assert_eq!(done["phases"][0]["confirmed"], 1);
        assert_eq!(done["phases"][1]["confirmed"], 3);

        // Nothing is sent back but by assignments of a higher sequence.
        assert_eq!(order(&service, &id, "rollback").await["state"], "RollingBack");
        service.plan().await;
        for device in &mut devices {
            let (assignment, release) = device.verify(&service, &root).await.unwrap();
            assert_eq!((assignment.body.sequence, release.manifest.release.as_str()), (2, "r1"));
            device.update(&service, "r1").await;
        }
        service.plan().await;
        assert_eq!(rollout(&service, &id).await["state"], "RolledBack");
    }

    async fn a_bad_release_stops_at_its_canary_and_the_fleet_is_untouched(service: Service) {
        let (_desk, mut devices) = fleet(&service, 4).await;
        let id = start(&service, &plain()).await;
        let canary = holders(&service, &mut devices).await[0];
        devices[canary].fall_back(&service, FORWARD, "r1").await;
        service.plan().await;
        let halted = rollout(&service, &id).await;
        assert_eq!(halted["state"], "Paused(gate)");
        assert!(halted["reason"].as_str().unwrap().contains('1'), "{halted}");
        assert_eq!(halted["phases"][0]["rolled_back"], 1);
        let rows = states(&service, &id).await;
        assert_eq!(rows, [(devices[canary].id.clone(), "RolledBack(health-failed)".to_owned(), 1)]);
        // Time alone changes nothing, and nobody else is ever offered it.
        service.clock.advance(30 * 86_400);
        service.plan().await;
        assert_eq!(states(&service, &id).await, rows);
        for device in &mut devices {
            assert_eq!(device.running.as_deref(), Some("r1"));
        }
        // Resumed by an operator who saw it, it goes on with the failed device in view.
        order(&service, &id, "resume").await;
        service.plan().await;
        let resumed = rollout(&service, &id).await;
        assert_eq!(resumed["phases"][0]["rolled_back"], 1, "{resumed}");
    }

    async fn a_device_that_is_silent_after_arming_is_lost_and_stops_the_rollout(service: Service) {
        let (_desk, mut devices) = fleet(&service, 3).await;
        let id = start(&service, &plain()).await;
        let canary = holders(&service, &mut devices).await[0];
        devices[canary].poll(&service).await;
        devices[canary].say(&service, Progress::Staged).await;
        devices[canary].say(&service, Progress::Arming).await;
        service.clock.advance(3599);
        service.plan().await;
        assert_eq!(rollout(&service, &id).await["state"], "Running");
        service.clock.advance(1);
        service.plan().await;
        assert_eq!(rollout(&service, &id).await["state"], "Paused(gate)");
        assert_eq!(states(&service, &id).await[0].1, "Failed(lost)");
    }

    async fn a_pause_reaches_the_device_that_holds_an_offer_and_a_cancel_withdraws_it(service: Service) {
        let (_desk, mut devices) = fleet(&service, 2).await;
        let id = start(&service, &plain()).await;
        let root = service.fetch(None, "/v1/tuf/1.root.json", &[]).await.body;
        let canary = holders(&service, &mut devices).await[0];
        let device = &mut devices[canary];
        let word = async |device: &mut TestDevice| {
            let news = device.poll(&service).await.status;
            let (assignment, _) = device.verify(&service, &root).await.unwrap();
            (news, format!("{:?}", assignment.body.state), assignment.body.sequence)
        };
        device.poll(&service).await;
        device.say(&service, Progress::Staged).await;
        device.poll(&service).await;
        order(&service, &id, "pause").await;
        assert_eq!(word(device).await, (200, "Paused".into(), 1));
        order(&service, &id, "resume").await;
        assert_eq!(word(device).await, (200, "Active".into(), 1));
        order(&service, &id, "cancel").await;
        assert_eq!(word(device).await, (200, "Withdrawn".into(), 1));
        assert_eq!(states(&service, &id).await[0].1, "Withdrawn(cancelled)");
        // An order that does not fit is refused, and says so.
        let answer = service.operator("operator", "POST", &format!("/rollouts/{id}/resume"), &json!({})).await;
        assert_eq!(answer.refusal(), (409, "rollout-state".into()));
    }

    async fn a_lease_lives_by_polls_and_ends_without_them(service: Service) {
        let (_desk, mut devices) = fleet(&service, 1).await;
        let id = start(&service, &plain()).await;
        for _ in 0..3 {
            service.clock.advance(3000);
            devices[0].poll(&service).await;
            service.plan().await;
            assert_eq!(states(&service, &id).await[0].1, "Offered");
        }
        service.clock.advance(3600);
        service.plan().await;
        assert_eq!(states(&service, &id).await[0].1, "LeaseExpired");
        // It comes back: a new attempt under the next sequence.
        service.clock.advance(60);
        devices[0].poll(&service).await;
        service.plan().await;
        let rows = states(&service, &id).await;
        assert_eq!((rows.len(), rows[1].1.as_str(), rows[1].2), (2, "Offered", 2));
        // What it says of the old attempt is too late.
        devices[0].assignment = Some(holdfast_proto::report::AssignmentRef { epoch: 1, sequence: 1, attempt: 1 });
        devices[0].say(&service, Progress::Accepted).await;
        assert_eq!(states(&service, &id).await[0].1, "LeaseExpired");
    }

    async fn a_restart_loses_no_acknowledged_write_and_offers_nothing_twice(service: Service) {
        let (_desk, mut devices) = fleet(&service, 3).await;
        let id = start(&service, &plain()).await;
        let canary = holders(&service, &mut devices).await[0];
        devices[canary].poll(&service).await;
        for (word, state) in [(Progress::Accepted, "Accepted"), (Progress::Staged, "Staged"), (Progress::Arming, "Arming")] {
            devices[canary].say(&service, word).await;
            service = service.restart().await;
            service.plan().await;
            let rows = states(&service, &id).await;
            assert_eq!((rows.len(), rows[0].1.as_str()), (1, state));
        }
        devices[canary].boot += 1;
        devices[canary].running = Some(FORWARD.into());
        devices[canary].poll(&service).await;
        devices[canary].say(&service, Progress::Confirmed).await;
        // Metadata is signed anew after each start; devices go on.
        let root = service.fetch(None, "/v1/tuf/1.root.json", &[]).await.body;
        service.clock.advance(10);
        service = service.restart().await;
        crate::release::work::renew_metadata(service.state.clone()).await.unwrap();
        service.plan().await;
        let rest = holders(&service, &mut devices).await;
        assert_eq!(rest.len(), 2);
        for index in rest {
            devices[index].verify(&service, &root).await.unwrap();
            devices[index].update(&service, FORWARD).await;
        }
        service.plan().await;
        service = service.restart().await;
        assert_eq!(rollout(&service, &id).await["state"], "Completed");
        assert_eq!(states(&service, &id).await.len(), 3);
    }

    async fn policy_may_ask_for_more_than_a_claim(service: Service) {
        let (_desk, mut devices) = fleet(&service, 1).await;
        let mut body = plain();
        body["min_evidence"] = json!("booted");
        let id = start(&service, &body).await;
        devices[0].update(&service, FORWARD).await;
        assert_eq!(states(&service, &id).await[0].1, "Trial");
        service.clock.advance(3600);
        service.plan().await;
        assert_eq!(states(&service, &id).await[0].1, "Failed(lost)");
    }

    async fn a_release_that_no_channel_lists_or_nobody_could_install_is_rejected(service: Service) {
        let (_desk, _devices) = fleet(&service, 1).await;
        let refused = async |body: &Value| service.operator("release-manager", "POST", "/rollouts", body).await.refusal();
        assert_eq!(refused(&json!({"hardware": "primehub", "release": "r9"})).await, (404, "not-found".into()));
        assert_eq!(refused(&json!({"hardware": "../x", "release": "r2"})).await, (400, "malformed-name".into()));
        let with = |key: &str, value: Value| {
            let mut body = plain();
            body[key] = value;
            body
        };
        assert_eq!(refused(&with("phases", json!([{"size": "0"}]))).await, (400, "malformed-phases".into()));
        assert_eq!(refused(&with("phases", json!([{"size": "rest"}, {"size": "1"}]))).await, (400, "malformed-phases".into()));
        assert_eq!(refused(&with("selector", json!("a in"))).await, (400, "malformed-selector".into()));
        assert_eq!(refused(&with("max_failure_rate", json!(1.5))).await, (400, "rate-out-of-range".into()));
        assert_eq!(refused(&with("min_evidence", json!("full"))).await, (400, "evidence-not-given".into()));
        for (key, wrong) in [("lease_s", json!(0)), ("lease_s", json!(u64::MAX)), ("lost_after_s", json!(u64::MAX))] {
            assert_eq!(refused(&with(key, wrong)).await, (400, "lease-out-of-range".into()), "{key}");
        }
        assert_eq!(refused(&with("more", json!(1))).await, (400, "malformed-body".into()));
        let id = start(&service, &with("selector", json!("ring=south"))).await;
        let rejected = rollout(&service, &id).await;
        assert_eq!(rejected["state"], "Rejected");
        assert!(rejected["reason"].as_str().unwrap().contains("selects no active device"), "{rejected}");
    }
}
