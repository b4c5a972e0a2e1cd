//! The role x resource x action matrix, asked of `allow` itself.

use super::*;
use std::collections::BTreeSet;
use std::fmt::Write as _;

const HEADS: [&str; 10] = ["vw", "op", "rm", "sw", "ga", "gp", "au", "ta", "ia", "kc"];

fn actor_with(role: Role, scope: Scope) -> Actor {
    let tenant = if scope == Scope::Installation { None } else { Some(tenant("acme")) };
    Actor::User(Operator { tenant, ..user("one", &[(role, scope)]) })
}

fn may(role: Role, scope: Scope, resource: Resource, action: Action, site: Option<&str>) -> bool {
    operate(&actor_with(role, scope), &tenant("acme"), resource, action, site).allow
}

/// Where a role is bound when it is asked.
fn usual_scope(role: Role) -> Scope {
    if role == Role::InstallationAdmin { Scope::Installation } else { acme() }
}

#[test]
fn the_matrix_is_the_golden_file() {
    let mut text = String::from(
        "Which role may do what, asked of `allow` for each role bound at the tenant (ia: at the installation).\n\
         x: allowed. What has no row is allowed to nobody. A secret's value has a row to show that nobody may read it.\n\n",
    );
    for (head, role) in HEADS.iter().zip(Role::ALL) {
        writeln!(text, "{head} {role}").unwrap();
    }
    writeln!(text, "\n{:<13} {:<11}  {}", "resource", "action", HEADS.join(" ")).unwrap();
    let (mut pairs, mut nobody) = (0, 0);
    for resource in Resource::ALL {
        for action in Action::ALL {
            pairs += 1;
            let cells: Vec<bool> = Role::ALL
                .iter()
                .map(|role| may(*role, usual_scope(*role), *resource, *action, None))
                .collect();
            let shown = *action == Action::ReadValue && *resource == Resource::Secrets;
            if !cells.contains(&true) {
                nobody += 1;
                if !shown {
                    continue;
                }
            }
            let cells: Vec<&str> = cells.into_iter().map(|cell| if cell { " x" } else { " ." }).collect();
            writeln!(text, "{:<13} {:<11}  {}", resource.as_str(), action.as_str(), cells.join(" ")).unwrap();
        }
    }
    writeln!(text, "\nOf {pairs} pairs of resource and action, {nobody} are allowed to nobody.").unwrap();
    text.push_str(&scopes());
    check_golden("access_matrix.txt", &text);
}

/// How far a binding reaches: viewer reading devices, operator quarantining.
fn scopes() -> String {
    let mut text = String::from("\nHow far a binding of `operator` reaches (devices quarantine):\n\n");
    let bindings = [
        ("installation", Scope::Installation),
        ("tenant acme", acme()),
        ("site acme/berlin", site("berlin")),
    ];
    let things = [
        ("of acme", "acme", None),
        ("of acme at berlin", "acme", Some("berlin")),
        ("of acme at bonn", "acme", Some("bonn")),
        ("of other", "other", None),
        ("of other at berlin", "other", Some("berlin")),
    ];
    for (bound, scope) in bindings {
        for (thing, owner, at) in things {
            let actor = actor_with(Role::Operator, scope.clone());
            let decision = operate(&actor, &tenant(owner), Resource::Devices, Action::Quarantine, at);
            let word = if decision.allow { "allowed" } else { "refused" };
            writeln!(text, "bound at {bound:<16}  a device {thing:<18}  {word}: {}", decision.reason.code())
                .unwrap();
        }
    }
    text
}

#[test]
fn every_row_of_the_table_stands_once_and_names_each_role_once() {
    let mut seen = BTreeSet::new();
    for (resource, action, roles) in TABLE {
        assert!(seen.insert((*resource, *action)), "{resource} {action} twice");
        assert_eq!(roles.iter().collect::<BTreeSet<_>>().len(), roles.len(), "{resource} {action}");
    }
}

