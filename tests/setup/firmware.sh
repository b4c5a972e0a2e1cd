#!/usr/bin/env bash
# Fetches real firmware into the cache: small images of three releases, and a large image of two.
#   pybricks-VERSION-HUB.bin   from npm @pybricks/firmware (MIT), every hub that all three versions have
#   large-1.bin, large-2.bin   the decompressed kernels of the two newest linux-image-6.1.0-N-amd64 in apt, 60 MB or more
# npm and apt check what they fetch; the npm packages are also held to the hashes below. Files appear whole or not at all.
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

OUT="$HOLDFAST_CACHE/firmware"
LARGE_MIN_BYTES=60000000
HUBS=(primehub cityhub technichub movehub essentialhub)
# Three releases in a row. Their hashes as the registry's `dist.integrity` gives them.
PYBRICKS=(
    "7.22.0 sha512-ipLmh1wfU+6eP5yFqAIMH2Lid+1IzpXWODRLR+urMdzynZqOxrbQv9sva/lxddF/yolkzQMenj3oqlP09XcINA=="
    "7.27.0 sha512-YgdMIrC4IJihGpLCGReFo6hZHCGTKsbcSwWXKfB4YQWLvfAthoFzg6PwtKEUuw/0k0w1Gw4ZD2OHeoRiwH83vg=="
    "7.28.0 sha512-vKKo/DW9EaeNqL/pdT6gaN9eNZIXCu7he9ZGKR7P0ZYIWjVt+fAFTZHsgNJOJ37foNcrrgWkSYTcYs87z0Vh1Q=="
)

work=""
cleanup() { [ -z "$work" ] || rm -rf "$work"; }
trap cleanup EXIT

# Moves a finished file into place.
place() { mv -f "$1" "$OUT/$2"; }

pybricks() {
    local version="$1" integrity="$2" hub missing=0
    for hub in "${HUBS[@]}"; do
        [ -s "$OUT/pybricks-$version-$hub.bin" ] || missing=1
    done
    if [ $missing = 0 ]; then return 0; fi
    say "fetching @pybricks/firmware $version from npm"
    local package="$work/pybricks-$version"
    mkdir "$package"
    (cd "$package" && npm pack --silent "@pybricks/firmware@$version" >/dev/null 2>"$work/npm.log") \
        || { cat "$work/npm.log" >&2; die "npm cannot fetch @pybricks/firmware $version"; }
    local got
    got="sha512-$(openssl dgst -sha512 -binary "$package"/*.tgz | base64 -w0)"
    [ "$got" = "$integrity" ] || die "@pybricks/firmware $version has hash $got, expected $integrity"
    tar -xzf "$package"/*.tgz -C "$package"
    for hub in "${HUBS[@]}"; do
        unzip -p "$package/package/build/$hub.zip" firmware-base.bin >"$work/image.part"
        [ -s "$work/image.part" ] || die "no firmware-base.bin in $hub.zip of $version"
        place "$work/image.part" "pybricks-$version-$hub.bin"
    done
}

# Writes the kernel inside a bzImage: finds the packed payload by its magic number, as the kernel's own
# scripts/extract-vmlinux does, and takes the first that unpacks to an ELF file.
unpack_kernel() {
    local image="$1" out="$2" magic command offset
    while read -r magic command; do
        for offset in $(LC_ALL=C grep -obUaP "$magic" "$image" | cut -d: -f1); do
            # What follows the payload makes the decompressor complain after it has done its work.
            tail -c "+$((offset + 1))" "$image" | $command >"$out" 2>/dev/null || true
            if [ "$(head -c 4 "$out" | tail -c 3)" = ELF ]; then return 0; fi
        done
    done <<'TABLE'
\xfd7zXZ\x00 xz -dc --single-stream
\x28\xb5\x2f\xfd zstd -dc
\x02\x21\x4c\x18 lz4 -dc
\x1f\x8b\x08 gzip -dc
TABLE
    die "no kernel found inside $image"
}

large() {
    local number="$1" release="$2" package="linux-image-6.1.0-$2-amd64"
    say "fetching $package from apt (70 MB)"
    local place_of="$work/large-$number"
    mkdir "$place_of"
    (cd "$place_of" && apt-get download -q "$package" >"$work/apt.log" 2>&1) \
        || { cat "$work/apt.log" >&2; die "apt cannot fetch $package"; }
    dpkg-deb --fsys-tarfile "$place_of"/*.deb | tar -xO "./boot/vmlinuz-6.1.0-$release-amd64" >"$place_of/vmlinuz"
    unpack_kernel "$place_of/vmlinuz" "$place_of/vmlinux"
    local size
    size="$(stat -c %s "$place_of/vmlinux")"
    [ "$size" -ge $LARGE_MIN_BYTES ] || die "the kernel of $package has $size bytes, at least $LARGE_MIN_BYTES are needed"
    say "  $package unpacks to $size bytes"
}

# The two newest releases that apt knows, the older first.
newest_kernels() {
    apt-cache pkgnames linux-image-6.1.0- | sed -n 's/^linux-image-6\.1\.0-\([0-9]*\)-amd64$/\1/p' | sort -n | tail -n 2
}

only_one firmware
mkdir -p "$OUT"
# On the cache's own file system, so that a rename is one step.
work="$(mktemp -d "$OUT/.work.XXXXXX")"

for line in "${PYBRICKS[@]}"; do
    # shellcheck disable=SC2086 # two words
    pybricks $line
done

if [ ! -s "$OUT/large-1.bin" ] || [ ! -s "$OUT/large-2.bin" ]; then
    mapfile -t kernels < <(newest_kernels)
    if [ ${#kernels[@]} -lt 2 ]; then
        say "apt's lists name fewer than two kernels: updating them"
        as_root apt-get update -q >/dev/null
        mapfile -t kernels < <(newest_kernels)
    fi
    [ ${#kernels[@]} = 2 ] || die "apt knows fewer than two linux-image-6.1.0-N-amd64 packages (is this Debian 12?)"
    large 1 "${kernels[0]}"
    large 2 "${kernels[1]}"
    # Both or neither: a pair of one release each time would be no pair.
    rm -f "$OUT/large-1.bin" "$OUT/large-2.bin"
    place "$work/large-1/vmlinux" large-1.bin
    place "$work/large-2/vmlinux" large-2.bin
    printf '6.1.0-%s-amd64\n' "${kernels[@]}" >"$work/large.txt"
    place "$work/large.txt" large.txt
fi
say "real firmware is there: $OUT ($(find "$OUT" -maxdepth 1 -name '*.bin' | wc -l) images)"
