#!/usr/bin/env bash
# What make bench compares with, beside Redis: etcd, taken out of Debian's
# package into bin/ without installing it, because the package starts a server.
set -euo pipefail
cd "$(dirname "$0")/../.."

if command -v etcd >/dev/null || [ -x bin/etcd ]; then exit 0; fi
if ! command -v apt-get >/dev/null; then
  echo "etcd is not installed: the comparison with it is left out" >&2
  exit 0
fi
echo "fetching etcd, which make bench compares with" >&2
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
(cd "$tmp" && { apt-get download etcd-server || { apt-get update && apt-get download etcd-server; }; } >&2 && dpkg -x etcd-server_*.deb x)
mkdir -p bin
cp "$tmp/x/usr/bin/etcd" bin/etcd
