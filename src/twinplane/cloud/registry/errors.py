"""Errors of the OCI distribution API, as registries write them."""

from __future__ import annotations

import json

from aiohttp import web

STATUS = {
    "BLOB_UNKNOWN": 404,
    "BLOB_UPLOAD_INVALID": 400,
    "BLOB_UPLOAD_UNKNOWN": 404,
    "DENIED": 403,
    "DIGEST_INVALID": 400,
    "MANIFEST_BLOB_UNKNOWN": 400,
    "MANIFEST_INVALID": 400,
    "MANIFEST_UNKNOWN": 404,
    "NAME_INVALID": 400,
    "NAME_UNKNOWN": 404,
    "RANGE_INVALID": 416,
    "SIZE_INVALID": 413,
    "TAG_INVALID": 400,
    "TOOMANYREQUESTS": 429,
    "UNAUTHORIZED": 401,
    "UNSUPPORTED": 405,
}


class RegistryError(Exception):
    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message

    def response(self) -> web.Response:
        headers = {"WWW-Authenticate": 'Basic realm="twinplane"'} if self.code == "UNAUTHORIZED" else {}
        body = json.dumps({"errors": [{"code": self.code, "message": self.message, "detail": None}]})
        return web.Response(
            status=STATUS[self.code], text=body, content_type="application/json", headers={**headers, **VERSION}
        )


VERSION = {"Docker-Distribution-Api-Version": "registry/2.0"}
