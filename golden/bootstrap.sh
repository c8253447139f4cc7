#!/usr/bin/env bash
# Makes a machine the one that agents start from: tools, Node, pi, its settings, the swarm's folders.
#
#   bootstrap.sh [--pi VERSION]              this machine, a Debian or Ubuntu one, as root
#   bootstrap.sh --verify                    only run each tool, once, and look at what was laid out
#   bootstrap.sh --root TREE [--pi VERSION]  a tree that has the packages already: an image in the making
#
# What is there already is left as it is, so it can be run again. What a machine was as an agent, its identity,
# keys and sessions, is forgotten: none of that belongs in an image. Each line of output is one step; the last ones,
# with a check mark, say what was run and which version it is.
set -euo pipefail

PI_PACKAGE=@earendil-works/pi-coding-agent
PI_VERSION=0.87.1
NODE_VERSION=22.23.3
NODE_LEAST=22.19.0
NODE_SHA512_X64=a879f3e6d16c1e88ff58cfae4443558d638d8b9855be6c2b82af00e15efa2a9b95340738fa3c0af31e20c1ba1b13d06d1cd83f00a476e7cdde628acb17f73b9e
NODE_SHA512_ARM64=9770c01d9adeca5a3ea7d4170edb0eae31b625726a5736179c01a621034e50d01170ca694ced9c99ec1540ffb7ead8c99d213e773a4c36d816f9cde8883bd7b4
NPM_VERSION=10.9.9
NPM_SHA512=d60fba8cb42f688b81e33c2f1cbef2ad7b977166700ec0ad057f1b6d60ea6ef2524abf673e20c35931cd8305d1dbb8887134d6eefdc0e7b8435bd458bf65b862

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
root=
verify_only=

while [ $# -gt 0 ]; do
    case $1 in
        --pi) PI_VERSION=${2:?--pi needs a version} && shift ;;
        --root) root=$(cd "${2:?--root needs a folder}" && pwd) && shift ;;
        --verify) verify_only=yes ;;
        *) echo "bootstrap.sh: there is no option $1" >&2 && exit 2 ;;
    esac
    shift
done

agent=$root/root/.pi/agent
swarm=$root/root/.swarm
# Of a tree only what was put there runs here: its Node, and what Node runs.
export PATH="$root/usr/local/bin:$PATH:/usr/sbin:/sbin"
# So that a company's own certificates are trusted where the system trusts them.
export NODE_USE_SYSTEM_CA=1

say() {
    printf '· %s\n' "$*"
}

fail() {
    printf 'bootstrap.sh: %s\n' "$*" >&2
    exit 1
}

# --- Debian's packages

