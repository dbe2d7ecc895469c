#!/usr/bin/env bash
# Makes the two tokens that the stack uses, each able to do one thing with one bucket, and puts them where only
# Telegraf and Grafana see them. The administrator's token stays with this service. A token that is there and still
# accepted is kept; one that the store no longer knows (it was created anew) is replaced.
set -euo pipefail
secrets=${SECRETS:-/run/secrets}
tokens=${TOKENS:-/run/tokens}

INFLUX_TOKEN=$(<"$secrets/admin_token")
export INFLUX_TOKEN
bucket=$(influx bucket list --name "$INFLUX_BUCKET" --hide-headers | cut -f 1)
[ -n "$bucket" ] || { echo "InfluxDB has no bucket $INFLUX_BUCKET" >&2; exit 1; }

# token NAME PERMISSION
token() {
  if [ -s "$tokens/$1" ] && influx auth list --hide-headers | cut -f 3 | grep -qxF -- "$(<"$tokens/$1")"; then
    echo "$1: kept"
    return
  fi
  # --hide-headers: ID, description, token, …
  influx auth create --description "psu $1" "--$2-bucket" "$bucket" --hide-headers | cut -f 3 | tr -d '\n' >"$tokens/.$1"
  [ -s "$tokens/.$1" ] || { echo "InfluxDB gave no token for $1" >&2; exit 1; }
  chmod 444 "$tokens/.$1"
  mv -f "$tokens/.$1" "$tokens/$1"
  echo "$1: new, may $2 bucket $INFLUX_BUCKET"
}
token telegraf write
token grafana read
