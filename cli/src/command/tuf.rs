//! `holdfast tuf`: the desk's commands. Only `keys`, `publish` and `status` open a socket.

use super::{read_input, read_json};
use crate::client::{Client, Connection, escaped};
use crate::desk::draft::{self, Plan};
use crate::desk::envelope::Envelope;
use crate::desk::predecessor::{self, Predecessor};
use crate::desk::{Desk, Privacy, keys, review, write_file};
use crate::output::{Format, Rows, show};
use crate::terminal::{now, when};
use anyhow::{Context as _, ensure};
use holdfast_proto::api::tuf::{OnlineKeys, PublishFile, PublishMetadata, PublishTuf, TufStatus};
use holdfast_proto::id::is_segment;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

#[derive(Debug, clap::Subcommand)]
pub(crate) enum Tuf {
    /// Make a desk: keys for root, targets, each product and each channel, sealed under a passphrase
    Init {
        #[arg(long, default_value = "desk")]
        desk: PathBuf,
        /// Hardware id, repeatable
        #[arg(long = "hardware", required = true)]
        hardware: Vec<String>,
        /// Channel, repeatable
        #[arg(long = "channel", default_value = "stable")]
        channels: Vec<String>,
        /// How many root (and product) keys
        #[arg(long, default_value_t = 3)]
        keys: u64,
        /// How many of them must sign
        #[arg(long, default_value_t = 2)]
        threshold: u64,
    },
    /// The public halves of the service's online keys, to be signed in
    Keys {
        /// Where to write them (JSON)
        #[arg(long)]
        file: Option<PathBuf>,
    },
    /// Fix the bytes of a new root or targets metadata
    Draft {
        #[arg(value_enum)]
        role: DraftRole,
        #[arg(long, default_value = "desk")]
        desk: PathBuf,
        /// The service's keys, as `tuf keys --file` wrote them
        #[arg(long)]
        online: PathBuf,
        /// The metadata that this one follows; without it, version 1
        #[arg(long)]
        previous: Option<PathBuf>,
        /// Days until it expires
        #[arg(long, default_value_t = 365)]
        days: i64,
    },
    /// Show what is signed and append signatures to a draft
    Sign {
        file: PathBuf,
        /// Name of the key, e.g. root-1; repeatable
        #[arg(long = "key", required = true)]
        keys: Vec<String>,
        #[arg(long, default_value = "desk")]
        desk: PathBuf,
    },
    /// Put the signatures of several copies of one document together
    Merge {
        /// Where to write the result
        #[arg(long)]
        into: PathBuf,
        #[arg(required = true)]
        files: Vec<PathBuf>,
    },
    /// Give signed metadata and its files to the service, whole or not at all
    Publish {
        #[arg(long, default_value = "desk")]
        desk: PathBuf,
    },
    /// Versions and expiries; warns in the last third of a role's life
    Status,
}

#[derive(Debug, Clone, Copy, clap::ValueEnum)]
pub(crate) enum DraftRole {
    Root,
    Targets,
}

type DraftFn = fn(&Desk, &OnlineKeys, Option<&Predecessor>, i64, i64) -> anyhow::Result<PathBuf>;

impl Tuf {
    pub(crate) fn run(&self, connection: &Connection, format: Format) -> anyhow::Result<()> {
        match self {
            Self::Init { desk, hardware, channels, keys, threshold } => {
                init(&Desk::at(desk), hardware, channels, *keys, *threshold)
            }
            Self::Keys { file } => {
                let online: OnlineKeys = Client::open(connection)?.get("/tuf/keys")?;
                match file {
                    Some(path) => write_file(path, &serde_json::to_vec_pretty(&online)?, Privacy::Public),
                    None => crate::output::json(&online),
                }
            }
            Self::Draft { role, desk, online, previous, days } => {
                let (desk, online) = (Desk::at(desk), read_json(online)?);
                let (name, make) = match role {
                    DraftRole::Root => ("root", draft::root as DraftFn),
                    DraftRole::Targets => ("targets", draft::targets as DraftFn),
                };
                let previous = match previous {
                    Some(file) => Some(Predecessor::file(&desk, name, &read_input(file)?, file)?),
                    None => None,
                };
                let path = make(&desk, &online, previous.as_ref(), now(), *days)?;
                println!("drafted {}: sign it with `holdfast tuf sign`", path.display());
                Ok(())
            }
            Self::Sign { file, keys, desk } => sign(&Desk::at(desk), file, keys),
            Self::Merge { into, files } => merge(into, files),
            Self::Publish { desk } => {
                let status = publish(&Desk::at(desk), &Client::open(connection)?)?;
                show(format, &status, || rows(&status))
            }
            Self::Status => {
                let status: TufStatus = Client::open(connection)?.get("/tuf/status")?;
                show(format, &status, || rows(&status))
            }
        }
    }
}

