#!/usr/bin/env bash
# Unpacks an nginx that is newer than this system's into a folder, to test with: a
# reload of one from 1.27.4 on cuts no connection. Nothing of the system changes,
# except that patchelf is installed. On Debian, from a later release of Debian.
#
#   scripts/newer-nginx.sh [FOLDER]   (default: bin/newer-nginx)
#
# Then: MIGRATE_NGINX=FOLDER/nginx go test ./nginx/
# scripts/test.sh tests with bin/newer-nginx/nginx, if it is there.
set -euo pipefail
cd "$(dirname "$0")/.."
# shellcheck source=scripts/lib.sh
. scripts/lib.sh

release=${MIGRATE_NEWER_RELEASE:-forky}
folder=${1:-bin/newer-nginx}
mkdir -p "$folder/lib"
folder=$(cd "$folder" && pwd)

need_apt patchelf
command -v patchelf >/dev/null || apt_install patchelf
mirror=$(apt-get indextargets --format '$(SITE)' 'Created-By: Packages' | grep -m1 debian) ||
	die "this system is not a Debian with a mirror" "install nginx 1.27.4 or newer yourself, and name it in MIGRATE_NGINX"

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
chmod 755 "$work" # apt's own user reads it
mkdir -p "$work"/{state/lists/partial,cache/archives/partial,debs,root}
echo "deb $mirror $release main" >"$work/sources.list"
apt_of_release() {
	apt-get -q -o "Dir::Etc::SourceList=$work/sources.list" -o Dir::Etc::SourceParts=/dev/null \
		-o "Dir::State=$work/state" -o Dir::State::status=/var/lib/dpkg/status -o "Dir::Cache=$work/cache" "$@" >&2
}
apt_of_release update
cd "$work/debs"
apt_of_release download nginx libc6 libcrypt1 libpcre2-8-0 libssl3t64 libzstd1 zlib1g ||
	die "Debian $release does not offer its nginx here" "MIGRATE_NEWER_RELEASE names another release"
for deb in *.deb; do dpkg -x "$deb" "$work/root"; done

# With its own loader and libraries: this system's are older.
find "$work/root" -path '*lib*' \( -name 'lib*.so.[0-9]*' -o -name 'ld-linux*.so.*' \) -not -path '*/engines*' \
	-exec cp -L {} "$folder/lib/" \;
cp "$work/root/usr/sbin/nginx" "$folder/nginx"
loader=$(basename "$(patchelf --print-interpreter "$folder/nginx")")
patchelf --set-interpreter "$folder/lib/$loader" --force-rpath --set-rpath "$folder/lib" "$folder/nginx"
"$folder/nginx" -v
