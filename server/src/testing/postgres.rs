//! A real PostgreSQL for one test process: `HOLDFAST_TEST_PG` (an administrator's URL), or one that is
//! started here and that ends with the process.

use sqlx::{AssertSqlSafe, Connection as _, Executor as _};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::OnceLock;

/// Creates a database of its own and returns its URL.
pub(crate) async fn fresh_database() -> String {
    sqlx::any::install_default_drivers();
    static ADMIN: OnceLock<String> = OnceLock::new();
    let admin = tokio::task::spawn_blocking(|| ADMIN.get_or_init(admin_url)).await.unwrap();
    let name = format!("t{}", hex::encode(crate::chance::bytes::<8>()));
    let mut connection = sqlx::AnyConnection::connect(admin).await.unwrap();
    connection.execute(AssertSqlSafe(format!("CREATE DATABASE {name}"))).await.unwrap();
    connection.close().await.unwrap();
    let (base, _) = admin.rsplit_once('/').unwrap();
    format!("{base}/{name}")
}

fn admin_url() -> String {
    std::env::var("HOLDFAST_TEST_PG").unwrap_or_else(|_| start())
}

/// initdb and postgres in a temporary folder. PostgreSQL refuses to run as root, so root hands it to `nobody`.
/// A shell holds it and waits on our pipe: when this process ends, however it ends, the pipe closes, the
/// shell stops the server and removes the folder.
fn start() -> String {
    let folder = tempfile::Builder::new().prefix("holdfast-pg-").tempdir().unwrap().keep();
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let is_root =
        std::fs::metadata("/proc/self").map(|m| std::os::unix::fs::MetadataExt::uid(&m)).unwrap() == 0;
    let as_user = if is_root { "setpriv --reuid=nobody --regid=nogroup --clear-groups" } else { "" };
    if is_root {
        let owned = Command::new("chown").args(["nobody:nogroup"]).arg(&folder).status().unwrap();
        assert!(owned.success());
    }
    let script = format!(
        "{as_user} initdb -D {data} -A trust -U postgres --no-sync -E UTF8 --locale=C >{data}.log 2>&1 || exit 1
         {as_user} postgres -D {data} -p {port} -k '' -h 127.0.0.1 -c fsync=off -c max_connections=300 >>{data}.log 2>&1 &
         server=$!
         read _
         kill -INT $server; wait $server; rm -rf {data} {data}.log",
        data = folder.display(),
    );
    let child = Command::new("sh")
        .args(["-c", &script])
        .env("PATH", path_with_server_programs())
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    // The pipe stays open for the life of the process.
    std::mem::forget(child);
    await_port(port, &folder);
    format!("postgres://postgres@127.0.0.1:{port}/postgres")
}

fn await_port(port: u16, folder: &Path) {
    for _ in 0..600 {
        let ready = Command::new("pg_isready")
            .args(["-q", "-h", "127.0.0.1", "-p", &port.to_string()])
            .env("PATH", path_with_server_programs())
            .status();
        if ready.is_ok_and(|status| status.success()) {
            return;
        }
        std::thread::sleep(std::time::Duration::from_millis(100));
    }
    let log = std::fs::read_to_string(format!("{}.log", folder.display())).unwrap_or_default();
    panic!("PostgreSQL did not come up within 60 s:\n{log}");
}

/// Debian keeps initdb and postgres out of the path.
fn path_with_server_programs() -> String {
    let mut path = std::env::var("PATH").unwrap_or_default();
    for version in ["17", "16", "15", "14"] {
        path = path + ":/usr/lib/postgresql/" + version + "/bin";
    }
    path
}
