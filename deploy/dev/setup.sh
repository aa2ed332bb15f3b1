#!/usr/bin/env bash
# Installs what building and running FrameDB on one machine needs and is not
# there yet, and says what it does. Debian and Ubuntu; elsewhere it names what
# to install.
set -euo pipefail

need=()
command -v redis-server >/dev/null || need+=(redis-server)
command -v redis-sentinel >/dev/null || need+=(redis-sentinel)
command -v redis-benchmark >/dev/null || need+=(redis-tools)
[ -x /usr/sbin/mariadbd ] || command -v mariadbd >/dev/null || need+=(mariadb-server-core) # tests of storage
command -v curl >/dev/null || need+=(curl)
command -v cc >/dev/null || need+=(gcc libc6-dev) # the race detector links with cgo

command -v go >/dev/null || { echo "Go is missing: install Go 1.26 or later and run this again" >&2; exit 1; }
[ ${#need[@]} -eq 0 ] && exit 0

command -v apt-get >/dev/null || {
  echo "missing: ${need[*]}. This script installs with apt-get only; install them by your system's package manager and run this again" >&2
  exit 1
}
as_root=()
if [ "$(id -u)" -ne 0 ]; then
  command -v sudo >/dev/null || { echo "missing: ${need[*]}. Run as root: apt-get install ${need[*]}" >&2; exit 1; }
  as_root=(sudo)
fi
echo "installing by apt-get: ${need[*]}"
export DEBIAN_FRONTEND=noninteractive
"${as_root[@]}" apt-get update -q
"${as_root[@]}" apt-get install -q -y --no-install-recommends "${need[@]}"
echo "installed: ${need[*]}. If your system now runs a Redis of its own on port 6379, FrameDB leaves it alone and takes the next ports."
