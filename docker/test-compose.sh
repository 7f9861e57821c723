#!/usr/bin/env bash
# The compose file in a real Docker engine: a private run of 3 nodes that survives the loss of one of them
# and of the SuperLink, doors included. `make test-compose`.
#
# Settings, all optional, from the environment:
#   BASE_IMAGE     an image with Python 3.11; where it cannot be pulled, one is made by debootstrap
#   WHEELS         a folder of wheels to install from first; PIP_INDEX_URL and its like are pip's own
#   MUST_RUN=1     fail, rather than say so, where there is no engine
#   KEEP=1         leave everything up at the end
set -euo pipefail
cd "$(dirname "$0")/.."
project=murmuration-test-$$
export MURMURATION_IMAGE=murmuration:test BACKEND=${BACKEND:-172.30.93}
work=$(mktemp -d)
own_engine=""

say() { printf '\n== %s\n' "$*"; }
skip() {
  printf '\n%s\n  THE COMPOSE FILE WAS NOT TESTED: %s\n%s\n\n' "$(printf '*%.0s' {1..80})" "$*" "$(printf '*%.0s' {1..80})" >&2
  exit "${MUST_RUN:-0}"
}
fail() { say "FAILED: $*"; tail -n 40 "$work/run.log" 2>/dev/null || true; compose ps; compose logs --tail=25; exit 1; }
compose() { "${compose_command[@]}" --project-name "$project" "$@"; }
container() { compose ps -q "$1"; }
finish() {
  status=$?
  if [ -z "${KEEP:-}" ]; then
    [ -z "${compose_command:-}" ] || compose --profile run down --volumes --remove-orphans --timeout 5 > "$work/down.log" 2>&1 || true
    [ -z "${copied:-}" ] || (cd docker/wheels && rm -f -- $copied)
    [ -z "$own_engine" ] || kill "$own_engine"
    rm -rf "$work"
  fi
  exit "$status"
}
trap finish EXIT

engine() {
  if ! command -v docker > /dev/null; then
    { [ "$(id -u)" = 0 ] && command -v apt-get > /dev/null; } || skip "no docker, and no right to install it"
    say "installing the engine"
    { apt-get update -qq && apt-get install -y -qq docker.io docker-compose iptables debootstrap; } > "$work/apt.log" 2>&1 || skip "docker cannot be installed: $(tail -n 1 "$work/apt.log")"
  fi
  if ! docker info > /dev/null 2>&1; then
    [ "$(id -u)" = 0 ] && command -v dockerd > /dev/null || skip "the Docker engine does not run"
    dockerd > "$work/dockerd.log" 2>&1 &
    own_engine=$!
    for _ in $(seq 30); do docker info > /dev/null 2>&1 && break || sleep 1; done
    docker info > /dev/null 2>&1 || skip "the Docker engine does not start: $(tail -n 1 "$work/dockerd.log")"
  fi
  if docker compose version > /dev/null 2>&1; then compose_command=(docker compose)
  elif command -v docker-compose > /dev/null; then compose_command=(docker-compose)
  else skip "no docker compose"; fi
}

