"""botocore clients of the region's own endpoint, with credentials of one of its services."""

from __future__ import annotations

import threading
from typing import Any

from botocore.config import Config

from twinplane.cloud.aws.waking import new_botocore_session
from twinplane.cloud.contract import AwsCredentials


class EndpointClients:
    """Implements `AwsClients`. Made on first use, because a service model takes time and memory to parse."""

    def __init__(self, endpoint_url: str, region: str, credentials: AwsCredentials) -> None:
        self._endpoint_url = endpoint_url
        self._region = region
        self._credentials = credentials
        self._lock = threading.Lock()
        self._session: Any = None
        self._clients: dict[str, Any] = {}

    def client(self, service: str) -> Any:
        with self._lock:
            if service not in self._clients:
                self._clients[service] = self._create(service)
            return self._clients[service]

    def _create(self, service: str) -> Any:
        if self._session is None:
            self._session = new_botocore_session()
        return self._session.create_client(
            service,
            region_name=self._region,
            endpoint_url=self._endpoint_url,
            aws_access_key_id=self._credentials.access_key_id,
            aws_secret_access_key=self._credentials.secret_access_key,
            aws_session_token=self._credentials.session_token or None,
            config=Config(retries={"total_max_attempts": 2}, parameter_validation=False, max_pool_connections=10),
        )

    def close(self) -> None:
        with self._lock:
            for client in self._clients.values():
                client.close()
            self._clients.clear()
