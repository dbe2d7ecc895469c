#!/bin/bash
# As the published image of InfluxDB 2.7 does it with DOCKER_INFLUXDB_INIT_MODE=setup: a new store is set up by a first start
# that nobody reaches, and the administrator's token is left in the folder of the client's settings.
set -eu
export INFLUXD_BOLT_PATH=/var/lib/influxdb2/influxd.bolt INFLUXD_ENGINE_PATH=/var/lib/influxdb2/engine
if [ "$1" = influxd ] && [ ! -e "$INFLUXD_BOLT_PATH" ]; then
  influxd --http-bind-address 127.0.0.1:9999 &
  INFLUX_HOST=http://127.0.0.1:9999 influx setup
  kill -INT $!
  wait $! || :
fi
exec "$@"
