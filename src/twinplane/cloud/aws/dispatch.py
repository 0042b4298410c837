"""One request through moto's own response machinery: WSGI in, an `AwsResponse` out. Runs in the worker thread."""

from __future__ import annotations

import io
import threading
from typing import Any
from urllib.parse import unquote_to_bytes

from twinplane.cloud.aws import corrections
from twinplane.cloud.requests import AwsRequest, AwsResponse

_HOP_BY_HOP = {"connection", "transfer-encoding", "server", "date"}


class ServiceError(Exception):
    """A refusal by moto that it did not put into an answer itself."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(f"{code}: {message}")
        self.code = code
        self.message = message


class Dispatcher:
    """moto's dispatcher for all services. Making one imports nothing heavy; a service is imported on its first call."""

    def __init__(self, region: str) -> None:
        from moto.moto_server.werkzeug_app import DomainDispatcherApplication

        self._region = region
        self._application = DomainDispatcherApplication(self._create_application)

    def _create_application(self, service: Any) -> Any:
        from moto.core import DEFAULT_ACCOUNT_ID
        from moto.moto_server.werkzeug_app import create_backend_app

        backends = corrections.load(service)
        held = set(backends[DEFAULT_ACCOUNT_ID].keys()) if hasattr(backends, "iter_backends") else None
        application = create_backend_app(service)
        # A debug application prints tracebacks into answers; what moto cannot handle is ours to report.
        application.debug = False
        application.config["PROPAGATE_EXCEPTIONS"] = True
        if held is not None:
            # moto makes a backend in us-east-1 only to read the service's URLs from it.
            for region in set(backends[DEFAULT_ACCOUNT_ID].keys()) - held - {self._region, "aws"}:
                dict.pop(backends[DEFAULT_ACCOUNT_ID], region)
        return application

    def call(self, request: AwsRequest, authorization: str) -> tuple[str, AwsResponse]:
        """The service (name of the moto package) that answered, and its answer.

        `authorization` is the header that moto reads service, region and key from (made up for presigned URLs).
        """
        from moto.core.exceptions import ServiceException

        started: list[Any] = []

        def start_response(status: str, headers: list[tuple[str, str]], _: Any = None) -> None:
            started[:] = [status, headers]

        environ = _environ(request, authorization)
        application = self._application.get_application(environ)
        try:
            chunks = application(environ, start_response)
        except ServiceException as error:
            # An error of one service that another one's code does not expect, e.g. of EC2 in Auto Scaling.
            raise ServiceError(error.code or "ValidationError", error.message) from error
        try:
            body = b"".join(chunks)
        finally:
            if hasattr(chunks, "close"):
                chunks.close()
        status, headers = started
        kept = tuple((name, value) for name, value in headers if name.lower() not in _HOP_BY_HOP)
        return str(application.service), AwsResponse(int(status.split(" ", 1)[0]), kept, body)


def _environ(request: AwsRequest, authorization: str) -> dict[str, Any]:
    host = request.header("host") or "127.0.0.1"
    environ: dict[str, Any] = {
        "REQUEST_METHOD": request.method,
        "SCRIPT_NAME": "",
        "PATH_INFO": unquote_to_bytes(request.path).decode("latin-1"),
        "RAW_URI": f"{request.path}?{request.query}" if request.query else request.path,
        "QUERY_STRING": request.query,
        "CONTENT_LENGTH": str(len(request.body)),
        "SERVER_NAME": host.rsplit(":", 1)[0],
        "SERVER_PORT": host.rsplit(":", 1)[1] if ":" in host else "80",
        "SERVER_PROTOCOL": "HTTP/1.1",
        "REMOTE_ADDR": "127.0.0.1",
        "wsgi.version": (1, 0),
        "wsgi.url_scheme": "http",
        "wsgi.input": io.BytesIO(request.body),
        "wsgi.errors": io.StringIO(),
        "wsgi.multithread": threading.active_count() > 1,
        "wsgi.multiprocess": False,
        "wsgi.run_once": False,
        "moto.preserved_header_names": {},
    }
    for name, value in request.headers:
        lowered = name.lower()
        if lowered in ("content-length", "authorization", "transfer-encoding"):
            continue
        key = name.upper().replace("-", "_")
        if lowered.startswith("x-amz-meta-") and "_" in name:
            environ["moto.preserved_header_names"][f"HTTP_{key}"] = name
        key = key if key == "CONTENT_TYPE" else f"HTTP_{key}"
        environ[key] = f"{environ[key]},{value}" if key in environ else value
    if authorization:
        environ["HTTP_AUTHORIZATION"] = authorization
    return environ
