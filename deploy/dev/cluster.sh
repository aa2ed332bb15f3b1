#!/usr/bin/env bash
# Runs N agents on this machine that form one FrameDB, in the foreground: agent i
# on 127.0.0.i, API port 5000, node name and node tag node-i. Ctrl-C or SIGTERM
# ends all of it, the Redis processes too, and removes the data.
set -euo pipefail
cd "$(dirname "$0")/../.."
. deploy/dev/env.sh

n=${1:-5}
[[ $n =~ ^[1-9][0-9]?$ ]] || { echo "give 1 to 99 agents: make cluster N=5" >&2; exit 2; }

data=$(mktemp -d /tmp/framedb-XXXXXX) # short: unix socket paths end at 107 bytes
pids=()                                # of the agents, by their number; 0 for one that ended

end() {
  trap '' INT TERM HUP PIPE
  echo "ending $n agents and their Redis" || true
  for pid in "${pids[@]}"; do
    [ "$pid" = 0 ] || kill -TERM "$pid" 2>/dev/null || true
    [ "$pid" = 0 ] || kill -CONT "$pid" 2>/dev/null || true # in case somebody stopped it
  done
  for _ in $(seq 120); do # an agent takes at most 10 s
    any_alive || break
    sleep 0.1
  done
  for pid in "${pids[@]}"; do
    [ "$pid" = 0 ] || kill -KILL "$pid" 2>/dev/null || true
  done
  end_servers "$data"
  rm -rf "$data"
}

alive() { [ "${pids[$1]}" != 0 ] && kill -0 "${pids[$1]}" 2>/dev/null; }

any_alive() {
  local i
  for i in "${!pids[@]}"; do
    if alive "$i"; then return 0; fi
  done
  return 1
}

start() { # start i
  FRAMEDB_PASSWORD_FILE="$data/password" FRAMEDB_STOP_PROCESSES_ON_EXIT=true \
    bin/framedb agent --dev --data-dir "$data/$1" --advertise "127.0.0.$1" --listen "127.0.0.$1:5000" \
    --node-name "node-$1" --node-tag "node-$1" --join 127.0.0.1:5002 --join 127.0.0.2:5002 --expect "$n" \
    >>"$data/$1.log" 2>&1 </dev/null &
  pids[$1]=$!
}

await() { # await i: until it is ready
  local j
  for _ in $(seq 300); do
    curl -fs "http://127.0.0.$1:5000/readyz" >/dev/null && return 0
    for j in "${!pids[@]}"; do
      alive "$j" || { not_started "$j"; return 1; }
    done
    sleep 0.1
  done
  not_started "$1"
  return 1
}

not_started() {
  echo "agent $1 did not start:" >&2
  tail -n 20 "$data/$1.log" >&2
}

tell_dead() {
  local i
  for i in "${!pids[@]}"; do
    if [ "${pids[$i]}" != 0 ] && ! alive "$i"; then
      pids[$i]=0
      echo "agent $i ended; type $i and Enter to start it again"
    fi
  done
}

start_again() { # start_again i
  [[ $1 =~ ^[0-9]+$ ]] && [ "${pids[$1]:-}" = 0 ] || { echo "type the number of an agent that ended"; return; }
  start "$1"
  echo "agent $1 starts (pid ${pids[$1]}, log $data/$1.log)"
}

trap end EXIT
trap 'exit 130' INT
trap 'exit 143' TERM HUP
trap 'exit 141' PIPE

head -c 18 /dev/urandom | base64 | tr '+/' '-_' >"$data/password" # one for the whole FrameDB
for i in $(seq "$n"); do start "$i"; done
for i in $(seq "$n"); do await "$i"; done

addrs=http://127.0.0.1:5000
for i in $(seq 2 "$n"); do addrs+=,http://127.0.0.$i:5000; done
bin/framedb --addr "$addrs" node list
echo
for i in $(seq "$n"); do echo "agent $i: pid ${pids[$i]}, socket $data/$i/agent.sock, log $data/$i.log"; done
cat <<EOF

Try it in another terminal:

    export FRAMEDB_ADDR=$addrs
    bin/framedb status
    bin/framedb cluster create cameras --node-tag node-1 --replicas 3
    bin/framedb raft transfer node-1
    kill -9 ${pids[1]}    # agent 1; its Redis runs on, and any other agent answers
    bin/framedb raft status

Type a number and Enter to start an agent again that ended. Ctrl-C ends everything.
EOF
while any_alive; do
  if [ -t 0 ]; then
    if read -r -t 1 line; then start_again "$line"; fi
  else
    sleep 1
  fi
  tell_dead
done
echo "no agent is left"