install_packages() {
    local missing=() package
    while read -r package; do
        dpkg-query --show --showformat='${db:Status-Status}' "$package" 2>/dev/null | grep -qx installed ||
            missing+=("$package")
    done <"$here/packages"
    if [ ${#missing[@]} -eq 0 ]; then
        say "all packages are there"
        return
    fi
    say "installing ${missing[*]}"
    export DEBIAN_FRONTEND=noninteractive
    apt-get -qq -o DPkg::Lock::Timeout=120 update
    apt-get -qq -o DPkg::Lock::Timeout=120 -o Dpkg::Use-Pty=0 install --yes --no-install-recommends \
        "${missing[@]}" >/dev/null
}

link_fd() { # Debian's fd has another name
    if [ ! -e "$root/usr/local/bin/fd" ] && [ -x "$root/usr/bin/fdfind" ]; then
        mkdir -p "$root/usr/local/bin"
        ln -sfn ../../bin/fdfind "$root/usr/local/bin/fd"
    fi
}

# --- Node and npm, from npm's registry: Debian's are too old, and bring 300 packages

registry() {
    local configured=${npm_config_registry:-${NPM_CONFIG_REGISTRY:-}}
    if [ -z "$configured" ] && command -v npm >/dev/null; then
        configured=$(npm config get registry)
    fi
    if [ -z "$configured" ] && command -v apt-get >/dev/null; then
        # Where npm asks unless it is told otherwise, as the distribution's has it; its 300 packages stay away.
        configured=$(cd "$work" && apt-get -o APT::Sandbox::User=root download -qq npm >/dev/null &&
            dpkg-deb --extract npm_*.deb debian-npm &&
            sed -nE "s/^ *default: '(https:.*registry[^']*)',$/\1/p" \
                debian-npm/usr/share/nodejs/npm/lib/utils/config/definitions.js) || configured=
    fi
    [ -n "$configured" ] || fail "where npm's registry is cannot be told: set npm_config_registry, or install npm"
    printf '%s' "${configured%/}"
}

fetch() { # package, version, SHA-512: unpacked in the current folder
    local name=${1##*/} found
    # On standard input, for the address of a registry may hold a password.
    printf 'url = "%s/%s/-/%s-%s.tgz"\n' "$(registry)" "$1" "$name" "$2" |
        curl --fail --silent --show-error --location --retry 3 --config - --output package.tgz ||
        fail "$1 $2 cannot be fetched from npm's registry"
    found=$(sha512sum package.tgz)
    [ "${found%% *}" = "$3" ] || fail "$1 $2 is not what it was when this was written: its checksum differs"
    tar --extract --gzip --no-same-owner --file package.tgz
    rm package.tgz
}

newer_or_same() {
    [ "$(printf '%s\n' "$1" "$2" | sort --version-sort | head -n1)" = "$2" ]
}

install_node() {
    local sum kind there
    # A tree's own: that of this computer says nothing about it.
    if [ -z "$root" ] || [ -x "$root/usr/local/bin/node" ]; then
        there=$(node -p process.versions.node 2>/dev/null) || there=0
        if newer_or_same "$there" "$NODE_LEAST" && command -v npm >/dev/null; then
            say "Node $there is there"
            return
        fi
    fi
    case $(uname -m) in
        x86_64) kind=x64 sum=$NODE_SHA512_X64 ;;
        aarch64) kind=arm64 sum=$NODE_SHA512_ARM64 ;;
        *) fail "there is no Node for $(uname -m) here" ;;
    esac
    say "installing Node $NODE_VERSION and npm $NPM_VERSION"
    mkdir -p "$root/usr/local/bin" "$root/usr/local/lib/node_modules"
    (
        cd "$work"
        fetch "node-linux-$kind" "$NODE_VERSION" "$sum"
        install -m 755 package/bin/node "$root/usr/local/bin/node"
        rm -r package
        fetch npm "$NPM_VERSION" "$NPM_SHA512"
        rm -rf "$root/usr/local/lib/node_modules/npm"
        mv package "$root/usr/local/lib/node_modules/npm"
    )
    for program in npm npx; do
        chmod 755 "$root/usr/local/lib/node_modules/npm/bin/$program-cli.js"
        ln -sfn "../lib/node_modules/npm/bin/$program-cli.js" "$root/usr/local/bin/$program"
    done
    hash -r
}

install_pi() {
    local there=none about=$root/usr/local/lib/node_modules/$PI_PACKAGE/package.json
    if [ -x "$root/usr/local/bin/pi" ] && [ -e "$about" ]; then
        # Not by starting pi, which takes an emulated machine seconds; that is done at the end.
        there=$(node -p 'require(process.argv[1]).version' "$about") || there=broken
    fi
    if [ "$there" = "$PI_VERSION" ]; then
        say "pi $PI_VERSION is there"
        return
    fi
    say "installing pi $PI_VERSION"
    # No scripts of packages are run, and no registry's address is written down.
    npm_config_registry=$(registry) npm install --global --prefix "$root/usr/local" --cache "$work/cache" \
        --ignore-scripts --no-audit --no-fund --no-progress --no-update-notifier --loglevel error \
        --omit-lockfile-registry-resolved "$PI_PACKAGE@$PI_VERSION"
    hash -r
}

# --- settings

merged() { # file, ours: our JSON on top of what is there already
    if [ -s "$1" ] && command -v jq >/dev/null; then
        jq --slurp '.[0] * .[1]' "$1" "$2" >"$work/merged"
        install -m 600 "$work/merged" "$1"
    else
        install -m 600 "$2" "$1"
    fi
}

