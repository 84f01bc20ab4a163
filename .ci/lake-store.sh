#!/usr/bin/env bash
# lake-store.sh CACHE: tests of lakes in buckets against a third-party store, when their code or this script changed.
# .ci/sql.sh ran before it and built groma-sql.
set -euo pipefail
cache=$1
stores=("moto[server]==5.2.5")
hash=$(cat .ci/lake-store.sh Cargo.lock $(git ls-files pipeline lab cli sql tests/src) | sha256sum)
stamp=$cache/lake-store-tested
if [[ $(cat "$stamp" 2>/dev/null) == "$hash" ]]; then
    echo "as tested before"
    exit 0
fi
# This environment is separate: the others are rebuilt when their package lists change.
if [[ $(cat "$cache/lake-store/installed" 2>/dev/null) != "${stores[*]}" ]]; then
    python3 -m venv "$cache/lake-store"
    "$cache/lake-store/bin/pip" install --quiet "${stores[@]}"
    echo "${stores[*]}" >"$cache/lake-store/installed"
fi
export GROMA_STORES=$cache/lake-store
cargo clippy -p groma-lake-store -p groma-lake --all-targets --features groma-lake-store/s3,groma-lake/s3 -- -D warnings
cargo test -p groma-lake --features s3 --test lake -- kill:: kill_rebuild:: dates:: mirror::a_copy_follows_a_bucket
cargo build -p groma --features s3
sql/tests/bucket.py "${CARGO_TARGET_DIR:-target}/debug/groma" "$cache/sql-target/debug/groma-sql" \
    "$GROMA_STORES/bin/python"
echo "$hash" >"$stamp"
