//! Child processes: a log file, an end, and waits that have a deadline.
//!
//! Lives here: how a program is started, watched and ended, and the support library's only clock.
//! Must not live here: what any particular program needs. Invariant: a process is signalled by the id that we got
//! when we started it, never by name.

use std::ffi::{OsStr, OsString};
use std::fs::{self, File};
use std::io::{self, Read, Seek, SeekFrom, Write as _};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Mutex, OnceLock, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

/// Why a process could not be started or did not get as far as was hoped.
#[derive(Debug, thiserror::Error)]
pub enum ProcessError {
    /// The program or its log file could not be opened.
    #[error("cannot start {program}")]
    Start {
        /// What was to be run.
        program: String,
        /// The system's answer.
        #[source]
        source: io::Error,
    },
    /// The process ended while somebody waited for it to do something.
    #[error("{program} ended with {status} before {waited_for}; its log ends with:\n{log_tail}")]
    Ended {
        /// What ran.
        program: String,
        /// How it ended.
        status: String,
        /// What was waited for.
        waited_for: String,
        /// The last lines of its log.
        log_tail: String,
    },
    /// The time was up.
    #[error("{waited_for}: not within {limit:?}; {log_tail}")]
    Late {
        /// What was waited for.
        waited_for: String,
        /// How long.
        limit: Duration,
        /// The last lines of the log, where there is one.
        log_tail: String,
    },
    /// A helper program that runs to its end said no.
    #[error("{program} failed with {status}: {output}")]
    Failed {
        /// What ran.
        program: String,
        /// How it ended.
        status: String,
        /// What it printed on both outputs.
        output: String,
    },
    /// The system refused a signal or a wait.
    #[error("cannot signal or wait for {program}")]
    Signal {
        /// What runs.
        program: String,
        /// The system's answer.
        #[source]
        source: io::Error,
    },
}

/// Whether a process ends with the one that started it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Lifetime {
    /// Killed when its handle is dropped, and by the kernel when our process dies however it dies.
    #[default]
    WithUs,
    /// Goes on when we end (`make demo KEEP=1`); whoever asked for it ends it by its id.
    Outlives,
}

static KEPT: OnceLock<PathBuf> = OnceLock::new();

/// From now on the id of each process that [`Lifetime::Outlives`] us is a line of this file as soon as it runs, so that
/// it can be ended however we end.
pub fn list_kept_in(path: &Path) {
    KEPT.get_or_init(|| path.to_owned());
}

fn list_as_kept(pid: u32) -> io::Result<()> {
    let Some(path) = KEPT.get() else { return Ok(()) };
    let mut list = File::options().create(true).append(true).open(path)?;
    list.write_all(format!("{pid}\n").as_bytes())
}

/// A point in time after which waiting is a failure.
#[derive(Clone, Copy, Debug)]
pub struct Deadline {
    at: Instant,
    limit: Duration,
}

impl Deadline {
    /// The deadline that lies `limit` ahead.
    pub fn after(limit: Duration) -> Self {
        Self { at: now() + limit, limit }
    }

    /// True once the time is up.
    pub fn is_over(&self) -> bool {
        now() >= self.at
    }

    /// The time left, zero when it is up.
    pub fn left(&self) -> Duration {
        self.at.saturating_duration_since(now())
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "the support library's one clock: real programs need real deadlines"
)]
fn now() -> Instant {
    Instant::now()
}

/// How often a condition is looked at again. No result depends on it, only how soon it is seen.
const LOOK_AGAIN: Duration = Duration::from_millis(10);

/// Looks at `condition` until it holds, at most for `limit`.
pub fn wait_until(
    what: &str,
    limit: Duration,
    mut condition: impl FnMut() -> bool,
) -> Result<(), ProcessError> {
    let deadline = Deadline::after(limit);
    loop {
        if condition() {
            return Ok(());
        }
        if deadline.is_over() {
            return Err(ProcessError::Late {
                waited_for: what.to_owned(),
                limit: deadline.limit,
                log_tail: String::from("no log"),
            });
        }
        thread::sleep(LOOK_AGAIN.min(deadline.left()));
    }
}

