//! Tokens as an API server makes them, each broken in one place and refused for that and no other.

use super::*;
use crate::limits::JWKS_KEYS_MAX;
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::{KeyPair as RsaPair, KeySize};
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _, RSA_PKCS1_SHA256};
use serde_json::{Value, json};
use std::sync::LazyLock;

const NOW: i64 = 1_800_000_000;
const ISSUER: &str = "https://kubernetes.default.svc";
const AUDIENCE: &str = "holdfast://default/plant-a";

static RSA: LazyLock<RsaPair> = LazyLock::new(|| RsaPair::generate(KeySize::Rsa2048).unwrap());
static EC: LazyLock<EcdsaKeyPair> =
    LazyLock::new(|| EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).unwrap());

fn algorithms() -> Vec<&'static dyn SignatureVerificationAlgorithm> {
    vec![webpki::aws_lc_rs::RSA_PKCS1_2048_8192_SHA256, webpki::aws_lc_rs::ECDSA_P256_SHA256]
}

fn text(bytes: impl AsRef<[u8]>) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

fn jwks() -> Value {
    let public = RSA.public_key();
    let n: Vec<u8> = public.modulus().big_endian_without_leading_zero().to_vec();
    let e: Vec<u8> = public.exponent().big_endian_without_leading_zero().to_vec();
    let point = EC.public_key().as_ref();
    json!({"keys": [
        {"use": "sig", "kty": "RSA", "kid": "one", "alg": "RS256", "n": text(n), "e": text(e)},
        {"use": "sig", "kty": "EC", "kid": "two", "alg": "ES256", "crv": "P-256",
         "x": text(&point[1..33]), "y": text(&point[33..])},
    ]})
}

fn keys() -> Keys {
    Keys::parse(jwks().to_string().as_bytes()).unwrap()
}

fn claims() -> Value {
    json!({
        "iss": ISSUER, "aud": [AUDIENCE], "iat": NOW - 10, "nbf": NOW - 10, "exp": NOW + 590,
        "sub": "system:serviceaccount:line-1:sensor", "jti": "x",
        "kubernetes.io": {"namespace": "line-1", "serviceaccount": {"name": "sensor", "uid": "u-1"}},
    })
}

fn with(change: impl FnOnce(&mut Value)) -> Value {
    let mut claims = claims();
    change(&mut claims);
    claims
}

fn token_with(header: &Value, claims: &Value) -> String {
    let signed = format!("{}.{}", text(header.to_string()), text(claims.to_string()));
    let random = SystemRandom::new();
    let signature = if header["kid"] == "two" {
        EC.sign(&random, signed.as_bytes()).unwrap().as_ref().to_vec()
    } else {
        let mut out = vec![0; RSA.public_modulus_len()];
        RSA.sign(&RSA_PKCS1_SHA256, &random, signed.as_bytes(), &mut out).unwrap();
        out
    };
    format!("{signed}.{}", text(signature))
}

fn token(claims: &Value) -> String {
    token_with(&json!({"alg": "RS256", "kid": "one"}), claims)
}

fn look(token: &str) -> Result<ServiceAccount, TokenError> {
    let expected = Expected { issuer: ISSUER, audience: AUDIENCE, now: NOW };
    verify(token, &keys(), expected, &algorithms()).map(Verified::into_inner)
}

#[test]
fn a_token_of_either_kind_says_whose_it_is() {
    let wanted = ServiceAccount {
        namespace: "line-1".into(),
        name: "sensor".into(),
        uid: "u-1".into(),
        expires_at: NOW + 590,
    };
    assert_eq!(look(&token(&claims())).unwrap(), wanted);
    // r or s shorter than 32 bytes comes about once in 128: a few more rounds meet it.
    for _ in 0..300 {
        assert_eq!(look(&token_with(&json!({"alg": "ES256", "kid": "two"}), &claims())).unwrap(), wanted);
    }
    let alone = with(|claims| claims["aud"] = json!(AUDIENCE));
    assert_eq!(look(&token(&alone)).unwrap(), wanted);
    assert_eq!(audience("default", "plant-a"), AUDIENCE);
}

