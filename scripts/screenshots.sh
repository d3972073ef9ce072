#!/usr/bin/env bash
# Photographs both pages in each of their states, light and dark, narrow and
# wide, as PNG and as WebP. The two pictures that README shows are renewed.
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
scripts/install-chromium.sh
MIGRATE_TEST_ALL=1 MIGRATE_SCREENSHOTS=$folder go test -count=1 -run '^TestLooks$' ./static/
mkdir -p docs/screenshots
for page in tasks producer; do
	install -m 0644 "$folder/$page-wide-light.webp" "docs/screenshots/$page.webp"
done
say "pictures are in $folder"
