"""The client of the latency experiment: echoes the server's probes and prints the round-trip times.

    python3 client.py 127.0.0.1

It shows the policy of the server and asks for consent first.
"""

import argparse
import json
import socket
import sys
import time
import urllib.request

HELLO_BYTES = 512


def main():
    parser = argparse.ArgumentParser(description="Measures the round-trip time to a server over UDP.")
    parser.add_argument("host", help="the server's name or address")
    parser.add_argument("--port", type=int, default=8421, help="the server's UDP port (8421)")
    parser.add_argument("--probes", type=int, default=50, help="the number of probes, 1 to 1000 (50)")
    parser.add_argument("--policy-port", type=int, default=8422, help="the TCP port of the server's policy (8422)")
    parser.add_argument("--accept-policy", metavar="VERSION", help="accept this version of the policy without a question")
    parser.add_argument("--json", action="store_true", help="print the result as JSON")
    options = parser.parse_args()
    if not 1 <= options.probes <= 1000:
        parser.error("--probes: 1 to 1000")
    try:
        options.accept_policy = options.accept_policy or consent(options)
        result = measure(options)
    except OSError as error:
        sys.exit(f"cannot measure to {options.host} port {options.port}: {error}")
    if options.json:
        print(json.dumps(result))
    elif result["Received"]:
        lost = 100 * (1 - result["Received"] / result["Sent"])
        print(f"{result['MinRTT']:.1f} / {result['MeanRTT']:.1f} / {result['MaxRTT']:.1f} ms (shortest, mean, longest), "
              f"{lost:.0f} % lost, UUID {result['UUID']}")
    else:
        sys.exit("no echo arrived at the server")


def consent(options):
    """Shows the policy of the server and returns its version, or exits without consent."""
    host = f"[{options.host}]" if ":" in options.host else options.host
    url = f"http://{host}:{options.policy_port}/.well-known/groma/experiment.json"
    with urllib.request.urlopen(url, timeout=10) as answer:
        policy = json.loads(answer.read(256 * 1024))["policy"]
    # The text comes from the server: a terminal must not interpret its control characters.
    text = "".join(char if char.isprintable() or char == "\n" else "\N{REPLACEMENT CHARACTER}" for char in policy["text"])
    print(f"{text}\nPolicy: {policy['url']!r}, version {policy['version']!r}", file=sys.stderr)
    print("Measure under this policy? [y/N] ", end="", file=sys.stderr, flush=True)
    if sys.stdin.readline().strip().lower() not in ("y", "yes"):
        sys.exit("no consent, so nothing was measured")
    return policy["version"]


def measure(options):
    """Runs one test and returns the server's summary of it."""
    family, _, _, _, address = socket.getaddrinfo(options.host, options.port, type=socket.SOCK_DGRAM)[0]
    with socket.socket(family, socket.SOCK_DGRAM) as sock:
        sock.connect(address)
        query = {"client_name": "latency-python", "client_version": "0.1.0"}
        if options.accept_policy:
            query["policy_version"] = options.accept_policy
        hello = json.dumps({"type": "hello", "probes": options.probes, "query": query}).encode().ljust(HELLO_BYTES)
        heard, end = False, time.monotonic() + options.probes * 0.02 + 10
        sock.send(hello)
        while time.monotonic() < end:
            sock.settimeout(1)
            try:
                message = sock.recv(2048)
            except TimeoutError:
                if not heard:
                    sock.send(hello)
                continue
            heard = True
            kind = json.loads(message)
            if kind["type"] == "probe":
                sock.send(message)
            elif kind["type"] == "refused":
                sys.exit(refused(kind))
            elif kind["type"] == "result":
                return kind
    raise TimeoutError("no result arrived" if heard else "the server does not answer")


def refused(answer):
    if answer["reason"] == "policy":
        version = answer["policy_version"]
        return f"the server asks for consent: read its policy, then repeat with --accept-policy {version}"
    return f"the server refused the test: {answer['reason']}; try again later"


if __name__ == "__main__":
    main()
