//! Retry and lockout against a scripted transport.

use super::*;
use std::collections::VecDeque;
use std::sync::{Arc, Mutex};

struct Scripted {
    codes: VecDeque<u32>,
    sent: Arc<Mutex<Vec<Vec<u8>>>>,
}

impl Transport for Scripted {
    fn transact(&mut self, command: &[u8]) -> Result<Vec<u8>, TransportError> {
        self.sent.lock().unwrap().push(command.to_vec());
        let code = self.codes.pop_front().unwrap_or(0);
        Ok([&[0x80, 0x01, 0, 0, 0, 10][..], &code.to_be_bytes()].concat())
    }

    fn keeps_leftovers(&self) -> bool {
        false
    }
}

fn scripted(codes: &[u32]) -> (Result<(), TpmError>, usize) {
    let sent = Arc::new(Mutex::new(Vec::new()));
    // TPM2_Startup itself succeeds first.
    let codes = std::iter::once(0).chain(codes.iter().copied()).collect();
    let transport = Scripted { codes, sent: Arc::clone(&sent) };
    let patience = Patience { tries: 4, first_pause: Duration::ZERO };
    let mut tpm = Tpm::start(Box::new(transport)).unwrap().with_patience(patience);
    let result = tpm.self_test();
    let sent = sent.lock().unwrap();
    assert!(sent[1..].windows(2).all(|pair| pair[0] == pair[1]), "the same bytes are sent again");
    (result, sent.len() - 1)
}

#[test]
fn every_code_that_asks_for_it_is_sent_again() {
    for code in [0x922, 0x908, 0x90A, 0x920] {
        let (result, sent) = scripted(&[code, code, 0]);
        assert!(result.is_ok(), "{code:#x}");
        assert_eq!(sent, 3);
    }
}

#[test]
fn patience_ends() {
    let (result, sent) = scripted(&[0x922; 9]);
    assert!(matches!(result, Err(TpmError::Busy { code: rc::RETRY, tries: 4, .. })));
    assert_eq!(sent, 4);
}

#[test]
fn lockout_is_reported_and_never_looped() {
    let (result, sent) = scripted(&[0x921, 0]);
    assert!(matches!(result, Err(TpmError::Lockout { .. })));
    assert_eq!(sent, 1);
}

#[test]
fn other_codes_are_refusals_with_their_base() {
    let (result, sent) = scripted(&[0x1DF]);
    let error = result.unwrap_err();
    assert_eq!(error.code().unwrap().base(), rc::INTEGRITY);
    assert_eq!(sent, 1);
}
