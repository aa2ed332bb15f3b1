# Where `make run` keeps its agent; sourced by run.sh and stop.sh.
# A short path: unix socket paths end at 107 bytes.
data="${FRAMEDB_RUN_DIR:-/tmp/framedb-$(id -u)}"
pidfile="$data/run.pid"

agent_pid() { # the pid of the agent that run.sh started, if it is alive
  local pid
  pid=$(cat "$pidfile" 2>/dev/null) || return 1
  tr '\0' ' ' <"/proc/$pid/cmdline" 2>/dev/null | grep -qF -- "agent --dev --data-dir $data" || return 1
  echo "$pid"
}
