"""A port is printed; an S3 server (moto) answers there until the standard input ends, and logs every request to the file given.

It runs in a process of its own: delta-rs holds the interpreter's lock while it waits for an answer.
"""

from __future__ import annotations

import logging
import sys
from pathlib import Path
from typing import Any

from moto.moto_server import threaded_moto_server
from moto.moto_server.werkzeug_app import MotoRequestHandler

LOG = Path(sys.argv[1])


class LoggedRequest(MotoRequestHandler):
    def log_request(self, code: Any = "-", size: Any = "-") -> None:
        with LOG.open("a", encoding="utf-8") as log:
            log.write(f"{self.command} {self.path} {self.headers.get('Range', '-')}\n")


if __name__ == "__main__":
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    LOG.touch()
    threaded_moto_server.MotoRequestHandler = LoggedRequest
    server = threaded_moto_server.ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    sys.stdout.write(f"{server.get_host_and_port()[1]}\n")
    sys.stdout.flush()
    sys.stdin.read()
