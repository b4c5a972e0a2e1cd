# What the installers in this folder share. Sourced, never run.
# Lives here: progress lines, the cache's place, one lock for each job, files that appear whole or not at all.
# shellcheck shell=bash

set -euo pipefail

HOLDFAST_CACHE="${HOLDFAST_CACHE:-$HOME/.cache/holdfast}"
export HOLDFAST_CACHE
mkdir -p "$HOLDFAST_CACHE"

SETUP_NAME="$(basename "$0" .sh)"
SETUP_BEGAN="$(date +%s)"

say() { printf '[%s +%ss] %s\n' "$SETUP_NAME" "$(($(date +%s) - SETUP_BEGAN))" "$*"; }

die() {
    printf '[%s] error: %s\n' "$SETUP_NAME" "$*" >&2
    exit 1
}

have() { command -v "$1" >/dev/null 2>&1; }

# The Go that the Kubernetes build wants.
GO_WANTED=1.26

# The directory whose `go` is new enough, on standard output; empty when there is none.
go_on_path() {
    have go || return 0
    local found
    found="$(go env GOVERSION | sed 's/^go//')"
    if [ "$(printf '%s\n%s\n' "$GO_WANTED" "$found" | sort -V | head -n1)" = "$GO_WANTED" ]; then
        dirname "$(command -v go)"
    fi
}

# Runs "$@" as root: as it is for root, through sudo for anybody else.
as_root() {
    if [ "$(id -u)" = 0 ]; then
        "$@"
    elif have sudo; then
        sudo "$@"
    else
        die "this needs root: $* (run it as root, or install sudo)"
    fi
}

# One run of a job at a time on this machine; the second one waits and then finds the work done.
only_one() {
    local lock="$HOLDFAST_CACHE/.$1.lock"
    exec 9>"$lock"
    if ! flock -n 9; then
        say "another run of $1 holds $lock, waiting for it"
        flock 9
    fi
}

# A long and quiet command: its output goes to a log, a line a half minute says that it lives,
# and the end of the log is shown when it fails. Usage: quietly LOG command args..
quietly() {
    local log="$1"
    shift
    mkdir -p "$(dirname "$log")"
    # The lock's descriptor is closed in the child: a daemon that it leaves behind must not hold the lock.
    "$@" >"$log" 2>&1 9>&- &
    local pid=$! waited=0
    # A child in the background does not hear Ctrl-C.
    # shellcheck disable=SC2064 # the id as it is now
    trap "kill $pid 2>/dev/null; exit 130" INT TERM
    while kill -0 "$pid" 2>/dev/null; do
        sleep 1
        waited=$((waited + 1))
        if [ $((waited % 30)) = 0 ]; then say "  still at it (${waited}s), log in $log"; fi
    done
    if ! wait "$pid"; then
        tail -n 40 "$log" >&2
        die "failed: $* (whole log: $log)"
    fi
    trap - INT TERM
}
