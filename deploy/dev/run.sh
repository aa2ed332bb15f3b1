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
    agent_pid >/dev/null || {
      echo "the agent did not start:" >&2
      tail -n 20 "$data/agent.log" >&2
      echo "If the port is taken, give another one: FRAMEDB_LISTEN=127.0.0.1:5055 make run" >&2
      exit 1
    }
    sleep 0.1
  done
  echo "agent is up (pid $(cat "$pidfile"), log $data/agent.log)"
fi

addr="unix://$data/agent.sock"
status=0
bin/framedb demo --addr "$addr" "$@" || status=$?
cat <<EOF

The agent stays up. Look around, and end it, its Redis and its data by make stop:

    export FRAMEDB_ADDR=$addr${FRAMEDB_RUN_DIR:+ FRAMEDB_RUN_DIR=$FRAMEDB_RUN_DIR}
    bin/framedb status
    make stop
EOF
exit $status
