#!/bin/bash
# Succeeds when clamd answers PING.
exec 3<>"/dev/tcp/127.0.0.1/${CLAMD_PORT:-3310}" || exit 1
printf 'zPING\0' >&3
[ "$(timeout 5 head -c 4 <&3)" = PONG ]
