"""Names of images, as container runtimes read them."""

from __future__ import annotations

import pytest

from twinplane.images.reference import BadReference, parse

DIGEST = "sha256:" + "0" * 64


@pytest.mark.parametrize(
    ("text", "full", "familiar"),
    [
        ("nginx", "docker.io/library/nginx:latest", "nginx:latest"),
        ("nginx:1.25", "docker.io/library/nginx:1.25", "nginx:1.25"),
        ("bitnami/redis:7", "docker.io/bitnami/redis:7", "bitnami/redis:7"),
        ("index.docker.io/library/a", "docker.io/library/a:latest", "a:latest"),
        ("localhost/app", "localhost/app:latest", "localhost/app:latest"),
        ("localhost:5000/app:2", "localhost:5000/app:2", "localhost:5000/app:2"),
        ("quay.io/org/app:v1", "quay.io/org/app:v1", "quay.io/org/app:v1"),
        (f"nginx@{DIGEST}", f"docker.io/library/nginx@{DIGEST}", f"nginx@{DIGEST}"),
        (f"ghcr.io/a/b:1@{DIGEST}", f"ghcr.io/a/b@{DIGEST}", f"ghcr.io/a/b@{DIGEST}"),
    ],
)
def test_names_in_full_and_familiar(text: str, full: str, familiar: str) -> None:
    assert (str(parse(text)), parse(text).familiar) == (full, familiar)


@pytest.mark.parametrize("text", ["", "Nginx", "a/../b", "a b", "nginx:", "nginx:-1", "x@sha256:1", "/a", "a//b"])
def test_what_is_no_name_is_refused(text: str) -> None:
    with pytest.raises(BadReference):
        parse(text)
