//! `holdfast inspect`: offline. What would the service say of this file, and why?

use crate::output::Format;
use std::path::PathBuf;
use std::process::ExitCode;

#[derive(Debug, clap::Subcommand)]
pub(crate) enum Inspect {
    /// Replay a TCG event log: PCR values per bank, events, what was refused
    Eventlog { file: PathBuf },
    /// Check an EK certificate against roots
    Ek {
        certificate: PathBuf,
        /// Folder of root certificates (PEM or DER)
        #[arg(long)]
        roots: Option<PathBuf>,
        /// Folder of intermediates
        #[arg(long)]
        intermediates: Option<PathBuf>,
    },
    /// Read a certificate as the service would
    Cert { file: PathBuf },
}

impl Inspect {
    pub(crate) fn run(&self, _format: Format) -> anyhow::Result<ExitCode> {
        anyhow::bail!("inspect is not linked yet")
    }
}
