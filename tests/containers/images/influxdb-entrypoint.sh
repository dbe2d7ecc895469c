#!/bin/sh
# As the published image starts it without DOCKER_INFLUXDB_INIT_MODE: data below /var/lib/influxdb2, as the user that it is given.
set -e
mkdir -p /var/lib/influxdb2/engine
chmod 700 /var/lib/influxdb2 /var/lib/influxdb2/engine || :
chmod 775 /etc/influxdb2 || :
[ "${1#-}" = "$1" ] || set -- influxd "$@"
export INFLUXD_BOLT_PATH="${INFLUXD_BOLT_PATH:-/var/lib/influxdb2/influxd.bolt}"
export INFLUXD_ENGINE_PATH="${INFLUXD_ENGINE_PATH:-/var/lib/influxdb2/engine}"
exec "$@"
