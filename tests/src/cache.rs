//! Where the installers under `tests/setup/` put what they fetched and built.
//!
//! Lives here: the names of files in the cache. Must not live here: fetching. A part that is missing is an error
//! that names the script to run, never a test that passes for want of it.

use std::path::PathBuf;

/// The Kubernetes version that `tests/setup/kube.sh` builds.
pub const KUBE_VERSION: &str = "1.37.2";

/// A part that the installers should have put into the cache.
#[derive(Debug, thiserror::Error)]
#[error("{} is missing: run tests/setup/{script} (or `make test`, which does)", path.display())]
pub struct Missing {
    /// What was looked for.
    pub path: PathBuf,
    /// Which installer provides it.
    pub script: &'static str,
}

/// The cache's root: `HOLDFAST_CACHE`, else `~/.cache/holdfast`.
pub fn root() -> PathBuf {
    let home = || PathBuf::from(std::env::var_os("HOME").unwrap_or_else(|| "/root".into()));
    std::env::var_os("HOLDFAST_CACHE").map_or_else(|| home().join(".cache/holdfast"), PathBuf::from)
}

/// `kube-apiserver` or `kubectl`.
pub fn kube_tool(name: &str) -> Result<PathBuf, Missing> {
    existing(root().join("kube").join(KUBE_VERSION).join(name), "kube.sh")
}

/// One real firmware image of a small device.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Firmware {
    /// The version of the npm package that it comes from.
    pub version: String,
    /// The device it is for (`primehub`, `cityhub`, ..).
    pub hub: String,
    /// Where the image is.
    pub path: PathBuf,
}

/// The versions of `@pybricks/firmware` in the cache, oldest first.
pub const PYBRICKS_VERSIONS: [&str; 3] = ["7.22.0", "7.27.0", "7.28.0"];

/// One hub's image in every version, oldest first: three releases of one product.
pub fn pybricks(hub: &str) -> Result<[Firmware; 3], Missing> {
    let one = |version: &str| {
        let path = root().join("firmware").join(format!("pybricks-{version}-{hub}.bin"));
        let path = existing(path, "firmware.sh")?;
        Ok(Firmware { version: version.to_owned(), hub: hub.to_owned(), path })
    };
    let [a, b, c] = PYBRICKS_VERSIONS;
    Ok([one(a)?, one(b)?, one(c)?])
}

/// Two releases of one large image (60 MB or more each), the older first.
pub fn large_pair() -> Result<(PathBuf, PathBuf), Missing> {
    let one = |n: u8| existing(root().join("firmware").join(format!("large-{n}.bin")), "firmware.sh");
    Ok((one(1)?, one(2)?))
}

fn existing(path: PathBuf, script: &'static str) -> Result<PathBuf, Missing> {
    if path.is_file() { Ok(path) } else { Err(Missing { path, script }) }
}
