#!/usr/bin/env bash
# cold-build.sh CACHE: the CPU time of a first release build, which every newcomer pays. Measured only when the
# dependencies, their features or the profiles changed, since nothing else moves it much.
set -euo pipefail
most_s=900
seen=$1/cold-build

# Profiles and features are in the manifests.
lock=$(git ls-files '*Cargo.toml' Cargo.lock | xargs cat | sha256sum | cut -d' ' -f1)
if [[ -f $seen ]] && read -r known cost_s <"$seen" && [[ $known == "$lock" ]]; then
    printf 'the same dependencies as when it cost %d s of CPU time\n' "$cost_s"
    exit
fi

target=$(mktemp -d -p "$1")
trap 'rm -rf "$target"' EXIT
TIMEFORMAT='%U %S'
times=$({ time CARGO_TARGET_DIR=$target cargo build --quiet --release -p groma >"$target/log" 2>&1; } 2>&1) || {
    cat "$target/log"
    exit 1
}
cost_s=$(awk '{printf "%d", $1 + $2 + 0.5}' <<<"$times")
printf 'a cold release build costs %d s of CPU time of at most %d s\n' "$cost_s" "$most_s"
((cost_s <= most_s))
printf '%s %s\n' "$lock" "$cost_s" >"$seen"
