//! Health profiles: the commands behind a name, with a deadline and a time that the device must stay well.
//!
//! A command is told what is on trial by its environment: `HOLDFAST_SLOT`, `HOLDFAST_RELEASE`, and for each artefact
//! `HOLDFAST_ARTEFACT_<NAME>` with its path and `HOLDFAST_LENGTH_<NAME>` with its bytes. What it writes is kept to
//! its last lines, for the operator. Invariant: no command outlives the deadline, nor do its children, but for those that
//! leave its process group; nothing here waits for these.

use crate::clock;
use crate::config::HealthProfile;
use holdfast_decide::device::HealthVerdict;
use std::collections::BTreeMap;
use std::io::{PipeReader, Read as _};
use std::os::unix::process::CommandExt as _;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

/// Last bytes of a command's output that are kept.
const TAIL_BYTES: usize = 1024;
/// How often a running command is looked at.
const LOOK: Duration = Duration::from_millis(20);
/// What is read of a command's output at one look: more than a pipe holds, and an end to who writes without one.
const LOOK_BYTES_MAX: usize = 256 << 10;
/// How long a command that was killed may take to be gone; one that a broken medium holds fast is left behind.
const GONE_MS: u64 = 1000;
/// Between two tries of a command that failed.
const PAUSE_MS: u64 = 500;

/// Runs the profile until it is well for its time, it is not, or `deadline_ms` of CLOCK_BOOTTIME has come.
pub(crate) fn run(
    profile: &HealthProfile,
    environment: &BTreeMap<String, String>,
    deadline_ms: u64,
) -> HealthVerdict {
    let began = clock::boottime_ms();
    let until = |seconds: u64| began.saturating_add(seconds.saturating_mul(1000));
    let deadline = deadline_ms.min(until(profile.deadline_s));
    if let Err(verdict) = once(profile, environment, until(profile.patience_s), deadline) {
        return verdict;
    }
    if profile.stability_s > 0 {
        if !sleep_until(
            clock::boottime_ms().saturating_add(profile.stability_s.saturating_mul(1000)),
            deadline,
        ) {
            return timed_out("it was well, and not for long enough");
        }
        if let Err(verdict) = once(profile, environment, 0, deadline) {
            return verdict;
        }
    }
    HealthVerdict::Passed
}

/// Every command once; one that fails is asked again until `patience_ms`.
fn once(
    profile: &HealthProfile,
    environment: &BTreeMap<String, String>,
    patience_ms: u64,
    deadline_ms: u64,
) -> Result<(), HealthVerdict> {
    for command in &profile.commands {
        loop {
            match one(command, environment, deadline_ms) {
                Ok(()) => break,
                Err(HealthVerdict::Failed { .. }) if clock::boottime_ms() < patience_ms => {
                    if !sleep_until(clock::boottime_ms() + PAUSE_MS, deadline_ms) {
                        return Err(timed_out(&format!("`{}` never passed", command.join(" "))));
                    }
                }
                Err(verdict) => return Err(verdict),
            }
        }
    }
    Ok(())
}

fn one(
    command: &[String],
    environment: &BTreeMap<String, String>,
    deadline_ms: u64,
) -> Result<(), HealthVerdict> {
    let name = command.join(" ");
    let failed = |detail: String| HealthVerdict::Failed { detail };
    let Some((program, arguments)) = command.split_first() else { return Ok(()) };
    let (reader, writer) = std::io::pipe().map_err(|error| failed(format!("`{name}`: {error}")))?;
    rustix::fs::fcntl_setfl(&reader, rustix::fs::OFlags::NONBLOCK)
        .map_err(|error| failed(format!("`{name}`: {error}")))?;
    let started = {
        let errors = writer.try_clone().map_err(|error| failed(format!("`{name}`: {error}")))?;
        let mut command = Command::new(program);
        command.args(arguments).envs(environment).stdin(Stdio::null()).stdout(writer).stderr(errors);
        // A group of its own, so that its children end with it. Dropped here: the pipe ends when they do.
        command.process_group(0).spawn()
    };
    let mut child = started.map_err(|error| failed(format!("`{name}` cannot be started: {error}")))?;
    let mut tail = Tail { pipe: reader, kept: Vec::new() };
    let status = ended_by(&mut child, deadline_ms, &mut tail);
    if let Some(group) = rustix::process::Pid::from_raw(child.id() as i32) {
        // Whatever it left running; none is left after an orderly end.
        let _ = rustix::process::kill_process_group(group, rustix::process::Signal::KILL);
    }
    // Who left the group may hold the pipe for ever: its end is not waited for.
    let status = status.or_else(|| {
        ended_by(&mut child, clock::boottime_ms().saturating_add(GONE_MS), &mut tail);
        None
    });
    let words = tail.text();
    match status {
        Some(status) if status.success() => Ok(()),
        Some(status) => Err(failed(format!("`{name}` ended with {}{words}", ended(status)))),
        None => Err(timed_out(&format!("`{name}` was not done in time{words}"))),
    }
}