/// A program to be started, with everything it needs.
#[derive(Debug)]
pub struct Spawn {
    program: OsString,
    args: Vec<OsString>,
    envs: Vec<(OsString, OsString)>,
    directory: Option<PathBuf>,
    log: PathBuf,
    user: Option<String>,
    lifetime: Lifetime,
    death_signal: &'static str,
}

impl Spawn {
    /// A program whose two outputs are appended to the file `log`.
    pub fn new(program: impl AsRef<OsStr>, log: impl Into<PathBuf>) -> Self {
        Self {
            program: program.as_ref().to_owned(),
            args: Vec::new(),
            envs: Vec::new(),
            directory: None,
            log: log.into(),
            user: None,
            lifetime: Lifetime::default(),
            death_signal: "KILL",
        }
    }

    /// Adds one argument.
    #[must_use]
    pub fn arg(mut self, arg: impl AsRef<OsStr>) -> Self {
        self.args.push(arg.as_ref().to_owned());
        self
    }

    /// Adds arguments.
    #[must_use]
    pub fn args<S: AsRef<OsStr>>(mut self, args: impl IntoIterator<Item = S>) -> Self {
        self.args.extend(args.into_iter().map(|a| a.as_ref().to_owned()));
        self
    }

    /// Sets one environment variable of the child alone.
    #[must_use]
    pub fn env(mut self, name: impl AsRef<OsStr>, value: impl AsRef<OsStr>) -> Self {
        self.envs.push((name.as_ref().to_owned(), value.as_ref().to_owned()));
        self
    }

    /// Sets the child's working directory.
    #[must_use]
    pub fn current_dir(mut self, directory: impl Into<PathBuf>) -> Self {
        self.directory = Some(directory.into());
        self
    }

    /// Runs it as another user (its own group, no others). Only root may.
    #[must_use]
    pub fn user(mut self, user: &str) -> Self {
        self.user = Some(user.to_owned());
        self
    }

    /// Says whether it ends with us.
    #[must_use]
    pub fn lifetime(mut self, lifetime: Lifetime) -> Self {
        self.lifetime = lifetime;
        self
    }

    /// The signal, as `setpriv` names it, that the kernel sends when our process dies; `KILL` unless said.
    #[must_use]
    pub fn death_signal(mut self, signal: &'static str) -> Self {
        self.death_signal = signal;
        self
    }

    /// Starts it.
    pub fn start(self) -> Result<Process, ProcessError> {
        let name = short_name(&self.program);
        let log = self.log.clone();
        let lifetime = self.lifetime;
        let start_error = |source| ProcessError::Start { program: name.clone(), source };
        let mut child = self.spawn().map_err(start_error)?;
        if lifetime == Lifetime::Outlives
            && let Err(error) = list_as_kept(child.id())
        {
            drop(child.kill().and_then(|()| child.wait()));
            return Err(start_error(error));
        }
        Ok(Process { child, name, log, lifetime, ended: None })
    }

    fn spawn(self) -> io::Result<Child> {
        if let Some(parent) = self.log.parent() {
            fs::create_dir_all(parent)?;
        }
        let log = File::options().create(true).append(true).open(&self.log)?;
        let mut command = self.command();
        command.envs(self.envs.iter().map(|(k, v)| (k, v)));
        if let Some(directory) = &self.directory {
            command.current_dir(directory);
        }
        command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
        if self.lifetime == Lifetime::Outlives {
            // Ctrl-C at the terminal ends our group; this one is to stay.
            command.process_group(0);
        }
        spawn_from_the_lasting_thread(command)
    }

    /// `setpriv` ties the child's life to ours and changes its user, then becomes the program: the id stays the same.
    fn command(&self) -> Command {
        if self.user.is_none() && self.lifetime == Lifetime::Outlives {
            let mut command = Command::new(&self.program);
            command.args(&self.args);
            return command;
        }
        let mut command = Command::new("setpriv");
        if let Some(user) = &self.user {
            command.arg(format!("--reuid={user}")).arg(format!("--regid={user}")).arg("--clear-groups");
        }
        if self.lifetime == Lifetime::WithUs {
            command.arg("--pdeathsig").arg(self.death_signal);
        }
        command.arg("--").arg(&self.program).args(&self.args);
        command
    }
}

