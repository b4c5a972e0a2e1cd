//! The walk, row by row: state, tenant, deny, grant, constraints, deny.

use super::*;
use std::fmt::Write as _;

fn open() -> Compiled {
    policy(vec![allow_read("open", of_devices(""), "a/**"), allow_read("web", of_web(), "a/**")])
}

fn reason_of(actor: &Actor) -> &'static str {
    let decision = read(&open(), actor, &path("a/b"));
    assert_eq!(decision.allow, decision.reason == Reason::AllowedByGrant);
    decision.reason.code()
}

#[test]
fn a_device_in_good_standing_reads_what_a_grant_gives() {
    let decision = read(&open(), &Actor::Device(device("d1", &[])), &path("a/b"));
    assert_eq!(decision.reason, Reason::AllowedByGrant);
    assert_eq!(decision.matched, [GrantId::from("open")]);
    assert_eq!(decision.obligations, Obligations::default());
    assert_eq!(read(&open(), &Actor::Device(device("d1", &[])), &path("b/a")).reason, Reason::NoGrant);
}

#[test]
fn state_bars_a_device_before_anything_else() {
    let good = device("d1", &[]);
    let rows = [
        (DeviceActor { certificate: Standing::Revoked, ..good.clone() }, "revoked"),
        (DeviceActor { certificate: Standing::Expired, ..good.clone() }, "expired"),
        (DeviceActor { certificate: Standing::Quarantined, ..good.clone() }, "quarantined"),
        (DeviceActor { state: DeviceState::Pending, ..good.clone() }, "not-active"),
        (DeviceActor { state: DeviceState::Suspended, ..good.clone() }, "quarantined"),
        (DeviceActor { state: DeviceState::Retired, ..good.clone() }, "retired"),
        (DeviceActor { state: DeviceState::Scrapped, ..good.clone() }, "retired"),
        (DeviceActor { id: "..".into(), ..good.clone() }, "malformed-actor"),
        (DeviceActor { site: Some("a/b".into()), ..good.clone() }, "malformed-actor"),
        (
            DeviceActor { certificate: Standing::Revoked, state: DeviceState::Retired, ..good.clone() },
            "revoked",
        ),
        (DeviceActor { site: None, ..good }, "allowed-by-grant"),
    ];
    for (actor, code) in rows {
        // Another's tenant must not be what is said of a barred actor.
        let elsewhere = Actor::Device(DeviceActor { tenant: tenant("other"), ..actor.clone() });
        let wanted = if code == "allowed-by-grant" { "foreign-tenant" } else { code };
        assert_eq!(reason_of(&elsewhere), wanted, "{actor:?}");
        assert_eq!(reason_of(&Actor::Device(actor.clone())), code, "{actor:?}");
    }
}

#[test]
fn state_bars_operators_by_standing_and_at_the_second_of_their_end() {
    let good = user("one", &[(Role::Viewer, acme())]);
    let rows = [
        (Operator { standing: Standing::Revoked, ..good.clone() }, "revoked"),
        (Operator { standing: Standing::Quarantined, ..good.clone() }, "quarantined"),
        (Operator { standing: Standing::Expired, ..good.clone() }, "expired"),
        (Operator { expires_at: Some(NOW), ..good.clone() }, "expired"),
        (Operator { expires_at: Some(NOW + 1), ..good.clone() }, "allowed-by-role"),
        (Operator { expires_at: Some(NOW), standing: Standing::Revoked, ..good.clone() }, "revoked"),
        (good, "allowed-by-role"),
    ];
    for (operator, code) in rows {
        for actor in [Actor::User(operator.clone()), Actor::ServiceToken(operator.clone())] {
            let decision = super::operate(&actor, &tenant("acme"), Resource::Devices, Action::Read, None);
            assert_eq!(decision.reason.code(), code, "{operator:?}");
            assert_eq!(decision.allow, code == "allowed-by-role");
        }
    }
}

