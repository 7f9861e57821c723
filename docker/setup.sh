#!/bin/sh
# One shot, before anything else: the certificate, secrets and node keys that are missing.
# Each part gets a volume with what it needs of them, and nothing else. And each node approves the release of this
# image: who starts it here with another image approves that as well.
#   [RENEW=1] setup.sh NODES NAME-OR-ADDRESS...
#
# The authority signs once and its key is thrown away, so there is none to steal. Where the certificate has 30
# days left, or with RENEW=1 (a stolen key), a new authority signs a new one and all parts are given it.
set -eu
umask 077
nodes=$1
shift
cd /credentials
parts=$(seq -f node-%g "$nodes")
if [ -n "${RENEW:-}" ] || ! python -m cli.deploy.expiry superlink/server.crt --days 30; then
  rm -rf /tmp/authority
  python -m cli.deploy.command ca --days 400 --folder /tmp/authority
  python -m cli.deploy.command server-cert "$@" --folder /tmp/authority
  rm /tmp/authority/ca.key
  cp /tmp/authority/ca.crt operator/ca.crt
  for part in superlink proxy; do cp /tmp/authority/server.crt /tmp/authority/server.key "$part/"; done
  rm -r /tmp/authority
  echo "made a certificate: parts that run already take it by \`docker compose restart\`"
fi
[ -f superlink/superexec.secret ] || python -m cli.deploy.command secret --folder superlink
cp superlink/superexec.secret serverapp/
mkdir -p operator/nodes
for i in $(seq "$nodes"); do
  [ -f "node-$i/node-$i.key" ] || python -m cli.deploy.command node-key "node-$i" --folder "node-$i"
  [ -f "node-$i/superexec.secret" ] || python -m cli.deploy.command secret --folder "node-$i"
  cp "node-$i/superexec.secret" "clientapp-$i/"
  cp "node-$i/node-$i.pub" operator/nodes/
  python -m cli.deploy.command approve --list "clientapp-$i/approved" > /dev/null
  parts="$parts clientapp-$i"
done
for part in superlink proxy serverapp $(seq -f node-%g "$nodes"); do cp operator/ca.crt "$part/"; done
chown -R murmur:murmur superlink proxy serverapp operator $parts
