"""Says what it is, and what started it."""

import json
import os


def application(environ, respond):
    facts = {"said": os.environ.get("SAID"), "release": os.environ.get("RELEASE_ID"), "pid": os.getppid()}
    body = json.dumps(facts).encode()
    respond("200 OK", [("Content-Type", "application/json"), ("Content-Length", str(len(body)))])
    return [body]
