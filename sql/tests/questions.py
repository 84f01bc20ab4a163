"""The statements of docs/engines.md: questions.py [--all] [--bigquery PYTHON] GROMA GROMA_SQL [ARCHIVE_OBJECT]

Asks the questions of groma-sql and DuckDB, and with --all of chDB and Spark as well, and compares the answers: on a lake
that `groma up` made of a few tests, and on one into which the archive object was loaded. With --bigquery, the Python of an
environment with bqemulator, the same archives are loaded into that, by a GROMA with the feature bigquery.
"""

import argparse
import json
import math
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path

import duckdb

PAGE = Path(__file__).parents[2] / "docs/engines.md"
QUIET = {"check": True, "stdout": subprocess.DEVNULL}


def page(lake, stage):
    """Statements that prepare each engine, and (heading, DuckDB, ClickHouse, Spark, BigQuery) of each question."""
    text = PAGE.read_text().replace("LAKE", str(lake)).replace("/sealed", f"/{stage}")
    sections = re.split(r"^##+ ", text, flags=re.M)[1:]
    blocks = {part.split("\n", 1)[0]: re.findall(r"```sql\n(.*?)\n```", part, flags=re.S) for part in sections}
    questions = [(head, *found) for head, found in blocks.items() if re.match(r"\d+\. ", head)]
    assert len(questions) == 12, len(questions)
    return {engine: blocks[engine] for engine in ("DuckDB", "ClickHouse", "Spark", "BigQuery")}, questions


def statements(text):
    return [part for part in text.split(";\n") if part.strip()]


def plain(value):
    """A value as every engine's answer can be compared: floats to nine digits."""
    if isinstance(value, float):
        return float(f"{value:.9g}") if math.isfinite(value) else str(value)
    return value


def plain_rows(rows):
    return [[plain(value) for value in row] for row in rows]


def groma_sql(program, lake):
    def ask(sql):
        done = subprocess.run([program, "--lake", lake, "--format", "json", sql], capture_output=True, check=True)
        return plain_rows(row.values() for row in json.loads(done.stdout))
    return ask


def duck(prepare):
    engine = duckdb.connect()
    engine.execute(prepare)
    return lambda sql: plain_rows(engine.execute(sql).fetchall())


def chdb(prepare, folder):
    from chdb.session import Session
    session = Session(str(folder))
    session.query(prepare)

    def ask(sql):
        settings = " SETTINGS output_format_json_quote_64bit_integers = 0"
        return plain_rows(json.loads(str(session.query(sql.rstrip(";") + settings, "JSONCompact")))["data"])
    return ask, session.close


def start_spark(folder):
    """A cluster of two worker processes: what one process can do and several cannot shall not pass."""
    from pyspark.sql import SparkSession
    os.environ.update(SPARK_LOCAL_IP="127.0.0.1", SPARK_LOCAL_DIRS=str(folder))
    builder = SparkSession.builder.master("local-cluster[2,1,1024]").config("spark.ui.enabled", "false")
    builder = builder.config("spark.ui.showConsoleProgress", "false").config("spark.sql.shuffle.partitions", "4")
    session = builder.config("spark.sql.warehouse.dir", f"{folder}/warehouse").getOrCreate()
    session.sparkContext.setLogLevel("ERROR")
    return session


def spark_asks(session, prepare):
    for statement in statements(prepare):
        session.sql(statement)
    return lambda sql: plain_rows(session.sql(sql).collect())


class BigQuery:
    """bqemulator with the dataset ndt."""

    def __init__(self, python):
        emulator = Path(__file__).parents[2] / "tests/bigquery/emulator.py"
        self.port, other = free_port(), free_port()
        self.process = subprocess.Popen([python, emulator, str(self.port), str(other)], stdout=subprocess.DEVNULL,
                                        stderr=subprocess.DEVNULL)
        end = time.monotonic() + 120
        while not listens(self.port):
            assert self.process.poll() is None and time.monotonic() < end, "the emulator does not start"
            time.sleep(0.1)
        self.post("datasets", {"datasetReference": {"projectId": "p", "datasetId": "ndt"}, "location": "EU"})

    def post(self, path, body):
        url = f"http://127.0.0.1:{self.port}/bigquery/v2/projects/p/{path}"
        request = urllib.request.Request(url, json.dumps(body).encode(), {"Content-Type": "application/json"})
        with urllib.request.urlopen(request) as answer:
            return json.load(answer)

    def ask(self, sql):
        answer = self.post("queries", {"query": sql, "useLegacySql": False})
        kinds = [field["type"] for field in answer.get("schema", {}).get("fields", [])]
        read = {"INTEGER": int, "INT64": int, "FLOAT": float, "FLOAT64": float}
        value = lambda kind, cell: None if cell["v"] is None else read.get(kind, str)(cell["v"])
        rows = ([value(kind, cell) for kind, cell in zip(kinds, row["f"])] for row in answer.get("rows", []))
        return plain_rows(rows)

    def load(self, groma, archive):
        endpoint = f"http://127.0.0.1:{self.port}"
        subprocess.run([groma, "load", archive, "--to", "bigquery", "--project", "p", "--endpoint", endpoint], **QUIET)

    def end(self):
        self.process.kill()
        self.process.wait()


