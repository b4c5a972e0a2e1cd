//! The plain TUF client workflow over HTTP, as the public conformance suite drives it: Holdfast's own roles play no
//! part. Ends with status 0 or 1, nothing else.

use holdfast_trust::tuf::walk::{self, At, Source, SourceError, Store, Trusted};
use holdfast_trust::tuf::{TargetFile, install_provider};
use std::error::Error;
use std::fs::{self, File};
use std::io::{self, Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

const USAGE: &str = "usage:
  tuf_client --metadata-dir DIR init ROOT
  tuf_client --metadata-url URL --metadata-dir DIR refresh
  tuf_client --metadata-url URL --metadata-dir DIR --target-name T [--target-name T2 ..] \\
             --target-dir TDIR --target-base-url URL download";

/// Bytes of a target, which is held in memory; endless data.
const TARGET_MAX_BYTES: u64 = 256 << 20;
/// A request as a whole; a server that never ends its answer.
const REQUEST_TIMEOUT: Duration = Duration::from_mins(2);

type Result<T> = std::result::Result<T, Box<dyn Error + Send + Sync>>;

fn main() -> ExitCode {
    let outcome = std::panic::catch_unwind(|| run(std::env::args().skip(1)));
    match outcome {
        Ok(Ok(())) => ExitCode::SUCCESS,
        Ok(Err(error)) => {
            // A closed stderr is no reason for another status.
            let _ = writeln!(io::stderr(), "tuf_client: {}", chain(error.as_ref()));
            ExitCode::FAILURE
        }
        Err(_) => ExitCode::FAILURE,
    }
}

fn run(words: impl Iterator<Item = String>) -> Result<()> {
    let arguments = Arguments::parse(words)?;
    match arguments.command.as_slice() {
        [command, root] if command == "init" => init(&arguments, Path::new(root)),
        [command] if command == "refresh" => refresh(&arguments).map(drop),
        [command] if command == "download" => download(&arguments),
        _ => Err(USAGE.into()),
    }
}

fn init(arguments: &Arguments, root: &Path) -> Result<()> {
    let mut bytes = Vec::new();
    File::open(root)?.take(holdfast_trust::tuf::limits::ROOT_MAX_BYTES + 1).read_to_end(&mut bytes)?;
    let folder = required(arguments.metadata_dir.as_deref(), "--metadata-dir")?;
    fs::create_dir_all(folder)?;
    Folder(folder.into()).save("root.json", &bytes)
}

fn refresh(arguments: &Arguments) -> Result<(Trusted, Folder, Http)> {
    install_provider(webpki::ALL_VERIFICATION_ALGS);
    let mut store = Folder(required(arguments.metadata_dir.as_deref(), "--metadata-dir")?.into());
    let metadata_url = required(arguments.metadata_url.as_deref(), "--metadata-url")?;
    let mut source = Http::new(metadata_url, arguments.target_base_url.as_deref());
    let trusted = walk::refresh(&mut store, &mut source, &At(unix_now()?))?;
    Ok((trusted, store, source))
}

fn download(arguments: &Arguments) -> Result<()> {
    let folder = Path::new(required(arguments.target_dir.as_deref(), "--target-dir")?);
    required(arguments.target_base_url.as_deref(), "--target-base-url")?;
    if arguments.target_names.is_empty() {
        return Err(USAGE.into());
    }
    let (mut trusted, mut store, mut source) = refresh(arguments)?;
    fs::create_dir_all(folder)?;
    for path in &arguments.target_names {
        let found = trusted.find(path, &mut store, &mut source)?;
        let (_, target) = found.ok_or_else(|| format!("no role names the target {path}"))?;
        fetch(path, &target, &trusted, folder, &mut source)?;
    }
    Ok(())
}

/// Brings one target into `folder`, unless the same bytes lie there already.
fn fetch(path: &str, target: &TargetFile, trusted: &Trusted, folder: &Path, source: &mut Http) -> Result<()> {
    if target.length > TARGET_MAX_BYTES {
        return Err(
            format!("{path} has {} bytes, at most {TARGET_MAX_BYTES} are taken", target.length).into()
        );
    }
    let file = file_name(&walk::escaped(path));
    let mut cached = Vec::new();
    let is_read = File::open(folder.join(&file))
        .and_then(|file| file.take(target.length + 1).read_to_end(&mut cached))
        .is_ok();
    if is_read && walk::check_target(path, target, &cached).is_ok() {
        return Ok(());
    }
    let name = trusted.target_name(path, target)?;
    let bytes = source.target(&name, target.length)?.ok_or_else(|| format!("{name} is not there"))?;
    walk::check_target(path, target, &bytes)?;
    replace(folder, &file, &bytes)?;
    Ok(())
}

/// What the command line says: options, then the command.
#[derive(Default)]
struct Arguments {
    metadata_dir: Option<String>,
    metadata_url: Option<String>,
    target_names: Vec<String>,
    target_dir: Option<String>,
    target_base_url: Option<String>,
    command: Vec<String>,
}

impl Arguments {
    fn parse(mut words: impl Iterator<Item = String>) -> Result<Self> {
        let mut arguments = Self::default();
        while let Some(word) = words.next() {
            let option = match word.as_str() {
                "--metadata-dir" => &mut arguments.metadata_dir,
                "--metadata-url" => &mut arguments.metadata_url,
                "--target-dir" => &mut arguments.target_dir,
                "--target-base-url" => &mut arguments.target_base_url,
                "--target-name" => {
                    arguments.target_names.push(words.next().ok_or(USAGE)?);
                    continue;
                }
                option if option.starts_with("--") => return Err(format!("unknown {option}\n{USAGE}").into()),
                _ => {
                    arguments.command = std::iter::once(word).chain(words).collect();
                    return Ok(arguments);
                }
            };
            *option = Some(words.next().ok_or(USAGE)?);
        }
        Err(USAGE.into())
    }
}

fn required<'a>(option: Option<&'a str>, name: &str) -> Result<&'a str> {
    option.ok_or_else(|| format!("{name} is missing\n{USAGE}").into())
}

