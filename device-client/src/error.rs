//! What goes wrong on a device, and which exit status says so.

use holdfast_proto::problem::Problem;
use std::path::PathBuf;

#[derive(Debug, thiserror::Error)]
pub(crate) enum DeviceError {
    #[error("{0}")]
    Usage(String),
    #[error("{path} cannot be read")]
    Read { path: PathBuf, source: std::io::Error },
    #[error("{path} cannot be written")]
    Write { path: PathBuf, source: std::io::Error },
    #[error("{path} is not what it should be: {why}")]
    Malformed { path: PathBuf, why: String },
    #[error("the TPM failed")]
    Tpm(#[from] holdfast_tpm::TpmError),
    #[error("the service at {url} cannot be reached")]
    Unreachable { url: String, source: Box<dyn std::error::Error + Send + Sync> },
    #[error("the update repository's metadata was refused")]
    Tuf(#[from] holdfast_trust::tuf::TufError),
    #[error("TLS could not be set up")]
    Tls(#[from] rustls::Error),
    #[error("the service refused: {} ({}){}", .0.title, .0.code, .0.detail.as_ref().map(|d| format!(": {d}")).unwrap_or_default())]
    Refused(Box<Problem>),
    #[error("the service answered {status} to {path} without saying why")]
    Status { path: String, status: u16 },
    #[error("the service's answer to {path} is not what this version expects: {why}")]
    Answer { path: String, why: String },
    #[error(
        "enrolment {enrollment} waits for an operator: `holdfast device approve {enrollment}`, then try again"
    )]
    Pending { enrollment: String, retry_after_s: u32 },
    #[error("{0}")]
    Unusable(String),
}

impl DeviceError {
    pub(crate) fn usage(text: &str) -> Self {
        Self::Usage(text.to_owned())
    }

    pub(crate) fn unusable(text: impl std::fmt::Display) -> Self {
        Self::Unusable(text.to_string())
    }

    /// 2 wrong usage, 3 pending, 4 refused, 1 everything else: a service that is busy has refused nothing.
    pub(crate) fn exit_status(&self) -> u8 {
        match self {
            Self::Usage(_) => 2,
            Self::Pending { .. } => 3,
            Self::Refused(problem) if is_final(problem) => 4,
            _ => 1,
        }
    }
}

/// Whether asking again later is of no use.
pub(crate) fn is_final(problem: &Problem) -> bool {
    (400..500).contains(&problem.status) && problem.status != 429
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_busy_service_has_refused_nothing() {
        for (status, exit) in [(403, 4), (409, 4), (429, 1), (503, 1)] {
            let problem = Problem {
                kind: "urn:holdfast:problem:x".into(),
                title: "x".into(),
                status,
                code: "x".into(),
                detail: None,
                record: None,
            };
            assert_eq!(DeviceError::Refused(Box::new(problem)).exit_status(), exit, "{status}");
        }
    }
}
