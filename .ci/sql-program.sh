#!/usr/bin/env bash
# sql-program.sh CACHE: builds groma-sql, which end-to-end tests run, with DuckDB's library in the cache.
set -euo pipefail
cache=$1
sql/fetch-duckdb "$cache/duckdb"
cd sql
DUCKDB_LIB_DIR=$cache/duckdb CARGO_TARGET_DIR=$cache/sql-target cargo build --locked
