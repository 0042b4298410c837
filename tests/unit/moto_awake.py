"""moto's `mock_aws` for tests that need no region, after moto was woken as the region wakes it.

moto reads its data files when it is imported, once a process: whoever comes first decides, and tests of the region
need the images that waking adds.
"""

from __future__ import annotations

from moto import mock_aws

from twinplane.cloud.aws import waking

waking.wake("us-west-2", "123456789012")

__all__ = ["mock_aws"]
