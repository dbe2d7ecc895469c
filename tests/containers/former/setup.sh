#!/usr/bin/env bash
# Makes the two tokens that the stack uses, each able to do one thing with one bucket, and puts them where only
# Telegraf and Grafana see them. The administrator's token stays with this service. A token that is there and still
# accepted is kept; one that the store no longer knows (it was created anew) is replaced.
set -euo pipefail
secrets=${SECRETS:-/run/secrets}
tokens=${TOKENS:-/run/tokens}

INFLUX_TOKEN=$(<"$secrets/admin_token")
export INFLUX_TOKEN
# The value of the first "name" in the JSON that `influx … --json` prints. The image has no jq.
value() { sed -n "s/.*\"$1\": *\"\([^\"]*\)\".*/\1/p" | head -n 1; }

bucket=$(influx bucket list --name "$INFLUX_BUCKET" --json | value id)
[ -n "$bucket" ] || { echo "InfluxDB has no bucket $INFLUX_BUCKET" >&2; exit 1; }

# token NAME PERMISSION
token() {
  if [ -s "$tokens/$1" ] && influx auth list --json | grep -qF -- "\"$(<"$tokens/$1")\""; then
    echo "$1: kept"
    return
  fi
  local new
  new=$(influx auth create --description "psu $1" "--$2-bucket" "$bucket" --json | value token)
  [ -n "$new" ] || { echo "InfluxDB gave no token for $1" >&2; exit 1; }
  printf %s "$new" >"$tokens/.$1"
  chmod 444 "$tokens/.$1"
  mv -f "$tokens/.$1" "$tokens/$1"
  echo "$1: new, may $2 bucket $INFLUX_BUCKET"
}
token telegraf write
token grafana read
