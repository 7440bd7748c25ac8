#!/bin/bash
# clamd in the foreground, freshclam beside it. Without any signatures yet, they are fetched first: clamd would not start.
set -euo pipefail
database=${CLAMAV_DATABASE:-/var/lib/clamav}
conf=${CLAMAV_CONF:-/etc/clamav}

if ! compgen -G "$database/*.c[vl]d" >/dev/null; then
  echo "no signatures in $database yet: fetching them"
  freshclam --config-file="$conf/freshclam.conf" --datadir="$database"
fi
freshclam --config-file="$conf/freshclam.conf" --datadir="$database" --daemon &
exec clamd --config-file="$conf/clamd.conf"
