"""The client: shows nothing of itself but its name, echoes the server's messages, and prints the result.

    python3 client.py HOST:PORT POLICY_VERSION
"""

import json
import socket
import sys


def main():
    if len(sys.argv) != 3:
        sys.exit("usage: client.py HOST:PORT POLICY_VERSION")
    host, _, port = sys.argv[1].rpartition(":")
    query = {"client_name": "@NAME@-client", "policy_version": sys.argv[2]}
    with socket.create_connection((host.strip("[]"), int(port)), timeout=10) as connection:
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
    sys.exit("the server ended the test without a result")


main()
