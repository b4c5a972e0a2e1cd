//! Kinds of attestation.
