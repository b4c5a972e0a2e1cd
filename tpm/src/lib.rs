//! TPM 2.0: structures for everyone ([`wire`], pure), and behind feature `device` commands, keys and
//! transports for a program with a TPM at hand.

pub mod wire;