lay_out() {
    say "laying out the workspace, the swarm's folders and pi's settings"
    mkdir -p "$root/root/workspace" "$agent/extensions"
    # Overwritten first: memory that was freed is in an image too.
    find "$swarm/secrets" "$agent/auth.json" -type f -exec shred --remove {} + 2>/dev/null || true
    rm -rf "$swarm" "$agent/sessions"
    install -d -m 700 "$root/root/.pi" "$agent" "$swarm" "$swarm/secrets" "$swarm/status"
    install -m 600 "$here/identity.json" "$swarm/identity.json"
    printf '{"vms": []}\n' | install -m 600 /dev/stdin "$swarm/registry.json"
    install -m 600 /dev/null "$swarm/registry.lock"

    merged "$agent/models.json" "$here/models.json"
    merged "$agent/settings.json" "$here/settings.json"
    install -m 644 "$here/AGENTS.md" "$agent/AGENTS.md"
    if [ -d "$here/extensions" ]; then
        cp -r "$here/extensions/." "$agent/extensions/"
    fi
    if [ -d "$here/bin" ]; then
        install -m 755 -t "$root/usr/local/bin" "$here"/bin/*
    fi
    # What those are made of, and what it speaks to a background process with: in the package beside this.
    local library=$root/usr/local/lib/swarm-agent resident
    rm -rf "$library"
    mkdir -p "$library"
    cp -r "$here/lib/." "$library/"
    for resident in "$here/../remote/_resident" "$here/../pi_v_jupyter/remote/_resident"; do
        if [ ! -e "$library/_resident" ] && [ -d "$resident" ]; then
            cp -r "$resident" "$library/_resident"
        fi
    done
    find "$library" -name __pycache__ -prune -exec rm -r {} +

    install -m 644 "$here/gitconfig" "$root/etc/gitconfig.agents"
    if ! grep -qs gitconfig.agents "$root/etc/gitconfig"; then
        # First, so that what the file says itself goes before it.
        { printf '[include]\n\tpath = /etc/gitconfig.agents\n' && cat "$root/etc/gitconfig" 2>/dev/null || true; } \
            >"$work/gitconfig"
        install -m 644 "$work/gitconfig" "$root/etc/gitconfig"
    fi

    # Of all processes, whoever starts them.
    {
        grep -vsE "^($(cut -d= -f1 "$here/environment" | paste -sd'|'))=" "$root/etc/environment" || true
        cat "$here/environment"
    } >"$work/environment"
    install -m 644 "$work/environment" "$root/etc/environment"
}

# --- does it work?

works() { # name, command: run, and its version told
    local name=$1 told version
    shift
    told=$("$@" 2>&1 </dev/null) || fail "$name does not run: $(tail -n1 <<<"$told")"
    version=$(grep -oE '[0-9]+(\.[0-9]+)+[a-z]?' <<<"$told" | head -n1) || fail "$name does not tell its version"
    printf '✓ %s %s\n' "$name" "$version"
}

verify() {
    works pi pi --version
    works node node --version
    works npm npm --version
    newer_or_same "$(node -p process.versions.node)" "$NODE_LEAST" || fail "Node is older than $NODE_LEAST"
    if [ -n "$root" ]; then
        return
    fi
    works git git --version
    works rg rg --version
    works fd fd --version
    works jq jq --version
    works tree tree --version
    works python3 python3 --version
    works tmux tmux -V
    works curl curl --version
    works make make --version
    works cc cc --version
    local file
    for file in "$agent/models.json" "$agent/settings.json" "$swarm/identity.json" "$swarm/registry.json"; do
        jq -e . "$file" >/dev/null || fail "$file is no JSON"
    done
    [ "$(stat -c %a "$swarm")" = 700 ] || fail "$swarm is open to others"
    [ -z "$(ls -A "$swarm/secrets")" ] || say "there are keys in $swarm/secrets"
}

if [ -z "$verify_only" ]; then
    work=$(mktemp -d)
    trap 'rm -rf "$work"' EXIT
    [ -n "$root" ] || [ "$(id -u)" = 0 ] || fail "this needs root"
    [ -n "$root" ] || install_packages
    link_fd
    install_node
    install_pi
    lay_out
fi
verify
