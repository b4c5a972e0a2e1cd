//! Against servers that give a byte now and then: every wait ends, and as an error of the network.

use super::*;
use crate::checkin;
use crate::survey::in_words;
use crate::testing::{Served, in_time, listen};
use holdfast_decide::device::CheckFailure;
use std::io::{Read, Write};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

/// Far below what the program itself grants; a socket that says nothing is not what ends these waits.
const SHORT: Limits =
    Limits { handshake_ms: 400, silence_ms: 60_000, answer_ms: 400, blob_ms: 400, bytes_per_s: 1024 };

/// How long a server waits between two drips for its client to go.
const DRIP: Option<Duration> = Some(Duration::from_millis(20));

/// So many bytes whenever the client has been silent for [`DRIP`], the read timeout of its socket, until it goes.
fn drip(stream: &mut (impl Read + Write), bytes: usize) {
    while stream.write_all(&vec![b'0'; bytes]).and_then(|()| stream.flush()).is_ok() {
        match stream.read(&mut [0; 4096]) {
            Ok(1..) => {}
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {}
            Ok(0) | Err(_) => return,
        }
    }
}

fn is_given_up(error: &DeviceError) {
    assert!(in_words(error).contains("too slow"), "{}", in_words(error));
    assert_eq!(checkin::failure(error), CheckFailure::Offline);
}

/// A service whose answers begin well and go on in drips of so many bytes.
fn dripping(bytes: usize) -> Service {
    let (port, root) = listen(move |mut stream: Served| {
        let _ = stream.read(&mut [0; 4096]);
        stream.sock.set_read_timeout(DRIP).unwrap();
        if stream.write_all(b"HTTP/1.1 200 X\r\ncontent-length: 1000000\r\n\r\n").is_ok() {
            drip(&mut stream, bytes);
        }
    });
    Service::anonymous(&Site::of_test(port, root)).unwrap().within(SHORT)
}

#[test]
fn a_handshake_in_drips_is_given_up() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            stream.set_read_timeout(DRIP).unwrap();
            // The head of a handshake record of 16 KiB.
            let _ = stream.write_all(&[22, 3, 3, 0x40, 0]);
            drip(&mut stream, 1);
        }
    });
    let root = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap().cert.der().to_vec();
    let service = Service::anonymous(&Site::of_test(port, root)).unwrap().within(SHORT);
    in_time(move || {
        is_given_up(&service.connect().err().unwrap());
        is_given_up(&service.ask("GET", "/", &[], &[]).err().unwrap());
    });
}

#[test]
fn an_answer_in_drips_is_given_up_over_either_kind_of_connection() {
    let service = dripping(1);
    in_time(move || {
        is_given_up(&service.ask("GET", "/", &[], &[]).err().unwrap());
        let held = service.connect().unwrap();
        is_given_up(&service.over(&held, "POST", "/", &[], b"{}").err().unwrap());
    });
}

#[test]
fn a_blob_in_drips_is_given_up() {
    let (ended, bytes) = in_time(|| {
        let mut bytes = Vec::new();
        let body = dripping(1).blob("/", &[]).unwrap().into_body();
        (body.into_reader().read_to_end(&mut bytes), bytes)
    });
    let error = ended.unwrap_err();
    assert!(error.to_string().contains("too slow"), "{error}");
    assert!(bytes.len() > 1, "and not at its first pause");
}

#[test]
fn a_blob_above_its_rate_may_take_longer_than_the_patience_with_silence() {
    // A million bytes in drips of 5,000 take 4 s at least.
    let service = dripping(5_000).within(Limits { blob_ms: 2_500, ..SHORT });
    let mut bytes = Vec::new();
    service.blob("/", &[]).unwrap().into_body().into_reader().read_to_end(&mut bytes).unwrap();
    assert_eq!(bytes.len(), 1_000_000);
}

#[test]
fn patience_is_new_for_every_request_over_either_kind_of_connection() {
    // At this rate bytes are worth nothing, those that are sent included.
    let service = crate::testing::answering(|_| "{}".to_owned());
    let service = service.within(Limits { bytes_per_s: u64::MAX, ..Limits::default() });
    for _ in 0..2 {
        service.target.patience.exhaust();
        assert_eq!(service.ask("GET", "/", &[], &[]).unwrap().body, b"{}");
    }
    let held = service.connect().unwrap();
    for _ in 0..2 {
        service.target.patience.exhaust();
        assert_eq!(service.over(&held, "POST", "/", &[], b"{}").unwrap().body, b"{}");
    }
}

#[test]
fn a_connection_that_is_held_for_long_is_not_fresh() {
    let service = crate::testing::answering(|_| "{}".to_owned());
    let mut held = service.connect().unwrap();
    assert_eq!(service.over(&held, "POST", "/", &[], b"{}").unwrap().body, b"{}");
    assert!(held.is_fresh());
    held.opened_ms -= FRESH_MS;
    assert!(!held.is_fresh());
}

#[test]
fn a_connection_that_is_held_is_no_other_once_it_has_ended() {
    let accepted = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&accepted);
    let (port, root) = listen(move |mut stream: Served| {
        counted.fetch_add(1, Ordering::SeqCst);
        let _ = stream.read(&mut [0; 4096]);
        let _ = stream.write_all(b"HTTP/1.1 200 X\r\ncontent-length: 2\r\n\r\n{}");
    });
    let service = Service::anonymous(&Site::of_test(port, root)).unwrap();
    in_time(move || {
        let held = service.connect().unwrap();
        assert_eq!(service.over(&held, "POST", "/", &[], b"{}").unwrap().body, b"{}");
        while held.is_fresh() {
            std::thread::yield_now();
        }
        let error = service.over(&held, "POST", "/", &[], b"{}").err().unwrap();
        assert_eq!(checkin::failure(&error), CheckFailure::Offline);
        assert_eq!(accepted.load(Ordering::SeqCst), 1);
    });
}
