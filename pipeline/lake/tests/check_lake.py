"""Checks a table of a lake with pyarrow alone: check_lake.py TABLE EXPECTED.json

EXPECTED is {"YYYY-MM-DD": [id, ...]}. `sealed/` must hold no id twice and be what its manifests say, byte for byte;
live and sealed files that are in force must hold exactly the expected ids.
"""

import hashlib
import json
import sys
from collections import Counter
from pathlib import Path

import pyarrow.parquet as pq


def ids(path):
    return pq.ParquetFile(path).read(columns=["id"])["id"].to_pylist()


def check_sealed(folder):
    """The manifests of a date: every file named once, there, whole; every file there named. Gives its ids."""
    manifests = sorted(folder.glob("_manifest*.json"))
    if not manifests:
        assert not list(folder.glob("*.parquet")), "parts without a manifest"
        return [], set()
    names = ["_manifest.json"] + [f"_manifest.{n}.json" for n in range(1, len(manifests))]
    assert sorted(names) == sorted(path.name for path in manifests), manifests
    named, objects, found = [], [], []
    for path in manifests:
        manifest = json.loads(path.read_text())
        assert manifest["licence"] == "CC0-1.0"
        assert manifest["date"] == folder.name.removeprefix("date=")
        assert manifest["rows"] == sum(file["rows"] for file in manifest["files"])
        for file in manifest["files"]:
            data = (folder / file["name"]).read_bytes()
            assert len(data) == file["size_bytes"], file["name"]
            assert hashlib.sha256(data).hexdigest() == file["sha256"], file["name"]
            rows = ids(folder / file["name"])
            assert len(rows) == file["rows"] == sum(entry["rows"] for entry in file["objects"])
            named.append(file["name"])
            objects += [entry["stem"] for entry in file["objects"]]
            found += rows
    assert len(named) == len(set(named)), "a file in two manifests"
    assert len(objects) == len(set(objects)), "an object sealed twice"
    assert sorted(named) == sorted(path.name for path in folder.glob("*.parquet"))
    return found, set(objects)


def main():
    table, expected = Path(sys.argv[1]), json.loads(Path(sys.argv[2]).read_text())
    for date, wanted in expected.items():
        found, sealed = check_sealed(table / "sealed" / f"date={date}")
        doubled = [key for key, count in Counter(found).items() if count > 1]
        assert not doubled, f"doubled in sealed/: {doubled[:3]}"
        void, compacted = set(sealed), []
        for path in sorted((table / "log" / f"date={date}").glob("[0-9]*.json")):
            for part in json.loads(path.read_text())["parts"]:
                if (table / part["path"]).exists():
                    void |= set(part["merged"]) | {source["stem"] for source in part["sources"]}
                    if part["path"].startswith("live/"):
                        compacted.append(part["path"])
        live = sorted((table / "live" / f"date={date}").glob("*.parquet"))
        for path in live:
            if path.stem not in void:
                found += ids(path)
        counts = Counter(found)
        doubled = [key for key, count in counts.items() if count > 1]
        lost = set(wanted) - set(counts)
        strange = set(counts) - set(wanted)
        assert not doubled and not lost and not strange, (date, doubled[:3], sorted(lost)[:3], sorted(strange)[:3])
        print(f"{date}: {len(wanted)} rows, {len(sealed)} objects sealed, {len(live)} live files")


main()
