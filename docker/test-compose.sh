#!/usr/bin/env bash
# The compose file in a real Docker engine: a private run of 3 nodes that outlives the loss of one of them, of the
# SuperLink and of the ServerApp, with every door tried, gets a new certificate and authority, and then grows by an
# honest node, which is lost for a round, and by one that sends a bomb and then nothing. `make test-compose`; .ci/run
# runs it too.
#
# 0: it passed, or (said in a frame) there is no engine and none may be installed. Otherwise the federation failed.
#
# Settings, all optional, from the environment:
#   BASE_IMAGE     an image with Python 3.11 to build from
#   PYTHON         the interpreter whose pip, with this machine's settings, fetches the wheels
#   MUST_RUN=1     fail where there is no engine
#   LIMIT_SECONDS  ended as failed after so long (1500)
#   STEP_SECONDS   and after so long at one step (400): a busy machine needs more
set -euo pipefail
cd "$(dirname "$0")/.."
[ -n "${LIMITED:-}" ] || LIMITED=1 exec timeout --kill-after=120 "${LIMIT_SECONDS:-1500}" "$0"

project=murmuration-test-$$
file=docker-compose.yml
export MURMURATION_IMAGE=murmuration:test-$$ MURMURATION_PROXY_IMAGE=murmuration-proxy:test-$$ BACKEND=${BACKEND:-172.30.93}
PYTHON=${PYTHON:-python3}
work=$(mktemp -d)
ended=""

say() { printf '\n== %s (%d s)\n' "$*" "$SECONDS"; }
fail() {
  say "FAILED: $*"
  tail -n 40 "$work"/run-*.log 2> /dev/null || true
  compose ps || true
  compose logs --tail=12 2>&1 | cut -c 1-200 || true
  exit 1
}
. docker/engine.sh
. docker/images.sh

# --- Clean up, whatever happens -----------------------------------------------------------------------
finish() {
  status=$?
  trap '' TERM INT HUP
  [ -z "${building:-}" ] || kill "$building" 2> /dev/null || true
  [ -n "$ended" ] || [ -z "${compose_command:-}" ] || tear_down > /dev/null 2>&1 || true
  drop_wheels
  stop_engine
  rm -rf "$work"
  exit "$status"
}
tear_down() {
  compose --profile run down --volumes --remove-orphans --timeout 1
  docker image rm "$MURMURATION_IMAGE" "$MURMURATION_PROXY_IMAGE"
  ended=1
}
trap finish EXIT
trap 'fail "the time limit"' TERM

# --- Words of this test -------------------------------------------------------------------------------
compose() { "${compose_command[@]}" --project-name "$project" --project-directory . --file "$file" "$@"; }
container() { docker ps -aq --filter "label=com.docker.compose.project=$project" --filter "label=com.docker.compose.service=$1"; }
inside() { docker exec -i "$(container "$1")" "${@:2}"; }
kill_part() { say "docker kill of $1"; docker kill "$(container "$1")" > /dev/null; }
start_part() { docker start "$(container "$1")" > /dev/null; }
state() { docker inspect --format "$2" "$(container "$1")"; }
healthy() { [ "$(state "$1" '{{.State.Health.Status}}')" = healthy ]; }
restarted() { [ "$(state "$1" '{{.RestartCount}}')" -ge 1 ]; }
left_behind() { for what in container volume network; do docker $what ls -q --filter "label=com.docker.compose.project=$project"; done; }
# within WHAT COMMAND...: poll until the command succeeds.
within() {
  local what=$1 begun=$SECONDS
  shift
  until "$@"; do
    [ $((SECONDS - begun)) -lt "${STEP_SECONDS:-400}" ] || fail "$what: not within ${STEP_SECONDS:-400} s"
    sleep 1
  done
  echo "   $what: after $((SECONDS - begun)) s"
}
door() { inside "$1" python -c "import socket,sys; s=socket.socket(); s.settimeout(1); sys.exit(bool(s.connect_ex(('$2',$3))))" 2> /dev/null; }
# submit NAME [SETTING...]: a run of 6 rounds in the background, its log in run-NAME.log. All 32 speakers of a node must
# have time within the deadline.
submit() {
  log=$work/run-$1.log
  compose run --rm -T run --set training.rounds=6 --set training.round-deadline-seconds=120.0 \
    --set local.processor-seconds=3.0 --set local.most-seconds=100.0 "${@:2}" > "$log" 2>&1 < /dev/null &
  run=$!
}
# most_memory: once there is a ServerApp and it has ended, the most that it took, in bytes.
most_memory() {
  inside serverapp python -c "
import time
from pathlib import Path
most, seen = 0, 0
while not most or seen > time.monotonic() - 3:
    for process in Path('/proc').glob('[0-9]*'):
        try:
            if b'flwr-server' b'app' in (process / 'cmdline').read_bytes():
                lines = (process / 'status').read_text().splitlines()
                most = max([most, *(1024 * int(line.split()[1]) for line in lines if line.startswith('VmHWM:'))])
                seen = time.monotonic()
        except OSError:
            pass
    time.sleep(0.2)
print(most)"
}
shown() { grep -Eq "^ +$1 +[0-9]+ " "$log"; }
run_ended() { ! kill -0 "$run" 2> /dev/null; }
came_to() { shown "$1" || run_ended; }
table() { grep -E "^round|^ +[0-9]+ +[0-9-]|^held-out WER" "$log" || true; }

