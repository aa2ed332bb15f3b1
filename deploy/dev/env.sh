# Where `make run` keeps its agent; sourced by the scripts here.
# A short path: unix socket paths end at 107 bytes.
data="${FRAMEDB_RUN_DIR:-/tmp/framedb-$(id -u)}"
pidfile="$data/run.pid"

agent_pid() { # the pid of the agent that run.sh started, if it is alive
  local pid
  pid=$(cat "$pidfile" 2>/dev/null) || return 1
  tr '\0' ' ' 2>/dev/null <"/proc/$pid/cmdline" | grep -qF -- "agent --dev --data-dir $data" || return 1
  echo "$pid"
}

end_servers() { # end_servers DIR: the Redis and database processes of agents below DIR that were killed
  local proc
  for proc in /proc/[0-9]*; do
    if [[ $(readlink "$proc/cwd" 2>/dev/null) == "$1"/* && $(readlink "$proc/exe" 2>/dev/null) =~ /(redis-|mariadbd|tidb-server) ]]; then
      kill -KILL "${proc#/proc/}" 2>/dev/null || true
    fi
  done
}
