//! A real PostgreSQL server for tests: one for each test process, one database for each test.
//!
//! Lives here: finding, starting and ending the server. Must not live here: schemas (the service migrates itself).
//! Invariant: it listens on loopback alone, holds nothing worth keeping (fsync is off) and goes when its process goes.

use std::fs;
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use crate::ports::free_port;
use crate::process::{Process, ProcessError, Spawn, run};
use crate::scratch::Scratch;

/// PostgreSQL refuses to run as root; Debian's package brings this user.
const SERVER_USER: &str = "postgres";
const READY_LIMIT: Duration = Duration::from_mins(1);

/// Why there is no server.
#[derive(Debug, thiserror::Error)]
pub enum PostgresError {
    /// Its programs were not found.
    #[error(
        "PostgreSQL is not installed (no directory on the path nor under /usr/lib/postgresql holds all of initdb, postgres, psql, pg_isready): run tests/setup/install.sh"
    )]
    NotInstalled,
    /// Its directory could not be given to its user.
    #[error("cannot prepare {}", path.display())]
    Directory {
        /// The directory.
        path: PathBuf,
        /// The system's answer.
        #[source]
        source: std::io::Error,
    },
    /// A program failed.
    #[error(transparent)]
    Process(#[from] ProcessError),
}

/// A running server.
#[derive(Debug)]
pub struct Postgres {
    programs: PathBuf,
    port: u16,
    server: Process,
    // Dropped last: the server is gone before its files are.
    _scratch: Scratch,
}

/// The one server of this test process, started when it is first asked for.
///
/// # Panics
/// When it does not start: the message says why.
pub fn shared() -> &'static Postgres {
    static SHARED: OnceLock<Postgres> = OnceLock::new();
    SHARED.get_or_init(|| Postgres::start().unwrap_or_else(|error| panic!("PostgreSQL: {error}")))
}

/// The URL of a new and empty database on the shared server.
///
/// # Panics
/// When it cannot be made: the message says why.
pub fn fresh_database() -> String {
    shared().fresh_database().unwrap_or_else(|error| panic!("PostgreSQL: {error}"))
}

impl Postgres {
    /// Makes a cluster and starts a server on it.
    pub fn start() -> Result<Self, PostgresError> {
        let programs = find_programs().ok_or(PostgresError::NotInstalled)?;
        let scratch = Scratch::new("pg");
        let files = scratch.join("data");
        make_directory(&files)?;
        let user = rustix::process::getuid().is_root().then_some(SERVER_USER);

        let spawn = |program: &str| {
            let spawn = Spawn::new(programs.join(program), scratch.join(format!("{program}.log")))
                .current_dir(scratch.path())
                .env("LC_ALL", "C.UTF-8");
            if let Some(user) = user { spawn.user(user) } else { spawn }
        };
        let mut initdb = spawn("initdb")
            .args(["--username=postgres", "--auth=trust", "--encoding=UTF8", "--locale=C", "--no-sync"])
            .arg("--no-instructions")
            .arg("--pgdata")
            .arg(&files)
            .start()?;
        let status = initdb.wait(READY_LIMIT)?;
        if !status.success() {
            let output = initdb.log_text();
            return Err(ProcessError::Failed {
                program: "initdb".into(),
                status: status.to_string(),
                output,
            }
            .into());
        }
        let port = free_port();
        let mut server = spawn("postgres")
            .arg("-D")
            .arg(&files)
            .args(["-h", "127.0.0.1", "-p", &port.to_string()])
            // No Unix socket: its default directory belongs to the machine's own server.
            .args(["-c", "unix_socket_directories="])
            .args(["-c", "fsync=off", "-c", "synchronous_commit=off", "-c", "full_page_writes=off"])
            .args([
                "-c",
                "max_connections=400",
                "-c",
                "shared_buffers=64MB",
                "-c",
                "log_min_messages=warning",
            ])
            // "Immediate shutdown" ends the workers too; after SIGKILL they would linger.
            .death_signal("QUIT")
            .start()?;
        let ready = || is_ready(&programs, port);
        server.wait_for("PostgreSQL answers", READY_LIMIT, ready)?;
        Ok(Self { programs, port, server, _scratch: scratch })
    }

