//! What must hold for all policies and all questions.

use super::*;
use proptest::prelude::*;
use proptest::sample::select;

const RESOURCES: &[&str] = &[
    "a/b",
    "a/*",
    "a/**",
    "*/b",
    "*/*",
    "b/**",
    "${device_id}/**",
    "s-${site}/b",
    "a/${device_id}",
    "*/${site}",
    "a/*/**",
];
const PATHS: &[&str] =
    &["a/b", "a/d1", "a/berlin", "b/b", "b/c/d", "d1/x", "d2/x", "s-berlin/b", "s-bonn/b", "a/b/c", "a"];
const SELECTORS: &[&str] =
    &["", "ring=canary", "ring!=canary", "id=d1", "id in (d1,d2)", "site=berlin", "!ring", "id=d2,ring=lab"];

fn subject() -> impl Strategy<Value = Subject> {
    prop_oneof![4 => select(SELECTORS).prop_map(of_devices), 1 => Just(of_web())]
}

fn constraints() -> impl Strategy<Value = Constraints> {
    let tier = proptest::option::of(select(&[Tier::T0, Tier::T2, Tier::T4][..]));
    let versions = proptest::option::of(proptest::collection::vec(1_u64..4, 1..3));
    let span = (proptest::option::of(NOW - 2..NOW + 2), proptest::option::of(1_i64..4));
    (tier, versions, span, proptest::option::of(1_u64..9)).prop_map(
        |(min_tier, versions, (not_before, length), max_ttl_s)| {
            let not_after = length.map(|length| not_before.unwrap_or(NOW - 2) + length);
            Constraints { min_tier, versions, not_before, not_after, max_ttl_s, max_offline_s: max_ttl_s }
        },
    )
}

fn proposals(effect: Effect) -> impl Strategy<Value = ProposeGrant> {
    let verbs = proptest::sample::subsequence(vec!["read", "watch", "issue"], 1..=3);
    (subject(), select(RESOURCES), verbs, constraints()).prop_filter_map(
        "variables of its subject",
        move |(subject, resource, verbs, limits)| {
            let constraints = if effect == Effect::Deny { Constraints::default() } else { limits };
            let verbs = verbs.into_iter().map(str::to_owned).collect();
            let proposal =
                ProposeGrant { effect, subject, resource: resource.to_owned(), verbs, constraints };
            Grant::parse(GrantId::from("x"), &proposal).is_ok().then_some(proposal)
        },
    )
}

fn grants(effect: Effect, prefix: &'static str) -> impl Strategy<Value = Vec<Grant>> {
    proptest::collection::vec(proposals(effect), 0..6).prop_map(move |list| {
        list.iter().enumerate().map(|(n, proposal)| grant(&format!("{prefix}{n}"), proposal)).collect()
    })
}

fn tenants() -> impl Strategy<Value = TenantId> {
    select(&["acme", "other"][..]).prop_map(tenant)
}

fn standing() -> impl Strategy<Value = Standing> {
    prop_oneof![6 => Just(Standing::Good), 1 => Just(Standing::Revoked), 1 => Just(Standing::Expired)]
}

fn operators() -> impl Strategy<Value = Operator> {
    let scope = prop_oneof![
        Just(Scope::Installation),
        tenants().prop_map(Scope::Tenant),
        (tenants(), select(&["berlin", "bonn"][..]))
            .prop_map(|(tenant, site)| Scope::Site { tenant, site: site.into() }),
    ];
    let binding = (select(Role::ALL), scope).prop_map(|(role, scope)| Binding { role, scope });
    (proptest::option::of(tenants()), proptest::collection::vec(binding, 0..4), standing()).prop_map(
        |(tenant, bindings, standing)| Operator {
            principal: "one".into(),
            tenant,
            bindings,
            standing,
            expires_at: None,
        },
    )
}

