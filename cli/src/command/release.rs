//! `holdfast release`

use super::tuf::published;
use super::{all, artefact};
use crate::client::{Client, Connection};
use crate::desk::predecessor::Predecessor;
use crate::desk::releases::{self, Published};
use crate::desk::{Desk, counter};
use crate::output::{Format, Rows, or_dash, show, word};
use crate::terminal::{now, when};
use anyhow::{Context as _, ensure};
use holdfast_proto::ReleaseName;
use holdfast_proto::api::release::{BuildDeltas, Delta, Release as Record};
use holdfast_proto::id::is_segment;
use holdfast_proto::manifest::{Manifest, ReleaseKind};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

#[derive(Debug, clap::Subcommand)]
pub(crate) enum Release {
    /// Upload artefacts and draft the release's metadata, to be signed and published
    Draft {
        #[arg(long)]
        hardware: String,
        /// Name of the release
        #[arg(long)]
        release: String,
        /// The maker's version, for people
        #[arg(long)]
        version: String,
        /// NAME=FILE, repeatable, e.g. rootfs=image.squashfs
        #[arg(long = "artefact", required = true, value_parser = super::key_value)]
        artefacts: Vec<(String, String)>,
        #[arg(long, default_value = "stable")]
        channel: String,
        /// Default: the highest of this hardware's published releases
        #[arg(long)]
        security_counter: Option<u64>,
        #[arg(long)]
        health_profile: Option<String>,
        /// Lowest floor that it may be installed over
        #[arg(long)]
        min_counter_from: Option<u64>,
        #[arg(long, default_value = "desk")]
        desk: PathBuf,
    },
    /// Draft the next channel metadata without this release
    Yank {
        #[arg(long)]
        hardware: String,
        #[arg(long)]
        release: String,
        #[arg(long, default_value = "stable")]
        channel: String,
        #[arg(long, default_value = "desk")]
        desk: PathBuf,
    },
    /// List releases
    List,
    /// Build the deltas from one release to another now
    Deltas {
        #[arg(long)]
        hardware: String,
        #[arg(long)]
        from: String,
        #[arg(long)]
        to: String,
    },
    /// List deltas and what they save
    DeltaList,
}

impl Release {
    pub(crate) fn run(&self, connection: &Connection, format: Format) -> anyhow::Result<()> {
        let client = Client::open(connection)?;
        match self {
            Self::Draft { .. } => self.draft(&client),
            Self::Yank { hardware, release, channel, desk } => {
                let path = yank(&client, &Desk::at(desk), hardware, channel, release)?;
                println!("drafted {}: sign and publish it", path.display());
                Ok(())
            }
            Self::List => {
                let items: Vec<Record> = all(&client, "/releases?limit=200")?;
                show(format, &items, || rows(&items))
            }
            Self::Deltas { hardware, from, to } => {
                let body = BuildDeltas {
                    hardware: hardware.clone(),
                    from: from.as_str().into(),
                    to: to.as_str().into(),
                };
                let items: Vec<Delta> = client.post("/deltas", &body)?;
                show(format, &items, || delta_rows(&items))
            }
            Self::DeltaList => {
                let items: Vec<Delta> = all(&client, "/deltas?limit=200")?;
                show(format, &items, || delta_rows(&items))
            }
        }
    }

    fn draft(&self, client: &Client) -> anyhow::Result<()> {
        let Self::Draft {
            hardware,
            release,
            version,
            artefacts,
            channel,
            security_counter,
            health_profile,
            min_counter_from,
            desk,
        } = self
        else {
            return Ok(());
        };
        check_names(&[hardware, release, channel])?;
        let desk = Desk::at(desk);
        let current = Published {
            product: checked(&desk, client, &format!("product-{hardware}"))?,
            channel: checked(&desk, client, &format!("channel-{channel}"))?,
        };
        let released = current.product.as_ref().map(Predecessor::targets).unwrap_or_default();
        let highest = counter::highest(&desk, &released);
        let security_counter = match (security_counter, &highest) {
            (Some(counter), _) => *counter,
            (None, Ok(highest)) => *highest,
            (None, Err(_)) => return highest.map(drop),
        };
        let artefacts = artefacts
            .iter()
            .map(|(name, file)| artefact::upload(client, name, Path::new(file)))
            .collect::<Result<_, _>>()?;
        let manifest = Manifest {
            schema: 1,
            release: ReleaseName::from(release.as_str()),
            version: version.clone(),
            hardware: vec![hardware.clone()],
            kind: ReleaseKind::Firmware,
            security_counter,
            min_counter_from: *min_counter_from,
            health_profile: health_profile.clone(),
            artefacts,
            reference_measurements: BTreeMap::new(),
            sbom: None,
            provenance: None,
            allow_downgrade_from: None,
        };
        let paths = releases::draft(&desk, hardware, channel, &manifest, &current, now())?;
        println!("security counter {security_counter}; drafted, to be signed and published:");
        for path in paths {
            println!("  {}", path.display());
        }
        let note = match highest {
            Ok(highest) => counter::warning(security_counter, highest),
            Err(unknown) => Some(format!("not held against the counters before: {unknown:#}")),
        };
        if let Some(line) = note {
            println!("{line}");
        }
        Ok(())
    }
}

fn yank(
    client: &Client,
    desk: &Desk,
    hardware: &str,
    channel: &str,
    release: &str,
) -> anyhow::Result<PathBuf> {
    check_names(&[hardware, release, channel])?;
    let current = checked(desk, client, &format!("channel-{channel}"))?
        .with_context(|| format!("the channel {channel} was never published"))?;
    releases::yank(desk, hardware, channel, release, &current, now())
}

/// What the service shows for a role, once the desk has found it to be what its keys signed.
fn checked(desk: &Desk, client: &Client, role: &str) -> anyhow::Result<Option<Predecessor>> {
    Predecessor::shown(desk, role, published(client, role)?.as_deref())
}

fn check_names(names: &[&str]) -> anyhow::Result<()> {
    for name in names {
        ensure!(is_segment(name), "`{name}` is no name: a to z, 0 to 9, dot, underscore and hyphen only");
    }
    Ok(())
}

fn rows(releases: &[Record]) -> Rows<'static> {
    let row = |release: &Record| {
        vec![
            release.hardware.clone(),
            release.release.to_string(),
            release.version.clone(),
            release.security_counter.to_string(),
            release.channels.join(","),
            release.artefacts.iter().map(|artefact| artefact.length).sum::<u64>().to_string(),
            when(release.published_at),
        ]
    };
    Rows {
        head: &["HARDWARE", "RELEASE", "VERSION", "COUNTER", "CHANNELS", "BYTES", "PUBLISHED"],
        rows: releases.iter().map(row).collect(),
    }
}

fn delta_rows(deltas: &[Delta]) -> Rows<'static> {
    let row = |delta: &Delta| {
        let saved = delta.bytes.map_or("-".into(), |bytes| {
            format!("{:.1} %", 100.0 * (1.0 - bytes as f64 / delta.full_bytes.max(1) as f64))
        });
        vec![
            delta.base.to_hex()[..12].to_owned(),
            delta.output.to_hex()[..12].to_owned(),
            word(&delta.state),
            or_dash(delta.codec.as_ref()),
            or_dash(delta.bytes.as_ref()),
            delta.full_bytes.to_string(),
            saved,
            or_dash(delta.reason.as_ref()),
        ]
    };
    Rows {
        head: &["BASE", "OUTPUT", "STATE", "CODEC", "BYTES", "FULL", "SAVED", "REASON"],
        rows: deltas.iter().map(row).collect(),
    }
}

#[cfg(test)]
mod tests;
