//! `release draft` and `release yank` against a service that holds every online key and lies.

use super::*;
use crate::desk::testing::{NOW, TestDesk, evil, tampered};
use crate::desk::{Privacy, write_file};
use holdfast_proto::Digest;
use serde_json::{Value, json};
use sha2::Digest as _;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};

type Answers = Vec<(String, Vec<u8>)>;

/// A service that answers these paths, and 404 to any other.
fn service(answers: Answers) -> Client {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let base = format!("http://{}", listener.local_addr().unwrap());
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            answer(stream.unwrap(), &answers);
        }
    });
    Client::plain(base)
}

fn answer(stream: TcpStream, answers: &Answers) {
    let mut reader = BufReader::new(stream);
    let (mut first, mut length) = (String::new(), 0);
    reader.read_line(&mut first).unwrap();
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).unwrap();
        if line.trim().is_empty() {
            break;
        }
        if let Some(text) = line.to_ascii_lowercase().strip_prefix("content-length:") {
            length = text.trim().parse().unwrap();
        }
    }
    std::io::copy(&mut (&mut reader).take(length), &mut std::io::sink()).unwrap();
    let path = first.split(' ').nth(1).unwrap_or_default().strip_prefix("/api/v1").unwrap_or_default();
    let found = answers.iter().find(|(at, _)| path.split('?').next() == Some(at.as_str()));
    let (status, body) = found.map_or(("404 Not Found", &b"{}"[..]), |(_, body)| ("200 OK", body.as_slice()));
    let head = format!("HTTP/1.1 {status}\r\ncontent-length: {}\r\nconnection: close\r\n\r\n", body.len());
    let mut stream = reader.into_inner();
    stream.write_all(&[head.as_bytes(), body].concat()).unwrap();
}

const IMAGE: &[u8] = b"an image";

fn digest(bytes: &[u8]) -> Digest {
    Digest(sha2::Sha256::digest(bytes).into())
}

/// What an honest service says of [`IMAGE`]: one block, so the list is its digest.
fn stored(block_root: Digest) -> (String, Vec<u8>) {
    let sha256 = digest(IMAGE);
    let body = json!({"sha256": sha256, "length": IMAGE.len(), "block_root": block_root});
    (format!("/artifacts/{sha256}"), body.to_string().into_bytes())
}

fn honest() -> (String, Vec<u8>) {
    stored(digest(&digest(IMAGE).0))
}

fn role(role: &str, bytes: &[u8]) -> (String, Vec<u8>) {
    (format!("/tuf/metadata/{role}"), bytes.to_vec())
}

/// `release draft` of r2 at this desk.
fn draft(test: &TestDesk, answers: Answers, security_counter: Option<u64>) -> anyhow::Result<()> {
    let folder = test.desk.out().parent().unwrap().to_owned();
    let image = folder.join("image.bin");
    write_file(&image, IMAGE, Privacy::Public).unwrap();
    let command = Release::Draft {
        hardware: "hub".into(),
        release: "r2".into(),
        version: "2".into(),
        artefacts: vec![("rootfs".into(), image.display().to_string())],
        channel: "stable".into(),
        security_counter,
        health_profile: None,
        min_counter_from: None,
        desk: folder,
    };
    command.draft(&service(answers))
}

fn drafted_manifest(test: &TestDesk) -> Manifest {
    serde_json::from_slice(&std::fs::read(test.desk.files().join("products/hub/r2.json")).unwrap()).unwrap()
}

/// Refused with these words, and nothing lies ready to be signed.
fn refused(test: &TestDesk, result: anyhow::Result<()>, words: &str) {
    let text = format!("{:#}", result.unwrap_err());
    assert!(text.contains(words), "no `{words}` in: {text}");
    assert!(test.drafted("product-hub").is_none() && test.drafted("channel-stable").is_none());
}