#[test]
fn each_claim_that_is_wrong_is_refused_for_itself() {
    type Change = fn(&mut Value);
    let table: &[(&str, Change)] = &[
        ("token-issuer", |c| c["iss"] = json!("https://elsewhere")),
        ("token-audience", |c| c["aud"] = json!(["holdfast://default/plant-b"])),
        ("token-audience", |c| c["aud"] = json!([AUDIENCE, "https://kubernetes.default.svc"])),
        ("token-audience", |c| c["aud"] = json!([])),
        ("token-audience", |c| c["aud"] = json!("https://kubernetes.default.svc")),
        ("token-expired", |c| c["exp"] = json!(NOW)),
        ("token-not-yet-valid", |c| c["nbf"] = json!(NOW + TOKEN_CLOCK_SKEW_S + 1)),
        ("token-not-yet-valid", |c| c["iat"] = json!(NOW + TOKEN_CLOCK_SKEW_S + 1)),
        ("token-lifetime", |c| c["exp"] = json!(NOW + 591)),
        ("token-lifetime", |c| c["iat"] = json!(i64::MIN)),
        ("token-subject", |c| c["sub"] = json!("system:serviceaccount:line-2:sensor")),
        ("token-subject", |c| c["sub"] = json!("system:node:edge")),
        ("token-subject", |c| c["kubernetes.io"]["namespace"] = json!("line-2")),
        ("token-subject", |c| c["kubernetes.io"]["serviceaccount"]["name"] = json!("other")),
        ("token-subject", |c| c["kubernetes.io"]["serviceaccount"]["uid"] = json!("")),
        ("token-subject", |c| {
            c["kubernetes.io"]["namespace"] = json!("a/b");
            c["sub"] = json!("system:serviceaccount:a/b:sensor");
        }),
        ("token-malformed", |c| c["exp"] = json!("tomorrow")),
        ("token-malformed", |c| c["kubernetes.io"] = json!(null)),
    ];
    for (code, change) in table {
        let claims = with(change);
        assert_eq!(look(&token(&claims)).unwrap_err().code(), *code, "{claims}");
    }
    // At the edges it still counts.
    for change in [(|c| c["exp"] = json!(NOW + 1)) as Change, |c| c["nbf"] = json!(NOW + TOKEN_CLOCK_SKEW_S)]
    {
        look(&token(&with(change))).unwrap();
    }
}

#[test]
fn the_pinned_key_names_the_algorithm_and_nothing_else_does() {
    for (header, code) in [
        (json!({"alg": "none", "kid": "one"}), "token-algorithm"),
        (json!({"alg": "HS256", "kid": "one"}), "token-algorithm"),
        (json!({"alg": "ES256", "kid": "one"}), "token-algorithm"),
        (json!({"alg": "RS256", "kid": "three"}), "token-key-unknown"),
        (json!({"alg": "RS256"}), "token-malformed"),
        (json!({"alg": "RS256", "kid": "one", "crit": ["exp"]}), "token-malformed"),
    ] {
        assert_eq!(look(&token_with(&header, &claims())).unwrap_err().code(), code, "{header}");
    }
}

#[test]
fn what_was_not_signed_does_not_count() {
    let good = token(&claims());
    let parts: Vec<&str> = good.split('.').collect();
    let other = with(|claims| claims["kubernetes.io"]["namespace"] = json!("line-2"));
    let swapped = format!("{}.{}.{}", parts[0], text(other.to_string()), parts[2]);
    assert_eq!(look(&swapped).unwrap_err(), TokenError::Signature);
    for broken in [
        format!("{}.{}.", parts[0], parts[1]),
        format!("{}.{}.{}", parts[0], parts[1], text([0; 256])),
        format!("{}.{}.{}", parts[0], parts[1], text([0; 64])),
    ] {
        assert_eq!(look(&broken).unwrap_err(), TokenError::Signature, "{broken}");
    }
    for broken in ["", "a", "a.b", "a.b.c.d", "=.=.=", &format!("{good}.x")] {
        assert_eq!(look(broken).unwrap_err().code(), "token-malformed", "{broken}");
    }
    assert!(matches!(look(&"a".repeat(TOKEN_MAX_BYTES + 1)), Err(TokenError::TooLong(_))));
    for cut in 0..good.len() {
        look(&good[..cut]).unwrap_err();
    }
    // An ECDSA key's signature in DER, as certificates have it, is none of JWS.
    let mut zeros = token_with(&json!({"alg": "ES256", "kid": "two"}), &claims());
    zeros.truncate(zeros.rfind('.').unwrap() + 1);
    assert_eq!(look(&format!("{zeros}{}", text([0; 64]))).unwrap_err(), TokenError::Signature);
}