fn devices() -> impl Strategy<Value = DeviceActor> {
    let state = prop_oneof![6 => Just(DeviceState::Active), 1 => Just(DeviceState::Suspended), 1 => Just(DeviceState::Pending)];
    let ring = proptest::option::of(select(&["canary", "lab"][..]));
    let sites = proptest::option::of(select(&["berlin", "bonn", "..", ""][..]));
    let tiers = select(&[Tier::T0, Tier::T2, Tier::T4][..]);
    (tenants(), select(&["d1", "d2", "d1/x"][..]), sites, ring, tiers, state, standing()).prop_map(
        |(tenant, id, site, ring, tier, state, certificate)| DeviceActor {
            tenant,
            site: site.map(str::to_owned),
            labels: ring.into_iter().map(|ring| ("ring".to_owned(), ring.to_owned())).collect(),
            tier,
            state,
            certificate,
            ..device(id, &[])
        },
    )
}

fn actors() -> impl Strategy<Value = Actor> {
    let site_actor = || {
        (tenants(), standing()).prop_map(|(tenant, standing)| SiteActor { tenant, standing, ..controller() })
    };
    prop_oneof![
        4 => devices().prop_map(Actor::Device),
        2 => (tenants(), site_actor()).prop_map(|(tenant, by)| {
            Actor::Workload(WorkloadActor { tenant, channel: Channel::Through(by), ..workload() })
        }),
        2 => operators().prop_map(Actor::User),
        1 => operators().prop_map(Actor::ServiceToken),
        1 => site_actor().prop_map(Actor::Controller),
        1 => site_actor().prop_map(Actor::Gateway),
    ]
}

/// One question, owned.
#[derive(Debug, Clone)]
struct Question {
    actor: Actor,
    tenant: TenantId,
    path: SecretPath,
    operate: Option<(Resource, Action)>,
    verb: Verb,
    version: Option<u64>,
}

impl Question {
    fn ask(&self, policy: &Compiled) -> Decision {
        let target = match self.operate {
            Some((resource, action)) => Target::Operate { resource, action, site: Some("berlin") },
            None => Target::Value { path: &self.path, verb: self.verb, version: self.version },
        };
        allow(policy, &Request { actor: &self.actor, tenant: &self.tenant, target }, NOW)
    }
}

fn questions() -> impl Strategy<Value = Question> {
    let operate =
        prop_oneof![3 => Just(None), 1 => (select(Resource::ALL), select(Action::ALL)).prop_map(Some)];
    let verb = select(&[Verb::Read, Verb::Watch, Verb::Issue][..]);
    (actors(), tenants(), select(PATHS), operate, verb, proptest::option::of(1_u64..4)).prop_map(
        |(actor, tenant, text, operate, verb, version)| Question {
            actor,
            tenant,
            path: path(text),
            operate,
            verb,
            version,
        },
    )
}

fn own_tenant(actor: &Actor) -> Option<&TenantId> {
    match actor {
        Actor::User(o) | Actor::ServiceToken(o) => o.tenant.as_ref(),
        Actor::Device(d) => Some(&d.tenant),
        Actor::Controller(s) | Actor::Gateway(s) => Some(&s.tenant),
        Actor::Workload(w) => Some(&w.tenant),
    }
}

/// The answer over all grants one by one, without the index and without the walk.
fn by_hand(grants: &[Grant], question: &Question) -> bool {
    let hits = |effect| {
        let found = grants.iter().filter(move |g| g.effect == effect && g.is_for(&question.actor));
        found.filter(|g| g.is_over(&question.path, question.verb, &question.actor)).collect::<Vec<_>>()
    };
    let holds = |g: &&&Grant| {
        let c = &g.constraints;
        c.min_tier.is_none_or(|min| question.actor.tier() >= min)
            && c.versions.as_ref().is_none_or(|list| question.version.is_some_and(|v| list.contains(&v)))
            && c.not_before.is_none_or(|from| from <= NOW)
            && c.not_after.is_none_or(|end| NOW < end)
    };
    let (denies, allows) = (hits(Effect::Deny), hits(Effect::Allow));
    question.actor.barred(NOW).is_none()
        && question.tenant == tenant("acme")
        && question.actor.is_of(&question.tenant)
        && denies.is_empty()
        && allows.iter().any(|g| holds(&g))
}

