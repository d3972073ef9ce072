#!/usr/bin/env bash
# Photographs both pages in each of their states, light and dark, narrow and
# wide, and the producer after a whole migration, as PNG and as WebP. The two
# pictures that README shows are renewed.
#
#   scripts/screenshots.sh [FOLDER]   (default: a new one under /tmp)
set -euo pipefail
folder=${1:-$(mktemp -d /tmp/migrate-screenshots.XXXXXX)}
mkdir -p "$folder"
folder=$(cd "$folder" && pwd)
cd "$(dirname "$0")/.."
# shellcheck source=scripts/lib.sh
. scripts/lib.sh

need_go
scripts/install-nginx.sh
scripts/install-chromium.sh
export MIGRATE_TEST_ALL=1 MIGRATE_SCREENSHOTS=$folder
go test -count=1 -run '^TestLooks$' ./static/
go test -count=1 -run '^TestProducerThroughTheWalk$' ./cmd/migrate/
mkdir -p docs/screenshots
install -m 0644 "$folder/tasks-wide-light.webp" docs/screenshots/tasks.webp
install -m 0644 "$folder/producer-walk.webp" docs/screenshots/producer.webp
say "pictures are in $folder"