#[test]
fn a_site_actor_is_barred_by_its_standing_and_by_names_that_are_no_segments() {
    let rows = [
        (SiteActor { standing: Standing::Revoked, ..controller() }, "revoked"),
        (SiteActor { standing: Standing::Expired, ..controller() }, "expired"),
        (SiteActor { site: String::new(), ..controller() }, "malformed-actor"),
        (SiteActor { cluster: Some("Edge".into()), ..controller() }, "malformed-actor"),
        (SiteActor { cluster: None, ..controller() }, "no-grant"),
        (controller(), "no-grant"),
    ];
    for (actor, code) in rows {
        assert_eq!(reason_of(&Actor::Controller(actor.clone())), code, "{actor:?}");
        assert_eq!(reason_of(&Actor::Gateway(actor.clone())), code, "{actor:?}");
        if code != "no-grant" {
            // What bars the channel bars whoever comes through it.
            let through = WorkloadActor { channel: Channel::Through(actor), ..workload() };
            assert_eq!(reason_of(&Actor::Workload(through)), code);
        }
    }
}

#[test]
fn a_workload_counts_only_within_its_own_channel() {
    let through = |by: SiteActor| Channel::Through(by);
    let pinned = |owner: &str, site: &str, cluster: &str| Channel::Pinned {
        tenant: tenant(owner),
        site: site.into(),
        cluster: cluster.into(),
    };
    let gateway = SiteActor { cluster: None, ..controller() };
    let rows = [
        (through(controller()), "allowed-by-grant"),
        (through(gateway.clone()), "allowed-by-grant"),
        (pinned("acme", "berlin", "edge"), "allowed-by-grant"),
        (through(SiteActor { cluster: Some("core".into()), ..controller() }), "foreign-channel"),
        (through(SiteActor { site: "bonn".into(), ..controller() }), "foreign-channel"),
        (through(SiteActor { tenant: tenant("other"), ..controller() }), "foreign-channel"),
        (through(SiteActor { site: "bonn".into(), ..gateway.clone() }), "foreign-channel"),
        (through(SiteActor { tenant: tenant("other"), ..gateway }), "foreign-channel"),
        (pinned("other", "berlin", "edge"), "foreign-channel"),
        (pinned("acme", "bonn", "edge"), "foreign-channel"),
        (pinned("acme", "berlin", "core"), "foreign-channel"),
    ];
    for (channel, code) in rows {
        let actor = WorkloadActor { channel, ..workload() };
        assert_eq!(reason_of(&Actor::Workload(actor.clone())), code, "{actor:?}");
    }
    for change in [
        WorkloadActor { site: "Berlin".into(), ..workload() },
        WorkloadActor { cluster: String::new(), ..workload() },
        WorkloadActor { namespace: "..".into(), ..workload() },
        WorkloadActor { service_account: "a/b".into(), ..workload() },
    ] {
        assert_eq!(reason_of(&Actor::Workload(change)), "malformed-actor");
    }
}

#[test]
fn a_grant_for_one_workload_speaks_of_no_other() {
    let grants = policy(vec![allow_read("web", of_web(), "a/**")]);
    let elsewhere = |site: &str, cluster: &str, namespace: &str, account: &str| {
        let (site, cluster) = (site.to_owned(), cluster.to_owned());
        let channel =
            Channel::Pinned { tenant: tenant("acme"), site: site.clone(), cluster: cluster.clone() };
        let (namespace, service_account) = (namespace.to_owned(), account.to_owned());
        Actor::Workload(WorkloadActor { site, cluster, namespace, service_account, channel, ..workload() })
    };
    assert!(read(&grants, &elsewhere("berlin", "edge", "shop", "web"), &path("a/b")).allow);
    for actor in [
        elsewhere("bonn", "edge", "shop", "web"),
        elsewhere("berlin", "core", "shop", "web"),
        elsewhere("berlin", "edge", "bank", "web"),
        elsewhere("berlin", "edge", "shop", "db"),
        Actor::Device(device("web", &[])),
    ] {
        assert_eq!(read(&grants, &actor, &path("a/b")).reason, Reason::NoGrant, "{actor:?}");
    }
}

