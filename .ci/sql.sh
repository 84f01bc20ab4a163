#!/usr/bin/env bash
# sql.sh CACHE GROMA: tests of the optional SQL package and of other engines, when their code or this script changed.
# .ci/sql-program.sh ran before it.
set -euo pipefail
cache=$1 groma=$2
hash=$(cat .ci/sql.sh $(git ls-files sql service contracts kernel tests/guides docs) | sha256sum)
stamp=$cache/sql-tested
if [[ $(cat "$stamp" 2>/dev/null) == "$hash" ]]; then
    echo "as tested before"
    exit 0
fi
export DUCKDB_LIB_DIR=$cache/duckdb CARGO_TARGET_DIR=$cache/sql-target
cd sql
cargo fmt --check
cargo clippy --all-targets -- -D warnings
cargo test
cd - >/dev/null
object=${GROMA_TEST_DATA:-../shared/data}/archives/20200318T003853.425987Z-ndt7-mlab3-syd03-ndt.tgz
if [[ -f $object ]]; then
    "$GROMA_PYTHON" sql/tests/questions.py "$groma" "$CARGO_TARGET_DIR/debug/groma-sql" "$object"
fi
echo "$hash" >"$stamp"
