#!/bin/sh
# Starts again what is alive and silent (a SuperNode can become such a zombie). Run by murmuration-watch.timer.
# A part must fail four checks of its --health-server-address in a row, about a minute; one that is not
# started here is left alone.
check() {
  systemctl --quiet is-active "$1" || return 0
  python -m cli.deploy.probes "$2" --tries 4 && return 0
  echo "<4>$1 does not answer on $2: restarting it"
  systemctl restart "$1"
}
check murmuration-superlink 127.0.0.1:8099 &
check murmuration-supernode 127.0.0.1:8098 &
check murmuration-serverapp 127.0.0.1:8097 &
check murmuration-clientapp 127.0.0.1:8096 &
wait
