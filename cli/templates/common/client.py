"""The client: shows the server's policy, asks, echoes the server's messages, and prints the result.

    python3 client.py 127.0.0.1
"""

import argparse
import json
import socket
import sys
import urllib.request

LONGEST_POLICY = 256 * 1024


def main():
    parser = argparse.ArgumentParser(description="Measures the round-trip time to a server over TCP.")
    parser.add_argument("host", help="the server's name or address")
    parser.add_argument("--port", type=int, default=8500, help="the server's port for tests (8500)")
    parser.add_argument("--policy-port", type=int, default=8501, help="the server's port for its policy (8501)")
    parser.add_argument("--accept-policy", metavar="VERSION", help="accept this version of the policy without being asked")
    options = parser.parse_args()
    try:
        version = options.accept_policy or asked(options.host, options.policy_port)
        measure(options.host, options.port, version)
    except (OSError, ValueError, KeyError) as error:
        sys.exit(f"cannot measure to {options.host}: {error}")


def asked(host, port):
    """Shows the policy of the server, and returns its version if the person agrees."""
    name = f"[{host}]" if ":" in host else host
    url = f"http://{name}:{port}/.well-known/groma/experiment.json"
    with urllib.request.urlopen(url, timeout=10) as answer:
        policy = json.loads(answer.read(LONGEST_POLICY))["policy"]
    # A server must not write control characters to the terminal.
    print("".join(letter if letter.isprintable() or letter == "\n" else " " for letter in policy["text"]))
    if input("Do you agree? [y/N] ") not in ("y", "yes"):
        sys.exit("nothing was measured")
    return policy["version"]


def measure(host, port, version):
    query = {"client_name": "@NAME@-client", "policy_version": version}
    with socket.create_connection((host, port), timeout=10) as connection:
        lines = connection.makefile("rw", encoding="utf-8", newline="\n")
        lines.write(json.dumps({"query": query}) + "\n")
        lines.flush()
        for line in lines:
            message = json.loads(line)
            if "echo" in message:
                lines.write(line)
                lines.flush()
            elif "refused" in message:
                sys.exit(f"the server refused the test: {message['refused']}")
            else:
                print(f"shortest round trip {message['MinRTT']} ms, UUID {message['UUID']}")
                return
    raise ValueError("the server ended the test without a result")


main()
