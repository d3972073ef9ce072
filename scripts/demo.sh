#!/usr/bin/env bash
# Builds migrate and shows it at work: a ToDo service walks from SQLite to
# MongoDB under load, behind nginx. Arguments go to `migrate demo`.
set -euo pipefail
cd "$(dirname "$0")/.."
# shellcheck source=scripts/lib.sh
. scripts/lib.sh

need_go
scripts/install-nginx.sh
say "building migrate (about a minute the first time)"
go build -o bin/migrate ./cmd/migrate
exec ./bin/migrate demo "$@"