#[test]
fn a_first_release_and_one_that_follows_are_drafted() {
    let first = TestDesk::founded();
    draft(&first, vec![honest()], None).unwrap();
    assert_eq!(drafted_manifest(&first).security_counter, 1);
    assert_eq!(first.drafted("product-hub").unwrap()["version"], 1);

    let (test, product, channel) = TestDesk::released(4);
    draft(&test, vec![honest(), role("product-hub", &product), role("channel-stable", &channel)], None)
        .unwrap();
    let next = test.drafted("product-hub").unwrap();
    assert_eq!((&next["version"], next["targets"].as_object().unwrap().len()), (&json!(2), 2));
    assert_eq!(drafted_manifest(&test).artefacts[0].block_root, digest(&digest(IMAGE).0));
}

#[test]
fn a_target_that_the_service_slipped_in_is_never_drafted() {
    let (test, product, channel) = TestDesk::released(4);
    let add = |path: &'static str| move |signed: &mut Value| signed["targets"][path] = evil();
    let evil_product = tampered(&product, add("products/hub/evil.json"));
    let evil_channel = tampered(&channel, add("channels/stable/hub/evil.json"));
    let answers = |product: &[u8], channel: &[u8]| {
        vec![honest(), role("product-hub", product), role("channel-stable", channel)]
    };
    refused(&test, draft(&test, answers(&evil_product, &channel), Some(4)), "0 valid signatures");
    refused(&test, draft(&test, answers(&product, &evil_channel), Some(4)), "0 valid signatures");
}

#[test]
fn a_yank_is_not_drafted_over_a_channel_that_the_service_changed() {
    let (test, _, channel) = TestDesk::released(4);
    let evil_channel =
        tampered(&channel, |signed| signed["targets"]["channels/stable/hub/evil.json"] = evil());
    let run = |channel: &[u8]| {
        yank(&service(vec![role("channel-stable", channel)]), &test.desk, "hub", "stable", "r1").map(drop)
    };
    refused(&test, run(&evil_channel), "0 valid signatures");
    run(&channel).unwrap();
    assert_eq!(test.drafted("channel-stable").unwrap()["targets"], json!({}));
}

#[test]
fn the_services_release_list_does_not_choose_the_security_counter() {
    let (test, product, channel) = TestDesk::released(4);
    let lie = json!({"items": [{"hardware": "hub", "release": "r1", "version": "1", "security_counter": u64::MAX,
        "manifest": digest(b""), "artefacts": [], "channels": [], "published_at": NOW}]});
    let answers = || {
        let list = ("/releases".to_owned(), lie.to_string().into_bytes());
        vec![honest(), list, role("product-hub", &product), role("channel-stable", &channel)]
    };
    draft(&test, answers(), None).unwrap();
    assert_eq!(drafted_manifest(&test).security_counter, 4);

    // A desk that does not keep the manifests cannot know it, whatever the service says.
    let (test, ..) = TestDesk::released(4);
    std::fs::remove_dir_all(test.desk.published().join("files")).unwrap();
    refused(&test, draft(&test, answers(), None), "Give --security-counter");
    draft(&test, answers(), Some(7)).unwrap();
    assert_eq!(drafted_manifest(&test).security_counter, 7);
}

#[test]
fn a_block_root_that_is_not_the_files_is_refused() {
    let test = TestDesk::founded();
    refused(&test, draft(&test, vec![stored(Digest([9; 32]))], Some(1)), "the block root of rootfs");
    for (key, lie) in [("sha256", json!(Digest([9; 32]))), ("length", json!(9))] {
        let (path, body) = honest();
        let mut body: Value = serde_json::from_slice(&body).unwrap();
        body[key] = lie;
        let answers = vec![(path, body.to_string().into_bytes())];
        refused(&test, draft(&test, answers, Some(1)), "stored other bytes of rootfs");
    }
}

#[test]
fn a_version_without_a_successor_and_a_withheld_role_are_refused() {
    let (test, product, channel) = TestDesk::released(4);
    let last = tampered(&product, |signed| signed["version"] = json!(u64::MAX));
    let answers = vec![honest(), role("product-hub", &last), role("channel-stable", &channel)];
    refused(&test, draft(&test, answers, Some(4)), "0 valid signatures");
    refused(&test, draft(&test, vec![honest()], Some(4)), "this desk published version 1");
}
