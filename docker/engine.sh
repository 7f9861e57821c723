# A Docker engine, compose and an image to build from, on a machine that may have none of them; sourced by
# test-compose.sh. What is missing is installed where that may be (root, Debian's apt); where it may not be, or
# cannot, `skip` says so and ends the test. An engine that was started here is stopped by `stop_engine`.
#
# Reads $work, a folder for logs; sets $compose_command, $BASE_IMAGE and $PROXY_IMAGE.

own_engine=""

# skip REASON [LOG]: no engine is no fault of the federation's, but nobody shall believe that it was tested.
skip() {
  local frame
  frame=$(printf '*%.0s' {1..100})
  printf '\n%s\n*  THE COMPOSE FILE WAS NOT TESTED: %s\n' "$frame" "$1" >&2
  [ -z "${2:-}" ] || tail -n 2 "$2" | sed 's/^/*  /' >&2
  printf '*  Wanted: a Docker engine with compose, or root on a Debian that can install and run one.\n%s\n\n' "$frame" >&2
  exit "${MUST_RUN:-0}"
}

need_engine() {
  docker info > /dev/null 2>&1 || install dockerd docker.io iptables
  docker info > /dev/null 2>&1 || start_engine
  docker compose version > /dev/null 2>&1 || install docker-compose docker-compose
  if docker compose version > /dev/null 2>&1; then compose_command=(docker compose); else compose_command=(docker-compose); fi
}

# install COMMAND PACKAGE...: by apt, unless the command is there.
install() {
  local wanted=$1
  shift
  ! command -v "$wanted" > /dev/null || return 0
  [ "$(id -u)" = 0 ] || skip "there is no $wanted, and only root may install it"
  command -v apt-get > /dev/null || skip "there is no $wanted, and no apt-get to install it"
  say "installing $*"
  export DEBIAN_FRONTEND=noninteractive
  { timeout 120 apt-get update -qq && timeout 240 apt-get install -y -qq "$@"; } > "$work/apt.log" 2>&1 || skip "$wanted cannot be installed" "$work/apt.log"
}

# In a session of its own: what ends this script must not end the engine before the containers are gone.
start_engine() {
  [ "$(id -u)" = 0 ] || skip "the Docker engine does not run, and only root may start it"
  setsid dockerd --pidfile "$work/dockerd.pid" > "$work/dockerd.log" 2>&1 &
  own_engine=$!
  for _ in {1..30}; do
    ! docker info > /dev/null 2>&1 || return 0
    sleep 1
  done
  skip "the Docker engine does not start" "$work/dockerd.log"
}

stop_engine() {
  [ -n "$own_engine" ] || return 0
  kill "$own_engine" 2> /dev/null || true
  wait "$own_engine" || true
}

# Images with Python 3.11 and with nginx: given, here already, pulled, or one image of Debian's own packages; the last
# is kept for next time.
need_base_image() {
  BASE_IMAGE=${BASE_IMAGE:-python:3.11-slim-bookworm}
  ! docker image inspect "$BASE_IMAGE" > /dev/null 2>&1 || return 0
  ! timeout 120 docker pull --quiet "$BASE_IMAGE" > "$work/pull.log" 2>&1 || return 0
  BASE_IMAGE=murmuration-base:bookworm-nginx
  ! docker image inspect "$BASE_IMAGE" > /dev/null 2>&1 || return 0
  install debootstrap debootstrap
  say "no base image can be pulled: making one by debootstrap"
  timeout 300 debootstrap --variant=minbase --include=python3,python3-venv,nginx-light bookworm "$work/root" "$(debian_mirror)" \
    > "$work/debootstrap.log" 2>&1 || skip "no base image can be pulled, and debootstrap makes none" "$work/debootstrap.log"
  tar -C "$work/root" -c . | docker import - "$BASE_IMAGE" > /dev/null
  rm -rf "$work/root"
}

need_proxy_image() {
  [ "$BASE_IMAGE" != murmuration-base:bookworm-nginx ] || PROXY_IMAGE=$BASE_IMAGE
  PROXY_IMAGE=${PROXY_IMAGE:-nginx:1.28}
  docker image inspect "$PROXY_IMAGE" > /dev/null 2>&1 || timeout 120 docker pull --quiet "$PROXY_IMAGE" > "$work/pull.log" 2>&1 \
    || skip "no image with nginx can be pulled" "$work/pull.log"
}

# The archive that this machine's own apt uses, if it has bookworm's.
debian_mirror() {
  local mirror
  mirror=$(apt-get indextargets --format '$(CODENAME) $(REPO_URI)' 2> /dev/null | awk '$1 == "bookworm" {print $2; exit}')
  echo "${mirror:-http://deb.debian.org/debian}"
}
