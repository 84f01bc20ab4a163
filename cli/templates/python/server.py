"""The server: admits a test, measures ten round trips over its connection, and writes one result.

`groma up --experiment .` starts it and sets the environment variables; groma.py is the SDK.
"""

import datetime
import json
import os
import signal
import socket
import sys
import threading
import time

import groma

ROUND_TRIPS = 10


def main():
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    experiment = groma.Experiment.from_environment()
    address = (os.environ.get("GROMA_LISTEN", "127.0.0.1"), int(os.environ.get("GROMA_PORT_TEST", "8500")))
    family = socket.AF_INET6 if ":" in address[0] else socket.AF_INET
    listener = socket.create_server(address, family=family)
    try:
        while True:
            connection, peer = listener.accept()
            threading.Thread(target=serve, args=(experiment, connection, peer), daemon=True).start()
    finally:
        experiment.drain()


def serve(experiment, connection, peer):
    connection.settimeout(10)
    with connection:
        try:
            lines = connection.makefile("rw", encoding="utf-8", newline="\n")
            query = json.loads(lines.readline(10_000))["query"]
            try:
                test = experiment.admit({str(key): str(value) for key, value in query.items()})
            except groma.Refused as refusal:
                lines.write(json.dumps({"refused": str(refusal)}) + "\n")
                lines.flush()
                return
            with test:
                row = measure(test, connection, lines, peer)
                test.finish("okay", row)
            lines.write(json.dumps(row) + "\n")
            lines.flush()
        except (OSError, ValueError, KeyError, AttributeError) as error:
            print(f"a test failed: {error}", file=sys.stderr)


def measure(test, connection, lines, peer):
    uuid = test.connection(connection)
    start = datetime.datetime.now(datetime.UTC)
    times = []
    for number in range(ROUND_TRIPS):
        sent = time.perf_counter()
        lines.write(json.dumps({"echo": number}) + "\n")
        lines.flush()
        if json.loads(lines.readline(1000)) != {"echo": number}:
            raise ValueError("the client did not echo the message")
        times.append((time.perf_counter() - sent) * 1000)
    return {
        "UUID": uuid,
        "ClientIP": peer[0].removeprefix("::ffff:").partition("%")[0],
        "StartTime": start.isoformat().replace("+00:00", "Z"),
        "RoundTrips": len(times),
        "MinRTT": round(min(times), 3),
    }


if __name__ == "__main__":
    main()