/// The kernel's death signal follows the *thread* that forked: a test's thread ends long before its process does, so
/// one thread that lasts does all the forking.
fn spawn_from_the_lasting_thread(command: Command) -> io::Result<Child> {
    type Job = (Command, mpsc::Sender<io::Result<Child>>);
    static JOBS: OnceLock<Mutex<mpsc::Sender<Job>>> = OnceLock::new();
    let jobs = JOBS.get_or_init(|| {
        let (jobs, inbox) = mpsc::channel::<Job>();
        thread::spawn(move || {
            for (mut command, answer) in inbox {
                // A caller that no longer listens has panicked; its child dies with the process.
                drop(answer.send(command.spawn()));
            }
        });
        Mutex::new(jobs)
    });
    let (answer, outcome) = mpsc::channel();
    let gone = || io::Error::other("the thread that starts processes is gone");
    jobs.lock().map_err(|_| gone())?.send((command, answer)).map_err(|_| gone())?;
    outcome.recv().map_err(|_| gone())?
}

/// A running child process. Dropping it kills it (unless it [`Lifetime::Outlives`]) and waits until it is gone.
#[derive(Debug)]
pub struct Process {
    child: Child,
    name: String,
    log: PathBuf,
    lifetime: Lifetime,
    ended: Option<ExitStatus>,
}

impl Process {
    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Where its outputs are written.
    pub fn log_path(&self) -> &Path {
        &self.log
    }

    /// All it has printed so far.
    pub fn log_text(&self) -> String {
        fs::read(&self.log).map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).unwrap_or_default()
    }

    /// True while it runs.
    pub fn is_running(&mut self) -> bool {
        self.exit_status().is_none()
    }

    /// How it ended, once it has.
    pub fn exit_status(&mut self) -> Option<ExitStatus> {
        if self.ended.is_none() {
            self.ended = self.child.try_wait().ok().flatten();
        }
        self.ended
    }

    /// Sends a signal, unless it has ended already.
    pub fn signal(&mut self, signal: Signal) -> Result<(), ProcessError> {
        if !self.is_running() {
            return Ok(());
        }
        // The child is ours and not yet reaped, so the id cannot have gone to another process.
        let sent = match i32::try_from(self.child.id()).ok().and_then(Pid::from_raw) {
            Some(pid) => kill_process(pid, signal).map_err(io::Error::from),
            None => Err(io::Error::other("process id out of range")),
        };
        sent.map_err(|source| ProcessError::Signal { program: self.name.clone(), source })
    }

    /// SIGKILL, as a power cut would, and waits until it is gone.
    pub fn kill(&mut self) -> Result<ExitStatus, ProcessError> {
        self.signal(Signal::KILL)?;
        self.wait(Duration::from_secs(10))
    }

    /// SIGTERM, and SIGKILL when it has not ended within `limit`.
    pub fn terminate(&mut self, limit: Duration) -> Result<ExitStatus, ProcessError> {
        self.signal(Signal::TERM)?;
        self.wait(limit).or_else(|_| self.kill())
    }

    /// Waits for it to end by itself.
    pub fn wait(&mut self, limit: Duration) -> Result<ExitStatus, ProcessError> {
        let deadline = Deadline::after(limit);
        loop {
            if let Some(status) = self.exit_status() {
                return Ok(status);
            }
            if deadline.is_over() {
                return Err(self.late(&format!("the end of {}", self.name), limit));
            }
            thread::sleep(LOOK_AGAIN);
        }
    }

    /// Looks at `condition` until it holds; fails at once when the process ends before, or when the time is up.
    pub fn wait_for(
        &mut self,
        what: &str,
        limit: Duration,
        mut condition: impl FnMut() -> bool,
    ) -> Result<(), ProcessError> {
        let deadline = Deadline::after(limit);
        loop {
            if condition() {
                return Ok(());
            }
            if let Some(status) = self.exit_status() {
                return Err(ProcessError::Ended {
                    program: self.name.clone(),
                    status: status.to_string(),
                    waited_for: what.to_owned(),
                    log_tail: log_tail(&self.log),
                });
            }
            if deadline.is_over() {
                return Err(self.late(what, limit));
            }
            thread::sleep(LOOK_AGAIN);
        }
    }

    /// Waits until its log holds `text`.
    pub fn wait_for_log(&mut self, text: &str, limit: Duration) -> Result<(), ProcessError> {
        let log = self.log.clone();
        let holds = || fs::read(&log).is_ok_and(|bytes| String::from_utf8_lossy(&bytes).contains(text));
        self.wait_for(&format!("{text:?} in its log"), limit, holds)
    }

    fn late(&self, what: &str, limit: Duration) -> ProcessError {
        ProcessError::Late { waited_for: what.to_owned(), limit, log_tail: log_tail(&self.log) }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if self.lifetime == Lifetime::WithUs
            && let Err(error) = self.kill()
        {
            eprintln!("{error}");
        }
    }
}