    /// The URL of the database `name`.
    pub fn url(&self, name: &str) -> String {
        format!("postgres://postgres@127.0.0.1:{}/{name}?sslmode=disable", self.port)
    }

    /// Makes a new and empty database and returns its URL.
    pub fn fresh_database(&self) -> Result<String, PostgresError> {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let name = format!("hf_{}_{number}", std::process::id());
        self.psql("postgres", &format!("create database {name}"))?;
        Ok(self.url(&name))
    }

    /// Runs `sql` in the database `name` and returns its rows, one a line, columns parted by `|`.
    pub fn psql(&self, name: &str, sql: &str) -> Result<String, PostgresError> {
        let rows = run(Command::new(self.programs.join("psql"))
            .args(["-X", "-q", "-A", "-t", "-v", "ON_ERROR_STOP=1", "-c", sql])
            .arg(self.url(name)))?;
        Ok(String::from_utf8_lossy(&rows).trim_end().to_owned())
    }

    /// Where its log is.
    pub fn log_path(&self) -> &Path {
        self.server.log_path()
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        // Orderly towards its workers; `Process` kills what does not listen.
        drop(self.server.signal(rustix::process::Signal::QUIT));
        drop(self.server.wait(Duration::from_secs(5)));
    }
}

fn is_ready(programs: &Path, port: u16) -> bool {
    let port = port.to_string();
    let probe = ["-q", "-h", "127.0.0.1", "-U", "postgres", "-d", "postgres", "-p", &port];
    run(Command::new(programs.join("pg_isready")).args(probe)).is_ok()
}

const PROGRAMS: [&str; 4] = ["initdb", "postgres", "psql", "pg_isready"];

/// The directory that holds all the programs: on the path, or the newest version's.
fn find_programs() -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let is_whole = |directory: &PathBuf| PROGRAMS.iter().all(|program| directory.join(program).is_file());
    if let Some(directory) = std::env::split_paths(&path).find(is_whole) {
        return Some(directory);
    }
    let versions = fs::read_dir("/usr/lib/postgresql").ok()?;
    let number = |version: &PathBuf| version.file_name()?.to_str()?.parse::<u32>().ok();
    let mut versions: Vec<PathBuf> = versions.flatten().map(|entry| entry.path()).collect();
    versions.sort_by_key(number);
    versions.into_iter().rev().map(|version| version.join("bin")).find(is_whole)
}

fn make_directory(path: &Path) -> Result<(), PostgresError> {
    let make = || -> std::io::Result<()> {
        fs::create_dir(path)?;
        fs::set_permissions(path, fs::Permissions::from_mode(0o700))?;
        if rustix::process::getuid().is_root() {
            let id = |flag: &str| -> std::io::Result<u32> {
                let output =
                    run(Command::new("id").args([flag, SERVER_USER])).map_err(std::io::Error::other)?;
                String::from_utf8_lossy(&output).trim().parse().map_err(std::io::Error::other)
            };
            let (user, group) = (id("-u")?, id("-g")?);
            chown(path, Some(user), Some(group))?;
            // Its log files and core dumps, if any, go beside the data.
            if let Some(parent) = path.parent() {
                chown(parent, Some(user), Some(group))?;
            }
        }
        Ok(())
    };
    make().map_err(|source| PostgresError::Directory { path: path.to_owned(), source })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_test_has_a_database_of_its_own() {
        let (one, two) = (fresh_database(), fresh_database());
        assert_ne!(one, two);
        let name = |url: &str| url.rsplit('/').next().unwrap().split('?').next().unwrap().to_owned();
        shared()
            .psql(&name(&one), "create table kept(value text); insert into kept values ('here')")
            .unwrap();
        assert_eq!(shared().psql(&name(&one), "select value from kept").unwrap(), "here");
        let error = shared().psql(&name(&two), "select value from kept").unwrap_err();
        assert!(error.to_string().contains("\"kept\" does not exist"), "{error}");
    }
}
