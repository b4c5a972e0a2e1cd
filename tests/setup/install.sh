#!/usr/bin/env bash
# Installs what Holdfast's demo and tests need on a Debian 12 machine that has Rust. Looks first: when nothing is
# missing, apt is not called and no root is needed. Run it as often as you like.
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

# What must be on the path, and the package that brings it.
COMMANDS=(
    "cc build-essential"           # aws-lc-sys, zstd-sys, SQLite
    "make build-essential"
    "cmake cmake"                  # aws-lc-sys
    "pkg-config pkg-config"
    "git git"
    "curl curl"
    "openssl openssl"              # an outside look at our certificates
    "swtpm swtpm"                  # the software TPM
    "swtpm_setup swtpm-tools"      # its maker
    "tpm2_getcap tpm2-tools"       # an outside look at it
    "etcd etcd-server"             # below the Kubernetes API server
    "ip iproute2"
    "setpriv util-linux"           # ties a child's life to its parent's
    "flock util-linux"
    "zstd zstd"                    # the benchmarks' baselines
    "bsdiff bsdiff"
    "jq jq"
    "mksquashfs squashfs-tools"
    "xz xz-utils"                  # inside firmware images
    "lz4 lz4"
    "unzip unzip"
    "npm npm"                      # small devices' firmware
    "python3 python3"              # Go, when it is not on the path
)

missing=()
need() {
    local known
    for known in "${missing[@]:-}"; do
        if [ "$known" = "$1" ]; then return 0; fi
    done
    missing+=("$1")
}

has_postgres() {
    local bin
    for bin in /usr/lib/postgresql/*/bin; do
        if [ -x "$bin/initdb" ] && [ -x "$bin/pg_isready" ]; then return 0; fi
    done
    have initdb && have postgres && have psql && have pg_isready
}

look() {
    missing=()
    local line
    for line in "${COMMANDS[@]}"; do
        have "${line%% *}" || need "${line##* }"
    done
    has_postgres || need postgresql
    [ -s /etc/ssl/certs/ca-certificates.crt ] || need ca-certificates
    if [ -z "$(go_on_path)" ] && ! python3 -c 'import ensurepip, venv' 2>/dev/null; then need python3-venv; fi
}

have cargo || die "Rust is missing: see https://rustup.rs, then run this again"
rust_wanted=1.95
rust_found="$(cargo --version | cut -d' ' -f2)"
if [ "$(printf '%s\n%s\n' "$rust_wanted" "$rust_found" | sort -V | head -n1)" != "$rust_wanted" ]; then
    die "Rust $rust_found is too old, $rust_wanted is needed: rustup update"
fi

# Debian keeps some of these where only root's path reaches.
export PATH="$PATH:/usr/sbin:/sbin"
look
if [ ${#missing[@]} = 0 ]; then
    say "everything is installed already (Rust $rust_found, cache $HOLDFAST_CACHE)"
    exit 0
fi
have apt-get || die "missing: ${missing[*]}, and this is not a Debian-like machine (no apt-get): install them by hand"

only_one install
export DEBIAN_FRONTEND=noninteractive
say "missing: ${missing[*]}"
say "apt-get update"
quietly "$HOLDFAST_CACHE/log/apt-update.log" as_root apt-get update -q
say "apt-get install (two minutes or so)"
# Through `env`, because sudo drops the environment.
quietly "$HOLDFAST_CACHE/log/apt-install.log" \
    as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends "${missing[@]}"
look
[ ${#missing[@]} = 0 ] || die "still missing after apt-get install: ${missing[*]}"
say "installed; log in $HOLDFAST_CACHE/log/apt-install.log"
