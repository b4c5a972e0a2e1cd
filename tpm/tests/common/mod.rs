//! Software TPMs as a factory would deliver them: manufactured by `swtpm_setup` with EK certificates from
//! an authority of this process, run by `swtpm socket`, killed like a machine that loses power.
//!
//! Needs `swtpm`, `swtpm_setup` and `swtpm_localca` on the path (Debian: swtpm, swtpm-tools).

#![allow(dead_code, unreachable_pub, reason = "shared by several test programs, each using a part")]
#![expect(
    clippy::disallowed_methods,
    reason = "swtpm's readiness is bounded by the wall clock; its configuration lives as long as the test"
)]

use std::fs;
use std::net::{TcpListener, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::{Duration, Instant};
use tempfile::TempDir;

const READY_WITHIN: Duration = Duration::from_secs(20);

/// The certificate authority that signs the EK certificates of every TPM of this process.
#[derive(Debug)]
pub struct Authority {
    dir: TempDir,
}

/// How a TPM is made and reached.
#[derive(Debug, Clone)]
pub struct Options {
    pub socket: Socket,
    /// Comma-separated banks to allocate.
    pub pcr_banks: &'static str,
    pub ek_certificates: bool,
}

/// Which kind of socket swtpm listens on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Socket {
    Tcp,
    Unix,
}

/// A manufactured, running software TPM. Dropping it kills the process and removes its state.
#[derive(Debug)]
pub struct Swtpm {
    authority: Arc<Authority>,
    dir: TempDir,
    socket: Socket,
    port: u16,
    child: Option<Child>,
}

impl Default for Options {
    fn default() -> Self {
        Self { socket: Socket::Unix, pcr_banks: "sha256", ek_certificates: true }
    }
}

impl Authority {
    /// The authority of this process; made by its first user, removed with its last.
    pub fn shared() -> Arc<Self> {
        static SHARED: Mutex<Weak<Authority>> = Mutex::new(Weak::new());
        let mut shared = SHARED.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(authority) = shared.upgrade() {
            return authority;
        }
        let authority = Arc::new(Self::create());
        *shared = Arc::downgrade(&authority);
        authority
    }

    fn create() -> Self {
        let dir = tempfile::tempdir().expect("a directory for the authority");
        let at = |name: &str| dir.path().join(name).display().to_string();
        fs::create_dir(dir.path().join("ca")).unwrap();
        let localca = format!(
            "statedir = {}\nsigningkey = {}\nissuercert = {}\ncertserial = {}\n",
            at("ca"),
            at("ca/signkey.pem"),
            at("ca/issuercert.pem"),
            at("ca/certserial"),
        );
        fs::write(at("localca.conf"), localca).unwrap();
        let options = "--platform-manufacturer Holdfast\n--platform-version 1.0\n--platform-model Test\n";
        fs::write(at("localca.options"), options).unwrap();
        let setup = format!(
            "create_certs_tool = {}\ncreate_certs_tool_config = {}\ncreate_certs_tool_options = {}\n",
            on_path("swtpm_localca").display(),
            at("localca.conf"),
            at("localca.options"),
        );
        fs::write(at("setup.conf"), setup).unwrap();
        Self { dir }
    }

    /// The root's certificate, PEM. Exists once a TPM with certificates was manufactured.
    pub fn root_certificate(&self) -> PathBuf {
        self.dir.path().join("ca/swtpm-localca-rootca-cert.pem")
    }

    /// The certificate of the authority that signs EK certificates, PEM; issued by the root.
    pub fn issuer_certificate(&self) -> PathBuf {
        self.dir.path().join("ca/issuercert.pem")
    }
}

impl Swtpm {
    /// Manufactures a TPM with default options and starts it.
    pub fn new() -> Self {
        Self::manufacture(&Options::default())
    }

    /// Manufactures a TPM and starts it.
    pub fn manufacture(options: &Options) -> Self {
        let authority = Authority::shared();
        // swtpm wants its state directory absolute.
        let dir = tempfile::tempdir().expect("a directory for the TPM");
        fs::create_dir(dir.path().join("state")).unwrap();
        let mut setup = Command::new("swtpm_setup");
        setup
            .arg("--tpm2")
            .arg("--tpmstate")
            .arg(dir.path().join("state"))
            .arg("--config")
            .arg(authority.dir.path().join("setup.conf"))
            .args(["--pcr-banks", options.pcr_banks, "--lock-nvram"]);
        if options.ek_certificates {
            setup.args(["--create-ek-cert", "--create-platform-cert"]);
        } else {
            setup.arg("--createek");
        }
        run(&mut setup);
        let mut tpm = Self { authority, dir, socket: options.socket, port: 0, child: None };
        tpm.start();
        tpm
    }

