"""The server of the latency experiment: sends probes over UDP and measures when their echoes arrive.

    groma up --experiment examples/latency-python

Every message is one datagram of JSON. A client sends `hello` with its metadata and the version of the policy that its user
accepted; the server answers `refused` with the reason, or sends `probe` with a sequence number and a random token. The
client returns each probe as it came. At the end the server sends `result`.

A `hello` is as long as the longest answer, so that nobody can make the server send much to a forged address. The first
probe is sent alone, and the others follow only after its echo, which carries its token.
"""

import contextlib
import datetime
import json
import logging
import os
import secrets
import signal
import socket
import sys
import threading
import time

import groma

HELLO_BYTES = 512
PROBES = range(1, 1001)  # how many a client may ask for
INTERVAL_S = 0.02
PATIENCE_S = 2.0


def main():
    logging.basicConfig(level=logging.INFO, stream=sys.stderr, format="%(levelname)s %(message)s")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit())
    try:
        experiment = groma.Experiment.from_environment()
    except groma.Error as error:
        sys.exit(f"latency: {error}")
    listener = listen(int(os.environ.get("GROMA_PORT_ECHO", 8421)))
    running = set()
    try:
        while True:
            message, peer = listener.recvfrom(2048)
            # The socket of a running test gets the other datagrams of its peer.
            if len(message) >= HELLO_BYTES and peer not in running:
                answer(experiment, listener, message, peer, running)
    finally:
        listener.close()
        experiment.drain()


def listen(port):
    """Returns a UDP socket on the address of GROMA_LISTEN: by default all of IPv6 and IPv4, or IPv4 where IPv6 is missing."""
    wanted = os.environ.get("GROMA_LISTEN", "::")
    for address in dict.fromkeys((wanted, "0.0.0.0" if wanted == "::" else wanted)):
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        try:
            listener = socket.socket(family, socket.SOCK_DGRAM)
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if family == socket.AF_INET6:
                listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
            listener.bind((address, port))
            return listener
        except OSError as error:
            failed = error
    sys.exit(f"latency: cannot listen on UDP port {port}: {failed.strerror}")


def answer(experiment, listener, message, peer, running):
    """Admits the test of a `hello`, or refuses it."""
    try:
        hello = json.loads(message)
        query = [(str(key), str(value)) for key, value in hello["query"].items()]
        probes = hello["probes"]
        if hello["type"] != "hello" or not isinstance(probes, int) or probes not in PROBES:
            raise ValueError
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        return
    try:
        test = experiment.admit(query)
    except groma.Refused as refusal:
        refused = {"type": "refused", "reason": refusal.reason, "policy_version": experiment.manifest.policy_version}
        # The address may be forged, and no answer can reach it.
        with contextlib.suppress(OSError):
            listener.sendto(json.dumps(refused).encode(), peer)
        return
    running.add(peer)
    threading.Thread(target=run, args=(listener, test, peer, probes, running), daemon=True).start()


def run(listener, test, peer, probes, running):
    """Runs one test on a socket of its own, whose cookie gives it a UUID."""
    with test:
        try:
            with groma.connected_udp(listener, peer) as sock:
                result = measure(sock, test, peer, probes)
                path = test.finish("okay" if result["Received"] else "no-answer", result)
                logging.info("wrote %s", path.name)
                summary = {key: result[key] for key in ("UUID", "Sent", "Received", "MinRTT", "MeanRTT", "MaxRTT")}
                sock.send(json.dumps({"type": "result", **summary}).encode())
        except (OSError, groma.Error) as error:
            logging.warning("a test failed: %s", error)
        finally:
            running.discard(peer)


def measure(sock, test, peer, probes):
    """Sends probes and returns the row of the test."""
    uuid = test.connection(sock)
    token, sent_at, samples = secrets.token_hex(8), [], []
    start = datetime.datetime.now(datetime.UTC)

    def send():
        probe = json.dumps({"type": "probe", "sequence": len(sent_at), "token": token}).encode()
        sent_at.append(time.perf_counter())
        sock.send(probe)
        test.bytes(len(probe), 0)

    def receive(until):
        while (left := until - time.perf_counter()) > 0:
            sock.settimeout(left)
            try:
                message, sender = sock.recvfrom(2048)
            except (TimeoutError, ConnectionRefusedError):
                return
            now = time.perf_counter()
            sequence = sequence_of(message, token) if sender == peer else None
            if sequence is None or sequence >= len(sent_at) or sequence in seen:
                continue
            seen.add(sequence)
            test.bytes(0, len(message))
            samples.append({"Sequence": sequence, "RTT": round((now - sent_at[sequence]) * 1000, 3)})
            if len(seen) == len(sent_at) and len(sent_at) in (1, probes):
                return

    seen = set()
    send()
    receive(time.perf_counter() + PATIENCE_S)
    while samples and len(sent_at) < probes:
        next_at = time.perf_counter() + INTERVAL_S
        send()
        receive(next_at if len(sent_at) < probes else next_at + PATIENCE_S)
    times = [sample["RTT"] for sample in samples]
    server = sock.getsockname()
    return {
        "UUID": uuid,
        "ServerIP": plain(server[0]),
        "ServerPort": server[1],
        "ClientIP": plain(peer[0]),
        "ClientPort": peer[1],
        "StartTime": timestamp(start),
        "EndTime": timestamp(datetime.datetime.now(datetime.UTC)),
        "Sent": len(sent_at),
        "Received": len(samples),
        "MinRTT": min(times, default=None),
        "MeanRTT": round(sum(times) / len(times), 3) if times else None,
        "MaxRTT": max(times, default=None),
        "Samples": samples,
        "ClientMetadata": test.client_metadata,
        "ServerMetadata": test.server_metadata,
    }


def sequence_of(message, token):
    """Returns the sequence number of an echo, or None for any other datagram."""
    try:
        echo = json.loads(message)
        sequence = echo["sequence"]
        return sequence if echo["token"] == token and type(sequence) is int and sequence >= 0 else None
    except (ValueError, TypeError, KeyError, RecursionError):
        return None


def plain(address):
    """Returns an address without the IPv6 form of IPv4 and without a zone."""
    return address.removeprefix("::ffff:").partition("%")[0]


def timestamp(moment):
    return moment.isoformat().replace("+00:00", "Z")


if __name__ == "__main__":
    main()
