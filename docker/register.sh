#!/bin/sh
# One shot, once the SuperLink is up: tell `flwr` where it is, and admit the nodes that are new.
#   register.sh SUPERLINK-HOST:PORT
set -eu
cd /credentials
[ -f "$FLWR_HOME/config.toml" ] || python -m cli.deploy.command connection "$1"
new=$(for key in nodes/*.pub; do [ -f "${key%.pub}.id" ] || [ -f "${key%.pub}.revoked" ] || echo "$key"; done)
[ -z "$new" ] || python -m cli.deploy.command register $new