    /// The authority that signed this TPM's EK certificates.
    pub fn authority(&self) -> &Arc<Authority> {
        &self.authority
    }

    /// Where the TPM is, as `holdfast_tpm::transport::open` takes it.
    pub fn spec(&self) -> String {
        match self.socket {
            Socket::Tcp => format!("swtpm:host=127.0.0.1,port={}", self.port),
            Socket::Unix => format!("swtpm-unix:{}", self.socket_path().display()),
        }
    }

    /// Where the TPM is, as `TPM2TOOLS_TCTI` takes it.
    pub fn tcti(&self) -> String {
        match self.socket {
            Socket::Tcp => format!("swtpm:host=127.0.0.1,port={}", self.port),
            Socket::Unix => panic!("tpm2-tools reach a TPM over TCP"),
        }
    }

    /// The machine loses power: SIGKILL, nothing is saved that was not saved.
    pub fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            child.kill().expect("swtpm can be killed");
            child.wait().expect("swtpm can be waited for");
        }
    }

    /// The machine gets power: the TPM starts on its state and is reset (TPM2_Startup(CLEAR)).
    pub fn start(&mut self) {
        assert!(self.child.is_none(), "swtpm runs already");
        // A port may be taken by someone else between choosing and binding: then swtpm exits, and another is tried.
        for _ in 0..10 {
            if self.port == 0 {
                self.port = free_port_pair();
            }
            if self.try_start() {
                return;
            }
            self.port = 0;
        }
        panic!("swtpm does not start");
    }

    /// Loses power and gets it again.
    pub fn power_cut(&mut self) {
        self.kill();
        self.start();
    }

    fn try_start(&mut self) -> bool {
        let control = self.dir.path().join("control.sock");
        for stale in [self.socket_path(), control.clone()] {
            let _ = fs::remove_file(stale);
        }
        let (server, control) = match self.socket {
            Socket::Tcp => {
                (format!("type=tcp,port={}", self.port), format!("type=tcp,port={}", self.port + 1))
            }
            Socket::Unix => (
                format!("type=unixio,path={}", self.socket_path().display()),
                format!("type=unixio,path={}", control.display()),
            ),
        };
        let log = fs::File::create(self.dir.path().join("log")).unwrap();
        let mut child = Command::new("swtpm")
            .args(["socket", "--tpm2", "--flags", "not-need-init,startup-clear", "--tpmstate"])
            .arg(format!("dir={}", self.dir.path().join("state").display()))
            .args(["--server", &server, "--ctrl", &control])
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .spawn()
            .expect("swtpm is installed");
        let deadline = Instant::now() + READY_WITHIN;
        while Instant::now() < deadline {
            if self.answers() {
                self.child = Some(child);
                return true;
            }
            if child.try_wait().unwrap().is_some() {
                return false;
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        let _ = child.kill();
        let _ = child.wait();
        panic!("swtpm is not ready: {}", fs::read_to_string(self.dir.path().join("log")).unwrap_or_default());
    }

    fn answers(&self) -> bool {
        match self.socket {
            Socket::Tcp => TcpStream::connect(("127.0.0.1", self.port)).is_ok(),
            Socket::Unix => UnixStream::connect(self.socket_path()).is_ok(),
        }
    }

    fn socket_path(&self) -> PathBuf {
        self.dir.path().join("tpm.sock")
    }
}

impl Drop for Swtpm {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Two free neighbouring ports: tpm2-tools expect the control channel one above the data channel.
fn free_port_pair() -> u16 {
    loop {
        let first = TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let port = first.local_addr().unwrap().port();
        if port < u16::MAX && TcpListener::bind(("127.0.0.1", port + 1)).is_ok() {
            return port;
        }
    }
}

fn on_path(program: &str) -> PathBuf {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .map(|dir| dir.join(program))
        .find(|file| file.is_file())
        .unwrap_or_else(|| panic!("{program} is not installed"))
}

/// Runs a program to its end and returns its standard output; panics with its messages when it fails.
pub fn run(command: &mut Command) -> String {
    let output = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    assert!(output.status.success(), "{command:?}\n{}{}", text(&output.stdout), text(&output.stderr));
    text(&output.stdout)
}

/// Writes `bytes` to a file in `dir` and returns its path.
pub fn file(dir: &Path, name: &str, bytes: &[u8]) -> PathBuf {
    let path = dir.join(name);
    fs::write(&path, bytes).unwrap();
    path
}
