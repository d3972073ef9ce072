#!/usr/bin/env bash
# Installs Debian's Chromium, which the tests of the pages drive, when there
# is no browser that they know. It starts no service.
set -euo pipefail
cd "$(dirname "$0")"
# shellcheck source=scripts/lib.sh
. ./lib.sh

if [ -n "${MIGRATE_CHROMIUM:-}" ]; then
	[ -x "$MIGRATE_CHROMIUM" ] || die "MIGRATE_CHROMIUM is $MIGRATE_CHROMIUM, which can't be run"
	exit 0
fi
for browser in chromium chromium-browser google-chrome; do
	if have "$browser"; then exit 0; fi
done

need_apt chromium
say "installing chromium"
apt_install chromium fonts-dejavu-core || die "apt-get could not install chromium" "its own message is above"
have chromium || die "apt-get is content, but there is no chromium in PATH"
