#!/usr/bin/env bash
# Starts InfluxDB, and mends its log before it takes samples: start.sh [/entrypoint.sh] influxd
#
# A kill in the middle of a write leaves a torn end in its log. At its next start InfluxDB opens the log at that
# end, cuts the end off afterwards, and writes on behind the gap, which it does not read past at the start after that
# (2.9.1, tsdb/engine/tsm1: wal.go, cache.go). Measured with 30 kills under load: of 135,690 samples that it had
# acknowledged 50,690 were left. Told to stop by SIGINT it has no log (INFLUXD_STORAGE_WAL_FLUSH_ON_SHUTDOWN), so one that is
# there means a kill: InfluxDB is started where nobody reaches it, which reads the log, and stopped, which stores it.
set -u
port=${PSU_MENDING_PORT:-8087}
patience=600

mend() {
  echo "start.sh: InfluxDB was killed; it takes over its log before it takes samples"
  INFLUXD_HTTP_BIND_ADDRESS=127.0.0.1:$port "$@" &
  local child=$! until=$((SECONDS + patience))
  trap 'kill -INT $child 2>/dev/null; wait $child; exit 143' INT TERM
  # It listens when it has read everything.
  until (: <"/dev/tcp/127.0.0.1/$port") 2>/dev/null || ! kill -0 $child 2>/dev/null || [ $SECONDS -ge $until ]; do sleep 0.2; done
  kill -INT $child 2>/dev/null
  wait $child || echo "start.sh: it ended with exit code $?, and is started as it is" >&2
  trap - INT TERM
}

export INFLUXD_STORAGE_WAL_FLUSH_ON_SHUTDOWN=true
engine=${INFLUXD_ENGINE_PATH:-/var/lib/influxdb2/engine}
log=$engine/wal
# backup/volumes.py has it there from the first file that it replaces to the last one.
if [ -e "${engine%/*}/.replaced" ]; then
  echo "start.sh: make restore was stopped halfway, and the store is not whole: run it again, with OVERWRITE=yes" >&2
  exit 1
fi
# Other commands, such as `influxd recovery`, are run once.
if [[ ${!#} == *influxd ]] && [ -n "$(find "$log" -name '*.wal' -size +0 -print -quit 2>/dev/null)" ]; then mend "$@"; fi
exec "$@"
