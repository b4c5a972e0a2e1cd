//! Nobody hands on what he does not hold; nobody approves what he proposed.

use super::*;
use std::slice::from_ref;

fn bind(role: Role, scope: Scope) -> Binding {
    Binding { role, scope }
}

fn none() -> Compiled {
    Compiled::empty(tenant("acme"))
}

fn may_bind(operator: &Operator, wanted: &[Binding]) -> Result<(), DelegationError> {
    super::may_bind(&none(), &Actor::User(operator.clone()), &tenant("acme"), wanted, NOW)
}

#[test]
fn a_role_is_handed_on_only_by_who_holds_it_there() {
    let admin = user("admin", &[(Role::TenantAdmin, acme())]);
    let berlin = user("berlin", &[(Role::TenantAdmin, site("berlin"))]);
    let both = user("both", &[(Role::TenantAdmin, acme()), (Role::SecretWriter, site("berlin"))]);
    let root = Operator { tenant: None, ..user("root", &[(Role::InstallationAdmin, Scope::Installation)]) };
    let other = Scope::Tenant(tenant("other"));
    let rows: [(&Operator, Vec<Binding>, bool); 19] = [
        (&admin, vec![bind(Role::Viewer, acme())], true),
        (&admin, vec![bind(Role::TenantAdmin, acme())], true),
        (&admin, vec![bind(Role::Operator, site("berlin"))], true),
        (&admin, vec![bind(Role::SecretWriter, acme())], false),
        (&admin, vec![bind(Role::GrantAdmin, acme())], false),
        (&admin, vec![bind(Role::KeyCustodian, acme())], false),
        (&admin, vec![bind(Role::InstallationAdmin, acme())], false),
        (&admin, vec![bind(Role::Viewer, Scope::Installation)], false),
        (&admin, vec![bind(Role::Viewer, other.clone())], false),
        (&admin, vec![bind(Role::Viewer, acme()), bind(Role::SecretWriter, acme())], false),
        (&berlin, vec![bind(Role::Viewer, site("berlin"))], true),
        (&berlin, vec![bind(Role::Viewer, site("bonn"))], false),
        (&berlin, vec![bind(Role::Viewer, acme())], false),
        (&berlin, vec![bind(Role::Viewer, site("berlin")), bind(Role::Viewer, site("bonn"))], false),
        (&both, vec![bind(Role::SecretWriter, site("berlin"))], true),
        (&both, vec![bind(Role::SecretWriter, acme())], false),
        (&root, vec![bind(Role::InstallationAdmin, Scope::Installation)], true),
        (&root, vec![bind(Role::Viewer, other)], true),
        (&root, vec![bind(Role::SecretWriter, Scope::Installation)], false),
    ];
    for (operator, wanted, allowed) in rows {
        assert_eq!(may_bind(operator, &wanted).is_ok(), allowed, "{} {wanted:?}", operator.principal);
        let minted = may_mint(&none(), &Actor::User(operator.clone()), &tenant("acme"), &wanted, None, NOW);
        assert_eq!(minted.is_ok(), allowed, "{} mints {wanted:?}", operator.principal);
    }
}

#[test]
fn an_operator_of_a_tenant_hands_nothing_on_beyond_it_whatever_his_bindings_say() {
    let strange = user("strange", &[(Role::InstallationAdmin, Scope::Installation)]);
    assert_eq!(may_bind(&strange, &[bind(Role::Viewer, acme())]), Ok(()));
    for scope in [Scope::Installation, Scope::Tenant(tenant("other"))] {
        let wanted = bind(Role::Viewer, scope.clone());
        let refused = Err(DelegationError::NotHeld { role: Role::Viewer, scope });
        assert_eq!(may_bind(&strange, &[wanted]), refused);
    }
}

#[test]
fn who_is_bound_at_sites_hands_on_at_one_of_them_at_a_time() {
    let sites = [site("berlin"), site("bonn")];
    let both = user("both", &sites.clone().map(|scope| (Role::TenantAdmin, scope)));
    let [berlin, bonn] = sites.map(|scope| bind(Role::Viewer, scope));
    assert_eq!(may_bind(&both, from_ref(&berlin)), Ok(()));
    assert_eq!(may_bind(&both, from_ref(&bonn)), Ok(()));
    let together = may_bind(&both, &[berlin, bonn]);
    assert!(matches!(together, Err(DelegationError::NotAllowed(_))), "{together:?}");
}

