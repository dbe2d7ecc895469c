#!/usr/bin/env bash
# A lab's own certificate authority and the broker's certificate, into secrets/mosquitto/tls. Run by `make certs`.
#   make certs                                the names this host has
#   make certs NAMES="broker.lab 10.0.0.5"    these names and addresses as well, now and at every renewal
# The authority is kept and used again, so that clients need its certificate only once. Certificates of another
# authority (Let's Encrypt, the company's) go into secrets/mosquitto/tls as server.crt and server.key, ca.crt beside them.
set -euo pipefail
cd "$(dirname "$0")/.."
out=${OUT:-secrets}
days=${DAYS:-825}

command -v openssl >/dev/null || { echo "openssl is missing: install the package openssl" >&2; exit 1; }
umask 077
mkdir -p "$out/ca" "$out/mosquitto/tls"
chmod 700 "$out"
chmod 755 "$out/mosquitto" "$out/mosquitto/tls"

key="$out/ca/ca.key" ca="$out/ca/ca.crt" tls="$out/mosquitto/tls"
# Another authority than before is one that no client knows.
refuse() { echo "$1. For a new authority, which every client has to be given, delete $2" >&2; exit 2; }
for file in "$key" "$ca"; do
  if [ ! -s "$file" ] && { [ -s "$key" ] || [ -s "$ca" ]; }; then
    refuse "$file is missing or empty: put it there while this runs" "$out/ca and $tls/ca.crt"
  fi
done
if [ -s "$tls/ca.crt" ] && ! cmp -s "$ca" "$tls/ca.crt"; then
  refuse "$tls/ca.crt is of another authority than $ca, and that one has to renew the certificate" "$tls/ca.crt"
fi
if [ ! -s "$key" ]; then
  openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256 -out "$key.new" 2>/dev/null
  openssl req -x509 -new -key "$key.new" -sha256 -days 3650 -subj "/CN=psu-agent lab CA $(hostname)" \
    -addext "basicConstraints=critical,CA:TRUE,pathlen:0" -addext "keyUsage=critical,keyCertSign,cRLSign" -out "$ca.new"
  trap '' HUP INT TERM # the two belong together
  mv -f "$key.new" "$key"
  mv -f "$ca.new" "$ca"
  trap - HUP INT TERM
  echo "a new authority: give $out/mosquitto/tls/ca.crt to every client"
fi

# Names once given stay in the certificate when it is renewed; those that a certificate cannot have are not taken.
touch "$out/ca/names"
set -f
for name in ${NAMES:-}; do
  [[ $name =~ ^([A-Za-z0-9_*][A-Za-z0-9_.*-]*|[0-9A-Fa-f:.]+)$ ]] ||
    { echo "$name is no name and no address of a host. Write them with blanks between: NAMES=\"broker.lab 10.0.0.5\"" >&2; exit 2; }
done
all=$(printf '%s\n' $(cat "$out/ca/names") ${NAMES:-} | awk 'NF && !seen[$0]++')
names="DNS:mosquitto,DNS:localhost,IP:127.0.0.1,IP:::1,DNS:$(hostname)"
for name in $all; do
  case $name in
    *[!0-9.]*) if [[ $name == *:* ]]; then names+=",IP:$name"; else names+=",DNS:$name"; fi ;;
    *) names+=",IP:$name" ;;
  esac
done
openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256 -out "$tls/server.key.new" 2>/dev/null
if ! said=$(openssl req -new -key "$tls/server.key.new" -subj "/CN=$(hostname)" |
  openssl x509 -req -CA "$ca" -CAkey "$key" -set_serial "0x$(openssl rand -hex 16)" -sha256 -days "$days" -extfile <(
    printf '%s\n' "basicConstraints=critical,CA:FALSE" "extendedKeyUsage=serverAuth" "subjectAltName=$names"
  ) -out "$tls/server.crt.new" 2>&1); then
  printf 'openssl makes no certificate for %s:\n%s\n' "$names" "$said" >&2
  exit 1
fi
[ -z "$all" ] || printf '%s\n' "$all" >"$out/ca/names"
trap '' HUP INT TERM # they belong together
cp -f "$ca" "$tls/ca.crt"
mv -f "$tls/server.key.new" "$tls/server.key"
mv -f "$tls/server.crt.new" "$tls/server.crt"
# The broker runs as a user of its own; the folder above is closed to everybody else.
chmod 444 "$tls"/{ca.crt,server.crt,server.key}
echo "$tls/server.crt: $names, for $days days"
