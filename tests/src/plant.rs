//! A plant: one `holdfastd all`, its operators' tokens, a signing desk, and devices with their own software TPMs.
//!
//! Everything goes through the programs as a person would use them; nothing is reached into.

use crate::ports::free_port;
use crate::process::{Lifetime, Process, Spawn, wait_until};
use crate::programs::program;
use crate::swtpm::{Swtpm, TpmAddress, TpmMaker, Transport, Wiring};
use anyhow::{Context as _, bail, ensure};
use serde_json::Value;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

/// A running service and the folder that everything of the plant lives in.
#[derive(Debug)]
pub struct Plant {
    root: PathBuf,
    service: Process,
    /// Base URL of the service.
    pub url: String,
    database: Option<String>,
    lifetime: Lifetime,
    maker: TpmMaker,
}

/// What a program said and how it ended.
#[derive(Debug)]
pub struct Said {
    /// Exit status; -1 where a signal ended it.
    pub status: i32,
    /// Standard output.
    pub out: String,
    /// Standard error.
    pub err: String,
}

/// A device: its folder, its configuration, its TPM.
#[derive(Debug)]
pub struct Device {
    /// Serial number.
    pub serial: String,
    /// `device.toml` and its state live here.
    pub folder: PathBuf,
    /// None: a device without a TPM.
    pub tpm: Option<Swtpm>,
}

impl Plant {
    /// Starts a service with embedded defaults below `root`.
    ///
    /// # Errors
    /// When a program is missing or the service does not come up.
    pub fn start(root: &Path, lifetime: Lifetime) -> anyhow::Result<Self> {
        Self::start_on(root, lifetime, None)
    }

    /// As [`Plant::start`], on this database (`postgres://..`).
    ///
    /// # Errors
    /// As [`Plant::start`].
    pub fn start_on(root: &Path, lifetime: Lifetime, database: Option<&str>) -> anyhow::Result<Self> {
        std::fs::create_dir_all(root)?;
        let root = root.canonicalize()?;
        // No port of the kernel's choice: while the service is off, somebody's connection could sit on it.
        let listen = format!("127.0.0.1:{}", free_port());
        let service = serve(&root, lifetime, &listen, database)?;
        let maker = TpmMaker::found(&root.join("maker"))?;
        let database = database.map(str::to_owned);
        let mut plant = Self { root, service, url: format!("https://{listen}"), database, lifetime, maker };
        plant.await_ready()?;
        Ok(plant)
    }

    /// Waits until the service that runs now has said that it is ready.
    ///
    /// # Errors
    /// When it ends, or does not come up.
    pub fn await_ready(&mut self) -> anyhow::Result<()> {
        let ready = self.root.join("service/ready.json");
        let pid = self.service.pid();
        let read = || -> Option<Value> { serde_json::from_slice(&std::fs::read(&ready).ok()?).ok() };
        let is_ours = || read().is_some_and(|ready| ready["pid"] == pid);
        self.service.wait_for("the service to be ready", Duration::from_mins(1), is_ours)?;
        let ready = read().context("ready.json is gone")?;
        ensure!(ready["url"] == self.url.as_str(), "the service is not at {}: {ready}", self.url);
        Ok(())
    }

    /// Kills the service at once; it must have been running.
    ///
    /// # Errors
    /// When it had ended by itself.
    pub fn power_off(&mut self) -> anyhow::Result<()> {
        ensure!(
            self.service.is_running(),
            "the service had ended: see {}",
            self.service.log_path().display()
        );
        self.service.kill()?;
        Ok(())
    }

    /// Starts the service again on the same data and port; whether it comes up is not waited for.
    ///
    /// # Errors
    /// When the program cannot be started.
    pub fn power_on(&mut self) -> anyhow::Result<()> {
        let address = self.url.trim_start_matches("https://").to_owned();
        self.service = serve(&self.root, self.lifetime, &address, self.database.as_deref())?;
        Ok(())
    }

    /// The service's process.
    pub fn service(&mut self) -> &mut Process {
        &mut self.service
    }

    /// Folder of the plant.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// The service's data folder.
    pub fn data(&self) -> PathBuf {
        self.root.join("service")
    }

    /// Who makes the TPMs.
    pub fn maker(&self) -> &TpmMaker {
        &self.maker
    }

    /// The desk's folder.
    pub fn desk(&self) -> PathBuf {
        self.root.join("desk")
    }