# --- Build, start -------------------------------------------------------------------------------------
need_engine
build_images
docker image inspect --format 'image: {{.Size}} bytes' "$MURMURATION_IMAGE" "$BASE_IMAGE"

say "up"
compose up --detach > "$work/up.log" 2>&1 || { tail -n 20 "$work/up.log"; fail "compose up"; }
for part in superlink proxy serverapp supernode-{1,2,3} clientapp-{1,2,3}; do within "$part healthy" healthy "$part"; done

say "doors: a node's containers reach the gRPC port and nothing else of the server"
door supernode-1 superlink 9092 || fail "the gRPC port cannot be reached"
for from in supernode-1 clientapp-1; do
  ! door "$from" "$BACKEND.10" 8000 || fail "$from reaches the runtime API"
  ! door "$from" superlink 8000 || fail "$from reaches the runtime API by the SuperLink's name"
done
! door clientapp-1 superlink 9092 || fail "a ClientApp has a way out"
! inside supernode-1 sh -c 'ls /credentials | grep -qE "ca.key|server.key|node-2"' || fail "a node sees credentials of others"
[ "$(inside clientapp-1 ls /credentials | xargs)" = "approved superexec.secret" ] || fail "a ClientApp sees more than the secret"
! door supernode-1 fleet-api 9093 || fail "a node reaches the SuperLink past the proxy"
[ "$(inside supernode-1 id -u)" = 10001 ] || fail "it runs as root"

say "whoever controls the SuperLink submits an app that takes the speech"
compose run --rm -T --entrypoint python run - < tests/hostile_app.py > "$work/hostile.log" 2>&1 || true
within "the answers to it" inside serverapp test -s /state/loot.json
inside serverapp cat /state/loot.json > "$work/loot"
[ "$(grep -o 'this node runs only what its owner approved' "$work/loot" | wc -l)" = 3 ] \
  || { cat "$work/hostile.log" "$work/loot"; fail "a node ran an app that its owner did not approve"; }

# --- A run of 6 rounds, and what it outlives ----------------------------------------------------------
say "a run of 6 rounds"
submit first
within "round 1" shown 1
kill_part supernode-2
within "a round without node 2" shown 2
grep -q "left out" "$log" || fail "nothing is said of the node that was lost"
start_part supernode-2
kill_part superlink
sleep 1
start_part superlink
within "SuperLink healthy" healthy superlink
within "the run goes on" shown 4
within "node 2 healthy again" healthy supernode-2

kill_part serverapp
start_part serverapp
say "meanwhile, a SuperNode falls silent (SIGSTOP): its health check ends it, its restart policy starts it"
inside supernode-3 python -c "
import os, signal
from pathlib import Path
for process in Path('/proc').glob('[0-9]*'):
    words = (process / 'cmdline').read_bytes()
    if b'flower-supernode' in words and process.name != '1' and b'docker-init' not in words:
        os.kill(int(process.name), signal.SIGSTOP)
"
within "the run without its ServerApp ends" run_ended
within "node 3 started again" restarted supernode-3
within "node 3 healthy again" healthy supernode-3
! wait "$run" || fail "a run that lost its ServerApp is called completed"
table

say "the run is resumed"
submit resumed --set 'run.resume="latest"'
within "the end of the run" run_ended
wait "$run" || fail "the resumed run did not complete"
table
grep -q "^held-out WER .* in 6 rounds" "$log" || fail "no WER was reported"