#[test]
fn the_tenant_is_asked_of_policy_actor_and_thing() {
    let (acme, other) = (tenant("acme"), tenant("other"));
    let (of_acme, of_other) = (open(), Compiled::empty(other.clone()));
    let path = path("a/b");
    let actor = Actor::Device(device("d1", &[]));
    let stranger = Actor::Device(DeviceActor { tenant: other.clone(), ..device("d1", &[]) });
    let target = Target::Value { path: &path, verb: Verb::Read, version: Some(1) };
    for (policy, actor, tenant) in [
        (&of_acme, &actor, &other),
        (&of_other, &actor, &acme),
        (&of_other, &actor, &other),
        (&of_acme, &stranger, &acme),
        (&of_acme, &stranger, &other),
    ] {
        let decision = allow(policy, &Request { actor, tenant, target: target.clone() }, NOW);
        assert_eq!((decision.allow, decision.reason), (false, Reason::ForeignTenant));
    }
    // An operator without a tenant is of those that he is bound at.
    let of_none = |scope| Actor::User(Operator { tenant: None, ..user("one", &[(Role::Viewer, scope)]) });
    for (actor, wanted) in [
        (of_none(Scope::Installation), "allowed-by-role"),
        (of_none(super::acme()), "allowed-by-role"),
        (of_none(Scope::Tenant(other.clone())), "foreign-tenant"),
        (of_none(site("berlin")), "no-role"),
        (
            Actor::User(Operator {
                tenant: Some(other),
                ..user("one", &[(Role::Viewer, Scope::Installation)])
            }),
            "foreign-tenant",
        ),
    ] {
        let decision = super::operate(&actor, &acme, Resource::Devices, Action::Read, None);
        assert_eq!(decision.reason.code(), wanted, "{actor:?}");
    }
}

#[test]
fn a_deny_overrides_every_allow_and_says_which_it_was() {
    let grants = policy(vec![
        allow_read("a-allow", of_devices(""), "a/**"),
        allow_read("z-allow", of_devices("id=d1"), "a/b"),
        deny_read("m-deny", of_devices("ring=canary"), "a/*"),
    ]);
    let canary = Actor::Device(device("d1", &[("ring", "canary")]));
    let decision = read(&grants, &canary, &path("a/b"));
    assert_eq!(decision.reason, Reason::DeniedByGrant(GrantId::from("m-deny")));
    assert_eq!(decision.matched, [GrantId::from("m-deny")]);
    assert!(!decision.allow);
    let plain = Actor::Device(device("d1", &[]));
    let decision = read(&grants, &plain, &path("a/b"));
    assert_eq!(decision.matched, [GrantId::from("a-allow"), GrantId::from("z-allow")]);
    assert!(read(&grants, &canary, &path("a/b/c")).allow, "the deny is over one segment");
}

#[test]
fn a_verb_gives_itself_alone() {
    for given in ["read", "watch", "issue"] {
        let mut wanted = proposal(Effect::Allow, of_devices(""), "a/b");
        wanted.verbs = vec![given.to_owned()];
        let grants = policy(vec![grant("g", &wanted)]);
        for verb in [Verb::Read, Verb::Watch, Verb::Issue] {
            let (acme, path, actor) = (tenant("acme"), path("a/b"), Actor::Device(device("d1", &[])));
            let target = Target::Value { path: &path, verb, version: Some(1) };
            let decision = allow(&grants, &Request { actor: &actor, tenant: &acme, target }, NOW);
            assert_eq!(decision.allow, verb.as_str() == given, "{verb:?} by {given}");
        }
    }
}