    /// Runs `holdfast` with the token of a role.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn holdfast(&self, role: &str, args: &[&str]) -> anyhow::Result<Said> {
        self.holdfast_with(role, args, &[])
    }

    /// As [`Plant::holdfast`], with this on standard input.
    ///
    /// # Errors
    /// As [`Plant::holdfast`].
    pub fn holdfast_with(&self, role: &str, args: &[&str], input: &[u8]) -> anyhow::Result<Said> {
        let mut command = Command::new(program("holdfast")?);
        command
            .args(["--as", role])
            .args(args)
            .current_dir(&self.root)
            .env("HOLDFAST_URL", &self.url)
            .env("HOLDFAST_CA", self.data().join("ca.pem"))
            .env("HOLDFAST_TOKEN_FILE", self.data().join("tokens.json"))
            .env("HOLDFAST_KEY_PASSPHRASE", "a desk of the demonstration");
        say(command, input)
    }

    /// Runs `holdfast` and reads its JSON; any other end is an error with its words.
    ///
    /// # Errors
    /// When it fails.
    pub fn json(&self, role: &str, args: &[&str]) -> anyhow::Result<Value> {
        let args: Vec<&str> = ["-o", "json"].iter().chain(args).copied().collect();
        let said = self.holdfast(role, &args)?.well(&args)?;
        serde_json::from_str(&said.out)
            .with_context(|| format!("holdfast {} gave no JSON: {}", args.join(" "), said.out))
    }

    /// Trusts the TPM maker's CA as an anchor of class `software`.
    ///
    /// # Errors
    /// When the service refuses.
    pub fn trust_maker(&self) -> anyhow::Result<()> {
        let chain = self.root.join("maker-chain.pem");
        write(&chain, format!("{}{}", self.maker.root_pem()?, self.maker.issuer_pem()?).as_bytes())?;
        let chain = chain.display().to_string();
        let args =
            ["authority", "ek-root", "add", &chain, "--class", "software", "--certifies", "id:00001014=IBM"];
        self.json("installation-admin", &args).map(|_| ())
    }

    /// Writes what devices of this hardware carry, with a join token for one of them where it is given.
    ///
    /// # Errors
    /// When the service refuses.
    pub fn blob(&self, hardware: &str, into: &Path, join_token: Option<&Path>) -> anyhow::Result<()> {
        let into = into.display().to_string();
        let mut args = vec!["device", "blob", "--hardware", hardware, "--file", &into];
        let token = join_token.map(|path| path.display().to_string());
        if let Some(token) = &token {
            args.extend(["--join-token", token]);
        }
        self.holdfast("operator", &args)?.well(&args).map(|_| ())
    }

    /// A device with a software TPM of its own, its blob in place; `more` is further TOML.
    ///
    /// # Errors
    /// When the TPM cannot be made.
    pub fn device(&self, serial: &str, hardware: &str, more: &str) -> anyhow::Result<Device> {
        let folder = self.root.join("devices").join(serial);
        std::fs::create_dir_all(&folder)?;
        let wiring = Wiring { transport: Transport::Unix, pcr_banks: "sha256", lifetime: self.lifetime };
        let mut tpm = self.maker.manufacture(&folder.join("tpm"), wiring)?;
        tpm.start()?;
        let TpmAddress::Unix { data, .. } = tpm.address() else { bail!("the TPM has no Unix socket") };
        let config = format!(
            "serial = \"{serial}\"\nmodel = \"{hardware}\"\nstate_dir = \"state\"\nblob = \"blob.json\"\n\
             keystore = \"tpm\"\ntpm = \"swtpm-unix:{}\"\n{more}",
            data.display()
        );
        write(&folder.join("device.toml"), config.as_bytes())?;
        self.blob(hardware, &folder.join("blob.json"), None)?;
        Ok(Device { serial: serial.to_owned(), folder, tpm: Some(tpm) })
    }
}

/// Starts a service on the data below `root`; whether it comes up is not waited for.
///
/// # Errors
/// When the program cannot be started.
pub fn serve(
    root: &Path,
    lifetime: Lifetime,
    listen: &str,
    database: Option<&str>,
) -> anyhow::Result<Process> {
    let data = root.join("service");
    std::fs::create_dir_all(root.join("logs"))?;
    let mut spawn = Spawn::new(program("holdfastd")?, root.join("logs/holdfastd.log"))
        .args(["all", "--listen", listen, "--data-dir"])
        .arg(&data)
        .lifetime(lifetime);
    if let Some(url) = database {
        spawn = spawn.args(["--database-url", url]);
    }
    Ok(spawn.start()?)
}

