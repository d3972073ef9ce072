#!/usr/bin/env bash
# Lists the tests that a commit had and the present tree has not, by package and
# name. A test that was renamed or moved is in the list too: say where it went.
#
#   scripts/tests-gone.sh COMMIT
set -euo pipefail
cd "$(dirname "$0")/.."
# shellcheck source=scripts/lib.sh
. scripts/lib.sh

[ $# -eq 1 ] || die "usage: scripts/tests-gone.sh COMMIT"
git rev-parse --verify --quiet "$1^{commit}" >/dev/null || die "there is no commit $1"

# tests [COMMIT]: FOLDER NAME of each test, of the present tree without a commit.
tests() {
	git grep -oE '^func (Test|Fuzz|Benchmark|Example)[A-Za-z0-9_]*\(' "$@" -- '*_test.go' |
		sed -E 's/^([0-9a-f]+:)?//; s/[^/:]*:func ([A-Za-z0-9_]*)\($/ \1/' | sort -u
}

before=$(tests "$(git rev-parse "$1")")
after=$(tests)
say "$(wc -l <<<"$before") tests then, $(wc -l <<<"$after") now; gone:"
comm -23 <(printf '%s\n' "$before") <(printf '%s\n' "$after")
