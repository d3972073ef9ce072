# shellcheck shell=bash
# What the scripts share. Sourced, never run.

say() { printf '%s\n' "$*" >&2; }

die() {
	say "error: $1"
	shift
	for line in "$@"; do say "       $line"; done
	exit 1
}

# have PROGRAM: it is in PATH, or where Debian puts servers, which is not in
# every user's PATH.
have() { command -v "$1" >/dev/null 2>&1 || [ -x "/usr/sbin/$1" ]; }

# as_root COMMAND...: runs it as root, or fails.
as_root() {
	if [ "$(id -u)" -eq 0 ]; then
		"$@"
	else
		sudo "$@"
	fi
}

# need_apt PROGRAM: ends the script with a remedy unless packages can be
# installed here.
need_apt() {
	if ! command -v apt-get >/dev/null 2>&1; then
		die "$1 is not installed, and this system has no apt-get to install it with" \
			"install $1 with the system's package manager (macOS: brew install $1) and try again"
	fi
	if [ "$(id -u)" -ne 0 ] && ! command -v sudo >/dev/null 2>&1; then
		die "$1 is not installed, and installing it needs root (no sudo here)" \
			"as root: apt-get install $1"
	fi
}

# apt_install PACKAGE...: without questions, and with fresh lists when the
# package is unknown or its file is no longer where the old lists say.
apt_install() {
	local options=(-y -q --no-install-recommends -o DPkg::Lock::Timeout=300)
	if ! apt-cache show "$@" >/dev/null 2>&1; then
		as_root apt-get update -q >&2
		as_root env DEBIAN_FRONTEND=noninteractive apt-get install "${options[@]}" "$@" >&2
		return
	fi
	as_root env DEBIAN_FRONTEND=noninteractive apt-get install "${options[@]}" "$@" >&2 && return
	as_root apt-get update -q >&2
	as_root env DEBIAN_FRONTEND=noninteractive apt-get install "${options[@]}" "$@" >&2
}

# need_go: ends the script unless Go is here and new enough for go.mod. (Go
# from 1.21 on fetches the wanted toolchain itself, or says why it can't.)
need_go() {
	command -v go >/dev/null 2>&1 ||
		die "Go is not installed" "get it from https://go.dev/dl/ and try again"
	go list -m >/dev/null || die "this Go can't build the project: $(go version)"
}