impl Device {
    /// Runs `holdfast-device COMMAND`.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn run(&self, args: &[&str]) -> anyhow::Result<Said> {
        self.run_with(args, &[])
    }

    /// As [`Device::run`], with this in the environment.
    ///
    /// # Errors
    /// As [`Device::run`].
    pub fn run_with(&self, args: &[&str], environment: &[(&str, &str)]) -> anyhow::Result<Said> {
        let mut command = Command::new(program("holdfast-device")?);
        command.args(args).arg("--config").arg(self.folder.join("device.toml"));
        command.envs(environment.iter().copied());
        say(command, &[])
    }

    /// Makes its keys, and its record where `record.json` is then.
    ///
    /// # Errors
    /// When that fails.
    pub fn manufacture(&self) -> anyhow::Result<PathBuf> {
        let said = self.run(&["manufacture"])?.well(&["manufacture"])?;
        let path = self.folder.join("record.json");
        write(&path, said.out.as_bytes())?;
        Ok(path)
    }

    /// What it says of itself.
    ///
    /// # Errors
    /// When that fails.
    pub fn status(&self) -> anyhow::Result<Value> {
        let said = self.run(&["status"])?.well(&["status"])?;
        Ok(serde_json::from_str(&said.out)?)
    }

    /// Its record's id, once it has enrolled.
    ///
    /// # Errors
    /// When it has not.
    pub fn id(&self) -> anyhow::Result<String> {
        let status = self.status()?;
        status["device"]
            .as_str()
            .map(str::to_owned)
            .with_context(|| format!("{} has not enrolled", self.serial))
    }

    /// Replaces its key, born in the TPM, by an imported software key: the impostor.
    ///
    /// # Errors
    /// When the TPM refuses.
    pub fn import_software_key(&mut self) -> anyhow::Result<()> {
        let tpm = self.tpm.as_ref().context("no TPM")?;
        let TpmAddress::Unix { data, .. } = tpm.address() else { bail!("the TPM has no Unix socket") };
        let mut tpm = holdfast_tpm::Tpm::open(&format!("swtpm-unix:{}", data.display()))?;
        let (scalar, x, y) = software_key()?;
        let key = holdfast_tpm::insecure_impostor_key(&mut tpm, &scalar, &x, &y)?;
        tpm.release();
        write(&self.folder.join("state/key.tpm.priv"), &key.private)?;
        write(&self.folder.join("state/key.tpm.pub"), &key.public)
    }
}

/// A P-256 key that everybody can read: scalar, x, y.
fn software_key() -> anyhow::Result<([u8; 32], [u8; 32], [u8; 32])> {
    use aws_lc_rs::signature::{ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair};
    let random = aws_lc_rs::rand::SystemRandom::new();
    let made = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_ASN1_SIGNING, &random)
        .map_err(|_| anyhow::anyhow!("no key"))?;
    let pkcs8 = made.as_ref();
    // RFC 5915 inside RFC 5208: the scalar stands at byte 36, the uncompressed point at the end.
    let (scalar, point) = (pkcs8.get(36..68).context("PKCS#8 is short")?, &pkcs8[pkcs8.len() - 64..]);
    Ok((scalar.try_into()?, point[..32].try_into()?, point[32..].try_into()?))
}

impl Said {
    /// Itself if it ended with 0; else an error with its words.
    ///
    /// # Errors
    /// When it did not.
    pub fn well(self, args: &[&str]) -> anyhow::Result<Self> {
        ensure!(
            self.status == 0,
            "`{}` ended with {}: {}{}",
            args.join(" "),
            self.status,
            self.err,
            self.out
        );
        Ok(self)
    }
}

fn say(mut command: Command, input: &[u8]) -> anyhow::Result<Said> {
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?;
    if let Some(mut stdin) = child.stdin.take() {
        // A program that does not read its input may be gone already.
        let _ = stdin.write_all(input);
    }
    let output = child.wait_with_output()?;
    Ok(Said {
        status: output.status.code().unwrap_or(-1),
        out: String::from_utf8_lossy(&output.stdout).into_owned(),
        err: String::from_utf8_lossy(&output.stderr).into_owned(),
    })
}

/// Writes a file of a test or a demonstration.
///
/// # Errors
/// When that fails.
pub fn write(path: &Path, bytes: &[u8]) -> anyhow::Result<()> {
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder)?;
    }
    std::fs::File::create(path)?
        .write_all(bytes)
        .with_context(|| format!("{} cannot be written", path.display()))
}

/// Waits until `check` gives something.
///
/// # Errors
/// When it does not within `limit`, or fails.
pub fn until<T>(
    what: &str,
    limit: Duration,
    mut check: impl FnMut() -> anyhow::Result<Option<T>>,
) -> anyhow::Result<T> {
    let (mut found, mut failed) = (None, None);
    wait_until(what, limit, || match check() {
        Ok(Some(value)) => {
            found = Some(value);
            true
        }
        Ok(None) => false,
        Err(error) => {
            failed = Some(error);
            true
        }
    })?;
    match failed {
        Some(error) => Err(error),
        None => found.with_context(|| format!("{what}: nothing was found")),
    }
}