base_image() {
  BASE_IMAGE=${BASE_IMAGE:-python:3.11-slim-bookworm}
  docker image inspect "$BASE_IMAGE" > /dev/null 2>&1 && return
  docker pull "$BASE_IMAGE" > "$work/pull.log" 2>&1 && return
  BASE_IMAGE=murmuration-base:bookworm
  docker image inspect "$BASE_IMAGE" > /dev/null 2>&1 && return
  command -v debootstrap > /dev/null || apt-get install -y -qq debootstrap > "$work/apt.log" 2>&1 || skip "no base image: it cannot be pulled, and there is no debootstrap"
  say "no base image can be pulled: making one by debootstrap"
  mirror=$(awk '/^URIs:/ {print $2; exit} /^deb / {print $2; exit}' /etc/apt/sources.list.d/*.sources /etc/apt/sources.list 2> /dev/null || true)
  debootstrap --variant=minbase --include=python3,python3-venv,ca-certificates bookworm "$work/root" "${mirror:-http://deb.debian.org/debian}" > "$work/debootstrap.log" 2>&1 || skip "debootstrap failed: $(tail -n 1 "$work/debootstrap.log")"
  cp /etc/ssl/certs/ca-certificates.crt "$work/root/etc/ssl/certs/ca-certificates.crt"
  tar -C "$work/root" -c . | docker import - "$BASE_IMAGE" > /dev/null
  rm -rf "$work/root"
}

build() {
  if [ -n "${WHEELS:-}" ]; then
    copied=$(cd "$WHEELS" && echo *.whl)
    for wheel in $copied; do cp -L "$WHEELS/$wheel" docker/wheels/; done
  fi
  say "building from $BASE_IMAGE"
  docker build --network host --file docker/Dockerfile --tag "$MURMURATION_IMAGE" --build-arg BASE_IMAGE="$BASE_IMAGE" \
    ${WHEELS:+--build-arg TORCH_INDEX_URL=} ${PIP_INDEX_URL:+--build-arg PIP_INDEX_URL="$PIP_INDEX_URL"} \
    ${PIP_EXTRA_INDEX_URL:+--build-arg PIP_EXTRA_INDEX_URL="$PIP_EXTRA_INDEX_URL"} \
    ${PIP_TRUSTED_HOST:+--build-arg PIP_TRUSTED_HOST="$PIP_TRUSTED_HOST"} . > "$work/build.log" 2>&1 \
    || { tail -n 30 "$work/build.log"; say "FAILED: the image does not build"; exit 1; }
  docker image inspect --format 'image: {{.Size}} bytes' "$MURMURATION_IMAGE"
}

# until SECONDS WHAT COMMAND...: poll until the command succeeds.
until_true() {
  local limit=$1 what=$2 begun=$SECONDS
  shift 2
  until "$@"; do
    [ $((SECONDS - begun)) -lt "$limit" ] || fail "$what: not within $limit s"
    sleep 1
  done
  echo "   $what: after $((SECONDS - begun)) s"
}
round_shown() { grep -Eq "^ +$1 +[0-9]+ " "$work/run.log"; }
healthy() { [ "$(docker inspect --format '{{.State.Health.Status}}' "$(container "$1")")" = healthy ]; }
run_ended() { ! kill -0 "$run" 2> /dev/null; }

engine
base_image
build
say "up"
compose up --detach > "$work/up.log" 2>&1 || { tail -n 20 "$work/up.log"; fail "compose up"; }
for part in superlink serverapp supernode-{1,2,3} clientapp-{1,2,3}; do until_true 120 "$part healthy" healthy "$part"; done

say "doors: a node's containers reach the gRPC port and nothing else of the server"
door() { compose exec -T "$1" python -c "import socket,sys; s=socket.socket(); s.settimeout(3); sys.exit(bool(s.connect_ex(('$2',$3))))"; }
door supernode-1 superlink 9092 || fail "the gRPC port cannot be reached"
for from in supernode-1 clientapp-1; do
  ! door "$from" "$BACKEND.10" 8000 2> /dev/null || fail "$from reaches the runtime API"
  ! door "$from" superlink 8000 2> /dev/null || fail "$from reaches the runtime API by the SuperLink's name"
done
! door clientapp-1 superlink 9092 2> /dev/null || fail "a ClientApp has a way out"
! compose exec -T supernode-1 sh -c 'ls /credentials | grep -qE "ca.key|server.key|node-2"' || fail "a node sees credentials of others"
[ "$(compose exec -T supernode-1 id -u | tr -d '\r')" = 10001 ] || fail "it runs as root"

say "a run of 8 rounds"
compose run --rm -T run --set training.rounds=8 --set training.round-deadline-seconds=120.0 > "$work/run.log" 2>&1 < /dev/null &
run=$!
until_true 180 "round 1" round_shown 1
say "docker kill of node 2"
docker kill "$(container supernode-2)" > /dev/null
until_true 200 "a round without it" round_shown 3
docker start "$(container supernode-2)" > /dev/null
say "docker kill of the SuperLink, started again 5 s later"
docker kill "$(container superlink)" > /dev/null
sleep 5
docker start "$(container superlink)" > /dev/null
until_true 120 "SuperLink healthy" healthy superlink
until_true 420 "the end of the run" run_ended
wait "$run" || fail "the run did not complete"
grep -E "^round|^ +[0-9]+ +[0-9-]|^held-out WER" "$work/run.log"
grep -q "^held-out WER .* in 8 rounds" "$work/run.log" || fail "no WER was reported"
until_true 150 "node 2 healthy again" healthy supernode-2

say "a SuperNode that falls silent (SIGSTOP) is ended by its health check and started again"
compose exec -T supernode-3 python -c "
import os, signal
from pathlib import Path
for process in Path('/proc').glob('[0-9]*'):
    words = (process / 'cmdline').read_bytes()
    if b'flower-supernode' in words and process.name != '1' and b'docker-init' not in words:
        os.kill(int(process.name), signal.SIGSTOP)
"
restarted() { [ "$(docker inspect --format '{{.RestartCount}}' "$(container supernode-3)")" -ge 1 ]; }
until_true 200 "node 3 started again" restarted
until_true 200 "node 3 healthy again" healthy supernode-3

say "down"
compose --profile run down --volumes --remove-orphans --timeout 10 > "$work/down.log" 2>&1 || { cat "$work/down.log"; exit 1; }
left=$(docker ps -aq --filter "label=com.docker.compose.project=$project"; docker volume ls -q --filter "label=com.docker.compose.project=$project"; docker network ls -q --filter "label=com.docker.compose.project=$project")
[ -z "$left" ] || { say "FAILED: left behind: $left"; exit 1; }
say "PASSED: compose, doors, the loss of a node, the loss of the SuperLink"
