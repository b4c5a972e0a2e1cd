//! `holdfastd`: the service's command line.

use anyhow::Context as _;
use clap::{Args, Parser, Subcommand};
use holdfast_server::config::{Config, DEFAULT, LogFormat};
use holdfast_server::keyring::Restored;
use holdfast_server::role;
use std::path::PathBuf;
use std::process::ExitCode;

/// Device identity, updates and secrets: the service.
#[derive(Parser)]
#[command(name = "holdfastd", version)]
struct Cli {
    #[command(subcommand)]
    role: Role,
}

#[derive(Subcommand)]
enum Role {
    /// The whole service in one process, with embedded defaults.
    All(Serve),
    /// Bring the database up to date and end.
    Migrate(Common),
    /// The controller of a site's Kubernetes cluster: EdgeSecrets into Secrets.
    #[cfg(feature = "controller")]
    Controller(ControllerArgs),
    /// Print the Kubernetes kinds, for `kubectl apply --server-side -f -`.
    #[cfg(feature = "controller")]
    Crd {
        /// Print the controller's ClusterRoles instead.
        #[arg(long)]
        roles: bool,
    },
    /// Print the OpenAPI document.
    Openapi,
    /// Look at the configuration.
    Config {
        #[command(subcommand)]
        what: ConfigCommand,
    },
}

#[derive(Subcommand)]
enum ConfigCommand {
    /// Read the configuration as `all` would and say what is wrong with it.
    Check(Common),
    /// Print every key with its default, commented.
    PrintDefault,
}

#[derive(Args)]
struct Common {
    /// Configuration file (TOML).
    #[arg(long, env = "HOLDFAST_CONFIG")]
    config: Option<PathBuf>,
    /// Where database, keys and blobs live.
    #[arg(long)]
    data_dir: Option<PathBuf>,
    /// postgres://... instead of the embedded SQLite.
    #[arg(long)]
    database_url: Option<String>,
}

#[derive(Args)]
struct Serve {
    #[command(flatten)]
    common: Common,
    /// Address and port; port 0 takes a free one.
    #[arg(long)]
    listen: Option<String>,
    /// Base URL that devices and commands use.
    #[arg(long)]
    public_url: Option<String>,
    /// Name or address for the server's certificate; may be given more than once.
    #[arg(long = "name")]
    names: Vec<String>,
    /// Start although the keyring is older than the one last seen here.
    #[arg(long)]
    accept_restored_keyring: bool,
}

#[cfg(feature = "controller")]
#[derive(Args)]
struct ControllerArgs {
    /// Kubeconfig file; without it the pod's own ServiceAccount.
    #[arg(long)]
    kubeconfig: Option<PathBuf>,
    /// Where the controller keeps its key and certificate.
    #[arg(long)]
    data_dir: PathBuf,
    /// File with the one-time token of `holdfast site controller-token`; read while the controller has no certificate.
    #[arg(long)]
    bootstrap_token_file: Option<PathBuf>,
    /// What is logged, as in `log.filter` of the service's configuration.
    #[arg(long, env = "HOLDFAST_LOG_FILTER", default_value = "info")]
    log: String,
}

fn main() -> ExitCode {
    match run(Cli::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("holdfastd: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(cli: Cli) -> anyhow::Result<()> {
    match cli.role {
        Role::All(serve) => {
            let config = load(&serve.common, &serve)?;
            start_log(&config)?;
            let restored = if serve.accept_restored_keyring { Restored::Accept } else { Restored::Refuse };
            // A task: the thread of `block_on` would take each connection only to wake another that serves it.
            let runtime = runtime()?;
            runtime
                .block_on(runtime.spawn(role::all::run(config, restored)))
                .context("the service panicked")?
        }
        Role::Migrate(common) => {
            let config = load_common(&common)?;
            runtime()?.block_on(role::migrate::run(&config))
        }
        #[cfg(feature = "controller")]
        Role::Controller(args) => {
            // kube logs an answer that it cannot read whole, and answers hold tokens.
            start_log_with(&format!("{},kube_client::client=off", args.log), LogFormat::Text)?;
            let options = role::controller::Options {
                kubeconfig: args.kubeconfig,
                data_dir: args.data_dir,
                bootstrap_token: args.bootstrap_token_file,
            };
            runtime()?.block_on(role::controller::run(options))
        }
        #[cfg(feature = "controller")]
        Role::Crd { roles } => print(&role::crd::text(roles)),
        Role::Openapi => print(role::openapi::text()),
        Role::Config { what: ConfigCommand::Check(common) } => {
            let config = load_common(&common)?;
            print(&format!(
                "the configuration is good; the service would listen on {}\n",
                config.listen.address
            ))
        }
        Role::Config { what: ConfigCommand::PrintDefault } => print(DEFAULT),
    }
}

fn print(text: &str) -> anyhow::Result<()> {
    use std::io::Write as _;
    Ok(std::io::stdout().write_all(text.as_bytes())?)
}

fn flags(common: &Common) -> Vec<(&'static str, String)> {
    let mut flags = Vec::new();
    if let Some(dir) = &common.data_dir {
        flags.push(("data_dir", dir.display().to_string()));
    }
    if let Some(url) = &common.database_url {
        flags.push(("database.url", url.clone()));
    }
    flags
}

fn load_common(common: &Common) -> anyhow::Result<Config> {
    Ok(Config::load(common.config.as_deref(), std::env::vars(), &flags(common))?)
}

fn load(common: &Common, serve: &Serve) -> anyhow::Result<Config> {
    let mut flags = flags(common);
    if let Some(address) = &serve.listen {
        flags.push(("listen.address", address.clone()));
    }
    if let Some(url) = &serve.public_url {
        flags.push(("listen.public_url", url.clone()));
    }
    if !serve.names.is_empty() {
        flags.push(("listen.names", serve.names.join(",")));
    }
    Ok(Config::load(common.config.as_deref(), std::env::vars(), &flags)?)
}

fn start_log(config: &Config) -> anyhow::Result<()> {
    start_log_with(&config.log.filter, config.log.format)
}

fn start_log_with(filter: &str, format: LogFormat) -> anyhow::Result<()> {
    use tracing_subscriber::EnvFilter;
    let filter = EnvFilter::try_new(filter)?;
    let log = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    match format {
        LogFormat::Text => log.with_ansi(false).init(),
        LogFormat::Json => log.json().init(),
    }
    Ok(())
}

fn runtime() -> anyhow::Result<tokio::runtime::Runtime> {
    Ok(tokio::runtime::Builder::new_multi_thread().enable_all().build()?)
}