#[test]
fn constraints_hold_to_their_edges() {
    let actor = |tier| Actor::Device(DeviceActor { tier, ..device("d1", &[]) });
    let ask = |constraints: Constraints, tier, version, now| {
        let decision = read_version(
            &policy(vec![bounded("g", "a/b", constraints)]),
            &actor(tier),
            &path("a/b"),
            version,
            now,
        );
        assert_eq!(decision.allow, decision.matched == [GrantId::from("g")]);
        decision.reason.code()
    };
    let min = |tier| Constraints { min_tier: Some(tier), ..Constraints::default() };
    for tier in [Tier::T0, Tier::T1, Tier::T2, Tier::T3, Tier::T4] {
        let code = if tier >= Tier::T3 { "allowed-by-grant" } else { "tier-too-low" };
        assert_eq!(ask(min(Tier::T3), tier, Some(1), NOW), code, "{tier:?}");
    }
    let versions = Constraints { versions: Some(vec![2, 5]), ..Constraints::default() };
    for (version, code) in [
        (Some(2), "allowed-by-grant"),
        (Some(5), "allowed-by-grant"),
        (Some(3), "version-not-granted"),
        (None, "version-not-granted"),
    ] {
        assert_eq!(ask(versions.clone(), Tier::T4, version, NOW), code, "{version:?}");
    }
    let span = Constraints { not_before: Some(NOW), not_after: Some(NOW + 10), ..Constraints::default() };
    for (at, code) in [
        (NOW - 1, "grant-not-yet-valid"),
        (NOW, "allowed-by-grant"),
        (NOW + 9, "allowed-by-grant"),
        (NOW + 10, "grant-no-longer-valid"),
    ] {
        assert_eq!(ask(span.clone(), Tier::T4, None, at), code, "{at}");
    }
}

#[test]
fn each_allow_stands_alone_and_what_first_failed_is_said() {
    let t4 = Constraints { min_tier: Some(Tier::T4), ..Constraints::default() };
    let old = Constraints { not_after: Some(NOW - 1), ..Constraints::default() };
    let weak = Actor::Device(DeviceActor { tier: Tier::T0, ..device("d1", &[]) });
    let grants = policy(vec![bounded("a", "a/b", t4.clone()), bounded("b", "a/b", old.clone())]);
    let decision = read(&grants, &weak, &path("a/b"));
    let wanted = Reason::TierTooLow { grant: GrantId::from("a"), tier: Tier::T0, min_tier: Tier::T4 };
    assert_eq!((decision.allow, decision.reason), (false, wanted));
    // One that holds is enough, wherever it stands; those that do not hold oblige to nothing.
    let tight = Constraints { max_ttl_s: Some(1), ..t4 };
    let grants = policy(vec![
        bounded("a", "a/b", tight),
        bounded("b", "a/b", old),
        bounded("c", "a/b", Constraints::default()),
    ]);
    let decision = read(&grants, &weak, &path("a/b"));
    assert_eq!((decision.allow, decision.reason), (true, Reason::AllowedByGrant));
    assert_eq!(decision.matched, [GrantId::from("c")]);
    assert_eq!(decision.obligations, Obligations::default());
}

#[test]
fn obligations_are_the_least_of_all_that_match_and_end_with_the_grant() {
    let limits = |ttl: Option<u64>, offline: Option<u64>, not_after: Option<i64>| Constraints {
        max_ttl_s: ttl,
        max_offline_s: offline,
        not_after,
        ..Constraints::default()
    };
    let ask = |list: Vec<Constraints>| {
        let grants = list.into_iter().enumerate().map(|(n, c)| bounded(&format!("g{n}"), "a/b", c)).collect();
        let Obligations { max_ttl_s, max_offline_s } =
            read(&policy(grants), &Actor::Device(device("d1", &[])), &path("a/b")).obligations;
        (max_ttl_s, max_offline_s)
    };
    assert_eq!(ask(vec![limits(None, None, None)]), (None, None));
    assert_eq!(ask(vec![limits(Some(60), None, None)]), (Some(60), None));
    assert_eq!(
        ask(vec![limits(Some(60), Some(9), None), limits(Some(30), Some(10), None)]),
        (Some(30), Some(9))
    );
    assert_eq!(ask(vec![limits(Some(60), None, None), limits(None, Some(7), None)]), (Some(60), Some(7)));
    assert_eq!(ask(vec![limits(Some(60), Some(100), Some(NOW + 50))]), (Some(50), Some(50)));
    assert_eq!(ask(vec![limits(Some(10), None, Some(NOW + 50))]), (Some(10), Some(50)));
}

