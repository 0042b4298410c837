"""ECR in front of the registry: a repository of the account holds what was pushed to it, and what ECR deletes is gone.

Images live in the registry's store; the account (moto) has their manifests, tags and rules, so that `aws ecr` shows and
deletes what `docker push` brought.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Awaitable, Callable
from typing import Any, Protocol, TypeVar

from twinplane.cloud.registry.errors import RegistryError
from twinplane.images.reference import Reference
from twinplane.images.store import ImageStore

T = TypeVar("T")
HOST = re.compile(r"(?P<account>\d{12})\.dkr\.ecr\.(?P<region>[a-z0-9-]+)\.amazonaws\.com")

Tagged = frozenset[tuple[str, str, str]]
"""(repository, tag, digest)"""


class Account(Protocol):
    def run(self, work: Callable[[], T], *, changes: str = "") -> Awaitable[T]: ...

    def subscribe(self, listener: Callable[[str], None]) -> None: ...


def registry_host(account_id: str, region: str) -> str:
    return f"{account_id}.dkr.ecr.{region}.amazonaws.com"


class Ecr:
    def __init__(self, account: Account, store: ImageStore, account_id: str, region: str) -> None:
        self._account = account
        self._store = store
        self._account_id = account_id
        self.region = region
        self.host = registry_host(account_id, region)
        self._tagged: Tagged = frozenset()

    async def check_repository(self, name: str) -> None:
        """Raises `RegistryError` for a repository that was not created, as ECR creates none on push."""
        if not await self._account.run(lambda: name in self._backend().repositories):
            message = f"The repository with name '{name}' does not exist in the registry with id '{self._account_id}'"
            raise RegistryError("NAME_UNKNOWN", message)

    async def push(self, reference: Reference, content: bytes, digest: str, media_type: str) -> None:
        """Show a manifest that is about to be stored. Raises `RegistryError` for a tag that must not be moved."""
        tag = None if reference.digest else reference.tag
        refused = await self._account.run(
            lambda: self._put(reference.repository, tag, content.decode(), (digest, media_type)), changes="ecr"
        )
        if refused:
            raise RegistryError(
                "TAG_INVALID",
                f"The image tag '{tag}' already exists in the '{reference.repository}' repository and cannot be "
                "overwritten because the repository is immutable.",
            )

    async def deleted(self) -> None:
        """After a change of the account: tags that ECR has deleted go from the store."""
        now = await self._account.run(self._read)
        left = {(repository, tag) for repository, tag, _ in now}
        for repository, tag, _ in self._tagged:
            if (repository, tag) not in left:
                self._store.remove(Reference(self.host, repository, tag))
        self._tagged = now

    # -- in moto's thread --------------------------------------------------------------------------------------------

    def _backend(self) -> Any:
        from moto.ecr.models import ecr_backends

        return ecr_backends[self._account_id][self.region]

    def _put(self, repository: str, tag: str | None, content: str, manifest: tuple[str, str]) -> bool:
        """Whether ECR refuses it: the tag is another image's, and immutable."""
        from moto.ecr.exceptions import ImageAlreadyExistsException

        digest, media_type = manifest
        backend = self._backend()
        held = next((each for each in backend.repositories[repository].images if tag in each.image_tags), None)
        if held is not None and held.get_image_digest() == digest:
            return False
        try:
            backend.put_image(repository, content, tag, media_type, digest)
        except ImageAlreadyExistsException:
            return True
        return False

    def _read(self) -> Tagged:
        if "moto.ecr.models" not in sys.modules:
            # Nothing of ECR is in use, so its model need not be loaded to know that.
            return frozenset()
        return frozenset(
            (name, tag, image.get_image_digest())
            for name, repository in self._backend().repositories.items()
            for image in repository.images
            for tag in image.image_tags
        )
