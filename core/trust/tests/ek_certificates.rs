//! ek_certificates
