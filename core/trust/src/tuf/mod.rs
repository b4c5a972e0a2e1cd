//! Verify-only client of The Update Framework.
