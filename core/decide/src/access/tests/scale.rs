//! Ten thousand grants: how many a decision looks at, and (on demand) how long it takes.

use super::*;

/// As a fleet has them: one grant per device, one per site and model, one per namespace, some for all.
fn ten_thousand() -> Compiled {
    let mut grants = Vec::new();
    for n in 0..7000 {
        grants.push(allow_read(
            &format!("d{n}"),
            of_devices(&format!("id=d{n}")),
            &format!("devices/d{n}/**"),
        ));
    }
    for n in 0..2000 {
        let selector = format!("site=s{},model=m{}", n / 20, n % 20);
        grants.push(allow_read(
            &format!("s{n}"),
            of_devices(&selector),
            &format!("sites/s{}/m{}/*", n / 20, n % 20),
        ));
    }
    for n in 0..900 {
        let subject = Subject::Workload {
            site: "berlin".into(),
            cluster: "edge".into(),
            namespace: format!("n{n}"),
            service_account: "web".into(),
        };
        grants.push(allow_read(&format!("w{n}"), subject, "k8s/${namespace}/**"));
    }
    for n in 0..90 {
        grants.push(deny_read(&format!("x{n}"), of_devices(&format!("ring=lab{n}")), "sites/**"));
    }
    for n in 0..10 {
        grants.push(allow_read(&format!("v{n}"), of_devices(""), "common/${site}/**"));
    }
    assert_eq!(grants.len(), 10_000);
    policy(grants)
}

fn questions() -> Vec<(Actor, SecretPath, bool)> {
    (0..500)
        .flat_map(|n| {
            let hub = |id: String| DeviceActor {
                site: Some(format!("s{}", n % 100)),
                labels: labels(&[("model", &format!("m{}", n % 20)), ("ring", "stable")]),
                ..device(&id, &[])
            };
            let pod = WorkloadActor { namespace: format!("n{n}"), ..workload() };
            let own = Actor::Device(hub(format!("d{}", n * 13)));
            [
                (own.clone(), path(&format!("devices/d{}/key", n * 13)), true),
                (own.clone(), path(&format!("devices/d{}/key", n * 13 + 1)), false),
                (own.clone(), path(&format!("sites/s{}/m{}/wifi", n % 100, n % 20)), true),
                (own, path(&format!("common/s{}/ca", n % 100)), true),
                (Actor::Workload(pod), path(&format!("k8s/n{n}/db")), true),
            ]
        })
        .collect()
}

#[test]
fn a_decision_among_ten_thousand_grants_looks_at_few() {
    let policy = ten_thousand();
    for (actor, path, wanted) in questions() {
        assert_eq!(read(&policy, &actor, &path).allow, wanted, "{path}");
        let looked_at = policy.candidates(&actor, &path);
        assert!(looked_at <= 10, "{looked_at} grants were looked at for {path}");
        assert!(!wanted || looked_at > 0);
    }
}

/// `cargo test --release -p holdfast-decide scale -- --ignored --nocapture`. The goal is 50 us at p99.
#[test]
#[ignore = "a measurement, not a check: run it optimised on a quiet machine"]
fn measure_decisions_among_ten_thousand_grants() {
    let policy = ten_thousand();
    let questions = questions();
    let mut micros = Vec::new();
    for round in 0..20 {
        for (actor, path, wanted) in &questions {
            #[expect(clippy::disallowed_methods, reason = "the measurement itself")]
            let began = std::time::Instant::now();
            let decision = read(&policy, actor, path);
            let took = began.elapsed();
            assert_eq!(decision.allow, *wanted);
            if round > 0 {
                micros.push(took.as_nanos() as f64 / 1000.0);
            }
        }
    }
    micros.sort_unstable_by(f64::total_cmp);
    let at = |share: f64| micros[((micros.len() - 1) as f64 * share) as usize];
    println!(
        "{} decisions among 10,000 grants: p50 {:.1} us, p99 {:.1} us, highest {:.1} us",
        micros.len(),
        at(0.5),
        at(0.99),
        at(1.0)
    );
}
