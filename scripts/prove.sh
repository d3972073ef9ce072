#!/usr/bin/env bash
# Proofs that can go on for as long as one likes. The tests hold a short one of each.
#
#   scripts/prove.sh fire [--minutes M] [--seed S] [--cutover link|reload] [--pair OLD-NEW]
#       the service under fire: real instances, nginx and databases, killed,
#       stopped, cut off and filled up while clients of many kinds use them; the
#       new database hangs at steps 3 and 4, and while a rollback runs. --pair
#       postgres-mongodb, postgres-postgres or sqlite-postgres: servers of PostgreSQL
#       crash, stop, end connections and hand over to a synchronous standby, too
#   scripts/prove.sh explore [--minutes M] [--seed S]
#       every interleaving of the shipped code's store calls, within bounds that
#       grow for as long as there is time, and others at random; then each rule
#       of the protocol switched off, and how that was caught
#   scripts/prove.sh return
#       from step 8 back to 1 under load; how long writes wait while the primary
#       returns, with an empty backlog and with 1,000 records pending
#   scripts/prove.sh adopt [--rows N]
#       takes a file of N rows over (300,000) whose id is unique, while a Python
#       program with a patience of one second goes on writing to it: none of its
#       writes may fail or be lost; then a file whose id isn't unique, which is
#       refused before anybody waits
#   scripts/prove.sh sample
#       fetches PowerDNS's Debian package, whose tables nobody here has designed,
#       and moves them from SQLite to the embedded server and back; each verify
#       must be clean, and in the end the rows must be as they were
#   scripts/prove.sh pairs
#       moves three tables from step 1 to 8 and back, under load and beside programs
#       that know nothing of it, for each pair of databases
#   scripts/prove.sh flips [--flips N]
#       moves the fence of a PostgreSQL there and back N times (1,000) under eight
#       foreign programs at three isolation levels: no row may change while it says
#       new; then the same without each of two rules, which must be caught
#   scripts/prove.sh mutants [--reuse] [--quick] [--slow TIME] [--jobs N]
#       changes one piece of app/migration at a time, which its tests must notice,
#       and writes docs/mutants.md; an hour or more. A run that was broken off goes
#       on where it was. --reuse believes what earlier runs killed while a function
#       is the same; --quick runs the fast tests alone; --slow bounds what explores
#       every order, 10m for each mutant that is left (0: left out); --jobs says how
#       many mutants are tried at a time (2)
set -euo pipefail
cd "$(dirname "$0")/.."
# shellcheck source=scripts/lib.sh
. scripts/lib.sh

usage() {
	sed -n '2,/^set /s/^# \{0,1\}//p' scripts/prove.sh >&2
	exit 2
}

[ $# -gt 0 ] || usage
verb=$1
shift
minutes=10 seed=1 rows=300000 flips=1000 test=TestFire
while [ $# -gt 0 ] && [ "$verb" != mutants ]; do
	[ $# -gt 1 ] || usage
	case $1 in
	--minutes) minutes=$2 ;;
	--seed) seed=$2 ;;
	--rows) rows=$2 ;;
	--flips) flips=$2 ;;
	--pair)
		case $2 in
		sqlite-mongodb) ;;
		postgres-mongodb | postgres-postgres | sqlite-postgres) export MIGRATE_FIRE_PAIR=$2 ;;
		*) usage ;;
		esac
		;;
	--cutover)
		case $2 in
		link) test=TestFire ;;
		reload) test=TestFireByReload ;;
		*) usage ;;
		esac
		;;
	*) usage ;;
	esac
	shift 2
done

need_go
case $verb in
fire)
	scripts/install-nginx.sh
	have sqlite3 || { need_apt sqlite3 && apt_install sqlite3; }
	if [ -n "${MIGRATE_FIRE_PAIR-}" ]; then
		[ "$test" = TestFire ] || usage # by links alone
		test=TestFireOfPostgreSQL
	fi
	MIGRATE_TEST_ALL=1 MIGRATE_FIRE_MINUTES=$minutes MIGRATE_FIRE_SEED=$seed \
		exec go test -count=1 -v -timeout 0 -run "^$test\$" ./cmd/migrate
	;;
explore)
	exec go test -count=1 -v -timeout 0 -run '^(TestExploreLong|TestEveryBrokenRuleIsCaught)$' \
		./app/migration -minutes "$minutes" -seed "$seed"
	;;
return)
	scripts/install-nginx.sh
	exec go test -count=1 -v -run '^TestRollbackUnderLoad$' ./cmd/migrate
	;;
adopt)
	MIGRATE_TEST_ALL=1 MIGRATE_ADOPT_ROWS=$rows \
		exec go test -count=1 -v -timeout 0 -run '^(TestAdoptUnderLoad|TestTooLong)$' ./app/store/sqlite
	;;
sample)
	have sqlite3 || { need_apt sqlite3 && apt_install sqlite3; }
	have python3 || { need_apt python3 && apt_install python3; }
	folder=$(mktemp -d) && chmod 755 "$folder" # apt fetches as another user
	trap 'rm -rf "$folder"' EXIT
	(cd "$folder" && apt-get -qq download pdns-backend-sqlite3 && dpkg-deb -x pdns-backend-sqlite3_*.deb package)
	say "sample: $(basename "$folder"/pdns-backend-sqlite3_*.deb)"
	sqlite3 "$folder/pdns.sqlite" <"$folder/package/usr/share/pdns-backend-sqlite3/schema/schema.sqlite3.sql"
	sqlite3 "$folder/pdns.sqlite" <scripts/samples/pdns.sql
	MIGRATE_TEST_SAMPLE=$PWD/scripts/samples/pdns.yaml MIGRATE_TEST_SAMPLE_FILE=$folder/pdns.sqlite \
		MIGRATE_TEST_SAMPLE_ACCEPT="unique:name_index unique:namealgoindex" \
		go test -count=1 -v -run '^TestASampleWalksThereAndBack$' ./app
	;;
flips)
	MIGRATE_TEST_ALL=1 MIGRATE_TEST_FLIPS=$flips go test -count=1 -v -timeout 60m -run '^Test(NoRowChangesAfterAFlip|AFlipWithoutItsRulesIsCaught)$' ./app/store/postgres
	;;
pairs)
	MIGRATE_TEST_ALL=1 MIGRATE_TEST_PAIRS=1 go test -count=1 -v -timeout 20m -run '^(TestThreeCollectionsWalkThereAndBack|TestSQLiteToPostgreSQL|TestPostgreSQLTo.*)$' ./app
	;;
mutants)
	exec nice -n 15 go run ./scripts/mutants "$@"
	;;
*) usage ;;
esac