/// Metadata as received, one file a role.
struct Folder(PathBuf);

impl Store for Folder {
    fn load(&self, name: &str) -> Option<Vec<u8>> {
        fs::read(self.0.join(file_name(name))).ok()
    }

    fn save(&mut self, name: &str, bytes: &[u8]) -> std::result::Result<(), SourceError> {
        Ok(replace(&self.0, &file_name(name), bytes)?)
    }
}

/// A leading dot would hide the file: it is escaped as the walk escapes the rest.
fn file_name(escaped: &str) -> String {
    escaped.strip_prefix('.').map_or_else(|| escaped.to_owned(), |rest| format!("%2E{rest}"))
}

/// Whole or not at all, and durable when it returns.
fn replace(folder: &Path, name: &str, bytes: &[u8]) -> io::Result<()> {
    let incoming = folder.join(".incoming");
    let mut file = File::create(&incoming)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    fs::rename(&incoming, folder.join(name))?;
    File::open(folder)?.sync_all()
}

struct Http {
    agent: ureq::Agent,
    metadata_url: String,
    target_base_url: Option<String>,
}

impl Http {
    fn new(metadata_url: &str, target_base_url: Option<&str>) -> Self {
        let config = ureq::Agent::config_builder()
            .http_status_as_error(false)
            .timeout_global(Some(REQUEST_TIMEOUT))
            .build();
        Self {
            agent: config.into(),
            metadata_url: metadata_url.trim_end_matches('/').to_owned(),
            target_base_url: target_base_url.map(|url| url.trim_end_matches('/').to_owned()),
        }
    }

    fn get(&self, url: &str, max_bytes: u64) -> Result<Option<Vec<u8>>> {
        let mut answer = self.agent.get(url).call()?;
        match answer.status().as_u16() {
            200 => {}
            403 | 404 => return Ok(None),
            other => return Err(format!("{url} answers {other}").into()),
        }
        let mut bytes = Vec::new();
        answer.body_mut().as_reader().take(max_bytes + 1).read_to_end(&mut bytes)?;
        if bytes.len() as u64 > max_bytes {
            return Err(format!("{url} gives more than {max_bytes} bytes").into());
        }
        Ok(Some(bytes))
    }
}

impl Source for Http {
    fn metadata(&mut self, name: &str, max_bytes: u64) -> std::result::Result<Option<Vec<u8>>, SourceError> {
        // The walk escapes the names of roles.
        self.get(&format!("{}/{name}", self.metadata_url), max_bytes)
    }

    fn target(&mut self, path: &str, max_bytes: u64) -> std::result::Result<Option<Vec<u8>>, SourceError> {
        let base = self.target_base_url.as_deref().ok_or("--target-base-url is missing")?;
        self.get(&format!("{base}/{}", url_path(path)), max_bytes)
    }
}

/// A target's path in a URL: what RFC 3986 has no place for in a path is escaped.
fn url_path(path: &str) -> String {
    path.chars().fold(String::new(), |mut url, character| {
        if "!$&'()*+,;=:@/".contains(character) {
            url.push(character);
        } else {
            url.push_str(&walk::escaped(character.encode_utf8(&mut [0; 4])));
        }
        url
    })
}

#[expect(
    clippy::disallowed_methods,
    reason = "this is the program's clock adapter: the plain workflow trusts it"
)]
fn unix_now() -> Result<i64> {
    Ok(i64::try_from(SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs())?)
}

fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text = format!("{text}: {cause}");
        source = cause.source();
    }
    text
}