fn init(
    desk: &Desk,
    hardware: &[String],
    channels: &[String],
    count: u64,
    threshold: u64,
) -> anyhow::Result<()> {
    ensure!(
        threshold >= 1 && threshold <= count,
        "a threshold of {threshold} cannot be reached with {count} keys"
    );
    for name in hardware.iter().chain(channels) {
        ensure!(is_segment(name), "`{name}` is no name: a to z, 0 to 9, dot, underscore and hyphen only");
    }
    let passphrase = keys::passphrase()?;
    let mut thresholds =
        BTreeMap::from([("root".to_owned(), threshold), ("targets".to_owned(), threshold.min(2))]);
    let mut names: Vec<String> = (1..=count).map(|number| format!("root-{number}")).collect();
    names.extend((1..=threshold.max(2)).map(|number| format!("targets-{number}")));
    for hw in hardware {
        names.extend((1..=count).map(|number| format!("product-{hw}-{number}")));
        thresholds.insert(format!("product-{hw}"), threshold);
    }
    for channel in channels {
        names.push(format!("channel-{channel}-1"));
        thresholds.insert(format!("channel-{channel}"), 1);
    }
    for name in &names {
        let made = keys::generate(desk, name, &passphrase)?;
        println!("{name}  {}", made.key_id);
    }
    let plan = Plan { hardware: hardware.to_vec(), channels: channels.to_vec(), thresholds };
    write_file(&desk.plan_file(), &serde_json::to_vec_pretty(&plan)?, Privacy::Public)?;
    println!(
        "{} keys made; keep them on media of their own, and the passphrase apart from them",
        names.len()
    );
    Ok(())
}

fn sign(desk: &Desk, file: &Path, names: &[String]) -> anyhow::Result<()> {
    let role = signed_role(names)?;
    let mut envelope =
        Envelope::read(&read_input(file)?).with_context(|| format!("{} cannot be signed", file.display()))?;
    ensure!(
        envelope.kind() == predecessor::kind(role),
        "{} is {} metadata, which a key of {role} does not sign",
        file.display(),
        envelope.kind()
    );
    // Before the passphrase is asked for: whoever types it has seen what it signs.
    println!("{}:", file.display());
    for line in review::lines(desk, role, &envelope)? {
        println!("{line}");
    }
    let passphrase = keys::passphrase()?;
    for name in names {
        envelope.sign(&keys::open(desk, name, &passphrase)?)?;
        println!("{} signed by {name} ({} signatures)", file.display(), envelope.signatures.len());
    }
    write_file(file, &envelope.to_bytes()?, Privacy::Public)
}

/// The role that these keys sign for: a key's name is its role and a number.
fn signed_role(names: &[String]) -> anyhow::Result<&str> {
    let first = names.first().context("no key: give --key")?;
    let role = role_of(first);
    for name in names {
        ensure!(
            role_of(name) == role,
            "{first} and {name} are keys of two roles: sign one document for one role at a time"
        );
    }
    Ok(role)
}

fn role_of(key: &str) -> &str {
    key.rsplit_once('-').map_or(key, |(role, _)| role)
}

fn merge(into: &Path, files: &[PathBuf]) -> anyhow::Result<()> {
    let mut copies = files.iter().map(|file| {
        Envelope::read(&read_input(file)?).with_context(|| format!("{} cannot be merged", file.display()))
    });
    let mut merged = copies.next().context("nothing to merge")??;
    for copy in copies {
        merged.merge(&copy?)?;
    }
    write_file(into, &merged.to_bytes()?, Privacy::Public)?;
    println!("{}: {} signatures", into.display(), merged.signatures.len());
    Ok(())
}

