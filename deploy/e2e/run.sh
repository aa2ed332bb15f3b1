#!/usr/bin/env bash
# Builds the agent and the tests, makes an image of the agent, and runs the tests in a lab of three nodes.
# run.sh [go test flags], such as -run TestFailover or -v. E2E_SHELL=1 gives a shell in the lab instead.
set -euo pipefail
cd "$(dirname "$0")"
root=../..
if [ "$(id -u)" != 0 ]; then echo "e2e: needs root: the lab makes namespaces, mounts and cgroups" >&2; exit 1; fi
if [ ! -e /sys/fs/cgroup/cpuset/tasks ]; then echo "e2e: needs cgroup v1 below /sys/fs/cgroup" >&2; exit 1; fi
work=$(mktemp -d /tmp/e2e.XXXXXX)
trap 'rm -rf "$work"' EXIT

# There is no network in the lab: all is built before. With the flags of `make build`, whose results are in Go's cache:
# image.sh adds the shared libraries.
export GOFLAGS=-buildvcs=false GOWORK=off
(cd "$root" && go build -ldflags '-s -w' -o "$work/framedb" ./agent/cmd/framedb)
(cd "$root" && go test -c -o "$work/kubernetes.test" ./deploy/kubernetes)
go test -c -o "$work/e2e.test" .
lab/image.sh framedb:e2e "$work/framedb.tar" "$work/framedb" >&2

export KUBELAB_IMAGES="$work/framedb.tar" KUBELAB_GRACE=${KUBELAB_GRACE:-10s} KUBELAB_EVICT_AFTER=${KUBELAB_EVICT_AFTER:-20} KUBELAB_HOSTPATH=1
if [ -n "${E2E_SHELL:-}" ]; then exec lab/lab.sh 3 -- bash; fi
flags=(-test.timeout 20m)
for f in "$@"; do flags+=("${f/#-/-test.}"); done
# The driver's own tests, with a real API server instead of client-go's fake.
cat >"$work/inside.sh" <<S
set -eu
cd "$PWD/$root/deploy/kubernetes"
FRAMEDB_TEST_KUBECONFIG=\$KUBECONFIG "$work/kubernetes.test" -test.timeout 5m
cd "$PWD"
exec "$work/e2e.test" "\$@"
S
lab/lab.sh 3 -- bash "$work/inside.sh" "${flags[@]}"