#[test]
fn id_and_site_are_facts_of_the_record_whatever_the_labels_say() {
    let liar = device("d1", &[("id", "d2"), ("site", "bonn"), ("ring", "canary")]);
    assert_eq!(liar.label("id"), Some("d1"));
    assert_eq!(liar.label("site"), Some("berlin"));
    assert_eq!(liar.label("ring"), Some("canary"));
    assert_eq!(liar.label("absent"), None);
    let homeless = DeviceActor { site: None, ..liar };
    assert_eq!(homeless.label("site"), None);
    let grants = policy(vec![
        allow_read("g", of_devices("id=d2"), "a/**"),
        allow_read("h", of_devices("site=bonn"), "a/**"),
    ]);
    assert_eq!(read(&grants, &Actor::Device(homeless), &path("a/b")).reason, Reason::NoGrant);
}

#[test]
fn names_fill_variables_and_what_has_no_name_matches_nothing() {
    let grants = policy(vec![
        allow_read("d", of_devices(""), "devices/${device_id}/**"),
        allow_read("s", of_devices(""), "sites/${site}/**"),
        allow_read("w", of_web(), "k8s/${site}/${namespace}/${sa}"),
    ]);
    let (berlin, web) = (Actor::Device(device("d1", &[])), Actor::Workload(workload()));
    let nowhere = Actor::Device(DeviceActor { site: None, ..device("d1", &[]) });
    for (actor, text, wanted) in [
        (&berlin, "devices/d1/key", true),
        (&berlin, "devices/d2/key", false),
        (&berlin, "sites/berlin/key", true),
        (&berlin, "sites/bonn/key", false),
        (&nowhere, "devices/d1/key", true),
        (&nowhere, "sites/berlin/key", false),
        (&web, "k8s/berlin/shop/web", true),
        (&web, "k8s/berlin/shop/db", false),
        (&web, "k8s/berlin/bank/web", false),
        (&web, "k8s/bonn/shop/web", false),
    ] {
        assert_eq!(read(&grants, actor, &path(text)).allow, wanted, "{} {text}", actor.kind());
    }
}

#[test]
fn an_explanation_tells_the_walk_and_decides_alike() {
    let mut story = String::new();
    let grants = policy(vec![
        allow_read("ring", of_devices("ring=canary"), "a/**"),
        bounded("strong", "a/b", Constraints { min_tier: Some(Tier::T4), ..Constraints::default() }),
        deny_read("never", of_devices("ring=lab"), "a/**"),
        allow_read("web", of_web(), "a/b"),
    ]);
    let weak =
        |labels: &[(&str, &str)]| Actor::Device(DeviceActor { tier: Tier::T0, ..device("d1", labels) });
    let (acme, other) = (tenant("acme"), tenant("other"));
    let viewer = Actor::User(user("one", &[(Role::Viewer, super::acme())]));
    let (secret, beside) = (path("a/b"), path("b/a"));
    let value = |path| Target::Value { path, verb: Verb::Read, version: Some(1) };
    let operate = |action| Target::Operate { resource: Resource::Devices, action, site: None };
    let strong = Actor::Device(device("d1", &[]));
    let questions = [
        ("a canary reads a/b", weak(&[("ring", "canary")]), &acme, value(&secret)),
        ("a plain T4 device reads a/b", strong, &acme, value(&secret)),
        ("a plain T0 device reads a/b", weak(&[]), &acme, value(&secret)),
        ("a device of the lab reads a/b", weak(&[("ring", "lab"), ("note", "x")]), &acme, value(&secret)),
        ("a canary reads b/a", weak(&[("ring", "canary")]), &acme, value(&beside)),
        ("a canary reads another tenant's", weak(&[("ring", "canary")]), &other, value(&secret)),
        (
            "a retired device reads a/b",
            Actor::Device(DeviceActor { state: DeviceState::Retired, ..device("d1", &[]) }),
            &acme,
            value(&secret),
        ),
        ("a viewer reads devices", viewer.clone(), &acme, operate(Action::Read)),
        ("a viewer scraps a device", viewer, &acme, operate(Action::Scrap)),
    ];
    for (question, actor, tenant, target) in questions {
        let request = Request { actor: &actor, tenant, target };
        let told = explain(&grants, &request, NOW);
        assert_eq!(told.decision, allow(&grants, &request, NOW), "{question}");
        _ = writeln!(story, "{question}\n  {}\n", told.walk.join("\n  "));
    }
    check_golden("access_explained.txt", &story);
}

