#!/usr/bin/env bash
# Ends the agent that run.sh left up, with its Redis and database processes, and its data.
set -euo pipefail
cd "$(dirname "$0")/../.."
. deploy/dev/env.sh

if pid=$(agent_pid); then
  kill -TERM "$pid"
  for _ in $(seq 150); do
    agent_pid >/dev/null || break
    sleep 0.1
  done
  agent_pid >/dev/null && { echo "agent $pid did not end within 15 s; see $data/agent.log" >&2; exit 1; }
  echo "agent $pid ended"
else
  echo "no agent is up"
fi
end_servers "$data"
rm -rf "$data"
