"""Folders on a server or in a bucket: enough of what a `Path` can do to read the metadata of volumes there.

An address that begins with one of `SCHEMES` is remote; all others are paths. Remote volumes are read, never written.
"""

import os
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import tensorstore as ts

# What Amazon's own programs call a server of the lab's (MinIO, Ceph) that speaks S3.
ENDPOINT_VARIABLE = "AWS_ENDPOINT_URL"
AWS_VARIABLES = ("AWS_ACCESS_KEY_ID", "AWS_PROFILE", "AWS_WEB_IDENTITY_TOKEN_FILE", "AWS_SHARED_CREDENTIALS_FILE")
SCHEMES = ("https://", "http://", "s3://", "gs://")
RETRIES = 4  # of a request that fails, within seconds: a wrong address shall not take minutes to say so


@dataclass(frozen=True)
class RemoteFolder:
    """A folder, or a file in it, whose contents come over the network.

    Attributes:
      url: without a slash at the end.
    """

    url: str

    def __str__(self) -> str:
        return self.url

    def __truediv__(self, name: str) -> "RemoteFolder":
        return RemoteFolder(f"{self.url}/{name}")

    @property
    def name(self) -> str:
        """The last part of the address."""
        return self.url.rpartition("/")[2]

    @property
    def parent(self) -> "RemoteFolder":
        """The folder that this one is in."""
        return RemoteFolder(self.url.rpartition("/")[0])

    def kvstore(self) -> str | dict[str, str]:
        """Returns where TensorStore finds this folder.

        Buckets of `s3://` are Amazon's, or those of the server that the variable AWS_ENDPOINT_URL names.

        Example:
          >>> RemoteFolder("https://data.org/cell.zarr").kvstore()
          'https://data.org/cell.zarr/'
        """
        endpoint = os.environ.get(ENDPOINT_VARIABLE)
        if not (endpoint and self.url.startswith("s3://")):
            return f"{self.url}/"
        bucket, _, path = self.url.removeprefix("s3://").partition("/")
        region = os.environ.get("AWS_REGION") or os.environ.get("AWS_DEFAULT_REGION") or "us-east-1"
        spec = {"driver": "s3", "bucket": bucket, "endpoint": endpoint.rstrip("/"), "aws_region": region}
        return {**spec, "path": f"{path}/" if path else ""}

    @cached_property
    def _content(self) -> bytes | None:
        try:
            place = ts.KvStore.open(self.parent.kvstore(), context=ts.Context(network())).result()
            found = place.read(self.name).result()
        except ValueError as error:
            reason = str(error).splitlines()[0]
            raise ValueError(f"{self.url} cannot be read ({reason}); check the address and the network.") from error
        return bytes(found.value) if found.state == "value" else None

    def exists(self) -> bool:
        """Says whether there is a file of this name.

        Raises:
          ValueError: the server cannot be reached, or refuses.
        """
        return self._content is not None

    def read_text(self) -> str:
        """Returns the file's text.

        Raises:
          FileNotFoundError: there is none.
          ValueError: the server cannot be reached, or refuses.
        """
        if self._content is None:
            raise FileNotFoundError(f"{self.url} is not there; check the address.")
        return self._content.decode()


Folder = Path | RemoteFolder


def is_remote(address: str) -> bool:
    """Says whether an address is on a server or in a bucket."""
    return address.startswith(SCHEMES)


def locate(address: str) -> Folder:
    """Returns the folder of an address.

    Example:
      >>> locate("https://data.org/cell.zarr/raw").name, locate("cell.zarr/raw").name
      ('raw', 'raw')
    """
    return RemoteFolder(address) if is_remote(address) else Path(address)


def network() -> dict[str, Any]:
    """Returns how TensorStore goes about the network, for a context: how often it tries again, and as whom.

    Public buckets are read without a key, unless there is one: looking for it takes TensorStore seconds, and fails.
    """
    few = {"max_retries": RETRIES, "initial_delay": "200ms", "max_delay": "2s"}
    retries = {f"{kind}_request_retries": few for kind in ("http", "s3", "gcs")}
    has_key = any(name in os.environ for name in AWS_VARIABLES) or Path("~/.aws/credentials").expanduser().exists()
    return retries if has_key else {**retries, "aws_credentials": {"type": "anonymous"}}