#[test]
fn near_misses_are_bounded() {
    let grants = (0..50).map(|n| allow_read(&format!("g{n}"), of_devices("ring=canary"), "a/**")).collect();
    let (acme, actor, path) = (tenant("acme"), Actor::Device(device("d1", &[])), path("a/b"));
    let target = Target::Value { path: &path, verb: Verb::Read, version: None };
    let told = explain(&policy(grants), &Request { actor: &actor, tenant: &acme, target }, NOW);
    assert_eq!(told.walk.iter().filter(|row| row.starts_with("near miss")).count(), EXPLAIN_NEAR_MISSES_MAX);
}

#[test]
fn what_widens_is_said() {
    let t3 = Constraints { min_tier: Some(Tier::T3), ..Constraints::default() };
    let grants = policy(vec![
        allow_read("canary", of_devices("ring=canary"), "a/b"),
        allow_read("own", of_devices("model=hub"), "devices/${device_id}/x"),
        grant(
            "strong",
            &ProposeGrant { constraints: t3, ..proposal(Effect::Allow, of_devices("model=hub"), "b/c") },
        ),
        deny_read("lab", of_devices("ring=lab"), "a/**"),
        deny_read("site", of_devices("model=hub"), "sites/${site}/x"),
        allow_read("web", of_web(), "a/b"),
    ]);
    let hub = device("d1", &[("model", "hub")]);
    let with = |labels_: &[(&str, &str)]| DeviceActor { labels: labels(labels_), ..hub.clone() };
    let ids = |before: Option<&DeviceActor>, after: &DeviceActor| -> Vec<String> {
        widens(&grants, before, after).iter().map(ToString::to_string).collect()
    };
    assert_eq!(ids(Some(&hub), &hub), Vec::<String>::new(), "nothing changed");
    assert_eq!(ids(Some(&hub), &with(&[("model", "hub"), ("ring", "canary")])), ["canary"]);
    assert_eq!(ids(Some(&with(&[("ring", "canary")])), &with(&[])), Vec::<String>::new(), "narrower");
    assert_eq!(ids(Some(&with(&[("ring", "lab")])), &with(&[])), ["lab"], "from under a deny");
    assert_eq!(ids(Some(&with(&[])), &with(&[("ring", "lab")])), Vec::<String>::new(), "under a deny");
    let weak = DeviceActor { tier: Tier::T2, ..hub.clone() };
    assert_eq!(ids(Some(&weak), &hub), ["strong"], "a tier is reached");
    assert_eq!(ids(Some(&hub), &weak), Vec::<String>::new(), "a tier is lost");
    let low = DeviceActor { tier: Tier::T1, ..hub.clone() };
    assert_eq!(ids(Some(&low), &weak), Vec::<String>::new(), "not yet reached");
    let moved = DeviceActor { site: Some("bonn".into()), ..hub.clone() };
    assert_eq!(ids(Some(&hub), &moved), ["own", "site"], "other names fill its variables");
    let renamed = DeviceActor { id: "d2".into(), ..hub.clone() };
    assert_eq!(ids(Some(&hub), &renamed), ["own"]);
    assert_eq!(ids(None, &hub), ["own", "strong"], "a new device");
    assert_eq!(ids(None, &with(&[("ring", "lab")])), Vec::<String>::new());
}

