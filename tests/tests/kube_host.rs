//! The API server that the other suites stand on: does it start, and is it real where we lean on it?

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use holdfast_tests::kube::{self, TOKEN_ISSUER};

#[test]
fn token_request_answers_with_the_audience_the_issuer_and_the_lifetime_asked_for() {
    let kube = kube::shared();
    kube.create_namespace("tokens").unwrap();
    kube.create_service_account("tokens", "edge").unwrap();
    let token = kube.token("tokens", "edge", "holdfast://acme/site-7", 600).unwrap();

    let parts: Vec<&str> = token.split('.').collect();
    assert_eq!(parts.len(), 3, "a JWT: {token}");
    let header: serde_json::Value = json_part(parts[0]);
    let claims: serde_json::Value = json_part(parts[1]);
    assert_eq!(header["alg"], "RS256");
    assert_eq!(claims["iss"], TOKEN_ISSUER);
    assert_eq!(claims["aud"], serde_json::json!(["holdfast://acme/site-7"]));
    assert_eq!(claims["sub"], "system:serviceaccount:tokens:edge");
    assert_eq!(claims["exp"].as_i64().unwrap() - claims["iat"].as_i64().unwrap(), 600);

    // The key that the server publishes is the one whose PEM we hand to whoever pins it.
    let keys: serde_json::Value = serde_json::from_str(&kube.token_keys_jwks().unwrap()).unwrap();
    assert_eq!(keys["keys"][0]["kid"], header["kid"]);
    assert!(kube.token_public_key_pem().unwrap().starts_with("-----BEGIN PUBLIC KEY-----"));
}

#[test]
fn server_side_apply_keeps_the_fields_of_two_owners_apart() {
    let kube = kube::shared();
    kube.create_namespace("apply").unwrap();
    let secret = |value: &str| {
        format!(
            "apiVersion: v1\nkind: Secret\nmetadata: {{namespace: apply, name: wifi}}\ndata: {{psk: {}}}\n",
            STANDARD.encode(value)
        )
    };
    kube.apply(&secret("first")).unwrap();
    assert_eq!(kube.get("apply", "secret", "wifi").unwrap()["data"]["psk"], STANDARD.encode("first"));

    let other = kube.write_kubeconfig_for("somebody", &["system:masters"]).unwrap();
    let conflict = kube
        .kubectl_as(
            &other,
            &[
                "-n",
                "apply",
                "patch",
                "secret",
                "wifi",
                "--type=merge",
                "-p",
                "{\"data\":{\"psk\":\"AA==\"}}",
            ],
        )
        .and_then(|_| kube.apply(&secret("second")))
        .unwrap_err();
    assert!(conflict.to_string().contains("conflict"), "{conflict}");
}

#[test]
fn rbac_refuses_what_was_not_granted() {
    let kube = kube::shared();
    kube.create_namespace("fence").unwrap();
    kube.create_service_account("fence", "controller").unwrap();
    let controller = kube.write_kubeconfig_for_service_account("fence", "controller").unwrap();
    let refused = kube.kubectl_as(&controller, &["-n", "fence", "get", "secrets"]).unwrap_err();
    assert!(refused.to_string().contains("cannot list resource \"secrets\""), "{refused}");

    kube.kubectl(&["-n", "fence", "create", "role", "reader", "--verb=list", "--resource=configmaps"])
        .unwrap();
    kube.kubectl(&[
        "-n",
        "fence",
        "create",
        "rolebinding",
        "reader",
        "--role=reader",
        "--serviceaccount=fence:controller",
    ])
    .unwrap();
    kube.kubectl_as(&controller, &["-n", "fence", "get", "configmaps"]).unwrap();
}

#[test]
fn a_watch_for_what_never_comes_ends_with_what_was_seen_last() {
    let kube = kube::shared();
    kube.create_namespace("watched").unwrap();
    let two_seconds = std::time::Duration::from_secs(2);
    let seen = kube.watch_until(("", "namespace", "watched"), two_seconds, |_| true).unwrap();
    assert_eq!(seen["metadata"]["name"], "watched");
    let late = kube.watch_until(("", "namespace", "watched"), two_seconds, |_| false).unwrap_err();
    assert!(matches!(&late, kube::KubeError::Late { last, .. } if **last == seen), "{late}");
    let absent = kube.watch_until(("", "namespace", "never"), two_seconds, |_| true).unwrap_err();
    assert!(matches!(&absent, kube::KubeError::Late { last, .. } if last.is_null()), "{absent}");
}

#[test]
fn a_killed_api_server_comes_back_with_everything_stored() {
    let mut kube = kube::KubeHost::start().unwrap();
    kube.create_namespace("kept").unwrap();
    kube.kill_api().unwrap();
    kube.kubectl(&["get", "namespace", "kept", "--request-timeout=2s"]).unwrap_err();
    kube.restart_api().unwrap();
    kube.kubectl(&["get", "namespace", "kept"]).unwrap();
}

fn json_part(part: &str) -> serde_json::Value {
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(part).unwrap()).unwrap()
}
