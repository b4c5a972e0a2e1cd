//! Names of things: each a newtype over text, so that no two kinds can be mixed up.

use serde::{Deserialize, Serialize};
use std::fmt;

macro_rules! ids {
    ($($(#[$doc:meta])* $name:ident),+ $(,)?) => {$(
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
        #[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
        #[serde(transparent)]
        pub struct $name(String);

        impl $name {
            /// Takes the text as it is; whether such a thing exists is another's question.
            pub fn new(text: impl Into<String>) -> Self {
                Self(text.into())
            }

            /// The id as text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{}({})", stringify!($name), self.0)
            }
        }

        impl From<&str> for $name {
            fn from(text: &str) -> Self {
                Self(text.to_owned())
            }
        }

        impl From<String> for $name {
            fn from(text: String) -> Self {
                Self(text)
            }
        }

        impl AsRef<str> for $name {
            fn as_ref(&self) -> &str {
                &self.0
            }
        }
    )+};
}

ids! {
    /// A tenant; the embedded one is `default`.
    TenantId,
    /// A device's record at the service, made by the service (`dev_` and 26 characters).
    DeviceId,
    /// A release's name, unique within its hardware id, `[a-z0-9._-]+`.
    ReleaseName,
    /// A rollout.
    RolloutId,
    /// A grant.
    GrantId,
}

/// True for one path or name segment: 1 to 128 of `[a-z0-9._-]`, and not `.` or `..`.
pub fn is_segment(text: &str) -> bool {
    !text.is_empty()
        && text.len() <= 128
        && text != "."
        && text != ".."
        && text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b"._-".contains(&b))
}

#[cfg(test)]
mod tests {
    use super::is_segment;

    #[test]
    fn a_segment_holds_no_separator_no_dots_alone_and_only_ascii() {
        for good in ["a", "prime-hub", "7.28.0", "a_b"] {
            assert!(is_segment(good), "{good}");
        }
        for bad in ["", ".", "..", "a/b", "A", "é", "a b", "a*", &"a".repeat(129)] {
            assert!(!is_segment(bad), "{bad}");
        }
    }
}
