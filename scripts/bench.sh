#!/usr/bin/env bash
# Compares the present build with the frozen baseline, 889cf48.
#
#   scripts/bench.sh                    explains itself, lists the measurements
#   scripts/bench.sh NAME [--quick]     makes one, writes docs/bench-NAME.md
#   scripts/bench.sh NAME --check       the same; exits 1 if a target is missed
#   scripts/bench.sh --smoke            proves the harness in half a minute
#
# The baseline is built in a git worktree of its own, and kept in
# ${XDG_CACHE_HOME:-~/.cache}/migrate-bench. All else is temporary.
set -euo pipefail
cd "$(dirname "$0")/.."
# shellcheck source=scripts/lib.sh
. scripts/lib.sh

baseline=889cf48

need_go
temporary=$(mktemp -d)
driver=
# clean takes away what this script made; the driver has ended what it started.
clean() {
	trap '' INT TERM HUP
	if [ -n "$driver" ]; then
		kill -TERM "$driver" 2>/dev/null || true
		wait "$driver" 2>/dev/null || true
	fi
	if [ -e "$temporary/tree" ]; then git worktree remove --force "$temporary/tree" || true; fi
	rm -rf "$temporary"
}
trap clean EXIT
trap 'exit 130' INT
trap 'exit 143' TERM
trap 'exit 129' HUP

# build_baseline prints the path of the built baseline. Another commit or another
# Go is another file.
build_baseline() {
	local commit cache path
	git rev-parse --git-dir >/dev/null 2>&1 ||
		die "this is no git repository, so the baseline $baseline can't be built" "clone the repository and run it there"
	commit=$(git rev-parse --verify --quiet "$baseline^{commit}") ||
		die "the baseline $baseline is not in this repository, which may be a shallow clone" "git fetch --unshallow"
	cache=${XDG_CACHE_HOME:-${HOME:-$temporary}/.cache}/migrate-bench
	path=$cache/$commit-$(go env GOVERSION GOOS GOARCH | tr '\n' '-')migrate
	if [ ! -x "$path" ]; then
		say "bench: building the baseline, $baseline"
		mkdir -p "$cache"
		git worktree add --quiet --detach "$temporary/tree" "$commit" >&2
		(cd "$temporary/tree" && go build -o "$temporary/baseline" ./cmd/migrate) >&2
		cp "$temporary/baseline" "$path.$$" && mv "$path.$$" "$path"
		git worktree remove --force "$temporary/tree"
	fi
	printf '%s\n' "$path"
}

go build -o "$temporary/bench" ./scripts/bench
[ "${1-}" = --smoke ] && set -- smoke "${@:2}"
case " ${*:---help} " in
*' --help '* | *' -h '*)
	"$temporary/bench" "${@:---help}"
	exit
	;;
esac

scripts/install-nginx.sh
old=$(build_baseline)
say "bench: building the present tree"
go build -o "$temporary/present" ./cmd/migrate
"$temporary/bench" "$@" --baseline "$old" --baseline-commit "$baseline" \
	--present "$temporary/present" --present-commit "$(git describe --always --dirty=', with changes')" &
driver=$!
status=0
wait "$driver" || status=$?
driver=
exit "$status"
