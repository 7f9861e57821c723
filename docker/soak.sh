#!/usr/bin/env bash
# A compose federation of 3 nodes under random faults for hours: benchmarks/soak says which, and what must hold.
#
# Needs root on a Debian, for loop devices, packet filters in the containers' networks and a C compiler. What it wrote
# down is in $WORK/events.jsonl; `python -m benchmarks.soak.page $WORK/events.jsonl` makes benchmarks/soak.md of it.
#
# Settings, all optional, from the environment:
#   SOAK_SECONDS  how long faults are played (7200)
#   SOAK_SEED     of what is drawn (1)
#   WORK          the folder for disks, clocks and logs (/tmp/soak)
#   REUSE_IMAGES=1  build no images: those of the soak before are good
#   PYTHON, BASE_IMAGE, MUST_RUN  as for test-compose.sh
set -euo pipefail
cd "$(dirname "$0")/.."

export MURMURATION_IMAGE=murmuration:soak MURMURATION_PROXY_IMAGE=murmuration-proxy:soak BACKEND=${BACKEND:-172.30.97}
project=murmuration-soak
PYTHON=${PYTHON:-python3}
work=${WORK:-/tmp/soak}
mkdir -p "$work/logs"
chmod 755 "$work"

say() { printf '\n== %s (%d s)\n' "$*" "$SECONDS"; }
fail() { say "FAILED: $*"; exit 1; }
. docker/engine.sh
. docker/images.sh
words() { echo "${compose_command[@]} --project-name $project --project-directory . --file docker-compose.yml --file $work/soak.yml"; }
compose() { $(words) "$@"; }
healthy() { [ "$(docker ps -q --filter "label=com.docker.compose.project=$project" --filter health=healthy | wc -l)" -ge 9 ]; }

finish() {
  status=$?
  trap '' TERM INT HUP
  [ -z "$building" ] || kill "$building" 2> /dev/null || true
  [ -z "${soaking:-}" ] || kill "$soaking" 2> /dev/null || true
  drop_wheels
  [ ! -f "$work/soak.yml" ] || {
    compose logs --no-color > "$work/logs/all.log" 2>&1 || true
    compose --profile run down --volumes --remove-orphans --timeout 10 > "$work/down.log" 2>&1 || true
  }
  cp -a "$work/disks/runs/runs" "$work/runs-kept" 2> /dev/null || true
  for disk in "$work"/disks/*/; do umount "$disk" 2> /dev/null || true; done
  # Another federation may have come to run in the engine that was started here.
  [ -n "$(docker ps -q)" ] || stop_engine
  exit "$status"
}
trap finish EXIT
trap 'exit 1' TERM INT HUP

# disk NAME MEGABYTES: a disk of its own, which can be full without this machine's being so.
disk() {
  mkdir -p "$work/disks/$1"
  truncate --size "$2M" "$work/disks/$1.image"
  mkfs.ext4 -q -F -m 0 "$work/disks/$1.image"
  mount -o loop "$work/disks/$1.image" "$work/disks/$1"
  rmdir "$work/disks/$1/lost+found"
  chown 10001:10001 "$work/disks/$1"
}

# clock PART: a folder that the part reads its clock's error from.
clock() {
  mkdir -p "$work/clock/$1"
  cp "$work/clock.so" "$work/clock/$1/"
  echo +0 > "$work/clock/$1/now"
  chmod -R a+rX "$work/clock"
}

need_engine
[ -n "${REUSE_IMAGES:-}" ] || build_images
say "disks and clocks"
cc -O2 -shared -fPIC -o "$work/clock.so" docker/clock.c || fail "docker/clock.c does not compile"
disk runs 1024
disk superlink 512
disk clientapp-1 256
for part in superlink serverapp {supernode,clientapp}-{1,2,3}; do clock "$part"; done
PYTHONPATH=. "$PYTHON" -c "
from pathlib import Path
from benchmarks.soak.federation import overlay
print(overlay(Path('$work')), end='')" > "$work/soak.yml"

say "up"
compose up --detach > "$work/up.log" 2>&1 || { tail -n 20 "$work/up.log"; fail "compose up"; }
for _ in {1..300}; do ! healthy || break; sleep 1; done
healthy || { docker ps -a; fail "not healthy"; }

say "faults for ${SOAK_SECONDS:-7200} s"
# shellcheck disable=SC2046
PYTHONPATH=. "$PYTHON" -m benchmarks.soak "$project" "$work" "${SOAK_SECONDS:-7200}" "${SOAK_SEED:-1}" $(words) &
soaking=$!
wait "$soaking" || { soaking=""; fail "something that must hold did not: see $work/events.jsonl"; }
soaking=""
say "PASSED"
