//! Software TPMs: a maker with its own CA, and chips that are switched on, cut off and switched on again.
//!
//! Lives here: swtpm and swtpm_setup, and where a chip listens. Must not live here: TPM commands (crate
//! holdfast-tpm). Invariant: a chip's state directory survives any end of its process; two processes never share one.
//!
//! A chip made here holds an RSA-2048 EK (handle 0x81010001, certificate in NV 0x01c00002) and a P-384 EK (handle
//! 0x81010016, certificate in NV 0x01c00016). Its maker's CA has two levels: a root, and the issuer that signed both.

use std::fs;
use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus};
use std::time::Duration;

use crate::ports::free_port_pair;
use crate::process::{Lifetime, Process, ProcessError, Spawn, run};

const READY_LIMIT: Duration = Duration::from_secs(20);
const STOP_LIMIT: Duration = Duration::from_secs(5);
/// A Unix socket's path holds 107 bytes; the longest name that we append is `/tpm.sock.ctrl`.
const DIRECTORY_MAX_LEN_BYTES: usize = 90;

/// Why there is no chip.
#[derive(Debug, thiserror::Error)]
pub enum SwtpmError {
    /// A file could not be read or written.
    #[error("cannot use {}", path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// The system's answer.
        #[source]
        source: io::Error,
    },
    /// The directory's path is too long for a Unix socket in it.
    #[error("{} is {len_bytes} bytes long, at most {DIRECTORY_MAX_LEN_BYTES} fit a Unix socket's path", path.display())]
    PathTooLong {
        /// Which.
        path: PathBuf,
        /// How long it is.
        len_bytes: usize,
    },
    /// A program failed.
    #[error(transparent)]
    Process(#[from] ProcessError),
}

fn at(path: &Path) -> impl FnOnce(io::Error) -> SwtpmError {
    let path = path.to_owned();
    |source| SwtpmError::File { path, source }
}

/// A maker of TPMs: a CA of its own, made by swtpm_localca.
#[derive(Clone, Debug)]
pub struct TpmMaker {
    directory: PathBuf,
}

impl TpmMaker {
    /// Founds a maker in `directory`, or takes up the one that is there.
    pub fn found(directory: &Path) -> Result<Self, SwtpmError> {
        fs::create_dir_all(directory).map_err(at(directory))?;
        let directory = directory.canonicalize().map_err(at(directory))?;
        let maker = Self { directory };
        let ca = maker.ca();
        fs::create_dir_all(&ca).map_err(at(&ca))?;
        let ca = ca.display();
        maker.put(
            "localca.conf",
            &format!(
                "statedir = {ca}\nsigningkey = {ca}/signkey.pem\nissuercert = {ca}/issuercert.pem\ncertserial = {ca}/certserial\n"
            ),
        )?;
        maker.put(
            "localca.options",
            "--platform-manufacturer Holdfast\n--platform-version 1.0\n--platform-model Testbench\n",
        )?;
        let home = maker.directory.display();
        maker.put(
            "setup.conf",
            &format!(
                "create_certs_tool = /usr/bin/swtpm_localca\ncreate_certs_tool_config = {home}/localca.conf\ncreate_certs_tool_options = {home}/localca.options\nactive_pcr_banks = sha256\n"
            ),
        )?;
        if !maker.ca().join("issuercert.pem").is_file() {
            maker.make_ca()?;
        }
        Ok(maker)
    }

    /// swtpm_localca makes its CA with its first certificate; that one, for no chip at all, is thrown away.
    fn make_ca(&self) -> Result<(), SwtpmError> {
        let throw_away = self.directory.join("first");
        fs::create_dir_all(&throw_away).map_err(at(&throw_away))?;
        let modulus = format!("c{}1", "0".repeat(510));
        run(Command::new("swtpm_localca")
            .args(["--type", "ek", "--ek", &modulus, "--tpm2"])
            .args(["--tpm-spec-family", "2.0", "--tpm-spec-level", "0", "--tpm-spec-revision", "164"])
            .args([
                "--tpm-manufacturer",
                "id:00001014",
                "--tpm-model",
                "swtpm",
                "--tpm-version",
                "id:20191023",
            ])
            .arg("--dir")
            .arg(&throw_away)
            .arg("--configfile")
            .arg(self.directory.join("localca.conf"))
            .arg("--optsfile")
            .arg(self.directory.join("localca.options")))?;
        fs::remove_dir_all(&throw_away).map_err(at(&throw_away))
    }

    /// The CA certificate that signs EK certificates, PEM.
    pub fn issuer_pem(&self) -> Result<String, SwtpmError> {
        self.get("issuercert.pem")
    }

