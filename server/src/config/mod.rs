//! The configuration: `default.toml` (keys, defaults and their comments), a file over it, the environment
//! over that, the command line last.
//!
//! Unknown keys are errors that name the nearest known one. Every default is safe.

mod nearest;

use serde::Deserialize;
use std::path::{Path, PathBuf};
use toml::{Table, Value};

/// Every key with its default, commented.
pub const DEFAULT: &str = include_str!("default.toml");

/// What is wrong with a configuration.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("{path} cannot be read")]
    Read {
        path: PathBuf,
        #[source]
        source: std::io::Error,
    },
    #[error("{from} is no TOML")]
    Toml {
        from: String,
        #[source]
        source: Box<toml::de::Error>,
    },
    #[error("{from}: there is no key `{key}`; the nearest is `{nearest}`")]
    UnknownKey { from: String, key: String, nearest: String },
    #[error("{from}: `{key}` wants {wanted}, not {found}")]
    Type { from: String, key: String, wanted: &'static str, found: &'static str },
    #[error("`{key}` is {found}, allowed is {allowed}")]
    Range { key: &'static str, found: String, allowed: &'static str },
    #[error("the configuration does not fit")]
    Shape(#[source] Box<toml::de::Error>),
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    pub data_dir: PathBuf,
    pub listen: Listen,
    pub database: Database,
    pub identity: Identity,
    pub checkin: Checkin,
    pub rollout: Rollout,
    pub limits: Limits,
    pub log: Log,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Listen {
    pub address: std::net::SocketAddr,
    pub public_url: String,
    pub names: Vec<String>,
    pub max_connections: usize,
    pub drain_s: u64,
}

#[derive(Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Database {
    pub url: String,
    pub max_connections: u32,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Identity {
    pub trust_domain: String,
    pub oid_arc: String,
    pub certificate_days: i64,
    pub session_minutes: i64,
    pub recover_t0_days: i64,
    pub pending_retry_s: u32,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Checkin {
    pub poll_after_s: u32,
    pub flush_s: u64,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rollout {
    pub plan_every_s: u64,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Limits {
    pub enroll_per_second: f64,
    pub enroll_burst: f64,
    pub sign_in_per_second: f64,
    pub sign_in_burst: f64,
    pub concurrent_requests: usize,
    pub waiting_enrollments: u32,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Log {
    pub filter: String,
    pub format: LogFormat,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LogFormat {
    Text,
    Json,
}

/// A database URL may hold a password.
impl std::fmt::Debug for Database {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Database").field("max_connections", &self.max_connections).finish_non_exhaustive()
    }
}

impl Config {
    /// Reads the file (if any), then `environment`, then `flags` (dotted key, value as text).
    pub fn load(
        file: Option<&Path>,
        environment: impl Iterator<Item = (String, String)>,
        flags: &[(&str, String)],
    ) -> Result<Self, Error> {
        let mut table = defaults();
        if let Some(path) = file {
            let text = std::fs::read_to_string(path)
                .map_err(|source| Error::Read { path: path.to_owned(), source })?;
            let from = path.display().to_string();
            let given: Table = text
                .parse()
                .map_err(|source| Error::Toml { from: from.clone(), source: Box::new(source) })?;
            overlay(&mut table, given, "", &from)?;
        }
        let keys = keys(&table, "");
        for (name, text) in environment {
            if let Some(key) = keys.iter().find(|key| environment_name(key) == name) {
                set(&mut table, key, &text, &name)?;
            }
        }
        for (key, text) in flags {
            set(&mut table, key, text, "the command line")?;
        }
        let config: Self = table.try_into().map_err(|source| Error::Shape(Box::new(source)))?;
        config.check()
    }

    /// The defaults alone, over a data folder; for tests.
    pub fn for_data_dir(data_dir: &Path) -> Result<Self, Error> {
        Self::load(None, std::iter::empty(), &[("data_dir", data_dir.display().to_string())])
    }

    fn check(self) -> Result<Self, Error> {
        let range = |key, value: i64, allowed: std::ops::RangeInclusive<i64>, text| {
            if allowed.contains(&value) {
                Ok(())
            } else {
                Err(Error::Range { key, found: value.to_string(), allowed: text })
            }
        };
        range("identity.certificate_days", self.identity.certificate_days, 30..=90, "30 to 90")?;
        range("identity.session_minutes", self.identity.session_minutes, 5..=60, "5 to 60")?;
        range("checkin.poll_after_s", self.checkin.poll_after_s.into(), 1..=86_400, "1 to 86400")?;
        range("checkin.flush_s", self.checkin.flush_s as i64, 1..=3600, "1 to 3600")?;
        range("rollout.plan_every_s", self.rollout.plan_every_s as i64, 1..=3600, "1 to 3600")?;
        range("database.max_connections", self.database.max_connections.into(), 1..=1000, "1 to 1000")?;
        let domain = &self.identity.trust_domain;
        if domain.is_empty()
            || !domain.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b"._-".contains(&b))
        {
            let (found, allowed) = (domain.clone(), "lower-case letters, digits, dots, dashes");
            return Err(Error::Range { key: "identity.trust_domain", found, allowed });
        }
        if crate::ca::der::oid(&self.identity.oid_arc).is_none() {
            let found = self.identity.oid_arc.clone();
            return Err(Error::Range {
                key: "identity.oid_arc",
                found,
                allowed: "a dotted object identifier",
            });
        }
        Ok(self)
    }

    /// The database's URL: the configured one, or SQLite in the data folder.
    pub fn database_url(&self) -> String {
        if self.database.url.is_empty() {
            crate::db::Db::sqlite_url(&self.data_dir.join("holdfast.db"))
        } else {
            self.database.url.clone()
        }
    }
}

fn defaults() -> Table {
    // Unwrap safety: a constant of this file's, read by a test.
    DEFAULT.parse().expect("default.toml")
}

fn environment_name(key: &str) -> String {
    format!("HOLDFAST_{}", key.replace('.', "_").to_ascii_uppercase())
}

fn keys(table: &Table, prefix: &str) -> Vec<String> {
    table
        .iter()
        .flat_map(|(name, value)| {
            let key = format!("{prefix}{name}");
            match value {
                Value::Table(inner) => keys(inner, &format!("{key}.")),
                _ => vec![key],
            }
        })
        .collect()
}

fn overlay(base: &mut Table, given: Table, prefix: &str, from: &str) -> Result<(), Error> {
    for (name, value) in given {
        let key = format!("{prefix}{name}");
        let Some(slot) = base.get_mut(&name) else {
            let nearest = nearest::nearest(&key, &keys(&defaults(), "")).unwrap_or_default();
            return Err(Error::UnknownKey { from: from.to_owned(), key, nearest });
        };
        match (slot, value) {
            (Value::Table(inner), Value::Table(given)) => overlay(inner, given, &format!("{key}."), from)?,
            (Value::Float(slot), Value::Integer(value)) => *slot = value as f64,
            (slot, value) if slot.same_type(&value) => *slot = value,
            (slot, value) => {
                let (wanted, found) = (slot.type_str(), value.type_str());
                return Err(Error::Type { from: from.to_owned(), key, wanted, found });
            }
        }
    }
    Ok(())
}

/// Sets one key from text: lists are separated by commas.
fn set(table: &mut Table, key: &str, text: &str, from: &str) -> Result<(), Error> {
    let mut parts = key.split('.').peekable();
    let mut table = table;
    while let Some(part) = parts.next() {
        let Some(slot) = table.get_mut(part) else { break };
        if parts.peek().is_some() {
            let Value::Table(inner) = slot else { break };
            table = inner;
            continue;
        }
        let wrong =
            |wanted| Error::Type { from: from.to_owned(), key: key.to_owned(), wanted, found: "other text" };
        *slot = match slot {
            Value::Integer(_) => Value::Integer(text.parse().map_err(|_| wrong("an integer"))?),
            Value::Float(_) => Value::Float(text.parse().map_err(|_| wrong("a number"))?),
            Value::Boolean(_) => Value::Boolean(text.parse().map_err(|_| wrong("true or false"))?),
            Value::Array(_) => Value::Array(
                text.split(',')
                    .map(str::trim)
                    .filter(|t| !t.is_empty())
                    .map(|t| Value::String(t.into()))
                    .collect(),
            ),
            _ => Value::String(text.to_owned()),
        };
        return Ok(());
    }
    let nearest = nearest::nearest(key, &keys(&defaults(), "")).unwrap_or_default();
    Err(Error::UnknownKey { from: from.to_owned(), key: key.to_owned(), nearest })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[expect(clippy::disallowed_methods, reason = "a test's own file")]
    fn load(text: &str, environment: &[(&str, &str)]) -> Result<Config, Error> {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), text).unwrap();
        let environment = environment.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned()));
        Config::load(Some(file.path()), environment, &[])
    }

    #[test]
    fn the_defaults_are_a_configuration() {
        let config = load("", &[]).unwrap();
        assert_eq!(config.listen.address.port(), 8443);
        assert!(config.database_url().starts_with("sqlite://holdfast-data/holdfast.db"));
    }

    #[test]
    fn the_environment_is_over_the_file_and_the_file_over_the_defaults() {
        let config = load(
            "[limits]\nenroll_per_second = 7\n[listen]\nnames = [\"a\"]",
            &[
                ("HOLDFAST_LISTEN_NAMES", "b, c"),
                ("HOLDFAST_DATABASE_MAX_CONNECTIONS", "3"),
                ("HOLDFAST_URL", "x"),
            ],
        )
        .unwrap();
        assert!((config.limits.enroll_per_second - 7.0).abs() < f64::EPSILON);
        assert_eq!(config.listen.names, ["b", "c"]);
        assert_eq!(config.database.max_connections, 3);
    }

    #[test]
    fn an_unknown_key_names_its_nearest() {
        let error = load("[listen]\nadress = \"x\"", &[]).unwrap_err();
        let Error::UnknownKey { key, nearest, .. } = &error else { panic!("{error}") };
        assert_eq!((key.as_str(), nearest.as_str()), ("listen.adress", "listen.address"));
        assert!(matches!(load("[listen]\nnames = 1", &[]), Err(Error::Type { .. })));
        assert!(matches!(load("[identity]\ncertificate_days = 400", &[]), Err(Error::Range { .. })));
        assert!(matches!(load("[identity]\noid_arc = \"9.9\"", &[]), Err(Error::Range { .. })));
    }

    // It was read nowhere: each route has its own time.
    #[test]
    fn the_key_of_a_time_for_all_requests_is_gone_and_a_file_that_has_it_is_told() {
        let error = load("[limits]\nrequest_timeout_s = 30", &[]).unwrap_err();
        let Error::UnknownKey { key, .. } = &error else { panic!("{error}") };
        assert_eq!(key, "limits.request_timeout_s");
    }
}
