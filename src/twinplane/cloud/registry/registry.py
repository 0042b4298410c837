"""The OCI distribution API (distribution-spec 1.1) over the region's images: what nodes pull from and `docker push` to.

Registry names become namespaces. A node's containerd says in `?ns=` in whose place it asks. Others put the name
first (`localhost:4566/docker.io/library/nginx`); without one it is the account's ECR. What stands in for public
registries may be read by everybody who reaches the region. ECR wants a password of GetAuthorizationToken, as does
all writing, and lets its owner do what the policies of the identity and of the repository say.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Awaitable, Callable
from urllib.parse import parse_qs, unquote

from aiohttp import web

from twinplane.clock import Clock
from twinplane.cloud.registry.ecr import HOST, Ecr
from twinplane.cloud.registry.errors import VERSION, RegistryError
from twinplane.cloud.registry.permissions import Permissions
from twinplane.cloud.registry.tokens import Tokens
from twinplane.cloud.registry.uploads import Uploads
from twinplane.images.reference import DIGEST, Reference, split_registry, valid_repository, valid_tag
from twinplane.images.store import MANIFEST_TYPES, ImageStore

MANIFEST_BYTES_MAX = 4 << 20
LOCAL = re.compile(r"(localhost|127\.0\.0\.1|169\.254\.169\.252)(:\d+)?")
"""Names of this registry itself."""
_ROUTE = re.compile(r"/v2/(?P<name>.+)/(?P<kind>blobs/uploads|blobs|manifests|tags|referrers)/(?P<rest>[^/]*)")


def is_registry_request(request: web.BaseRequest) -> bool:
    """Some AWS services have paths below /v2/ too; theirs are signed."""
    signed = request.headers.get("Authorization", "").startswith("AWS4-") or "X-Amz-Signature=" in request.raw_path
    return not signed and (request.raw_path + "/").startswith("/v2/")


class Registry:
    def __init__(self, store: ImageStore, ecr: Ecr, tokens: Tokens, permissions: Permissions, clock: Clock) -> None:
        self._store = store
        self._ecr = ecr
        self._tokens = tokens
        self._permissions = permissions
        self._uploads = Uploads(store, clock)

    async def handle(self, request: web.BaseRequest) -> web.StreamResponse:
        try:
            return await self._answer(request)
        except RegistryError as error:
            return error.response()

    async def _answer(self, request: web.BaseRequest) -> web.StreamResponse:
        path, _, query = request.raw_path.partition("?")
        path = unquote(path)
        reading = request.method in ("GET", "HEAD")
        principal = self._tokens.principal(request.headers.get("Authorization", ""))
        if path.rstrip("/") == "/v2":
            _demand(principal)
            return web.json_response({}, headers=VERSION)
        if path == "/v2/_catalog" and reading:
            _demand(principal)
            names = sorted({f"{each.registry}/{each.repository}" for each in self._store.references()})
            return web.json_response({"repositories": names}, headers=VERSION)
        found = _ROUTE.fullmatch(path)
        if found is None:
            raise RegistryError("NAME_INVALID", f"no such path: {path}")
        parameters = {key: values[0] for key, values in parse_qs(query).items()}
        registry, repository = self._place(found["name"], parameters.get("ns", ""))
        where = _Where(registry, repository, found["kind"], found["rest"], parameters)
        handler = _HANDLERS.get((found["kind"], request.method))
        if handler is None:
            raise RegistryError("UNSUPPORTED", "The operation is unsupported.")
        await self._authorize(principal, where, _ACTIONS[found["kind"], request.method], reading=reading)
        if not reading and registry == self._ecr.host:
            await self._ecr.check_repository(repository)
        return await handler(self, request, where)

    async def _authorize(self, principal: str, where: _Where, action: str, *, reading: bool) -> None:
        ecr = HOST.fullmatch(where.registry)
        if ecr is None or ecr["region"] != self._ecr.region:
            if not reading:
                _demand(principal)
            elif (
                where.is_blob and not principal and not self._store.holds(where.registry, where.repository, where.rest)
            ):
                # Blobs are shared: by its digest alone nobody gets one out of ECR.
                raise RegistryError("BLOB_UNKNOWN", "blob unknown to registry")
            return
        _demand(principal)
        refusal = await self._permissions.refusal(principal, action, where.repository, owner=ecr["account"])
        if refusal:
            raise RegistryError("DENIED", refusal)

    def _place(self, name: str, asked: str) -> tuple[str, str]:
        """Registry and repository that a request is about."""
        if asked and not LOCAL.fullmatch(asked):
            registry, repository = asked, name
        else:
            first = name.partition("/")[0]
            named = "." in first or ":" in first or first == "localhost"
            registry, repository = split_registry(name) if named else (self._ecr.host, name)
        if not valid_repository(repository):
            raise RegistryError("NAME_INVALID", f"invalid repository name: {repository}")
        return registry, repository

    # -- reading -----------------------------------------------------------------------------------------------------

    async def blob(self, request: web.BaseRequest, where: _Where) -> web.StreamResponse:
        del request
        path = self._store.blob(_digest(where.rest))
        if not path.exists():
            raise RegistryError("BLOB_UNKNOWN", "blob unknown to registry")
        headers = {**VERSION, "Docker-Content-Digest": where.rest, "Content-Type": "application/octet-stream"}
        return web.FileResponse(path, headers=headers, chunk_size=1 << 20)

    async def manifest(self, request: web.BaseRequest, where: _Where) -> web.StreamResponse:
        found = self._store.find(where.reference())
        if found is None:
            raise RegistryError("MANIFEST_UNKNOWN", f"manifest unknown: {where.reference()}")
        headers = {**VERSION, "Docker-Content-Digest": found.digest, "Content-Type": found.media_type}
        if request.method == "HEAD":
            return web.Response(headers={**headers, "Content-Length": str(found.size)})
        return web.Response(body=self._store.read(found.digest), headers=headers)

    async def tags(self, request: web.BaseRequest, where: _Where) -> web.StreamResponse:
        del request
        tags = self._store.tags(where.registry, where.repository)
        if not tags or where.rest != "list":
            raise RegistryError("NAME_UNKNOWN", "repository name not known to registry")
        last, most = where.parameters.get("last", ""), where.parameters.get("n", "")
        tags = [tag for tag in tags if tag > last][: int(most) if most.isdecimal() else None]
        return web.json_response({"name": where.repository, "tags": tags}, headers=VERSION)

    async def referrers(self, request: web.BaseRequest, where: _Where) -> web.StreamResponse:
        """None are kept: an empty index."""
        del request
        _digest(where.rest)
        kind = "application/vnd.oci.image.index.v1+json"
        index = {"schemaVersion": 2, "mediaType": kind, "manifests": []}
        return web.json_response(index, headers=VERSION, content_type=kind)

    # -- writing -----------------------------------------------------------------------------------------------------

    async def begin_upload(self, request: web.BaseRequest, where: _Where) -> web.StreamResponse:
        """Or mount a blob that another repository has: all share them."""
        wanted = where.parameters.get("mount", "")
        if wanted and self._store.blob(_digest(wanted)).exists():
            return self._created(where, "blobs", wanted)
        name = self._uploads.begin()
        digest = where.parameters.get("digest", "")
        if digest:
            return await self._finish(request, where, name, _digest(digest))
        return self._progress(where, name, 202)

    async def append(self, request: web.BaseRequest, where: _Where) -> web.StreamResponse:
        start = request.headers.get("Content-Range", "").partition("-")[0]
        await self._uploads.append(where.rest, request.content.iter_any(), int(start) if start.isdecimal() else None)
        return self._progress(where, where.rest, 202)

    async def upload_status(self, request: web.BaseRequest, where: _Where) -> web.StreamResponse:
        del request
        return self._progress(where, where.rest, 204)

    async def finish_upload(self, request: web.BaseRequest, where: _Where) -> web.StreamResponse:
        return await self._finish(request, where, where.rest, _digest(where.parameters.get("digest", "")))

    async def cancel_upload(self, request: web.BaseRequest, where: _Where) -> web.StreamResponse:
        del request
        self._uploads.cancel(where.rest)
        return web.Response(status=204, headers=VERSION)

    async def put_manifest(self, request: web.BaseRequest, where: _Where) -> web.StreamResponse:
        content = b""
        async for chunk in request.content.iter_any():
            content += chunk
            if len(content) > MANIFEST_BYTES_MAX:
                raise RegistryError("SIZE_INVALID", "manifest too large")
        reference = where.reference()
        media_type = self._check_manifest(content, request.headers.get("Content-Type", ""))
        digest = f"sha256:{hashlib.sha256(content).hexdigest()}"
        if reference.digest and reference.digest != digest:
            raise RegistryError("DIGEST_INVALID", f"the manifest has the digest {digest}")
        if where.registry == self._ecr.host:
            await self._ecr.push(reference, content, digest, media_type)
        self._store.put_manifest(reference, content, media_type)
        return self._created(where, "manifests", digest)

    async def delete_manifest(self, request: web.BaseRequest, where: _Where) -> web.StreamResponse:
        del request
        if not self._store.remove(where.reference()):
            raise RegistryError("MANIFEST_UNKNOWN", "manifest unknown")
        return web.Response(status=202, headers=VERSION)

    def _check_manifest(self, content: bytes, media_type: str) -> str:
        try:
            manifest = json.loads(content)
            media_type = media_type or manifest.get("mediaType", "")
            single = "config" in manifest
            needed = [manifest["config"], *manifest["layers"]] if single else manifest["manifests"]
            digests = [_digest(each["digest"]) for each in needed]
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise RegistryError("MANIFEST_INVALID", f"manifest invalid: {error!r}") from error
        if media_type not in MANIFEST_TYPES:
            raise RegistryError("MANIFEST_INVALID", f"media type {media_type!r} is not an image's")
        missing = [digest for digest in digests if not self._store.blob(digest).exists()]
        if missing and single:
            raise RegistryError("MANIFEST_BLOB_UNKNOWN", f"blob unknown to registry: {missing[0]}")
        return media_type

    async def _finish(self, request: web.BaseRequest, where: _Where, name: str, digest: str) -> web.StreamResponse:
        await self._uploads.append(name, request.content.iter_any())
        self._uploads.finish(name, digest)
        return self._created(where, "blobs", digest)

    def _progress(self, where: _Where, name: str, status: int) -> web.Response:
        last = max(self._uploads.size(name) - 1, 0)
        headers = {"Location": where.path(f"blobs/uploads/{name}"), "Range": f"0-{last}", "Docker-Upload-UUID": name}
        return web.Response(status=status, headers={**VERSION, **headers})

    def _created(self, where: _Where, kind: str, digest: str) -> web.Response:
        headers = {"Location": where.path(f"{kind}/{digest}"), "Docker-Content-Digest": digest}
        return web.Response(status=201, headers={**VERSION, **headers})


class _Where:
    """What a request is about."""

    def __init__(self, registry: str, repository: str, kind: str, rest: str, parameters: dict[str, str]) -> None:
        self.registry = registry
        self.repository = repository
        self.is_blob = kind == "blobs"
        self.rest = rest
        self.parameters = parameters

    def reference(self) -> Reference:
        """Of a manifest, by tag or digest."""
        if DIGEST.fullmatch(self.rest):
            return Reference(self.registry, self.repository, digest=self.rest)
        if not valid_tag(self.rest):
            raise RegistryError("TAG_INVALID", f"invalid tag or digest: {self.rest}")
        return Reference(self.registry, self.repository, self.rest)

    def path(self, rest: str) -> str:
        return f"/v2/{self.registry}/{self.repository}/{rest}"


def _demand(principal: str) -> None:
    if not principal:
        raise RegistryError("UNAUTHORIZED", "authentication required: `aws ecr get-login-password` gives a password")


def _digest(text: str) -> str:
    if not DIGEST.fullmatch(text):
        raise RegistryError("DIGEST_INVALID", f"invalid digest: {text!r}")
    return text


Handler = Callable[[Registry, web.BaseRequest, _Where], Awaitable[web.StreamResponse]]

_HANDLERS: dict[tuple[str, str], Handler] = {
    ("blobs", "GET"): Registry.blob,
    ("blobs", "HEAD"): Registry.blob,
    ("manifests", "GET"): Registry.manifest,
    ("manifests", "HEAD"): Registry.manifest,
    ("tags", "GET"): Registry.tags,
    ("referrers", "GET"): Registry.referrers,
    ("blobs/uploads", "POST"): Registry.begin_upload,
    ("blobs/uploads", "GET"): Registry.upload_status,
    ("blobs/uploads", "PATCH"): Registry.append,
    ("blobs/uploads", "PUT"): Registry.finish_upload,
    ("blobs/uploads", "DELETE"): Registry.cancel_upload,
    ("manifests", "PUT"): Registry.put_manifest,
    ("manifests", "DELETE"): Registry.delete_manifest,
}

_PULL, _LAYER = "ecr:BatchGetImage", "ecr:GetDownloadUrlForLayer"
_ACTIONS: dict[tuple[str, str], str] = {
    ("blobs", "GET"): _LAYER,
    ("blobs", "HEAD"): _LAYER,
    ("manifests", "GET"): _PULL,
    ("manifests", "HEAD"): _PULL,
    ("tags", "GET"): "ecr:ListImages",
    ("referrers", "GET"): _PULL,
    ("blobs/uploads", "POST"): "ecr:InitiateLayerUpload",
    ("blobs/uploads", "GET"): "ecr:UploadLayerPart",
    ("blobs/uploads", "PATCH"): "ecr:UploadLayerPart",
    ("blobs/uploads", "PUT"): "ecr:CompleteLayerUpload",
    ("blobs/uploads", "DELETE"): "ecr:UploadLayerPart",
    ("manifests", "PUT"): "ecr:PutImage",
    ("manifests", "DELETE"): "ecr:BatchDeleteImage",
}
"""What a request needs in ECR, by IAM's name ("IAM permissions for pushing an image" of the ECR guide)."""
