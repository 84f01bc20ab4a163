#!/usr/bin/env bash
# demo.sh COMMAND…: the demo must succeed within the patience of a newcomer.
set -euo pipefail
most_s=45

begin=$(date +%s%N)
"$@"
took_ms=$((($(date +%s%N) - begin) / 1000000))
printf 'the demo took %d.%03d s of at most %d s\n' $((took_ms / 1000)) $((took_ms % 1000)) "$most_s"
((took_ms < most_s * 1000))