/// Runs a helper program to its end and returns its standard output; any exit but 0 is an error with all it said.
pub fn run(command: &mut Command) -> Result<Vec<u8>, ProcessError> {
    let program = short_name(command.get_program());
    let output = command
        .stdin(Stdio::null())
        .output()
        .map_err(|source| ProcessError::Start { program: program.clone(), source })?;
    if output.status.success() {
        return Ok(output.stdout);
    }
    let said = [String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr)].join("\n");
    Err(ProcessError::Failed { program, status: output.status.to_string(), output: said.trim().to_owned() })
}

fn short_name(program: &OsStr) -> String {
    Path::new(program).file_name().unwrap_or(program).to_string_lossy().into_owned()
}

fn log_tail(log: &Path) -> String {
    const TAIL_MAX_BYTES: u64 = 4096;
    let read = || -> io::Result<String> {
        let mut file = File::open(log)?;
        let length = file.metadata()?.len();
        file.seek(SeekFrom::Start(length.saturating_sub(TAIL_MAX_BYTES)))?;
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes)?;
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    };
    read().unwrap_or_else(|error| format!("(no log at {}: {error})", log.display()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scratch::Scratch;

    const LIMIT: Duration = Duration::from_secs(10);

    #[test]
    fn a_process_that_ends_early_says_so_with_its_log() {
        let scratch = Scratch::new("process");
        let mut process = Spawn::new("sh", scratch.path().join("log"))
            .args(["-c", "echo no such device; exit 3"])
            .start()
            .unwrap();
        let error = process.wait_for("a sign of life", LIMIT, || false).unwrap_err();
        assert!(
            matches!(&error, ProcessError::Ended { log_tail, .. } if log_tail.contains("no such device")),
            "{error}"
        );
    }

    #[test]
    fn the_deadline_ends_a_wait_for_a_process_that_lives() {
        let scratch = Scratch::new("process");
        let mut process = Spawn::new("sleep", scratch.path().join("log")).arg("1000").start().unwrap();
        let error = process.wait_for("what never comes", Duration::from_millis(50), || false).unwrap_err();
        assert!(matches!(error, ProcessError::Late { .. }), "{error}");
        assert!(process.is_running());
        assert!(!process.kill().unwrap().success());
    }

    #[test]
    fn a_dropped_process_is_gone() {
        let scratch = Scratch::new("process");
        let process = Spawn::new("sleep", scratch.path().join("log")).arg("1000").start().unwrap();
        let proc_entry = PathBuf::from(format!("/proc/{}", process.pid()));
        assert!(proc_entry.exists());
        drop(process);
        assert!(!proc_entry.exists());
    }

    #[test]
    fn a_process_outlives_the_thread_that_asked_for_it() {
        let scratch = Scratch::new("process");
        let log = scratch.path().join("log");
        let mut process = thread::spawn(move || {
            Spawn::new("sh", log).args(["-c", "echo up; exec sleep 1000"]).start().unwrap()
        })
        .join()
        .unwrap();
        process.wait_for_log("up", LIMIT).unwrap();
        assert!(process.is_running());
    }
}
