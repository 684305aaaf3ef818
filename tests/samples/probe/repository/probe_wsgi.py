"""A page for each question."""

import json

from probe_lib import looks, start

start()


def application(environ, respond):
    body = json.dumps(looks()).encode() if environ["PATH_INFO"] == "/late" else b"up"
    respond("200 OK", [("Content-Type", "application/json"), ("Content-Length", str(len(body)))])
    return [body]
