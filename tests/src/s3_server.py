"""Runs moto's S3 server with conditional writes that are atomic, as they are in S3.

moto checks `If-None-Match: *` in one step and stores the object in another. Two threads of its server can both pass the
check, and both clients then believe that they created the name. One lock around the two steps closes the gap.

    python s3_server.py -H 127.0.0.1 -p PORT
"""

import functools
import threading

from moto.s3.responses import S3Response
from moto.server import main

writes = threading.Lock()


def one_at_a_time(name):
    method = getattr(S3Response, name)

    @functools.wraps(method)
    def locked(*arguments, **named):
        with writes:
            return method(*arguments, **named)

    setattr(S3Response, name, locked)


one_at_a_time("put_object")
one_at_a_time("_key_response_post")
main()