#[test]
fn codes_are_stable_and_told_apart() {
    let g = || GrantId::from("g");
    let reasons = [
        (Reason::AllowedByRole(Role::Viewer), "allowed-by-role"),
        (Reason::AllowedByGrant, "allowed-by-grant"),
        (Reason::Barred(Barred::Revoked), "revoked"),
        (Reason::Barred(Barred::Quarantined), "quarantined"),
        (Reason::Barred(Barred::Expired), "expired"),
        (Reason::Barred(Barred::NotActive), "not-active"),
        (Reason::Barred(Barred::Retired), "retired"),
        (Reason::Barred(Barred::Malformed), "malformed-actor"),
        (Reason::Barred(Barred::ForeignChannel), "foreign-channel"),
        (Reason::ForeignTenant, "foreign-tenant"),
        (Reason::DeniedByGrant(g()), "denied-by-grant"),
        (Reason::NoRole { resource: Resource::Audit, action: Action::Read }, "no-role"),
        (Reason::NoGrant, "no-grant"),
        (Reason::TierTooLow { grant: g(), tier: Tier::T0, min_tier: Tier::T1 }, "tier-too-low"),
        (Reason::VersionNotGranted { grant: g() }, "version-not-granted"),
        (Reason::NotYet { grant: g(), not_before: 1 }, "grant-not-yet-valid"),
        (Reason::NoLonger { grant: g(), not_after: 1 }, "grant-no-longer-valid"),
    ];
    let mut codes: Vec<&str> =
        reasons.iter().map(|(reason, code)| (assert_eq!(reason.code(), *code), *code).1).collect();
    codes.sort_unstable();
    codes.dedup();
    assert_eq!(codes.len(), reasons.len());
}

#[test]
fn grants_are_found_whatever_patterns_stand_beside_theirs() {
    let patterns = ["sites/${site}/key", "sites/*/key", "sites/*/key/**", "sites/${site}/**"];
    let here = Actor::Device(device("d1", &[]));
    for own in &patterns {
        let mut all: Vec<&str> = patterns.iter().filter(|p| *p != own).copied().collect();
        all.push(own);
        let grants = all.iter().enumerate().map(|(n, p)| allow_read(&format!("g{n}"), of_devices(""), p));
        let policy = policy(grants.collect());
        // Of another site only the stars match; the exact one alone ends at `key`.
        assert_eq!(policy.candidates(&here, &path("sites/bonn/key")), 1, "{all:?}");
        assert!(read(&policy, &here, &path("sites/bonn/key")).allow, "{all:?}");
        assert_eq!(policy.candidates(&here, &path("sites/bonn/key/1")), 1, "{all:?}");
        assert_eq!(policy.candidates(&here, &path("sites/berlin/key")), 3, "{all:?}");
        assert_eq!(policy.candidates(&here, &path("other/berlin/key")), 0, "{all:?}");
    }
}

#[test]
fn a_label_key_has_a_word_before_its_slash() {
    for good in ["a", "a/b", "a.b-c_d/e"] {
        assert!(is_label_key(good), "{good}");
    }
    for bad in ["", "/", "/b", "a/", "-a/b", "a-/b", "a b/c", "a/b/c", "a/-b"] {
        assert!(!is_label_key(bad), "{bad}");
    }
}

#[test]
fn a_path_is_kept_as_it_was_written() {
    assert_eq!(path("devices/d1/key").as_str(), "devices/d1/key");
}
