#!/usr/bin/env bash
# Installs Debian's nginx when there is none. Debian's package would start a
# public server on port 80, at once and at every boot: this script prevents
# both. Only the nginx that migrate itself starts will run.
set -euo pipefail
cd "$(dirname "$0")"
# shellcheck source=scripts/lib.sh
. ./lib.sh

policy=/usr/sbin/policy-rc.d
mine=

# forbid_start keeps package scripts from starting services for as long as the
# installation lasts. Somebody's own policy is asked, never replaced.
forbid_start() {
	if [ -e "$policy" ] || [ -L "$policy" ]; then
		local answer=0
		as_root "$policy" nginx start >/dev/null 2>&1 || answer=$?
		[ "$answer" -eq 101 ] ||
			die "$policy is there and would let nginx start a public server on port 80" \
				"install nginx yourself, or let that file exit 101 for nginx, and try again"
		return
	fi
	local draft
	draft=$(mktemp)
	printf '#!/bin/sh\n# While migrate installs nginx: start no service.\nexit 101\n' >"$draft"
	mine=yes
	as_root install -m 0755 "$draft" "$policy"
	rm -f "$draft"
}

allow_start() {
	[ -z "$mine" ] || as_root rm -f "$policy"
	mine=
}

# keep_off keeps Debian's service off at the next boot, too. (update-rc.d sees
# to both init systems, whichever of them is running now.)
keep_off() {
	as_root update-rc.d nginx disable >/dev/null || return 1
	[ ! -d /run/systemd/system ] || as_root systemctl daemon-reload
}

if [ -n "${MIGRATE_NGINX:-}" ]; then
	[ -x "$MIGRATE_NGINX" ] || die "MIGRATE_NGINX is $MIGRATE_NGINX, which can't be run"
	exit 0
fi
have nginx && exit 0

need_apt nginx
say "installing nginx (its own server on port 80 stays off)"
trap allow_start EXIT
trap 'exit 130' INT TERM HUP
forbid_start
apt_install nginx || die "apt-get could not install nginx" "its own message is above"
keep_off || say "warning: could not disable Debian's nginx service: systemctl disable nginx"
have nginx || die "apt-get is content, but there is no nginx in PATH or /usr/sbin"
