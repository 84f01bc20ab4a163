"""The statements of docs/engines.md on a lake of real measurements: questions.py GROMA GROMA_SQL ARCHIVE_OBJECT

Loads the object, seals its date, and asks every engine that is installed (groma-sql and DuckDB must be, chDB may be).
"""

import json
import math
import re
import subprocess
import sys
import tempfile
from pathlib import Path

import duckdb

PAGE = Path(__file__).parents[2] / "docs/engines.md"


def page(lake):
    """Statements that prepare DuckDB and ClickHouse, and (heading, DuckDB, ClickHouse) of each question."""
    sections = re.split(r"^##+ ", PAGE.read_text().replace("LAKE", lake), flags=re.M)[1:]
    blocks = {part.split("\n", 1)[0]: re.findall(r"```sql\n(.*?)\n```", part, flags=re.S) for part in sections}
    questions = [(head, *found) for head, found in blocks.items() if re.match(r"\d+\. ", head)]
    return blocks["DuckDB"][0], blocks["ClickHouse"][0], questions


def plain(value):
    """A value as every engine's answer can be compared: floats to nine digits."""
    if isinstance(value, float):
        return float(f"{value:.9g}") if math.isfinite(value) else str(value)
    return value


def ask_groma_sql(program, lake, sql):
    done = subprocess.run([program, "--lake", lake, "--format", "json", sql], capture_output=True, check=True)
    return [[plain(value) for value in row.values()] for row in json.loads(done.stdout)]


def ask_chdb(session, sql):
    text = str(session.query(sql.rstrip(";") + " SETTINGS output_format_json_quote_64bit_integers = 0", "JSONCompact"))
    return [[plain(value) for value in row] for row in json.loads(text)["data"]]


def main():
    groma, groma_sql, archive_object = sys.argv[1:]
    with tempfile.TemporaryDirectory() as folder:
        lake = f"{folder}/lake"
        subprocess.run([groma, "load", "--lake", lake, archive_object], check=True, stdout=subprocess.DEVNULL)
        subprocess.run([groma, "seal", "--lake", lake, "--linger", "0"], check=True, stdout=subprocess.DEVNULL)
        for_duckdb, for_clickhouse, questions = page(lake)
        assert len(questions) == 12, len(questions)
        engine = duckdb.connect()
        engine.execute(for_duckdb)
        try:
            from chdb.session import Session
            clickhouse = Session(f"{folder}/chdb")
            clickhouse.query(for_clickhouse)
        except ImportError:
            clickhouse = None
        wrong = []
        for head, sql, clickhouse_sql in questions:
            answers = {
                "groma-sql": ask_groma_sql(groma_sql, lake, sql),
                "DuckDB": [[plain(value) for value in row] for row in engine.execute(sql).fetchall()],
            }
            if clickhouse:
                answers["chDB"] = ask_chdb(clickhouse, clickhouse_sql)
            same = all(answer == answers["DuckDB"] for answer in answers.values()) and answers["DuckDB"]
            print(f"{'same ' if same else 'WRONG'} {', '.join(answers)}: {head}")
            if not same:
                wrong.append(answers)
        for answers in wrong:
            print(json.dumps(answers, default=str, indent=1))
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