#[test]
fn who_may_not_bind_is_told_so_before_what_he_holds() {
    for role in Role::ALL.iter().filter(|role| ![Role::TenantAdmin, Role::InstallationAdmin].contains(role)) {
        let operator = user("one", &[(*role, acme())]);
        let refused = may_bind(&operator, &[bind(*role, acme())]);
        assert!(matches!(refused, Err(DelegationError::NotAllowed(_))), "{role}: {refused:?}");
    }
    let barred = Operator { standing: Standing::Revoked, ..user("one", &[(Role::TenantAdmin, acme())]) };
    assert_eq!(
        may_bind(&barred, &[bind(Role::Viewer, acme())]),
        Err(DelegationError::NotAllowed("revoked".into()))
    );
    let device = Actor::Device(device("d1", &[]));
    let wanted = [bind(Role::Viewer, acme())];
    assert!(super::may_bind(&none(), &device, &tenant("acme"), &wanted, NOW).is_err());
}

#[test]
fn the_count_of_bindings_is_bounded_on_both_sides() {
    let admin = user("admin", &[(Role::TenantAdmin, acme())]);
    let many = |count| vec![bind(Role::Viewer, acme()); count];
    assert_eq!(may_bind(&admin, &many(0)), Err(DelegationError::BindingCount { count: 0 }));
    assert_eq!(may_bind(&admin, &many(256)), Ok(()));
    assert_eq!(may_bind(&admin, &many(257)), Err(DelegationError::BindingCount { count: 257 }));
}

#[test]
fn a_token_does_not_outlive_its_maker() {
    let mint = |own: Option<i64>, end: Option<i64>| {
        let maker = Operator { expires_at: own, ..user("admin", &[(Role::TenantAdmin, acme())]) };
        may_mint(
            &none(),
            &Actor::ServiceToken(maker),
            &tenant("acme"),
            &[bind(Role::Viewer, acme())],
            end,
            NOW,
        )
    };
    let end = NOW + 100;
    assert_eq!(mint(None, None), Ok(()));
    assert_eq!(mint(None, Some(end)), Ok(()));
    assert_eq!(mint(Some(end), Some(end)), Ok(()));
    assert_eq!(
        mint(Some(end), Some(end + 1)),
        Err(DelegationError::Outlives { wanted: Some(end + 1), own: end })
    );
    assert_eq!(mint(Some(end), None), Err(DelegationError::Outlives { wanted: None, own: end }));
}

#[test]
fn nobody_approves_what_he_proposed_not_even_through_a_token_of_his() {
    let approver = user("anna", &[(Role::GrantApprover, acme())]);
    let approve = |actor: &Actor, author: &str, approvals| {
        may_approve_grant(&none(), actor, &tenant("acme"), author, approvals, NOW)
    };
    for actor in [Actor::User(approver.clone()), Actor::ServiceToken(approver.clone())] {
        let own = Err(DelegationError::OwnProposal { principal: "anna".into() });
        assert_eq!(approve(&actor, "anna", Approvals::TwoPersons), own);
        assert_eq!(approve(&actor, "otto", Approvals::TwoPersons), Ok(()));
        assert_eq!(approve(&actor, "anna", Approvals::AuthorToo), Ok(()));
    }
    let admin = Actor::User(user("otto", &[(Role::GrantAdmin, acme()), (Role::TenantAdmin, acme())]));
    for approvals in [Approvals::TwoPersons, Approvals::AuthorToo] {
        assert!(matches!(approve(&admin, "anna", approvals), Err(DelegationError::NotAllowed(_))));
    }
}

#[test]
fn withdrawing_an_allow_narrows_at_once_and_withdrawing_a_deny_takes_two() {
    let withdraw = |role: Role, effect, proposed_by: Option<&str>, approvals| {
        let actor = Actor::User(user("anna", &[(role, acme())]));
        may_withdraw_grant(&none(), &actor, &tenant("acme"), effect, proposed_by, approvals, NOW)
    };
    let (admin, approver) = (Role::GrantAdmin, Role::GrantApprover);
    let two = Approvals::TwoPersons;
    for role in [admin, approver] {
        assert_eq!(withdraw(role, Effect::Allow, None, two), Ok(Withdrawal::Now));
        assert_eq!(withdraw(role, Effect::Allow, Some("anna"), two), Ok(Withdrawal::Now));
    }
    assert!(withdraw(Role::SecretWriter, Effect::Allow, None, two).is_err());
    assert_eq!(withdraw(admin, Effect::Deny, None, two), Ok(Withdrawal::NeedsAnother));
    assert!(withdraw(approver, Effect::Deny, None, two).is_err(), "an approver proposes nothing");
    assert!(withdraw(admin, Effect::Deny, Some("otto"), two).is_err(), "an admin approves nothing");
    assert_eq!(withdraw(approver, Effect::Deny, Some("otto"), two), Ok(Withdrawal::Now));
    let own = Err(DelegationError::OwnProposal { principal: "anna".into() });
    assert_eq!(withdraw(approver, Effect::Deny, Some("anna"), two), own);
    assert_eq!(withdraw(approver, Effect::Deny, Some("anna"), Approvals::AuthorToo), Ok(Withdrawal::Now));
}