#[test]
fn nobody_but_an_operator_operates_anything() {
    let others = [
        Actor::Device(device("d1", &[])),
        Actor::Controller(controller()),
        Actor::Gateway(SiteActor { cluster: None, ..controller() }),
        Actor::Workload(workload()),
    ];
    for actor in &others {
        for resource in Resource::ALL {
            for action in Action::ALL {
                let decision = operate(actor, &tenant("acme"), *resource, *action, Some("berlin"));
                let reason = Reason::NoRole { resource: *resource, action: *action };
                assert_eq!((decision.allow, decision.reason), (false, reason), "{}", actor.kind());
            }
        }
    }
}

#[test]
fn nobody_reads_a_value_by_a_role() {
    let grants = policy(vec![allow_read("g", of_devices(""), "a/**"), allow_read("w", of_web(), "a/**")]);
    for role in Role::ALL {
        for actor in [actor_with(*role, usual_scope(*role)), actor_with(*role, Scope::Installation)] {
            let decision = read(&grants, &actor, &path("a/b"));
            assert_eq!((decision.allow, decision.reason), (false, Reason::NoGrant), "{role}");
        }
    }
    for actor in
        [Actor::Controller(controller()), Actor::Gateway(SiteActor { cluster: None, ..controller() })]
    {
        assert!(!read(&grants, &actor, &path("a/b")).allow, "{}", actor.kind());
    }
}

#[test]
fn an_administrator_holds_no_role_that_touches_secrets_or_keys() {
    let untouchable = [Role::SecretWriter, Role::GrantAdmin, Role::GrantApprover, Role::KeyCustodian];
    for admin in [Role::TenantAdmin, Role::InstallationAdmin] {
        for role in untouchable {
            assert!(!admin.holds(role), "{admin} holds {role}");
        }
    }
    for one in Role::ALL {
        for other in Role::ALL.iter().filter(|other| *other != one) {
            let wanted = match one {
                Role::TenantAdmin => {
                    [Role::Viewer, Role::Operator, Role::ReleaseManager, Role::Auditor].contains(other)
                }
                Role::InstallationAdmin => {
                    [Role::TenantAdmin, Role::Viewer, Role::Operator, Role::ReleaseManager, Role::Auditor]
                        .contains(other)
                }
                _ => false,
            };
            assert_eq!(one.holds(*other), wanted, "{one} holds {other}");
        }
        assert!(one.holds(*one));
    }
}

#[test]
fn words_are_read_back_and_no_other_is() {
    for role in Role::ALL {
        assert_eq!(Role::parse(role.as_str()), Some(*role));
    }
    for resource in Resource::ALL {
        assert_eq!(Resource::parse(resource.as_str()), Some(*resource));
    }
    for action in Action::ALL {
        assert_eq!(Action::parse(action.as_str()), Some(*action));
    }
    for verb in [Verb::Read, Verb::Watch, Verb::Issue] {
        assert_eq!(Verb::parse(verb.as_str()), Some(verb));
    }
    assert_eq!(
        (Role::parse("root"), Resource::parse(""), Action::parse("READ"), Verb::parse("write")),
        (None, None, None, None)
    );
}

#[test]
fn scopes_cover_what_lies_within_them() {
    let (all, own, berlin) = (Scope::Installation, acme(), site("berlin"));
    let other = Scope::Tenant(tenant("other"));
    let other_berlin = Scope::Site { tenant: tenant("other"), site: "berlin".to_owned() };
    let rows = [
        (&all, [true, true, true, true, true]),
        (&own, [false, true, true, false, false]),
        (&berlin, [false, false, true, false, false]),
        (&other, [false, false, false, true, true]),
        (&other_berlin, [false, false, false, false, true]),
    ];
    for (scope, wanted) in rows {
        let found = [&all, &own, &berlin, &other, &other_berlin].map(|within| scope.covers(within));
        assert_eq!(found, wanted, "{scope:?}");
    }
    assert!(!berlin.covers(&site("bonn")));
}