    /// The self-signed root above it, PEM: the trust anchor to register.
    pub fn root_pem(&self) -> Result<String, SwtpmError> {
        self.get("swtpm-localca-rootca-cert.pem")
    }

    /// Where the root's PEM file is.
    pub fn root_path(&self) -> PathBuf {
        self.ca().join("swtpm-localca-rootca-cert.pem")
    }

    /// Where the issuer's PEM file is.
    pub fn issuer_path(&self) -> PathBuf {
        self.ca().join("issuercert.pem")
    }

    /// Makes a new chip whose state is kept in `directory`; it is off until [`Swtpm::start`].
    pub fn manufacture(&self, directory: &Path, wiring: Wiring) -> Result<Swtpm, SwtpmError> {
        let chip = Swtpm::at(directory, wiring)?;
        let (state, certificates) = (chip.directory.join("state"), chip.directory.join("ek"));
        for directory in [&state, &certificates] {
            fs::create_dir_all(directory).map_err(at(directory))?;
        }
        run(Command::new("swtpm_setup")
            .args(["--tpm2", "--create-ek-cert", "--lock-nvram", "--not-overwrite"])
            .args(["--pcr-banks", chip.wiring.pcr_banks])
            .arg("--tpm-state")
            .arg(&state)
            .arg("--write-ek-cert-files")
            .arg(&certificates)
            .arg("--config")
            .arg(self.directory.join("setup.conf"))
            // Its scratch files carry fixed prefixes in TMPDIR and are removed by itself.
            .arg("--logfile")
            .arg(chip.directory.join("setup.log")))?;
        Ok(chip)
    }

    fn ca(&self) -> PathBuf {
        self.directory.join("ca")
    }

    fn put(&self, name: &str, text: &str) -> Result<(), SwtpmError> {
        let path = self.directory.join(name);
        if fs::read_to_string(&path).is_ok_and(|old| old == text) {
            return Ok(());
        }
        put_file(&path, text.as_bytes()).map_err(at(&path))
    }

    fn get(&self, name: &str) -> Result<String, SwtpmError> {
        let path = self.ca().join(name);
        fs::read_to_string(&path).map_err(at(&path))
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "configuration of test programs; nothing depends on its durability"
)]
fn put_file(path: &Path, bytes: &[u8]) -> io::Result<()> {
    fs::write(path, bytes)
}

/// How a chip is reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Transport {
    /// Two Unix sockets in the chip's directory.
    #[default]
    Unix,
    /// Two TCP ports on loopback.
    Tcp,
}

/// How a chip is built in.
#[derive(Clone, Copy, Debug)]
pub struct Wiring {
    /// Unix sockets or TCP.
    pub transport: Transport,
    /// The PCR banks that are on, as swtpm_setup names them: `sha256`, `sha1,sha256`.
    pub pcr_banks: &'static str,
    /// Whether it goes off when we end.
    pub lifetime: Lifetime,
}

impl Default for Wiring {
    fn default() -> Self {
        Self { transport: Transport::Unix, pcr_banks: "sha256", lifetime: Lifetime::WithUs }
    }
}

/// Where a chip listens. By the convention of tpm2-tss the control channel is at the data channel's path with `.ctrl`
/// after it, or at its port plus one. The data channel carries TPM commands as they are, the control channel swtpm's own protocol.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TpmAddress {
    /// Unix sockets.
    Unix {
        /// TPM commands.
        data: PathBuf,
        /// Switching, locality, cancelling.
        control: PathBuf,
    },
    /// TCP on loopback.
    Tcp {
        /// TPM commands.
        data: SocketAddr,
        /// Switching, locality, cancelling.
        control: SocketAddr,
    },
}

/// Which of a chip's two endorsement keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EndorsementKey {
    /// Handle 0x81010001, certificate in NV index 0x01c00002.
    Rsa2048,
    /// Handle 0x81010016, certificate in NV index 0x01c00016.
    P384,
}

/// One software TPM and its state directory.
#[derive(Debug)]
pub struct Swtpm {
    directory: PathBuf,
    wiring: Wiring,
    address: TpmAddress,
    process: Option<Process>,
}

impl Swtpm {
    /// Takes up a chip that was manufactured before; it is off until [`Swtpm::start`].
    pub fn at(directory: &Path, wiring: Wiring) -> Result<Self, SwtpmError> {
        fs::create_dir_all(directory).map_err(at(directory))?;
        let directory = directory.canonicalize().map_err(at(directory))?;
        let len_bytes = directory.as_os_str().len();
        if wiring.transport == Transport::Unix && len_bytes > DIRECTORY_MAX_LEN_BYTES {
            return Err(SwtpmError::PathTooLong { path: directory, len_bytes });
        }
        let address = match wiring.transport {
            Transport::Unix => TpmAddress::Unix {
                data: directory.join("tpm.sock"),
                control: directory.join("tpm.sock.ctrl"),
            },
            Transport::Tcp => {
                let (data, control) = free_port_pair();
                TpmAddress::Tcp {
                    data: (Ipv4Addr::LOCALHOST, data).into(),
                    control: (Ipv4Addr::LOCALHOST, control).into(),
                }
            }
        };
        Ok(Self { directory, wiring, address, process: None })
    }

