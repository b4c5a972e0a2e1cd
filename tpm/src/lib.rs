//! TPM 2.0: structures for everyone, commands and transports behind feature device.
