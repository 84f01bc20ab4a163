#!/usr/bin/env python3
"""A lake in a bucket from the first test to the last question, by every program that reads it.

    sql/tests/bucket.py GROMA GROMA_SQL PYTHON

GROMA is built with the feature s3; PYTHON is an interpreter that has the package moto. Prints each step; fails with the
first one that goes wrong.
"""

import json
import os
import re
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request

groma, groma_sql, python = sys.argv[1:]
s3_server = os.path.join(os.path.dirname(__file__), "../../tests/src/s3_server.py")


def free_port():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def run(*arguments, code=0):
    done = subprocess.run(arguments, capture_output=True, text=True)
    assert done.returncode == code, (arguments, done.returncode, done.stdout, done.stderr)
    print("ok", *(os.path.basename(argument) for argument in arguments[:4]), flush=True)
    return done


def until(what, seconds=60):
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        try:
            found = what()
        except (OSError, urllib.error.URLError):
            found = None
        if found:
            return found
        time.sleep(0.3)
    raise AssertionError("it never came")


def check(folder, lake):
    lab = subprocess.Popen([groma, "up", "--dir", f"{folder}/lab", "--lake", lake, "--flush-age", "1s",
                            "--ws-port", "0", "--wss-port", "0", "--admin-port", "0"],
                           stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    try:
        server = until(lambda: re.search(r"ws://[^/\s]+", lab.stdout.readline())).group()
        measured = run(groma, "measure", server, "--direction", "download", "--json", "--accept-data-policy").stdout
        uuid = json.loads(measured)["tests"][0]["uuid"]
        row = until(lambda: subprocess.run([groma, "show", uuid, "--dir", "/nowhere", "--lake", lake],
                                           capture_output=True).returncode == 0)
        assert row and not os.path.exists(f"{folder}/lab/lake")
    finally:
        lab.send_signal(signal.SIGTERM)
        lab.wait(60)
    # From now on the date is another one's past.
    run(groma, "seal", "--lake", lake, "--linger", "0")
    shown = json.loads(run(groma, "show", uuid, "--dir", "/nowhere", "--lake", lake, "--json").stdout)
    assert shown["stage"] == "loaded" and shown["row"]["id"] == uuid
    found = json.loads(run(groma, "find", "--lake", lake, "--json").stdout)
    assert [test["id"] for test in found["tests"]] == [uuid], found
    date = shown["row"]["date"]
    assert uuid in run(groma, "export", "--lake", lake, "--date", date).stdout
    ask(folder, lake, uuid)


def ask(folder, lake, uuid):
    copies = ["--cache", f"{folder}/cache", "--groma", groma]
    query = "select id from ndt.ndt7_joined"
    asked = [groma_sql, "--lake", lake, *copies, "--format", "json"]
    assert json.loads(run(*asked, query).stdout) == [{"id": uuid}]
    large = run(*asked, "--cache-size", "1KB", query, code=1).stderr
    assert "select fewer" in large, large
    lacking = run(groma_sql, "--lake", lake, "--cache", f"{folder}/cache", "--groma", "/nowhere/groma", query, code=1)
    assert "--groma" in lacking.stderr, lacking.stderr
    assert "no lake" in run(groma_sql, "--lake", "gs://a/b", query, code=1).stderr
    missing = run(groma_sql, "--lake", lake.replace("archive", "nobucket"), *copies, query, code=1).stderr
    assert "nobucket" in missing or "NoSuchBucket" in missing, missing
    # What a stranger asks stays within the copy.
    secret = f"{folder}/cache/secret.csv"
    with open(secret, "w") as file:
        file.write("secret\n")
    port = free_port()
    server = subprocess.Popen([groma_sql, "serve", "--listen", f"127.0.0.1:{port}", "--lake", lake, *copies],
                              stdout=subprocess.DEVNULL)
    try:
        post = lambda text: urllib.request.urlopen(f"http://127.0.0.1:{port}/", text.encode(), timeout=60).read()
        assert json.loads(until(lambda: post(query))) == [{"id": uuid}]
        for evil in (f"select * from read_csv('{secret}')", f"select * from read_text('{lake}/index.json')"):
            try:
                raise AssertionError(post(evil))
            except urllib.error.HTTPError as refused:
                assert refused.code == 400, refused
    finally:
        server.kill()
        server.wait()
    print("ok groma-sql serve", flush=True)


def main():
    port = free_port()
    os.environ.update(AWS_ENDPOINT_URL=f"http://127.0.0.1:{port}", AWS_ACCESS_KEY_ID="test", AWS_SECRET_ACCESS_KEY="test",
                      AWS_REGION="us-east-1")
    store = subprocess.Popen([python, s3_server, "-H", "127.0.0.1", "-p", str(port)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        put = urllib.request.Request(f"http://127.0.0.1:{port}/archive", method="PUT")
        until(lambda: urllib.request.urlopen(put).status == 200)
        with tempfile.TemporaryDirectory() as folder:
            check(folder, "s3://archive/a/lake")
    finally:
        store.kill()
        store.wait()


if __name__ == "__main__":
    main()
