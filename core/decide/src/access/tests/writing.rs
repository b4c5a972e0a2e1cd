//! What is refused when a grant is written, and when a policy is made of grants.

use super::*;
use crate::limits::{GRANT_VERSIONS_MAX, GRANTS_MAX};
use std::error::Error as _;

fn refused(proposal: &ProposeGrant) -> String {
    let why = Grant::parse(GrantId::from("g"), proposal).expect_err("refused");
    let source = why.source().map(|source| format!(": {source}")).unwrap_or_default();
    format!("{why}{source}")
}

fn base() -> ProposeGrant {
    proposal(Effect::Allow, of_devices("ring=canary"), "a/${site}/**")
}

#[test]
fn a_grant_that_reads_well_is_written() {
    let mut all = base();
    all.verbs = ["issue", "read", "watch"].map(str::to_owned).to_vec();
    let grant = grant("g", &all);
    assert_eq!(grant.id(), &GrantId::from("g"));
    assert_eq!(grant.verbs, [Verb::Issue, Verb::Read, Verb::Watch]);
}

#[test]
fn each_fault_of_a_proposal_is_named() {
    let workload = |site: &str, cluster: &str, namespace: &str, account: &str| Subject::Workload {
        site: site.into(),
        cluster: cluster.into(),
        namespace: namespace.into(),
        service_account: account.into(),
    };
    let verbs =
        |words: &[&str]| ProposeGrant { verbs: words.iter().map(|w| (*w).to_owned()).collect(), ..base() };
    let constrained = |effect, constraints| ProposeGrant { effect, constraints, ..base() };
    let span =
        |from, to| Constraints { not_before: Some(from), not_after: Some(to), ..Constraints::default() };
    let versions = |count: usize| Constraints { versions: Some(vec![1; count]), ..Constraints::default() };
    for (proposal, wanted) in [
        (
            ProposeGrant { resource: "*/**".into(), ..base() },
            "the resource is no path pattern: the pattern would match every path",
        ),
        (ProposeGrant { resource: "a/../b".into(), ..base() }, "the resource is no path pattern: segment 1"),
        (ProposeGrant { subject: of_devices("=a"), ..base() }, "the selector does not parse: unexpected `=`"),
        (ProposeGrant { subject: workload("", "c", "n", "s"), ..base() }, "site `` of the workload is not"),
        (
            ProposeGrant { subject: workload("s", "C", "n", "s"), ..base() },
            "cluster `C` of the workload is not",
        ),
        (
            ProposeGrant { subject: workload("s", "c", "..", "s"), ..base() },
            "namespace `..` of the workload is not",
        ),
        (
            ProposeGrant { subject: workload("s", "c", "n", "*"), ..base() },
            "service account `*` of the workload is not",
        ),
        (
            ProposeGrant { resource: "a/${namespace}".into(), ..base() },
            "`${namespace}` has no meaning for a device",
        ),
        (ProposeGrant { resource: "a/${sa}".into(), ..base() }, "`${sa}` has no meaning for a device"),
        (
            ProposeGrant { subject: of_web(), resource: "a/${device_id}".into(), ..base() },
            "`${device_id}` has no meaning for a workload",
        ),
        (verbs(&[]), "a grant names each of its verbs once"),
        (verbs(&["read", "read"]), "a grant names each of its verbs once"),
        (verbs(&["write"]), "`write` is not one of read, watch, issue"),
        (
            constrained(Effect::Deny, Constraints { max_ttl_s: Some(1), ..Constraints::default() }),
            "a deny carries no constraints",
        ),
        (constrained(Effect::Allow, span(5, 5)), "not_before 5 is not before not_after 5"),
        (constrained(Effect::Allow, span(6, 5)), "not_before 6 is not before not_after 5"),
        (constrained(Effect::Allow, versions(0)), "versions holds 0 entries"),
        (constrained(Effect::Allow, versions(GRANT_VERSIONS_MAX + 1)), "versions holds 65 entries"),
    ] {
        let found = refused(&proposal);
        assert!(found.starts_with(wanted), "`{found}`, wanted `{wanted}`");
    }
    for fine in [
        constrained(Effect::Allow, span(5, 6)),
        constrained(Effect::Allow, versions(1)),
        constrained(Effect::Allow, versions(GRANT_VERSIONS_MAX)),
        ProposeGrant { subject: of_web(), resource: "a/${site}/${namespace}/${sa}".into(), ..base() },
        ProposeGrant { effect: Effect::Deny, resource: "a/${site}/${device_id}".into(), ..base() },
    ] {
        assert!(Grant::parse(GrantId::from("g"), &fine).is_ok(), "{fine:?}");
    }
}

#[test]
fn a_policy_holds_each_grant_once_and_no_more_than_its_cap() {
    let one = |id: &str| allow_read(id, of_devices(""), "a/b");
    let twice = Compiled::new(tenant("acme"), vec![one("b"), one("a"), one("b")]).expect_err("twice");
    assert_eq!(twice, CompileError::Twice { id: GrantId::from("b") });
    let sorted = policy(vec![one("b"), one("a"), one("c")]);
    assert_eq!(sorted.grants().iter().map(|g| g.id().as_str()).collect::<Vec<_>>(), ["a", "b", "c"]);
    assert_eq!(sorted.tenant(), &tenant("acme"));
    assert_eq!(Compiled::empty(tenant("acme")).grants(), []);
    let many = |count: usize| {
        let like = one("x");
        let grants =
            (0..count).map(|n| Grant { id: GrantId::new(format!("g{n:06}")), ..like.clone() }).collect();
        Compiled::new(tenant("acme"), grants).map(|policy| policy.grants().len())
    };
    assert_eq!(many(GRANTS_MAX), Ok(GRANTS_MAX));
    assert_eq!(many(GRANTS_MAX + 1), Err(CompileError::TooMany { count: GRANTS_MAX + 1 }));
}
