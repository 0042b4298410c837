"""The shop's API, as it runs on real nodes: says which pod answered, as the simulated pods do.

twinplane image pack shop.example.com/api:1 --apt python3 --add examples/shop/api.py:/api.py ...
"""

import json
import os
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

PORT = 8080


class Api(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        seen = {"pod": os.uname().nodename, "path": self.path, "host": self.headers.get("Host", "")}
        body = (json.dumps(seen) + "\n").encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *arguments: object) -> None:
        print(format % arguments, flush=True)


if __name__ == "__main__":
    ThreadingHTTPServer(("", PORT), Api).serve_forever()
