//! `holdfast-device`: the agent on the device, from its bootstrap on the manufacturing line to its retirement.
//!
//! Commands and exit statuses only; what they do stands in the modules beside this file.
//! Exit status: 0 done, 1 failed, 2 wrong usage, 3 pending (an operator must approve), 4 refused by the service,
//! 5 the device shall reboot, 6 `run --once` waits (for the service, or with an update under way).

mod aside;
mod boot;
mod checkin;
mod clock;
mod config;
mod copies;
mod drive;
mod enroll;
mod error;
mod evidence;
mod fetch;
mod files;
mod health;
mod identity;
mod installer;
mod journal;
mod keystore;
mod log;
mod manufacture;
mod meter;
mod net;
mod outbox;
mod secret;
mod status;
mod survey;
#[cfg(test)]
mod testing;
mod trust;

use config::Config;
use error::DeviceError;
use std::path::PathBuf;
use std::process::ExitCode;

const USAGE: &str = "\
holdfast-device: the device's agent

  holdfast-device manufacture --config FILE   make the keys, print the record for `holdfast device register`
      [--installed MANIFEST]                    the line put this release into slot a: read it back, note it
  holdfast-device enroll --config FILE        prove what this device is, take its certificate
  holdfast-device renew --config FILE         a new key and certificate before the old one ends
  holdfast-device recover --config FILE       a new certificate after the old one has ended
  holdfast-device run [--once] --config FILE  the agent: poll, install, confirm or take back, report
  holdfast-device boot --config FILE          the power button of the fake boot loader: says which slot came up
  holdfast-device status --config FILE        what this device is and what it runs, as JSON
  holdfast-device secret PATH --config FILE   read a secret that was granted, to standard output

exit status: 0 done, 1 failed, 2 wrong usage, 3 pending, 4 refused by the service,
             5 the device shall reboot (start the agent again after it), 6 `run --once` waits";

fn main() -> ExitCode {
    let arguments = match read_arguments() {
        Ok(Some(arguments)) => arguments,
        Ok(None) => {
            println!("{USAGE}");
            return ExitCode::SUCCESS;
        }
        Err(error) => {
            eprintln!("holdfast-device: {error}\n\n{USAGE}");
            return ExitCode::from(2);
        }
    };
    match run(&arguments) {
        Ok(status) => ExitCode::from(status),
        Err(error) => {
            eprintln!("holdfast-device: {error}");
            let mut cause = std::error::Error::source(&error);
            while let Some(source) = cause {
                eprintln!("  because: {source}");
                cause = source.source();
            }
            ExitCode::from(error.exit_status())
        }
    }
}

struct Arguments {
    command: String,
    operand: Option<String>,
    config: PathBuf,
    once: bool,
    installed: Option<PathBuf>,
}

fn read_arguments() -> Result<Option<Arguments>, lexopt::Error> {
    use lexopt::prelude::{Long, Short, Value, ValueExt as _};
    let mut parser = lexopt::Parser::from_env();
    let (mut command, mut operand, mut config, mut once, mut installed) = (None, None, None, false, None);
    while let Some(argument) = parser.next()? {
        match argument {
            Long("config") => config = Some(PathBuf::from(parser.value()?)),
            Long("once") => once = true,
            Long("installed") => installed = Some(PathBuf::from(parser.value()?)),
            Long("help") | Short('h') => return Ok(None),
            Value(value) if command.is_none() => command = Some(value.string()?),
            Value(value) if operand.is_none() => operand = Some(value.string()?),
            other => return Err(other.unexpected()),
        }
    }
    let command = command.ok_or("which command?")?;
    let config = config.ok_or("which device? give --config FILE")?;
    Ok(Some(Arguments { command, operand, config, once, installed }))
}

/// Runs the command; the exit status of one that did what it could.
fn run(arguments: &Arguments) -> Result<u8, DeviceError> {
    let config = Config::read(&arguments.config)?;
    match arguments.command.as_str() {
        "manufacture" => manufacture::run(&config, arguments.installed.as_deref())?,
        "enroll" => enroll::run(&config, enroll::Way::Enroll)?,
        "renew" => enroll::run(&config, enroll::Way::Renew)?,
        "recover" => enroll::run(&config, enroll::Way::Recover)?,
        "status" => status::show(&config)?,
        "boot" => boot::power_on(&config)?,
        "run" => {
            let until = if arguments.once { drive::Until::Rest } else { drive::Until::Reboot };
            return Ok(match drive::run(config, until)? {
                drive::Ended::AtRest => 0,
                drive::Ended::RebootWanted => 5,
                drive::Ended::Waiting => 6,
            });
        }
        "secret" => {
            let path = arguments
                .operand
                .as_deref()
                .ok_or_else(|| DeviceError::usage("which secret? give its path"))?;
            secret::read(&config, path)?;
        }
        other => return Err(DeviceError::usage(&format!("there is no command `{other}`"))),
    }
    Ok(0)
}
