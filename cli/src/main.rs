//! `holdfast`: the operators' command over the REST API, and the offline signing desk for TUF keys.
//!
//! `command/` turns words into calls, `desk/` signs without a socket, `client.rs` is the only way to the service.
//! Exit status: 0 done, 1 refused or failed, 2 wrong usage.

mod client;
mod command;
mod desk;
mod output;
mod terminal;

use clap::{Parser, Subcommand};
use output::Format;
use std::process::ExitCode;

/// Operate a Holdfast service, and sign its releases.
#[derive(Debug, Parser)]
#[command(name = "holdfast", version)]
struct Arguments {
    #[command(flatten)]
    connection: client::Connection,
    /// How answers are shown
    #[arg(short = 'o', long, global = true, value_enum, default_value_t)]
    output: Format,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Devices: claims, approval, quarantine, evidence
    #[command(subcommand)]
    Device(command::device::Device),
    /// Enrolment attempts: pending, refused, in conflict
    #[command(subcommand)]
    Enrollment(command::enrollment::Enrollment),
    /// Certificate authorities and EK anchors
    #[command(subcommand)]
    Authority(command::authority::Authority),
    /// The signing desk: TUF metadata
    #[command(subcommand)]
    Tuf(command::tuf::Tuf),
    /// Releases and their deltas
    #[command(subcommand)]
    Release(command::release::Release),
    /// Staged rollouts
    #[command(subcommand)]
    Rollout(command::rollout::Rollout),
    /// Secrets: written here, never read back here
    #[command(subcommand)]
    Secret(command::secret::Secret),
    /// Grants: who may read which secret
    #[command(subcommand)]
    Grant(command::secret::Grant),
    /// Why would this read be allowed or denied?
    Explain(command::secret::Explain),
    /// Sites, their clusters and controllers
    #[command(subcommand)]
    Site(command::site::Site),
    /// Service tokens
    #[command(subcommand)]
    Token(command::token::Token),
    /// What was done, by whom
    #[command(subcommand)]
    Audit(command::audit::Audit),
    /// Offline: what would the service say of this file? 0 accepted, 1 refused, 2 usage
    #[command(subcommand)]
    Inspect(command::inspect::Inspect),
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    match run(&arguments) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("holdfast: {error}");
            error.chain().skip(1).for_each(|cause| eprintln!("  because: {cause}"));
            ExitCode::from(1)
        }
    }
}

fn run(arguments: &Arguments) -> anyhow::Result<ExitCode> {
    let (connection, format) = (&arguments.connection, arguments.output);
    match &arguments.command {
        Command::Device(command) => command.run(connection, format)?,
        Command::Enrollment(command) => command.run(connection, format)?,
        Command::Authority(command) => command.run(connection, format)?,
        Command::Tuf(command) => command.run(connection, format)?,
        Command::Release(command) => command.run(connection, format)?,
        Command::Rollout(command) => command.run(connection, format)?,
        Command::Secret(command) => command.run(connection, format)?,
        Command::Grant(command) => command.run(connection, format)?,
        Command::Explain(command) => command.run(connection, format)?,
        Command::Site(command) => command.run(connection, format)?,
        Command::Token(command) => command.run(connection, format)?,
        Command::Audit(command) => command.run(connection, format)?,
        Command::Inspect(command) => return Ok(command.run(format)),
    }
    Ok(ExitCode::SUCCESS)
}

#[cfg(test)]
mod tests {
    use super::Arguments;
    use clap::{Command, CommandFactory as _};

    /// clap hands a global option to every subcommand by its id: one that a subcommand uses, too, would be read as the
    /// other's type.
    #[test]
    fn no_subcommand_has_an_option_of_a_global_ones_name() {
        let root = Arguments::command();
        root.clone().debug_assert();
        let global: Vec<_> =
            root.get_arguments().filter(|arg| arg.is_global_set()).map(|arg| arg.get_id().clone()).collect();
        assert!(global.len() > 4, "{global:?}");
        fn walk(command: &Command, global: &[clap::Id]) {
            for inner in command.get_subcommands() {
                for argument in inner.get_arguments().filter(|arg| !arg.is_global_set()) {
                    assert!(
                        !global.contains(argument.get_id()),
                        "{} {}",
                        inner.get_name(),
                        argument.get_id()
                    );
                }
                walk(inner, global);
            }
        }
        walk(&root, &global);
    }
}