def free_port():
    with socket.create_server(("127.0.0.1", 0)) as server:
        return server.getsockname()[1]


def listens(port):
    with socket.socket() as client:
        return client.connect_ex(("127.0.0.1", port)) == 0


def compare(name, lake, stage, options, session, bigquery):
    """Asks every engine, prints a line for each question, and gives the answers that differ."""
    prepare, questions = page(lake, stage)
    engines = {"groma-sql": groma_sql(options.groma_sql, lake), "DuckDB": duck(prepare["DuckDB"][0])}
    end = lambda: None
    if session:
        engines["chDB"], end = chdb(prepare["ClickHouse"][0], lake.parent / "chdb")
        engines["Spark"] = spark_asks(session, prepare["Spark"][0])
    if bigquery:
        engines["BigQuery"] = bigquery.ask
    wrong = []
    for head, for_duckdb, for_clickhouse, for_spark, for_bigquery in questions:
        own = {"chDB": for_clickhouse, "Spark": for_spark, "BigQuery": for_bigquery}
        answers = {engine: ask(own.get(engine, for_duckdb)) for engine, ask in engines.items()}
        same = answers["DuckDB"] and all(answer == answers["DuckDB"] for answer in answers.values())
        print(f"{'same ' if same else 'WRONG'} {', '.join(answers)}: {name}: {head}", flush=True)
        if not same:
            wrong.append({"lake": name, "question": head} | answers)
    end()
    return wrong


def loaded(options, folder):
    """A lake of the archive object, its date sealed."""
    lake = folder / "lake"
    # The parent of a lake must exist: a mistyped path is an error.
    folder.mkdir()
    subprocess.run([options.groma, "load", "--lake", lake, options.object], **QUIET)
    subprocess.run([options.groma, "seal", "--lake", lake, "--linger", "0"], **QUIET)
    return lake


def measured(options, folder):
    """A lake that `groma up` made of tests of both directions, its date still growing."""
    ports = ["--ws-port", "0", "--wss-port", "0", "--admin-port", "0"]
    lab = subprocess.Popen([options.groma, "up", "--json", "--dir", folder, *ports],
                           stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    try:
        server = "ws://" + json.loads(lab.stdout.readline())["services"]["ws"]
        measure = [options.groma, "measure", "--accept-data-policy", server]
        clients = [subprocess.Popen(measure, stdout=subprocess.DEVNULL) for _ in range(2)]
        assert [client.wait(120) for client in clients] == [0, 0], "a test failed"
    finally:
        lab.send_signal(signal.SIGTERM)
        lab.wait(120)
    subprocess.run([options.groma, "seal", "--lake", folder / "lake", "--linger", "0"], **QUIET)
    return folder / "lake"


def copies(bigquery, groma, folder, object):
    """An object of which there is a copy under another name: the page's other statements for BigQuery."""
    delete, once = page(folder, "sealed")[0]["BigQuery"]
    count = lambda table: bigquery.ask(f"SELECT COUNT(*) FROM ndt.{table}")[0][0]
    rows = count("ndt7")
    copy = folder / Path(object).name.replace("T00", "T01", 1)
    shutil.copy(object, copy)
    bigquery.load(groma, copy)
    bigquery.ask(once)
    assert (count("ndt7"), count("ndt7_once")) == (2 * rows, rows)
    bigquery.ask(delete)
    assert count("ndt7") == 0
    bigquery.load(groma, object)
    assert (count("ndt7"), count("ndt7_once")) == (rows, rows)
    print(f"same  BigQuery: {rows} rows with a copy, deleted, and loaded again", flush=True)


def main():
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--all", action="store_true", help="ask chDB and Spark too")
    arguments.add_argument("--bigquery", metavar="PYTHON", help="ask bqemulator too, of this Python's environment")
    arguments.add_argument("groma")
    arguments.add_argument("groma_sql")
    arguments.add_argument("object", nargs="?")
    options = arguments.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        folder = Path(folder)
        session = start_spark(folder / "spark") if options.all else None
        start = lambda: BigQuery(options.bigquery) if options.bigquery else None
        lake, bigquery = measured(options, folder / "measured"), start()
        if bigquery:
            bigquery.load(options.groma, folder / "measured/archive")
        wrong = compare("groma up", lake, "live", options, session, bigquery)
        if bigquery:
            bigquery.end()
        if options.object:
            lake, bigquery = loaded(options, folder / "loaded"), start()
            if bigquery:
                bigquery.load(options.groma, options.object)
            wrong += compare("archive", lake, "sealed", options, session, bigquery)
            if bigquery:
                copies(bigquery, options.groma, folder, options.object)
                bigquery.end()
        else:
            print("no archive object is here: its questions were not asked")
        if session:
            session.stop()
    for answers in wrong:
        print(json.dumps(answers, default=str, indent=1))
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
