# For suites that build and run images without a daemon or an image registry: base images are made from Debian packages,
# buildah builds and runs with chroot isolation. Sourced; the suite says its own name in `suite`.
#
# Leaves `work`, a directory that is removed at the end, and `job`, a process group that is ended then.

say() { printf '%s: %s\n' "$suite" "$*"; }
fail() { say "FAILED: $*"; [ ! -s "$work/log" ] || { say "the log:"; tail -n 60 "$work/log"; }; exit 1; }
skip() { printf '\n*** %s: SKIPPED: %s\n\n' "$suite" "$*"; exit 0; }
is() {
    [ "$2" = "$3" ] || fail "$1: '$2', not '$3'"
    say "ok: $1: $2"
}

tools() { command -v buildah mmdebstrap curl >/dev/null; }
[ "$(id -u)" = 0 ] || skip "must be run as root"
[ -r /etc/debian_version ] || skip "needs Debian, to make base images of its packages"
if ! tools; then
    command -v apt-get >/dev/null || skip "there is no apt-get to install buildah, mmdebstrap and curl with"
    say "installing buildah, mmdebstrap and curl"
    { apt-get update -q && DEBIAN_FRONTEND=noninteractive apt-get install -qy --no-install-recommends \
        buildah mmdebstrap curl ca-certificates; } >/dev/null || skip "apt-get cannot install buildah, mmdebstrap and curl"
    tools || skip "buildah, mmdebstrap and curl are installed but not to be found"
fi

work=$(mktemp -d)
job=
cleanup() {
    # The job is a process group of its own: buildah, and the cell below it.
    [ -z "$job" ] || kill -KILL -- "-$job" 2>/dev/null || true
    b rm --all >/dev/null 2>&1 || true
    ! command -v unmount >/dev/null || unmount
    rm -rf "$work"
}
trap cleanup EXIT
mkdir "$work/tmp"
# A store and caches of our own: nothing is left behind, and no other user of buildah on the machine is met. Set, `limit` ends it
# after a while.
b() { TMPDIR=$work/tmp ${limit-} buildah --root "$work/store" --runroot "$work/run" --storage-driver vfs "$@"; }

# base NAME VARIANT PACKAGES: an image of Debian packages.
base() {
    local container
    mmdebstrap --quiet --variant="$2" --include="$3" --dpkgopt='path-exclude=/usr/share/doc/*' \
        --dpkgopt='path-exclude=/usr/share/man/*' "$(. /etc/os-release && echo "$VERSION_CODENAME")" "$work/$1.tar"
    container=$(b from scratch)
    b add --quiet "$container" "$work/$1.tar" / >/dev/null
    b commit --quiet --rm "$container" "localhost/$1" >/dev/null
    rm "$work/$1.tar"
}
