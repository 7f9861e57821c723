#!/bin/sh
# One shot, before anything else: the authority, certificate, secrets and node keys that are missing. And each node
# approves the release of this image: who starts it here with another image approves that as well.
# Each part gets a volume with its own credentials; the authority's key and the others' keys stay out of it.
#   setup.sh NODES NAME-OR-ADDRESS...
set -eu
nodes=$1
shift
cd /credentials
[ -f authority/ca.key ] || python -m cli.deploy ca --folder authority
cp authority/ca.crt server/
if [ ! -f server/server.key ]; then
  python -m cli.deploy server-cert "$@" --folder authority
  mv authority/server.crt authority/server.key server/
fi
[ -f server/superexec.secret ] || python -m cli.deploy secret --folder server
mkdir -p server/nodes
for i in $(seq "$nodes"); do
  [ -f "node-$i/node-$i.key" ] || python -m cli.deploy node-key "node-$i" --folder "node-$i"
  [ -f "node-$i/superexec.secret" ] || python -m cli.deploy secret --folder "node-$i"
  cp authority/ca.crt "node-$i/"
  [ "$i" -gt 1 ] || python -m cli.deploy digest
  python -m cli.deploy approve --list "node-$i/approved" > /dev/null
  cp "node-$i/node-$i.pub" server/nodes/
done
chown -R murmur:murmur server node-*
