//! `holdfast-device`: the agent on the device, from its bootstrap on the manufacturing line to its retirement.
//!
//! Commands and exit statuses only; what they do stands in the modules beside this file.
//! Exit status: 0 done, 1 failed, 2 wrong usage, 3 pending (an operator must approve), 4 refused by the service.

mod clock;
mod config;
mod enroll;
mod error;
mod files;
mod identity;
mod keystore;
mod manufacture;
mod net;

use config::Config;
use error::DeviceError;
use std::path::PathBuf;
use std::process::ExitCode;

const USAGE: &str = "\
holdfast-device: the device's agent

  holdfast-device manufacture --config FILE   make the keys, print the record for `holdfast device register`
  holdfast-device enroll --config FILE        prove what this device is, take its certificate
  holdfast-device renew --config FILE         a new key and certificate before the old one ends
  holdfast-device recover --config FILE       a new certificate after the old one has ended
  holdfast-device status --config FILE        what this device is, as JSON
  holdfast-device secret PATH --config FILE   read a secret that was granted, to standard output

exit status: 0 done, 1 failed, 2 wrong usage, 3 pending, 4 refused by the service";

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
        Ok(()) => ExitCode::SUCCESS,
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
}

fn read_arguments() -> Result<Option<Arguments>, lexopt::Error> {
    use lexopt::prelude::{Long, Short, Value, ValueExt as _};
    let mut parser = lexopt::Parser::from_env();
    let (mut command, mut operand, mut config) = (None, None, None);
    while let Some(argument) = parser.next()? {
        match argument {
            Long("config") => config = Some(PathBuf::from(parser.value()?)),
            Long("help") | Short('h') => return Ok(None),
            Value(value) if command.is_none() => command = Some(value.string()?),
            Value(value) if operand.is_none() => operand = Some(value.string()?),
            other => return Err(other.unexpected()),
        }
    }
    let command = command.ok_or("which command?")?;
    let config = config.ok_or("which device? give --config FILE")?;
    Ok(Some(Arguments { command, operand, config }))
}

fn run(arguments: &Arguments) -> Result<(), DeviceError> {
    let config = Config::read(&arguments.config)?;
    match arguments.command.as_str() {
        "manufacture" => manufacture::run(&config),
        "enroll" => enroll::run(&config, enroll::Way::Enroll),
        "renew" => enroll::run(&config, enroll::Way::Renew),
        "recover" => enroll::run(&config, enroll::Way::Recover),
        "status" => identity::show(&config),
        "secret" => {
            let path = arguments.operand.as_deref().ok_or_else(|| DeviceError::usage("which secret? give its path"))?;
            net::read_secret(&config, path)
        }
        other => Err(DeviceError::usage(&format!("there is no command `{other}`"))),
    }
}
