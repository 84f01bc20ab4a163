"""The statements of docs/engines.md: questions.py [--all] GROMA GROMA_SQL [ARCHIVE_OBJECT]

Asks the questions of groma-sql and DuckDB, and with --all of chDB and Spark as well, and compares the answers: on a lake
that `groma up` made of a few tests, and on one into which the archive object was loaded.
"""

import argparse
import json
import math
import os
import re
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import duckdb

PAGE = Path(__file__).parents[2] / "docs/engines.md"
QUIET = {"check": True, "stdout": subprocess.DEVNULL}


def page(lake, stage):
    """Statements that prepare each engine, and (heading, DuckDB, ClickHouse, Spark) of each question."""
    text = PAGE.read_text().replace("LAKE", str(lake)).replace("/sealed", f"/{stage}")
    sections = re.split(r"^##+ ", text, flags=re.M)[1:]
    blocks = {part.split("\n", 1)[0]: re.findall(r"```sql\n(.*?)\n```", part, flags=re.S) for part in sections}
    questions = [(head, *found) for head, found in blocks.items() if re.match(r"\d+\. ", head)]
    assert len(questions) == 12, len(questions)
    return {engine: blocks[engine][0] for engine in ("DuckDB", "ClickHouse", "Spark")}, questions


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


def compare(name, lake, stage, options, session):
    """Asks every engine, prints a line for each question, and gives the answers that differ."""
    prepare, questions = page(lake, stage)
    engines = {"groma-sql": groma_sql(options.groma_sql, lake), "DuckDB": duck(prepare["DuckDB"])}
    end = lambda: None
    if session:
        engines["chDB"], end = chdb(prepare["ClickHouse"], lake.parent / "chdb")
        engines["Spark"] = spark_asks(session, prepare["Spark"])
    wrong = []
    for head, for_duckdb, for_clickhouse, for_spark in questions:
        own = {"chDB": for_clickhouse, "Spark": for_spark}
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


def main():
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--all", action="store_true", help="ask chDB and Spark too")
    arguments.add_argument("groma")
    arguments.add_argument("groma_sql")
    arguments.add_argument("object", nargs="?")
    options = arguments.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        folder = Path(folder)
        session = start_spark(folder / "spark") if options.all else None
        wrong = compare("groma up", measured(options, folder / "measured"), "live", options, session)
        if options.object:
            wrong += compare("archive", loaded(options, folder / "loaded"), "sealed", options, session)
        else:
            print("no archive object is here: its questions were not asked")
        if session:
            session.stop()
    for answers in wrong:
        print(json.dumps(answers, default=str, indent=1))
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
