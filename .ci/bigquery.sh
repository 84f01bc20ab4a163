#!/usr/bin/env bash
# bigquery.sh CACHE: loads into an emulator of BigQuery, and the questions of docs/engines.md to it, when their code changed.
# .ci/sql.sh ran before it and built groma-sql.
set -euo pipefail
cache=$1
emulator=(bqemulator==1.4.0 duckdb==1.5.5 duckdb-extension-spatial==1.5.5 duckdb-extensions==1.5.5 numpy==2.4.6 pyarrow==26.0.1)
makers=$(git ls-files sql docs/engines.md contracts experiments cli lab tests/src tests/bigquery pipeline/archive pipeline/bigquery \
    pipeline/load pipeline/lake pipeline/lake-store)
# Unquoted: one word for each file.
hash=$(cat .ci/bigquery.sh Cargo.lock $makers | sha256sum)
stamp=$cache/bigquery-tested
if [[ $(cat "$stamp" 2>/dev/null) == "$hash" ]]; then
    echo "as tested before"
    exit 0
fi
if [[ $(cat "$cache/bigquery/installed" 2>/dev/null) != "${emulator[*]}" ]]; then
    rm -rf "$cache/bigquery"
    python3 -m venv "$cache/bigquery"
    "$cache/bigquery/bin/pip" install --quiet --no-cache-dir "${emulator[@]}"
    "$cache/bigquery/bin/python" -c 'from duckdb_extensions import import_extension; import_extension("spatial")'
    echo "${emulator[*]}" >"$cache/bigquery/installed"
fi
export GROMA_BIGQUERY=$cache/bigquery
cargo clippy -p groma -p groma-bigquery --all-targets --features groma/bigquery -- -D warnings
cargo test -p groma-bigquery
cargo test -p groma --features bigquery --test bigquery
object=${GROMA_TEST_DATA:-../shared/data}/archives/20200318T003853.425987Z-ndt7-mlab3-syd03-ndt.tgz
[[ -f $object ]] || object=
# Unquoted: nothing, where no object is.
timeout 600 "$GROMA_PYTHON" sql/tests/questions.py --bigquery "$cache/bigquery/bin/python" \
    "$CARGO_TARGET_DIR/debug/groma" "$cache/sql-target/debug/groma-sql" $object
echo "$hash" >"$stamp"
