#!/usr/bin/env bash
# Installs what the tests need and runs them all. Nothing is skipped for lack
# of a program: what can't be installed is named, and the run fails.
#
#   scripts/test.sh            everything
#   scripts/test.sh ./nginx/   the tests of some packages
set -euo pipefail
cd "$(dirname "$0")/.."
# shellcheck source=scripts/lib.sh
. scripts/lib.sh
# shellcheck source=scripts/parts.sh
. scripts/parts.sh

# install PROGRAM PACKAGE...: unless the program is there.
install() {
	local program=$1
	shift
	have "$program" && return
	need_apt "$program"
	say "installing $*"
	apt_install "$@" || die "apt-get could not install $*" "its own message is above"
}

# install_postgres installs the server's programs. Debian's package would start a
# server on PostgreSQL's own port, unless it is told not to make one.
install_postgres() {
	have initdb && return
	compgen -G '/usr/lib/postgresql/*/bin/initdb' >/dev/null && return
	need_apt initdb
	say "installing postgresql"
	if [ ! -e /etc/postgresql-common/createcluster.conf ]; then
		as_root mkdir -p /etc/postgresql-common
		echo 'create_main_cluster = false' | as_root tee /etc/postgresql-common/createcluster.conf >/dev/null
	fi
	apt_install postgresql || die "apt-get could not install postgresql" "its own message is above"
}

# install_pgbouncer installs the program alone: Debian's package would start it as a
# service, now and whenever the machine starts.
install_pgbouncer() {
	local policy=/usr/sbin/policy-rc.d ours= done=yes
	have pgbouncer && return
	need_apt pgbouncer
	say "installing pgbouncer"
	if [ ! -e "$policy" ]; then
		ours=yes
		printf '#!/bin/sh\nexit 101\n' | as_root tee "$policy" >/dev/null
		as_root chmod 755 "$policy"
	fi
	apt_install pgbouncer || done=
	[ -z "$ours" ] || as_root rm -f "$policy"
	[ -n "$done" ] || die "apt-get could not install pgbouncer" "its own message is above"
	! command -v systemctl >/dev/null 2>&1 || as_root systemctl disable pgbouncer >&2 || say "pgbouncer's service stays enabled"
}

# formatted fails and names the files that gofmt would change.
formatted() {
	local files
	files=$(git ls-files -z --cached --others --exclude-standard -- '*.go' | xargs -0 -r gofmt -l) || return 1
	[ -z "$files" ] || {
		say "gofmt would change:" "$files"
		return 1
	}
}

# checked fails and prints what staticcheck finds. It is not in go.mod: the
# product doesn't need it.
checked() { go tool -modfile=scripts/tools/go.mod staticcheck ./...; }

# tests runs those of some packages, two packages at once.
tests() { go test -count=1 -p 2 -timeout 20m "$@"; }

# waiting_tests runs those of the commands, which spend most of their time
# waiting for processes to begin and end: several at once, but for those that
# load the machine, which are not marked as parallel.
waiting_tests() { go test -count=1 -p 2 -parallel 3 -timeout 30m "$@"; }

builds() { go build ./... && go build -o bin/migrate ./cmd/migrate; }

builds_for_macos() { GOOS=darwin GOARCH=arm64 CGO_ENABLED=0 go build ./...; }

under_load='^(TestMoveLosesNothing|TestMoveLosesNothingFarAway|TestReloadCountsWhatItCuts|TestReloadWithoutAnnouncementCuts|TestReloadNotSeenIsPutBack|TestOneWayAfterTheOther|TestIdleConnections.*)$'

# race runs the packages that don't need SQLite under the race detector:
# SQLite in Go is 10 to 20 times slower there. Nor are nginx's tests under load
# run: what is concurrent in them is nginx, and their own clients.
race() {
	local tests packages
	tests=$(go list -test -f '{{.ImportPath}} {{join .Deps ","}}' ./...) || return 1
	packages=$(awk '$1 ~ /\.test$/ && $0 !~ /modernc\.org\/sqlite/ { sub(/\.test$/, "", $1); print $1 }' <<<"$tests")
	[ -n "$packages" ] || {
		say "no package to run under the race detector"
		return 1
	}
	# shellcheck disable=SC2086 # one argument a package
	go test -race -short -count=1 -p 2 -timeout 10m -skip "$under_load" $packages
}

# newer runs what depends on nginx's version with a newer one, which is there
# once scripts/newer-nginx.sh was run.
newer() {
	MIGRATE_NGINX=$PWD/bin/newer-nginx/nginx tests -run 'Reload|Failover|OneWay|Recover|Custom|Idle|Timeout|Switch' ./nginx/ &&
		MIGRATE_NGINX=$PWD/bin/newer-nginx/nginx tests -run '^(TestSwitchEitherWay|TestDemoByReload)$' ./cmd/migrate/
}

need_go
scripts/install-nginx.sh
scripts/install-chromium.sh
install sqlite3 sqlite3
install_postgres
install_pgbouncer
case $(uname) in
Linux) install "$(go env CC)" gcc libc6-dev ;; # the race detector's
esac
export MIGRATE_TEST_ALL=1

commands() { part 'tests of the commands, browser and fire' 8 waiting_tests ./cmd/...; }

others() {
	part vet 2 go vet ./...
	part staticcheck 2 checked
	part 'tests of the service' 4 tests ./app/...
	part 'tests of proxy and orchestrator' 4 tests ./nginx/... ./orchestrator/...
	part 'tests of pages and scripts' 2 tests ./static/... ./scripts/...
	if git rev-parse --verify --quiet '889cf48^{commit}' >/dev/null; then
		part 'comparison with the baseline' 2 scripts/bench.sh --smoke
	else
		say "== left out: the comparison with the baseline, 889cf48, which a shallow clone has not; git fetch --unshallow"
	fi
	if [ -x bin/newer-nginx/nginx ]; then
		part 'with a newer nginx' 4 newer
	else
		say "== left out: the tests with a newer nginx; scripts/newer-nginx.sh fetches one"
	fi
	part race 4 race
	part 'build for macOS' 2 builds_for_macos
}

if [ $# -gt 0 ]; then
	part tests 15 tests "$@"
else
	part format 1 formatted
	part build 4 builds
	lane commands
	lane others
	together
fi

conclude
