//! `tuf_client` as a program, over HTTP: its command line, exit status, requests, and the files that it leaves.

use crate::support::{DAY, Pair, Repo, pairs};
use serde_json::json;
use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, Mutex, OnceLock};
use std::time::{SystemTime, UNIX_EPOCH};
use tempfile::TempDir;

/// What is served, and what was asked for.
#[derive(Default)]
struct Site {
    files: BTreeMap<String, Vec<u8>>,
    /// Status in place of 404, by path.
    statuses: BTreeMap<String, u16>,
    requests: Vec<String>,
}

fn serve(site: Arc<Mutex<Site>>) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let _ = answer(&site, stream.unwrap());
        }
    });
    url
}

fn answer(site: &Mutex<Site>, mut stream: TcpStream) -> std::io::Result<()> {
    let mut lines = BufReader::new(stream.try_clone()?).lines();
    let request = lines.next().unwrap_or(Ok(String::new()))?;
    for line in lines {
        if line?.is_empty() {
            break;
        }
    }
    let path = request.split(' ').nth(1).unwrap_or_default().trim_start_matches('/').to_owned();
    let (status, body) = {
        let mut site = site.lock().unwrap();
        site.requests.push(path.clone());
        match (site.statuses.get(&path), site.files.get(&path)) {
            (Some(status), _) => (*status, b"no".to_vec()),
            (None, Some(bytes)) => (200, bytes.clone()),
            (None, None) => (404, b"no".to_vec()),
        }
    };
    write!(stream, "HTTP/1.1 {status} x\r\ncontent-length: {}\r\nconnection: close\r\n\r\n", body.len())?;
    stream.write_all(&body)
}

/// The example as `cargo test` has built it beside this program; running one test program alone builds none.
fn program() -> &'static Path {
    static PROGRAM: OnceLock<PathBuf> = OnceLock::new();
    PROGRAM.get_or_init(|| {
        let this = std::env::current_exe().unwrap();
        let example = this.ancestors().nth(2).unwrap().join("examples/tuf_client");
        if !is_fresh(&example) {
            let status = Command::new(env!("CARGO"))
                .args(["build", "--quiet", "--example", "tuf_client", "--features", "tuf", "--target-dir"])
                .arg(this.ancestors().nth(3).unwrap())
                .current_dir(env!("CARGO_MANIFEST_DIR"))
                .status()
                .unwrap();
            assert!(status.success());
        }
        example
    })
}

/// Whether a program is newer than every source that cargo says it was built from.
fn is_fresh(program: &Path) -> bool {
    let changed = |path: &Path| path.metadata().and_then(|meta| meta.modified()).ok();
    let Some(built) = changed(program) else { return false };
    let sources = std::fs::read_to_string(program.with_extension("d")).unwrap_or_default();
    let mut sources = sources.split_whitespace().skip(1).peekable();
    sources.peek().is_some() && sources.all(|source| changed(Path::new(source)).is_some_and(|at| at <= built))
}

struct Desk {
    repo: Repo,
    site: Arc<Mutex<Site>>,
    url: String,
    folder: TempDir,
}

impl Desk {
    fn new() -> Self {
        let mut repo = Repo::new();
        for role in ["root", "timestamp", "snapshot", "targets"] {
            repo.expire(role, now() + 30 * DAY);
        }
        repo.publish();
        let site = Arc::new(Mutex::new(Site::default()));
        let url = serve(Arc::clone(&site));
        let desk = Self { repo, site, url, folder: TempDir::new().unwrap() };
        desk.upload();
        desk
    }

