#!/usr/bin/env bash
# engines.sh CACHE GROMA: the questions of docs/engines.md to heavy engines, when the page or what makes a lake changed.
# .ci/sql.sh ran before it and built groma-sql.
set -euo pipefail
cache=$1 groma=$2
engines=(pyarrow==26.0.1 duckdb==2.0.0 pyspark==4.3.0 chdb==4.4.0)
makers=$(git ls-files sql docs/engines.md contracts/schema experiments pipeline/load pipeline/lake pipeline/lake-store)
# Unquoted: one word for each file.
hash=$(cat .ci/engines.sh $makers | sha256sum)
stamp=$cache/engines-tested
if [[ $(cat "$stamp" 2>/dev/null) == "$hash" ]]; then
    echo "as tested before"
    exit 0
fi
command -v java >/dev/null || apt-get install -y -qq --no-install-recommends default-jre-headless </dev/null
# An environment of its own: 1.4 GB that nothing else needs.
if [[ $(cat "$cache/engines/installed" 2>/dev/null) != "${engines[*]}" ]]; then
    rm -rf "$cache/engines"
    python3 -m venv "$cache/engines"
    "$cache/engines/bin/pip" install --quiet --no-cache-dir "${engines[@]}"
    echo "${engines[*]}" >"$cache/engines/installed"
fi
object=${GROMA_TEST_DATA:-../shared/data}/archives/20200318T003853.425987Z-ndt7-mlab3-syd03-ndt.tgz
[[ -f $object ]] || object=
# Unquoted: nothing, where no object is.
timeout 600 "$cache/engines/bin/python" sql/tests/questions.py --all "$groma" "$cache/sql-target/debug/groma-sql" $object
rm -rf "$cache"/engines/lib/python3*/site-packages/pyspark/work # logs of its executors
echo "$hash" >"$stamp"
