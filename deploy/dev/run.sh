#!/usr/bin/env bash
# Starts a dev agent in the background unless it is up already, runs the main
# job against it, and leaves the agent up.
set -euo pipefail
cd "$(dirname "$0")/../.."
. deploy/dev/env.sh

if pid=$(agent_pid); then
  echo "agent is up already (pid $pid)"
else
  mkdir -p -m 700 "$data"
  FRAMEDB_STOP_PROCESSES_ON_EXIT=true setsid bin/framedb agent --dev --data-dir "$data" >"$data/agent.log" 2>&1 </dev/null &
  echo $! >"$pidfile"
  for _ in $(seq 150); do
    curl -fs --unix-socket "$data/agent.sock" http://agent/readyz >/dev/null 2>&1 && break
    agent_pid >/dev/null || { echo "the agent did not start:" >&2; tail -n 20 "$data/agent.log" >&2; exit 1; }
    sleep 0.1
  done
  echo "agent is up (pid $(cat "$pidfile"), log $data/agent.log)"
fi

status=0
bin/framedb demo --addr "unix://$data/agent.sock" "$@" || status=$?
echo
echo "The agent stays up on http://127.0.0.1:5000 and unix://$data/agent.sock. See it: bin/framedb status. End it: make stop"
exit $status