for part in superlink supernode-{1,2,3}; do inside "$part" sh -c 'for file in /credentials/*.key /credentials/*.secret; do cat $file; echo; done'; done \
  | grep -v -e ----- -e '^$' > "$work/secrets"
[ "$(wc -l < "$work/secrets")" -ge 20 ] || fail "no secrets to look for"
compose logs > "$work/logs"
! grep -qFf "$work/secrets" "$work/logs" || fail "a log holds a secret"

within "doctor content" healthy doctor
say "a new authority, certificate and key, by one command"
inside doctor cat /credentials/ca.crt > "$work/old-ca.crt"
{ compose run --rm -T -e RENEW=1 setup && compose restart; } > "$work/renew.log" 2>&1 || { tail -n 20 "$work/renew.log"; fail "RENEW=1 setup"; }

say "two nodes more, by one command; the fifth is no SuperNode, sends a bomb and then nothing"
file=$work/docker-compose.yml
{ python3 docker/compose.py 5 > "$file" && compose up --detach --scale supernode-5=0 --scale clientapp-5=0; } > "$work/up.log" 2>&1 \
  || { tail -n 20 "$work/up.log"; fail "compose up for 5 nodes"; }
for part in superlink proxy serverapp {supernode,clientapp}-{1,2,3,4}; do within "$part healthy" healthy "$part"; done
doctor_by() { inside doctor sh -c 'cat > /tmp/ca.crt && murmur doctor --superlink superlink:9092 --authority /tmp/ca.crt' < "$1"; }
inside supernode-1 cat /credentials/ca.crt > "$work/ca.crt"
doctor_by "$work/ca.crt" > "$work/doctor" || { cat "$work/doctor"; fail "the new certificate does not hold"; }
! doctor_by "$work/old-ca.crt" > "$work/doctor" || { cat "$work/doctor"; fail "the old authority still holds"; }
tar -c tests/{__init__,bomb_node,fleet,forged}.py tests/strategies/{__init__,flower}.py \
  | compose run --rm -T --no-deps --entrypoint sh supernode-5 -c 'mkdir /tmp/app && tar -x -C /tmp/app && cd /tmp/app &&
    PYTHONPATH=/tmp/app exec python -m tests.bomb_node superlink:9092 /credentials/ca.crt /credentials/node-5.key 127.0.0.1:8099' \
  > "$work/run-bomb.log" 2>&1 &
connected() { grep -q "is connected" "$work/run-bomb.log"; }
within "the fifth node connected" connected
most_memory > "$work/memory" 2>&1 < /dev/null &
watching=$!
ledger=$(inside serverapp ls /state/runs/ledgers | sed -n 's/\.jsonl$//p')
submit grown --set "privacy.population-name=\"$ledger\"" --set training.rounds=2 --set training.round-deadline-seconds=60.0 \
  --set local.processor-seconds=1.5 --set local.most-seconds=50.0
within "round 1" came_to 1
say "the fifth node's bomb is sent; in round 2 it is silent, and the fourth's SuperNode stands still"
docker pause "$(container supernode-4)" > /dev/null
within "the end of the run" run_ended
docker unpause "$(container supernode-4)" > /dev/null
wait "$run" || fail "the run beside the bomb did not complete"
table
grep -q "Murmuration: 5 nodes with" "$log" || fail "the new nodes were not asked"
bomber=$(sed -n 's/^\(node [0-9]*\) is connected.*/\1/p' "$work/run-bomb.log")
still="node $(compose logs --no-color supernode-4 2>&1 | sed -n 's/.*SuperNode ID: \([0-9]*\).*/\1/p' | tail -n 1)"
said() { grep -qF "$1 left out: $2" "$log" || fail "the log does not say: $1 left out: $2"; }
said "$bomber" "the reply is refused: its arrays would take 6,000,000,000 bytes"
said "$bomber" "no reply before the deadline"
said "$still" ""
wait "$watching" || { cat "$work/memory"; fail "nobody looked at the ServerApp's memory"; }
echo "   the ServerApp took at most $(cat "$work/memory") bytes"
[ "$(cat "$work/memory")" -lt 1500000000 ] || fail "the bomb took memory"

say "down"
tear_down > "$work/down.log" 2>&1 || { cat "$work/down.log"; exit 1; }
[ -z "$(left_behind)" ] || { say "FAILED: left behind: $(left_behind)"; exit 1; }
say "PASSED: compose, doors, the loss of a node, of the SuperLink and of the ServerApp, a new authority, a node more, a bomb, absent nodes"