    fn upload(&self) {
        let metadata =
            self.repo.served.iter().map(|(name, bytes)| (format!("metadata/{name}"), bytes.clone()));
        let targets =
            self.repo.target_files.iter().map(|(name, bytes)| (format!("targets/{name}"), bytes.clone()));
        self.site.lock().unwrap().files = metadata.chain(targets).collect();
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Exit status of the client.
    fn run(&self, words: &[&str]) -> i32 {
        self.site.lock().unwrap().requests.clear();
        let output = Command::new(program()).args(words).output().unwrap();
        output.status.code().unwrap_or_else(|| panic!("{output:?}"))
    }

    fn init(&self) -> i32 {
        let root = self.path("first_root.json");
        replace(&root, &self.repo.first_root());
        self.run(&["--metadata-dir", self.path("metadata").to_str().unwrap(), "init", root.to_str().unwrap()])
    }

    fn refresh(&self) -> i32 {
        let (url, folder) = (format!("{}/metadata/", self.url), self.path("metadata"));
        self.run(&["--metadata-url", &url, "--metadata-dir", folder.to_str().unwrap(), "refresh"])
    }

    fn download(&self, targets: &[&str]) -> i32 {
        let (metadata_url, targets_url) =
            (format!("{}/metadata", self.url), format!("{}/targets/", self.url));
        let (metadata, folder) = (self.path("metadata"), self.path("targets"));
        let mut words = vec!["--metadata-url", &metadata_url, "--metadata-dir", metadata.to_str().unwrap()];
        for target in targets {
            words.extend(["--target-name", target]);
        }
        words.extend([
            "--target-dir",
            folder.to_str().unwrap(),
            "--target-base-url",
            &targets_url,
            "download",
        ]);
        self.run(&words)
    }

    fn requests(&self) -> Vec<String> {
        self.site.lock().unwrap().requests.clone()
    }

    fn files(&self, folder: &str) -> Vec<String> {
        let Ok(entries) = std::fs::read_dir(self.path(folder)) else { return Vec::new() };
        let mut names: Vec<String> =
            entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }
}

#[expect(clippy::disallowed_methods, reason = "the program under test reads the system clock")]
fn now() -> i64 {
    i64::try_from(SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs()).unwrap()
}

#[expect(clippy::disallowed_methods, reason = "a test's own file; nothing depends on a crash")]
fn replace(path: &Path, bytes: &[u8]) {
    std::fs::write(path, bytes).unwrap();
}

#[test]
fn init_and_refresh_leave_the_four_files_as_received() {
    let desk = Desk::new();
    assert_eq!(desk.init(), 0);
    assert_eq!((desk.requests().len(), desk.files("metadata")), (0, vec!["root.json".to_owned()]));
    assert_eq!(desk.refresh(), 0);
    let asked = ["2.root.json", "timestamp.json", "1.snapshot.json", "1.targets.json"];
    assert_eq!(desk.requests(), asked.map(|name| format!("metadata/{name}")));
    assert_eq!(desk.files("metadata"), ["root.json", "snapshot.json", "targets.json", "timestamp.json"]);
    for name in desk.files("metadata") {
        assert_eq!(std::fs::read(desk.path("metadata").join(&name)).unwrap(), desk.repo.served[&name]);
    }
    assert_eq!(desk.refresh(), 0);
    assert_eq!(desk.requests(), ["metadata/2.root.json", "metadata/timestamp.json"]);
}

#[test]
fn download_refreshes_fetches_once_and_keeps_the_name() {
    let mut desk = Desk::new();
    desk.repo.list("targets", "path/to/a.txt", b"first", None);
    desk.repo.list("targets", "sp ace(1),ä%.txt", b"second", None);
    desk.repo.next();
    desk.upload();
    let mut served = desk.repo.target_files.clone();
    served.retain(|name, _| name.contains("ace"));
    for (name, bytes) in served {
        let name = name.replace('%', "%25").replace(' ', "%20").replace('ä', "%C3%A4");
        desk.site.lock().unwrap().files.insert(format!("targets/{name}"), bytes);
    }
    assert_eq!(desk.init(), 0);
    assert_eq!(desk.download(&["nothing"]), 1);
    assert_eq!(desk.files("metadata").len(), 4, "metadata is refreshed all the same");
    assert_eq!(desk.download(&["path/to/a.txt", "sp ace(1),ä%.txt"]), 0);
    let fetched = |desk: &Desk| desk.requests().iter().filter(|name| name.starts_with("targets/")).count();
    assert_eq!((fetched(&desk), desk.files("targets").len()), (2, 2));

    // The same bytes are not fetched again; others are, into the same file.
    assert_eq!(desk.download(&["path/to/a.txt"]), 0);
    assert_eq!(fetched(&desk), 0);
    let names = desk.files("targets");
    desk.repo.list("targets", "path/to/a.txt", b"third", None);
    desk.repo.next();
    desk.upload();
    assert_eq!(desk.download(&["path/to/a.txt"]), 0);
    assert_eq!((fetched(&desk), desk.files("targets")), (1, names.clone()));
    let contents: Vec<Vec<u8>> =
        names.iter().map(|name| std::fs::read(desk.path("targets").join(name)).unwrap()).collect();
    assert!(contents.contains(&b"third".to_vec()) && contents.contains(&b"second".to_vec()));
}

#[test]
fn a_substituted_target_is_not_kept() {
    let mut desk = Desk::new();
    desk.repo.list("targets", "a", b"genuine", None);
    desk.repo.list("targets", "b", b"genuine too", None);
    desk.repo.next();
    for (name, bytes) in &mut desk.repo.target_files {
        *bytes = if name.ends_with('a') { b"hostile".to_vec() } else { b"hostile and much longer".to_vec() };
    }
    desk.upload();
    assert_eq!(desk.init(), 0);
    assert_eq!(desk.download(&["a"]), 1);
    assert_eq!(desk.download(&["b"]), 1);
    assert_eq!(desk.files("targets"), [""; 0]);
}

#[test]
fn a_spoilt_target_on_disk_is_fetched_again() {
    let mut desk = Desk::new();
    desk.repo.list("targets", "a", b"genuine", None);
    desk.repo.next();
    desk.upload();
    assert_eq!((desk.init(), desk.download(&["a"])), (0, 0));
    replace(&desk.path("targets").join("a"), b"genuinE");
    assert_eq!(desk.download(&["a"]), 0);
    assert_eq!(std::fs::read(desk.path("targets").join("a")).unwrap(), b"genuine");
}

#[test]
fn names_do_not_escape_the_folders() {
    for role in ["../up", "/abs", ".", "..", "?", "#"] {
        let mut desk = Desk::new();
        desk.repo.delegate("targets", role, &["*"], false, (1, &pairs("x", 1)));
        desk.repo.expire(role, now() + DAY);
        desk.repo.list(role, "..", b"up", None);
        desk.repo.next();
        desk.upload();
        let hash = crate::support::sha256(b"up");
        desk.site.lock().unwrap().files.insert(format!("targets/{hash}..."), b"up".to_vec());
        assert_eq!(desk.init(), 0);
        assert_eq!(desk.download(&[".."]), 0, "{role}");
        assert_eq!(desk.files("metadata").iter().filter(|name| !name.starts_with('.')).count(), 5, "{role}");
        assert_eq!((desk.files("targets").len(), desk.files("").len()), (1, 3), "{role}");
    }
}

#[test]
fn only_403_and_404_end_the_roots() {
    for (status, expected) in [(404, 0), (403, 0), (500, 1), (302, 1), (206, 1)] {
        let desk = Desk::new();
        assert_eq!(desk.init(), 0);
        desk.site.lock().unwrap().statuses.insert("metadata/2.root.json".into(), status);
        assert_eq!(desk.refresh(), expected, "{status}");
    }
}

#[test]
fn an_expired_or_unsigned_file_ends_with_status_1() {
    let mut desk = Desk::new();
    assert_eq!((desk.init(), desk.refresh()), (0, 0));
    desk.repo.expire("timestamp", now() - 1);
    desk.repo.next();
    desk.upload();
    assert_eq!(desk.refresh(), 1);
    desk.repo.expire("timestamp", now() + DAY);
    desk.repo.signers.insert("timestamp".into(), vec![Pair::named("thief")]);
    desk.repo.next();
    desk.upload();
    assert_eq!(desk.refresh(), 1);
    let kept = std::fs::read(desk.path("metadata").join("timestamp.json")).unwrap();
    assert_eq!(serde_json::from_slice::<serde_json::Value>(&kept).unwrap()["signed"]["version"], json!(1));
}

#[test]
fn every_key_type_verifies() {
    let mut desk = Desk::new();
    for (role, pair) in [("timestamp", Pair::rsa()), ("snapshot", Pair::ecdsa())] {
        desk.repo.keys(role, 1, &[pair]);
    }
    desk.repo.publish();
    desk.upload();
    assert_eq!((desk.init(), desk.refresh()), (0, 0));
}

#[test]
fn anything_but_the_command_line_ends_with_status_1() {
    let desk = Desk::new();
    let folder = desk.path("metadata");
    let folder = folder.to_str().unwrap();
    for words in [
        &[][..],
        &["refresh"],
        &["init", "/nowhere"],
        &["--metadata-dir", folder, "init", "/nowhere"],
        &["--metadata-dir", folder, "init"],
        &["--metadata-dir", folder, "refresh"],
        &["--metadata-dir", folder, "--metadata-url", "http://127.0.0.1:1/", "refresh"],
        &["--metadata-dir", folder, "--metadata-url", "not a url", "refresh"],
        &["--metadata-dir"],
        &["--unknown", "x", "refresh"],
        &["--metadata-dir", folder, "--metadata-url", "http://127.0.0.1:1/", "download"],
        &["--metadata-dir", folder, "sing"],
        &["--metadata-dir", folder, "refresh", "--metadata-url", "http://127.0.0.1:1/"],
    ] {
        assert_eq!(desk.run(words), 1, "{words:?}");
    }
}