proptest! {
    #![proptest_config(crate::cases(256))]

    #[test]
    fn adding_a_deny_never_allows_more(
        allows in grants(Effect::Allow, "a"),
        denies in grants(Effect::Deny, "d"),
        more in proposals(Effect::Deny),
        question in questions(),
    ) {
        let before = policy([allows.clone(), denies.clone()].concat());
        let after = policy([allows, denies, vec![grant("more", &more)]].concat());
        let (before, after) = (question.ask(&before), question.ask(&after));
        prop_assert!(before.allow || !after.allow, "{after:?}");
        if after.allow {
            prop_assert_eq!(before, after);
        }
    }

    #[test]
    fn no_actor_of_one_tenant_is_allowed_on_anothers(
        allows in grants(Effect::Allow, "a"),
        owner in tenants(),
        question in questions(),
    ) {
        let policy = Compiled::new(owner.clone(), allows).unwrap();
        let decision = question.ask(&policy);
        if decision.allow {
            prop_assert_eq!(&owner, &question.tenant);
            if let Some(own) = own_tenant(&question.actor) {
                prop_assert_eq!(own, &question.tenant);
            } else {
                // Of the installation: by a binding that reaches this tenant, never by one at another alone.
                let (Actor::User(o) | Actor::ServiceToken(o)) = &question.actor else { panic!("an operator") };
                let reaches = o.bindings.iter().any(|b| b.scope.reaches(&question.tenant, Some("berlin")));
                prop_assert!(reaches);
            }
        }
    }

    #[test]
    fn the_index_decides_as_a_walk_over_all_grants_would(
        allows in grants(Effect::Allow, "a"),
        denies in grants(Effect::Deny, "d"),
        question in questions(),
    ) {
        let all = [allows, denies].concat();
        let question = Question { operate: None, ..question };
        let decision = question.ask(&policy(all.clone()));
        prop_assert_eq!(decision.allow, by_hand(&all, &question));
        prop_assert_eq!(decision.allow, decision.reason == Reason::AllowedByGrant);
    }

    #[test]
    fn explaining_decides_as_deciding_does(
        allows in grants(Effect::Allow, "a"),
        denies in grants(Effect::Deny, "d"),
        question in questions(),
    ) {
        let policy = policy([allows, denies].concat());
        let target = Target::Value { path: &question.path, verb: question.verb, version: question.version };
        let request = Request { actor: &question.actor, tenant: &question.tenant, target };
        let told = explain(&policy, &request, NOW);
        prop_assert_eq!(&told.decision, &allow(&policy, &request, NOW));
        prop_assert!(told.walk.last().unwrap().ends_with(&told.decision.reason.to_string()));
    }

    /// `..`, empty, Unicode, separators, stars: whatever a device is called, it reads its own segment or nothing.
    #[test]
    fn substitution_never_leaves_its_segment(
        id in prop_oneof![".{0,12}", "[a-z./*$]{0,6}", Just("..".to_owned()), Just("a/../b".to_owned())],
        site in prop_oneof![".{0,12}", "[a-z./*]{0,6}", Just(String::new()), Just(".".to_owned())],
        text in "[a-z./]{1,16}",
    ) {
        let Ok(path) = SecretPath::parse(&text) else { return Ok(()) };
        let actor = Actor::Device(DeviceActor { site: Some(site.clone()), ..device(&id, &[]) });
        let pattern = PathPattern::parse("d/${device_id}/v-${site}/x").unwrap();
        let filled = |variable| actor.value(variable);
        let long = SecretPath::parse(&format!("d/{text}/v-{text}/x"));
        for path in [Ok(path), long].into_iter().flatten() {
            if pattern.matches(&path, filled) {
                let segments: Vec<&str> = path.segments().collect();
                prop_assert_eq!(segments, ["d", id.as_str(), &format!("v-{site}"), "x"]);
            }
            let grants = policy(vec![allow_read("g", of_devices(""), "d/${device_id}/v-${site}/x")]);
            prop_assert_eq!(read(&grants, &actor, &path).allow, pattern.matches(&path, filled));
        }
        // And it does read its own, if it has names that can stand in a path.
        if let Ok(own) = SecretPath::parse(&format!("d/{id}/v-{site}/x"))
            && own.segments().count() == 4
            && SecretPath::parse(&site).is_ok()
        {
            prop_assert!(pattern.matches(&own, filled));
        }
    }
}