fn ended(status: ExitStatus) -> String {
    status.code().map_or_else(|| "a signal".to_owned(), |code| format!("status {code}"))
}

fn timed_out(detail: &str) -> HealthVerdict {
    HealthVerdict::TimedOut { detail: detail.to_owned() }
}

/// False when the deadline comes first.
fn sleep_until(at_ms: u64, deadline_ms: u64) -> bool {
    let until = at_ms.min(deadline_ms);
    std::thread::sleep(Duration::from_millis(until.saturating_sub(clock::boottime_ms())));
    at_ms < deadline_ms
}

/// How it ended, if it did before `deadline_ms`; what it writes is kept meanwhile.
fn ended_by(child: &mut Child, deadline_ms: u64, tail: &mut Tail) -> Option<ExitStatus> {
    loop {
        let ended = child.try_wait();
        // After the question: what it wrote before its end is there then.
        tail.take();
        match ended {
            Ok(Some(status)) => return Some(status),
            Ok(None) if clock::boottime_ms() < deadline_ms => std::thread::sleep(LOOK),
            Ok(None) | Err(_) => return None,
        }
    }
}

/// The last bytes that came through a pipe, whose reading never waits.
struct Tail {
    pipe: PipeReader,
    kept: Vec<u8>,
}

impl Tail {
    /// Takes what is there.
    fn take(&mut self) {
        let (mut buffer, mut taken) = ([0; 4096], 0);
        while taken < LOOK_BYTES_MAX
            && let Ok(read @ 1..) = self.pipe.read(&mut buffer)
        {
            taken += read;
            // Unwrap safety: `read` is at most the buffer's length, `above` at most what is kept.
            self.kept.extend_from_slice(&buffer[..read]);
            let above = self.kept.len().saturating_sub(TAIL_BYTES);
            self.kept.drain(..above);
        }
    }

