//! What is special about a terminal: hidden input, progress, the width of a table. And the clock.

use std::io::{BufRead as _, IsTerminal as _};
use std::process::{Command, Stdio};

/// Reads a line without showing it, by way of stty(1).
pub(crate) fn read_hidden_line() -> anyhow::Result<String> {
    let stty = |mode: &str| {
        let _ = Command::new("stty").arg(mode).stdin(Stdio::inherit()).status();
    };
    stty("-echo");
    let mut line = String::new();
    let read = std::io::stdin().lock().read_line(&mut line);
    stty("echo");
    eprintln!();
    read?;
    Ok(line.trim_end_matches(['\r', '\n']).to_owned())
}

/// A bar of bytes on a terminal; nothing elsewhere.
pub(crate) fn byte_bar(length: u64, what: &str) -> indicatif::ProgressBar {
    if !std::io::stderr().is_terminal() {
        return indicatif::ProgressBar::hidden();
    }
    // Unwrap safety: the template is a constant, and a test draws it.
    let style =
        indicatif::ProgressStyle::with_template("{msg} [{bar:30}] {bytes}/{total_bytes} {eta}").unwrap();
    indicatif::ProgressBar::new(length).with_style(style).with_message(what.to_owned())
}

/// Unix seconds: the one reading of the clock in this program.
#[expect(clippy::disallowed_methods, reason = "the program's one clock adapter")]
pub(crate) fn now() -> i64 {
    std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .map_or(0, |since| since.as_secs() as i64)
}

/// `2026-11-24T16:00:00Z`, for tables.
pub(crate) fn when(unix_s: i64) -> String {
    time::OffsetDateTime::from_unix_timestamp(unix_s)
        .ok()
        .and_then(|at| {
            at.format(&time::macros::format_description!("[year]-[month]-[day]T[hour]:[minute]:[second]Z"))
                .ok()
        })
        .unwrap_or_else(|| unix_s.to_string())
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_bar_draws_and_times_read_as_utc() {
        super::byte_bar(10, "upload").inc(1);
        assert_eq!(super::when(0), "1970-01-01T00:00:00Z");
    }
}
