#!/usr/bin/env bash
# Tells whether this machine is fit to be kept as a golden image: a line for each thing looked at.
# Ends with 1 when something is not as it should be.
set -uo pipefail

swarm=${SWARM_HOME:-/root/.swarm}
agent=${PI_CODING_AGENT_DIR:-/root/.pi/agent}
unfit=0

look() { # what, command: does it succeed?
    local what=$1
    shift
    if "$@" >/dev/null 2>&1; then
        echo "ok       $what"
    else
        echo "not ok   $what"
        unfit=1
    fi
}

empty() {
    [ -z "$(ls -A "$1" 2>/dev/null)" ]
}

logged_out() { # pi writes an empty file where nobody has logged in
    [ ! -s "$agent/auth.json" ] || [ "$(jq length "$agent/auth.json")" = 0 ]
}

nobody() {
    [ "$(jq -r '.vmId + .agentId' "$swarm/identity.json")" = "" ]
}

for tool in pi node npm git rg fd jq tree tmux curl python3 make cc; do
    look "$tool is there" command -v "$tool"
done
look "pi's settings are JSON" jq -e . "$agent/settings.json"
look "pi's models are JSON" jq -e . "$agent/models.json"
look "no keys are in $swarm/secrets" empty "$swarm/secrets"
look "pi has no login of its own" logged_out
look "it is nobody's yet" nobody
look "100 MB of the disk are free" test "$(df --output=avail --block-size=1M / | tail -n1)" -ge 100
exit "$unfit"