#[test]
fn a_key_set_is_taken_whole_or_not_at_all() {
    assert_eq!(keys().ids(), ["one", "two"]);
    type Change = fn(&mut Value);
    let table: &[(&str, Change)] = &[
        ("1 to 16", |set| set["keys"] = json!([])),
        ("1 to 16", |set| set["keys"] = json!(vec![set["keys"][0].clone(); 17])),
        ("two keys have the id `one`", |set| set["keys"][1]["kid"] = json!("one")),
        ("not for RS256 or ES256", |set| set["keys"][1]["crv"] = json!("P-384")),
        ("not for RS256 or ES256", |set| set["keys"][0]["alg"] = json!("PS256")),
        ("not for RS256 or ES256", |set| set["keys"][0]["use"] = json!("enc")),
        ("not for RS256 or ES256", |set| set["keys"][0]["kty"] = json!("oct")),
        ("`kid`", |set| set["keys"][0]["kid"] = json!(null)),
        ("2048 to 8192 bits", |set| set["keys"][0]["n"] = json!(text([0xff; 128]))),
        ("missing", |set| set["keys"][0]["n"] = json!(null)),
        ("exponent", |set| set["keys"][0]["e"] = json!(text([0, 0]))),
        ("32 bytes", |set| set["keys"][1]["x"] = json!(text([1; 31]))),
        ("no base64url", |set| set["keys"][1]["y"] = json!("=")),
        ("no JWKS", |set| *set = json!({})),
    ];
    for (words, change) in table {
        let mut set = jwks();
        change(&mut set);
        let error = Keys::parse(set.to_string().as_bytes()).unwrap_err().to_string();
        assert!(error.contains(words), "{words}: {error}");
    }
    assert!(matches!(Keys::parse(&vec![b' '; JWKS_MAX_BYTES + 1]), Err(KeysError::TooLong(_))));
}

use crate::limits::JWKS_MAX_BYTES;

#[test]
fn a_token_is_as_long_as_it_may_be_and_no_longer() {
    // Three bytes of a claim are four of base64url: the length steps by at most two.
    let padded = |n: usize| token(&with(|claims| claims["jti"] = json!("x".repeat(n))));
    let about = (TOKEN_MAX_BYTES - padded(0).len()) / 4 * 3;
    let fitting = (0..about + 8).rev().map(padded).find(|token| token.len() <= TOKEN_MAX_BYTES).unwrap();
    assert!(fitting.len() >= TOKEN_MAX_BYTES - 2, "{}", fitting.len());
    look(&fitting).unwrap();
    let too_long = format!("{}.x", "a".repeat(TOKEN_MAX_BYTES - 1));
    assert_eq!(look(&too_long).unwrap_err(), TokenError::TooLong(TOKEN_MAX_BYTES + 1));
    let longest = "a".repeat(TOKEN_MAX_BYTES);
    assert_eq!(look(&longest).unwrap_err(), TokenError::Malformed("not three parts"));
}

#[test]
fn the_hash_is_the_headers_and_not_another_that_the_key_could_have_signed() {
    let signed =
        format!("{}.{}", text(json!({"alg": "RS256", "kid": "one"}).to_string()), text(claims().to_string()));
    let mut out = vec![0; RSA.public_modulus_len()];
    let padding = &aws_lc_rs::signature::RSA_PKCS1_SHA384;
    RSA.sign(padding, &SystemRandom::new(), signed.as_bytes(), &mut out).unwrap();
    let token = format!("{signed}.{}", text(out));
    let expected = Expected { issuer: ISSUER, audience: AUDIENCE, now: NOW };
    let refused = verify(&token, &keys(), expected, webpki::ALL_VERIFICATION_ALGS).map(|_| ());
    assert_eq!(refused.unwrap_err(), TokenError::Signature);
}

#[test]
fn a_key_set_is_bounded_in_bytes_keys_and_numbers() {
    let mut set = jwks();
    let padded = |set: &Value, length: usize| {
        let mut json = set.to_string().into_bytes();
        json.resize(length, b' ');
        Keys::parse(&json).map(|_| ())
    };
    assert_eq!(padded(&set, JWKS_MAX_BYTES), Ok(()));
    assert_eq!(padded(&set, JWKS_MAX_BYTES + 1), Err(KeysError::TooLong(JWKS_MAX_BYTES + 1)));
    for count in [JWKS_KEYS_MAX, JWKS_KEYS_MAX + 1] {
        let keys = (0..count).map(|n| {
            let mut key = set["keys"][1].clone();
            key["kid"] = json!(n.to_string());
            key
        });
        let many = json!({"keys": keys.collect::<Vec<_>>()});
        let parsed = Keys::parse(many.to_string().as_bytes()).map(|_| ());
        let wanted = if count > JWKS_KEYS_MAX { Err(KeysError::Count(count)) } else { Ok(()) };
        assert_eq!(parsed, wanted);
    }
    for (bytes, fine) in [(8, true), (9, false)] {
        set["keys"][0]["e"] = json!(text(vec![3; bytes]));
        assert_eq!(Keys::parse(set.to_string().as_bytes()).is_ok(), fine, "{bytes} bytes");
    }
}