    /// What was written, as `: text`; nothing when nothing was.
    fn text(&self) -> String {
        let text = String::from_utf8_lossy(&self.kept);
        if text.trim().is_empty() { String::new() } else { format!(": {}", text.trim()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn profile(script: &str) -> HealthProfile {
        let command = ["sh", "-c", script].map(str::to_owned).to_vec();
        HealthProfile { commands: vec![command], deadline_s: 30, patience_s: 0, stability_s: 0 }
    }

    fn verdict(profile: &HealthProfile) -> HealthVerdict {
        let environment = BTreeMap::from([("HOLDFAST_SLOT".to_owned(), "b".to_owned())]);
        run(profile, &environment, u64::MAX)
    }

    #[test]
    fn commands_pass_or_say_why_not() {
        assert_eq!(verdict(&profile("test \"$HOLDFAST_SLOT\" = b")), HealthVerdict::Passed);
        let HealthVerdict::Failed { detail } = verdict(&profile("echo checksum differs >&2; exit 3")) else {
            panic!()
        };
        assert!(detail.contains("status 3: checksum differs"), "{detail}");
        let absent = HealthProfile { commands: vec![vec!["/no/such/program".into()]], ..profile("") };
        let HealthVerdict::Failed { detail } = verdict(&absent) else { panic!() };
        assert!(detail.contains("cannot be started"), "{detail}");
    }

    #[expect(clippy::disallowed_methods, reason = "a test's patience")]
    #[test]
    fn a_command_and_its_children_end_at_the_deadline() {
        let folder = tempfile::tempdir().unwrap();
        let pid = folder.path().join("pid");
        let script = format!("sleep 1000 & echo $! > {}; echo waiting; wait", pid.display());
        let slow = HealthProfile { deadline_s: 1, ..profile(&script) };
        let HealthVerdict::TimedOut { detail } = verdict(&slow) else { panic!() };
        assert!(detail.contains("not done in time: waiting"), "{detail}");
        let child = std::fs::read_to_string(&pid).unwrap();
        // Gone, or a zombie that nobody has collected yet; the kernel ends it a moment after the signal.
        let runs = || match std::fs::read_to_string(format!("/proc/{}/stat", child.trim())) {
            Ok(stat) => !stat.contains(") Z "),
            Err(_) => false,
        };
        let patience = std::time::Instant::now() + Duration::from_secs(20);
        while runs() {
            assert!(std::time::Instant::now() < patience, "the child outlived its deadline");
            std::thread::yield_now();
        }
        // The machine's own deadline counts as well.
        let machine_first = run(&profile("sleep 1000"), &BTreeMap::new(), clock::boottime_ms() + 200);
        assert!(matches!(machine_first, HealthVerdict::TimedOut { .. }));
    }

    #[test]
    fn a_child_that_left_the_group_and_holds_the_output_is_not_waited_for() {
        let folder = tempfile::tempdir().unwrap();
        let pid = folder.path().join("pid");
        // It writes its id when it is out of the group, so that the kill of the group does not reach it.
        let daemon = format!("echo $$ > {0}.new; mv {0}.new {0}; exec sleep 1000", pid.display());
        for (end, passes) in [("exit 0", true), ("echo no good; exit 1", false), ("sleep 1000", false)] {
            let _ = std::fs::remove_file(&pid);
            let wait = format!("while ! test -e {}; do sleep 0.01; done", pid.display());
            let script = format!("setsid sh -c '{daemon}' & {wait}; {end}");
            let slow = HealthProfile { deadline_s: 5, ..profile(&script) };
            let verdict = crate::testing::in_time(move || verdict(&slow));
            let sleeper = std::fs::read_to_string(&pid).unwrap();
            let killed = Command::new("kill").args(["-9", sleeper.trim()]).status().unwrap();
            assert!(killed.success(), "the child had left the group and lived");
            assert_eq!(verdict == HealthVerdict::Passed, passes, "{end}: {verdict:?}");
        }
    }

    #[test]
    fn patience_waits_for_what_comes_up_late_and_stability_for_what_does_not_stay() {
        let folder = tempfile::tempdir().unwrap();
        let count = folder.path().join("count");
        let script = format!("echo x >> {0}; test $(wc -l < {0}) -ge 2", count.display());
        let late = HealthProfile { patience_s: 20, ..profile(&script) };
        assert_eq!(verdict(&late), HealthVerdict::Passed);
        std::fs::remove_file(&count).unwrap();
        let script = format!("echo x >> {0}; test $(wc -l < {0}) -lt 2", count.display());
        let fading = HealthProfile { stability_s: 1, ..profile(&script) };
        assert!(matches!(verdict(&fading), HealthVerdict::Failed { .. }));
        let never_long_enough = HealthProfile { stability_s: 100, deadline_s: 1, ..profile("true") };
        assert!(matches!(verdict(&never_long_enough), HealthVerdict::TimedOut { .. }));
    }

    #[test]
    fn what_a_command_writes_is_bounded() {
        let noisy = profile("head -c 3000000 /dev/zero | tr '\\0' x; echo the end; exit 1");
        let HealthVerdict::Failed { detail } = verdict(&noisy) else { panic!() };
        assert!(detail.len() < 1300 && detail.ends_with("the end"), "{}", detail.len());
    }
}
