"""The distribution API: pushes as docker makes them, pulls as nodes make them, and ECR's view of both."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from aiohttp import ClientResponse, ClientSession
from yarl import URL

from tests.unit.cloud import regions
from twinplane.images.reference import Reference
from twinplane.images.store import MANIFEST, ImageStore

ECR = f"{regions.ACCOUNT}.dkr.ecr.{regions.REGION}.amazonaws.com"
HUB = {"ns": "docker.io"}


class Client:
    """docker, as far as a registry sees it."""

    def __init__(self, region: regions.Region, session: ClientSession, token: str) -> None:
        self._url = region.cloud.endpoint_url
        self._session = session
        self.authorization = f"Basic {token}"

    async def send(
        self, method: str, path: str, headers: dict[str, str] | None = None, **options: Any
    ) -> ClientResponse:
        """`path` is sent as it is."""
        given = {"Authorization": self.authorization} if self.authorization else {}
        url = URL(self._url + path, encoded=True)
        answer = await self._session.request(method, url, headers={**given, **(headers or {})}, **options)
        await answer.read()
        return answer

    async def push_blob(self, name: str, content: bytes) -> str:
        digest = f"sha256:{hashlib.sha256(content).hexdigest()}"
        begun = await self.send("POST", f"/v2/{name}/blobs/uploads/")
        assert begun.status == 202, await begun.text()
        place = begun.headers["Location"]
        half = len(content) // 2
        sent = await self.send("PATCH", place, data=content[:half], headers={"Content-Range": f"0-{half - 1}"})
        assert (sent.status, sent.headers["Range"]) == (202, f"0-{half - 1}")
        done = await self.send("PUT", place, params={"digest": digest}, data=content[half:])
        assert done.status == 201, await done.text()
        assert done.headers["Docker-Content-Digest"] == digest
        return digest

    async def push(self, name: str, tag: str, layer: bytes = b"layer") -> ClientResponse:
        config, blob = await self.push_blob(name, b'{"a": 1}'), await self.push_blob(name, layer)
        content = json.dumps(
            {
                "schemaVersion": 2,
                "mediaType": MANIFEST,
                "config": {"mediaType": "application/vnd.oci.image.config.v1+json", "digest": config, "size": 8},
                "layers": [{"mediaType": "application/vnd.oci.image.layer.v1.tar", "digest": blob, "size": len(layer)}],
            }
        )
        return await self.send("PUT", f"/v2/{name}/manifests/{tag}", data=content, headers={"Content-Type": MANIFEST})


@pytest.fixture
async def region(tmp_path: Path) -> AsyncIterator[regions.Region]:
    async with regions.region(tmp_path / "region", images=tmp_path / "images") as found:
        yield found


@pytest.fixture
async def client(region: regions.Region) -> AsyncIterator[Client]:
    data = (await region.call("ecr", "get_authorization_token"))["authorizationData"][0]
    assert base64.b64decode(data["authorizationToken"]).startswith(b"AWS:")
    assert data["proxyEndpoint"] == f"https://{ECR}"
    async with ClientSession() as session:
        yield Client(region, session, data["authorizationToken"])


async def codes(answer: ClientResponse) -> tuple[int, str]:
    return answer.status, (await answer.json())["errors"][0]["code"]


async def test_what_is_pushed_under_any_name_is_pulled_by_nodes(client: Client) -> None:
    assert (await client.push("docker.io/library/nginx", "1.25")).status == 201
    client.authorization = ""
    found = await client.send("GET", "/v2/library/nginx/manifests/1.25", params=HUB)
    assert (found.status, found.headers["Content-Type"]) == (200, MANIFEST)
    digest = json.loads(await found.read())["layers"][0]["digest"]
    blob = await client.send("GET", f"/v2/library/nginx/blobs/{digest}", params=HUB)
    assert await blob.read() == b"layer"
    part = await client.send("GET", f"/v2/library/nginx/blobs/{digest}", params=HUB, headers={"Range": "bytes=1-2"})
    assert (part.status, await part.read()) == (206, b"ay")
    head = await client.send("HEAD", "/v2/library/nginx/manifests/1.25", params=HUB)
    assert head.headers["Docker-Content-Digest"] == found.headers["Docker-Content-Digest"]
    by_digest = f"/v2/library/nginx/manifests/{head.headers['Docker-Content-Digest']}"
    assert (await client.send("GET", by_digest, params=HUB)).status == 200
    other = await client.send("GET", "/v2/library/nginx/manifests/1.25", params={"ns": "quay.io"})
    assert await codes(other) == (404, "MANIFEST_UNKNOWN")
    tags = await client.send("GET", "/v2/library/nginx/tags/list", params=HUB)
    assert await tags.json() == {"name": "library/nginx", "tags": ["1.25"]}


async def test_writing_needs_a_password(client: Client) -> None:
    assert (await client.send("GET", "/v2/")).status == 200
    client.authorization = ""
    ping = await client.send("GET", "/v2/")
    assert ping.headers["WWW-Authenticate"].startswith("Basic ")
    assert await codes(ping) == (401, "UNAUTHORIZED")
    client.authorization = f"Basic {base64.b64encode(b'AWS:9999999999.forged').decode()}"
    assert await codes(await client.send("POST", "/v2/a.b/c/blobs/uploads/")) == (401, "UNAUTHORIZED")


@pytest.mark.parametrize(
    ("method", "path", "expected"),
    [
        ("GET", "/v2/docker.io/a/blobs/sha256:1", (400, "DIGEST_INVALID")),
        ("GET", f"/v2/docker.io/a/blobs/sha256:{'0' * 64}", (404, "BLOB_UNKNOWN")),
        ("GET", "/v2/docker.io/A/manifests/1", (400, "NAME_INVALID")),
        ("GET", "/v2/a.b/%2e%2e/x/manifests/1", (400, "NAME_INVALID")),
        ("GET", "/v2/docker.io/a/manifests/-", (400, "TAG_INVALID")),
        ("GET", "/v2/none", (400, "NAME_INVALID")),
        ("GET", "/v2/docker.io/a/tags/list", (404, "NAME_UNKNOWN")),
        ("PUT", "/v2/docker.io/a/manifests/1", (400, "MANIFEST_INVALID")),
        ("PUT", "/v2/docker.io/a/blobs/uploads/none?digest=x", (400, "DIGEST_INVALID")),
        ("PATCH", "/v2/docker.io/a/blobs/uploads/none", (404, "BLOB_UPLOAD_UNKNOWN")),
        ("DELETE", "/v2/docker.io/a/manifests/1", (404, "MANIFEST_UNKNOWN")),
        ("DELETE", "/v2/docker.io/a/tags/list", (405, "UNSUPPORTED")),
        ("POST", "/v2/unknown/blobs/uploads/", (404, "NAME_UNKNOWN")),
    ],
)
async def test_mistakes(client: Client, method: str, path: str, expected: tuple[int, str]) -> None:
    answer = await client.send(method, path, data=b"{}" if method != "GET" else None)
    assert await codes(answer) == expected


async def test_content_that_is_another_one_is_refused(client: Client) -> None:
    begun = await client.send("POST", "/v2/docker.io/a/blobs/uploads/")
    wrong = {"digest": f"sha256:{'0' * 64}"}
    done = await client.send("PUT", begun.headers["Location"], params=wrong, data=b"x")
    assert await codes(done) == (400, "DIGEST_INVALID")
    content = json.dumps({"config": wrong, "layers": []})
    put = await client.send("PUT", "/v2/docker.io/a/manifests/1", data=content, headers={"Content-Type": MANIFEST})
    assert await codes(put) == (400, "MANIFEST_BLOB_UNKNOWN")


async def test_ecr_shows_pushes_and_its_deletions_count(region: regions.Region, client: Client, tmp_path: Path) -> None:
    assert await codes(await client.send("POST", "/v2/web/blobs/uploads/")) == (404, "NAME_UNKNOWN")
    await region.call("ecr", "create_repository", repositoryName="web", imageTagMutability="IMMUTABLE")
    pushed = await client.push("web", "1")
    assert pushed.status == 201, await pushed.text()
    (image,) = (await region.call("ecr", "describe_images", repositoryName="web"))["imageDetails"]
    assert (image["imageDigest"], image["imageTags"]) == (pushed.headers["Docker-Content-Digest"], ["1"])
    assert (await client.push("web", "1")).status == 201
    assert await codes(await client.push("web", "1", b"another layer")) == (400, "TAG_INVALID")
    assert (await client.send("GET", "/v2/web/manifests/1", params={"ns": ECR})).status == 200

    await region.call("ecr", "batch_delete_image", repositoryName="web", imageIds=[{"imageTag": "1"}])
    store = ImageStore(tmp_path / "images")
    async with asyncio.timeout(60):
        while store.find(Reference(ECR, "web", "1")) is not None:
            await asyncio.sleep(0.01)


async def test_ecr_wants_a_password_and_asks_the_policies_of_its_owner(region: regions.Region, client: Client) -> None:
    await region.call("ecr", "create_repository", repositoryName="app")
    await region.call("ecr", "create_repository", repositoryName="open")
    layer = b"secret layer"
    for name in ("app", "open"):
        assert (await client.push(name, "1", layer)).status == 201
    administrators = client.authorization
    client.authorization = ""
    assert await codes(await client.send("GET", "/v2/app/manifests/1", params={"ns": ECR})) == (401, "UNAUTHORIZED")
    # Nor does another name lead to its layers.
    digest = f"sha256:{hashlib.sha256(layer).hexdigest()}"
    assert await codes(await client.send("GET", f"/v2/a/blobs/{digest}", params=HUB)) == (404, "BLOB_UNKNOWN")
    principal = {"Service": "ec2.amazonaws.com"}
    statement = {"Effect": "Allow", "Principal": principal, "Action": "sts:AssumeRole"}
    trust = {"Version": "2012-10-17", "Statement": [statement]}
    await region.call("iam", "create_role", RoleName="node", AssumeRolePolicyDocument=json.dumps(trust))
    arn = f"arn:aws:sts::{regions.ACCOUNT}:assumed-role/node/i-1"
    ecr = region.client("ecr", region.cloud.issue_role_credentials(arn))
    with pytest.raises(ecr.exceptions.ClientError, match=r"User: .*/i-1 is not authorized to perform: ecr:GetAuthor"):
        await asyncio.to_thread(ecr.get_authorization_token)
    await allow(region, "ecr:GetAuthorizationToken", "*")
    data = (await asyncio.to_thread(ecr.get_authorization_token))["authorizationData"][0]
    client.authorization = f"Basic {data['authorizationToken']}"
    denied = await client.send("GET", "/v2/app/manifests/1", params={"ns": ECR})
    assert await codes(denied) == (403, "DENIED")
    assert "ecr:BatchGetImage on resource: arn:aws:ecr" in (await denied.json())["errors"][0]["message"]
    await allow(region, "ecr:BatchGetImage", f"arn:aws:ecr:{regions.REGION}:{regions.ACCOUNT}:repository/app")
    assert (await client.send("GET", "/v2/app/manifests/1", params={"ns": ECR})).status == 200
    assert await codes(await client.send("GET", "/v2/open/manifests/1", params={"ns": ECR})) == (403, "DENIED")
    everybody = {"Effect": "Allow", "Principal": {"AWS": regions.ACCOUNT}, "Action": ["ecr:BatchGetImage"]}
    text = json.dumps({"Version": "2012-10-17", "Statement": [everybody]})
    await region.call("ecr", "set_repository_policy", repositoryName="open", policyText=text)
    assert (await client.send("GET", "/v2/open/manifests/1", params={"ns": ECR})).status == 200
    assert await codes(await client.send("PUT", "/v2/open/manifests/2", data=b"{}")) == (403, "DENIED")
    client.authorization = administrators
    assert (await client.send("GET", f"/v2/app/blobs/{digest}", params={"ns": ECR})).status == 200


async def allow(region: regions.Region, action: str, resource: str) -> None:
    document = {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": action, "Resource": resource}]}
    name = action.partition(":")[2]
    await region.call("iam", "put_role_policy", RoleName="node", PolicyName=name, PolicyDocument=json.dumps(document))