/// Everything in `out/`: metadata whose thresholds are checked here first, then the files.
fn publish(desk: &Desk, client: &Client) -> anyhow::Result<TufStatus> {
    let plan = Plan::read(desk)?;
    let mut body = PublishTuf { metadata: Vec::new(), files: Vec::new() };
    let mut paths = Vec::new();
    for entry in
        std::fs::read_dir(desk.out()).context("nothing to publish: the desk's out folder is missing")?
    {
        let path = entry?.path();
        let Some(role) =
            path.file_name().and_then(|name| name.to_str()).and_then(|name| name.strip_suffix(".json"))
        else {
            continue;
        };
        let bytes = std::fs::read(&path)?;
        check_threshold(desk, &plan, role, &bytes)?;
        body.metadata.push(PublishMetadata { role: role.to_owned(), bytes: bytes.into() });
        paths.push(path.clone());
    }
    ensure!(!body.metadata.is_empty(), "nothing to publish: {} holds no metadata", desk.out().display());
    collect_files(&desk.files(), &desk.files(), &mut body.files, &mut paths)?;
    let status: TufStatus = client.post("/tuf/publish", &body)?;
    // What is published leaves `out/`, so that the next draft does not carry it again.
    let done = desk.published();
    for path in paths {
        let to = done.join(path.strip_prefix(desk.out()).unwrap_or(&path));
        std::fs::create_dir_all(to.parent().unwrap_or(&done))?;
        std::fs::rename(&path, &to)?;
    }
    Ok(status)
}

fn check_threshold(desk: &Desk, plan: &Plan, role: &str, bytes: &[u8]) -> anyhow::Result<()> {
    let envelope = Envelope::read(bytes).with_context(|| format!("{role}.json"))?;
    let known: Vec<_> = keys::publics(desk, role)?.into_iter().map(|file| (file.key_id, file.key)).collect();
    let (signed, threshold) = (envelope.valid_signatures(&known)? as u64, plan.threshold(role));
    ensure!(
        signed >= threshold,
        "{role}.json has {signed} valid signatures of the desk's keys, {threshold} are needed: sign it with `holdfast tuf sign`"
    );
    Ok(())
}

fn collect_files(
    root: &Path,
    folder: &Path,
    files: &mut Vec<PublishFile>,
    paths: &mut Vec<PathBuf>,
) -> anyhow::Result<()> {
    let Ok(entries) = std::fs::read_dir(folder) else { return Ok(()) };
    for entry in entries {
        let path = entry?.path();
        if path.is_dir() {
            collect_files(root, &path, files, paths)?;
        } else if let Some(target) = path.strip_prefix(root).ok().and_then(Path::to_str) {
            files.push(PublishFile { path: target.to_owned(), bytes: std::fs::read(&path)?.into() });
            paths.push(path);
        }
    }
    Ok(())
}

/// The newest published metadata of a role, if any.
pub(super) fn published(client: &Client, role: &str) -> anyhow::Result<Option<Vec<u8>>> {
    client.get_raw(&format!("/tuf/metadata/{}", escaped(role)))
}

fn rows(status: &TufStatus) -> Rows<'static> {
    let row = |role: &holdfast_proto::api::tuf::RoleStatus| {
        let warning = if role.renew_soon { "renew: less than a third of its life is left" } else { "" };
        vec![role.role.clone(), role.version.to_string(), when(role.expires_at), warning.to_owned()]
    };
    Rows { head: &["ROLE", "VERSION", "EXPIRES", ""], rows: status.roles.iter().map(row).collect() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::desk::testing::TestDesk;

    #[test]
    fn a_key_signs_what_is_its_roles_and_nothing_else() {
        let test = TestDesk::founded();
        let file = test.desk.published().join("targets.json");
        let before = std::fs::read(&file).unwrap();
        let refusal = |names: &[&str]| {
            let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
            let refused = sign(&test.desk, &file, &names).unwrap_err().to_string();
            assert_eq!(std::fs::read(&file).unwrap(), before, "nothing was signed");
            refused
        };
        assert!(refusal(&["root-1"]).contains("which a key of root does not sign"));
        assert!(refusal(&["targets-1", "product-hub-1"]).contains("keys of two roles"));
        assert!(refusal(&[]).contains("no key"));
    }
}