    /// Switches it on: volatile state is lost, PCRs are reset, TPM2_Startup(CLEAR) is done. Nothing when it is on.
    pub fn start(&mut self) -> Result<(), SwtpmError> {
        if self.process.as_mut().is_some_and(Process::is_running) {
            return Ok(());
        }
        let (server, control) = match &self.address {
            TpmAddress::Unix { data, control } => {
                for socket in [data, control] {
                    // What a killed process left would be taken for a chip that is on.
                    match fs::remove_file(socket) {
                        Err(error) if error.kind() != io::ErrorKind::NotFound => {
                            return Err(at(socket)(error));
                        }
                        _ => {}
                    }
                }
                let unix = |path: &Path| format!("type=unixio,path={},mode=0600", path.display());
                (unix(data), unix(control))
            }
            TpmAddress::Tcp { data, control } => {
                let tcp = |a: &SocketAddr| format!("type=tcp,port={},bindaddr={}", a.port(), a.ip());
                (tcp(data), tcp(control))
            }
        };
        let mut process = Spawn::new("swtpm", self.directory.join("swtpm.log"))
            .args(["socket", "--tpm2", "--flags", "not-need-init,startup-clear"])
            .arg("--tpmstate")
            .arg(format!("dir={}", self.directory.join("state").display()))
            .args(["--server", &server, "--ctrl", &control])
            .lifetime(self.wiring.lifetime)
            .start()?;
        let address = self.address.clone();
        process.wait_for("the TPM listens", READY_LIMIT, || address.connect_both().is_ok())?;
        self.process = Some(process);
        Ok(())
    }

    /// Switches it off in order (SIGTERM).
    pub fn stop(&mut self) -> Result<(), SwtpmError> {
        if let Some(mut process) = self.process.take() {
            process.terminate(STOP_LIMIT)?;
        }
        Ok(())
    }

    /// Cuts its power (SIGKILL). Returns how its process ended, or nothing when it was off.
    pub fn kill(&mut self) -> Result<Option<ExitStatus>, SwtpmError> {
        self.process.take().map(|mut process| process.kill()).transpose().map_err(SwtpmError::from)
    }

    /// A reboot as the chip sees it: power cut and on again, same state, same address.
    pub fn reboot(&mut self) -> Result<(), SwtpmError> {
        self.kill()?;
        self.start()
    }

    /// True while its process runs.
    pub fn is_on(&mut self) -> bool {
        self.process.as_mut().is_some_and(Process::is_running)
    }

    /// Where it listens while it is on. The same for the whole life of this handle.
    pub fn address(&self) -> &TpmAddress {
        &self.address
    }

    /// Its directory.
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// The certificate that its maker gave it, DER, as its NV memory holds it.
    pub fn ek_certificate_der(&self, key: EndorsementKey) -> Result<Vec<u8>, SwtpmError> {
        let name = match key {
            EndorsementKey::Rsa2048 => "ek-rsa2048.crt",
            EndorsementKey::P384 => "ek-secp384r1.crt",
        };
        let path = self.directory.join("ek").join(name);
        fs::read(&path).map_err(at(&path))
    }
}

/// A byte stream to a chip, whatever carries it.
pub trait Wire: Read + Write + Send {}
impl<T: Read + Write + Send> Wire for T {}

impl TpmAddress {
    /// Opens the data channel. swtpm serves one client at a time.
    pub fn connect(&self) -> io::Result<Box<dyn Wire>> {
        Ok(match self {
            Self::Unix { data, .. } => Box::new(UnixStream::connect(data)?),
            Self::Tcp { data, .. } => Box::new(TcpStream::connect(data)?),
        })
    }

    /// The address in the notation of tpm2-tools and tpm2-tss (`-T swtpm:path=..`, `-T swtpm:host=..,port=..`).
    pub fn tcti(&self) -> String {
        match self {
            Self::Unix { data, .. } => format!("swtpm:path={}", data.display()),
            Self::Tcp { data, .. } => format!("swtpm:host={},port={}", data.ip(), data.port()),
        }
    }

    fn connect_both(&self) -> io::Result<()> {
        self.connect()?;
        match self {
            Self::Unix { control, .. } => UnixStream::connect(control).map(drop),
            Self::Tcp { control, .. } => TcpStream::connect(control).map(drop),
        }
    }
}
