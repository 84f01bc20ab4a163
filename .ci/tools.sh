#!/usr/bin/env bash
# tools.sh CACHE: installs the tools of the tests that this machine does not have.
set -euo pipefail
cache=$1

# Each command, and the package that brings it.
declare -A packages=(
    [cc]="gcc libc6-dev" [c++]=g++ [chromium]=chromium [ip]=iproute2 [mkfs.ext4]=e2fsprogs [mount]=mount [node]=nodejs [npm]=npm [python3]=python3 [setpriv]=util-linux [unshare]=util-linux
)
lacking=()
for command in "${!packages[@]}"; do
    # Unquoted: a command may need two packages.
    command -v "$command" >/dev/null || lacking+=(${packages[$command]})
done
if ((${#lacking[@]})); then
    export DEBIAN_FRONTEND=noninteractive
    apt-get update -qq
    apt-get install -y -qq --no-install-recommends "${lacking[@]}" </dev/null
fi

# The folder's own manifest has the exact versions; a change of it is a new installation.
browser=$cache/browser
if ! cmp -s tests/browser/package.json "$browser/installed.json"; then
    mkdir -p "$browser"
    cp tests/browser/package.json "$browser/package.json"
    npm install --prefix "$browser" --no-package-lock --no-audit --no-fund --loglevel=error
    cp tests/browser/package.json "$browser/installed.json"
fi

# A program, not a dependency: it must not come into our lock file nor share our features.
version=0.3.1
if ! grep -qs "^\"ndt7-client $version " "$cache/tools/.crates.toml"; then
    CARGO_TARGET_DIR=$cache/tools/target cargo install --quiet --locked --root "$cache/tools" \
        --version "$version" ndt7-client
    rm -rf "$cache/tools/target"
fi

# Readers of the lake that know none of our code.
readers="pyarrow==26.0.1 duckdb==2.0.0"
if [[ $(cat "$cache/python/installed" 2>/dev/null) != "$readers" ]]; then
    python3 -c 'import ensurepip' 2>/dev/null ||
        apt-get install -y -qq --no-install-recommends python3-venv </dev/null
    python3 -m venv "$cache/python"
    # Unquoted: two packages.
    "$cache/python/bin/pip" install --quiet $readers
    echo "$readers" >"$cache/python/installed"
fi

chromium --version 2>/dev/null
node --version
rustc --version
