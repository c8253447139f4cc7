#!/usr/bin/env bash
# Sends one request to the platform from an agent's machine; prints what it answers.
#
#   api.sh METHOD PATH              such as: api.sh GET /vm
#   api.sh METHOD PATH <body.json>  for POST, PUT and PATCH, the body on standard input
#
# Ends with another code than 0 when the platform refuses. The key is in no argument of any program.
set -euo pipefail

[ $# = 2 ] || { echo "usage: api.sh METHOD PATH, a body on standard input" >&2 && exit 2; }
secrets=${SWARM_HOME:-/root/.swarm}/secrets
[ -r "$secrets/VERS_API_KEY" ] || { echo "api.sh: there is no key in $secrets; ask whoever spawned you" >&2 && exit 1; }
base=$(<"$secrets/VERS_BASE_URL")
body=()
case $1 in POST | PUT | PATCH) body=(--header 'Content-Type: application/json' --data-binary @-) ;; esac

exec curl --silent --show-error --fail-with-body --max-time 900 --request "$1" "${body[@]}" \
    --config <(printf 'header = "Authorization: Bearer %s"\n' "$(<"$secrets/VERS_API_KEY")") \
    "${base%/}$2"
