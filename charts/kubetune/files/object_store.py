"""Prepares the embedded object store: its buckets, and a key of its own for each namespace that is listed.

Runs with every install and upgrade and changes only what differs. Settings are JSON on the command line; the accounts'
secret keys are files in ACCOUNTS, one for each namespace. The access key of a namespace is the namespace's name.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote
from xml.etree import ElementTree
from xml.sax.saxutils import escape

import boto3
from botocore.auth import S3SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.exceptions import BotoCoreError, ClientError
from botocore.httpsession import URLLib3Session

WAIT_SECONDS = 180
FOLDERS = ("finetunejobs", "evaluations", "namespaces")
"""A namespace's own folder in each: the operator's default outputs, and what its people upload."""
POLICY_ID = "kubetune"
"""Marks the policies that are this script's to remove."""
ARN = "arn:aws:s3:::"
FULL = (
    "the file system of the store's volume has no room for it: ext4 keeps about 3,800 bytes of attributes with a "
    "folder, xfs 64 KiB. List fewer namespaces in objectStore.credentialNamespaces, or use a volume with xfs"
)

Settings = dict[str, Any]
Place = tuple[str, str]
"""A bucket and the beginning of keys in it."""


class WrongSettingsError(Exception):
    """What waiting does not mend."""


class RefusedError(Exception):
    """The store's answer to an administrator's request."""


def place(text: str, bucket: str) -> Place:
    """Of ``base-models/`` in the bucket of the chart, or of ``s3://bucket/base-models/``."""
    if not text.startswith("s3://"):
        return bucket, text
    other, _, prefix = text.removeprefix("s3://").partition("/")
    return other, prefix


def own_places(settings: Settings, namespace: str) -> list[Place]:
    """Where the namespace reads and writes."""
    bucket = settings["bucket"]
    more = settings["namespacePrefixes"].get(namespace, ())
    return [(bucket, f"{folder}/{namespace}/") for folder in FOLDERS] + [place(text, bucket) for text in more]


def policies(settings: Settings) -> dict[str, dict[str, Any]]:
    """Bucket -> its policy; buckets without an entry have none."""
    found: dict[str, list[dict[str, Any]]] = {}
    for namespace in settings["namespaces"]:
        for bucket, prefixes in _grouped(own_places(settings, namespace)):
            found.setdefault(bucket, []).extend(
                statements(namespace, bucket, prefixes, ["s3:*Object", "s3:*Multipart*"])
            )
    shared = [place(text, settings["bucket"]) for text in settings["sharedPrefixes"]] if found else []
    for bucket, prefixes in _grouped(shared):
        found.setdefault(bucket, []).extend(statements(settings["namespaces"], bucket, prefixes, "s3:GetObject"))
    return {bucket: {"Version": "2012-10-17", "Id": POLICY_ID, "Statement": found[bucket]} for bucket in found}


def statements(who: str | list[str], bucket: str, prefixes: list[str], actions: str | list[str]) -> Iterator[Settings]:
    """Allows the actions on objects below the prefixes, and to list these. Kept short: see FULL."""
    objects = [f"{ARN}{bucket}/{prefix}*" for prefix in prefixes]
    yield {"Effect": "Allow", "Principal": who, "Action": actions, "Resource": objects}
    # With the star also unfinished uploads, to be aborted: versitygw takes s3:prefix for their action only so.
    listing = {"Effect": "Allow", "Principal": who, "Action": "s3:ListBucket*", "Resource": f"{ARN}{bucket}"}
    if "" not in prefixes:
        listing["Condition"] = {"StringLike": {"s3:prefix": [f"{prefix}*" for prefix in prefixes]}}
    yield listing


def _grouped(places: list[Place]) -> Iterator[tuple[str, list[str]]]:
    for bucket in dict.fromkeys(bucket for bucket, _ in places):
        yield bucket, [prefix for other, prefix in places if other == bucket]


def read_keys(settings: Settings, folder: Path) -> dict[str, str]:
    """Namespace -> secret key."""
    where = f"Secret {settings['accountsSecret']} of the release's namespace"
    keys = {name: folder / name for name in settings["namespaces"]}
    missing = [name for name, path in keys.items() if not path.is_file()]
    if missing:
        raise WrongSettingsError(
            f"objectStore.credentialNamespaces lists {', '.join(missing)}, for which the {where} has no secret key"
        )
    return {name: path.read_text(encoding="utf-8").strip() for name, path in keys.items()}


class Server:
    """The store, as root sees it."""

    def __init__(self, endpoint: str) -> None:
        session = boto3.session.Session()
        credentials: Any = session.get_credentials()
        self.endpoint, self.root = endpoint, str(credentials.access_key)
        self.s3: Any = session.client("s3", endpoint_url=endpoint)
        self._signer = S3SigV4Auth(credentials, "s3", session.region_name or "us-east-1")

    def make_buckets(self, names: list[str]) -> None:
        present = {bucket["Name"] for bucket in self.s3.list_buckets()["Buckets"]}
        for name in names:
            if name not in present:
                self.s3.create_bucket(Bucket=name)
            print(f"bucket {name}: {'there' if name in present else 'created'}")

    def make_accounts(self, keys: dict[str, str]) -> None:
        present = self.accounts()
        for name, key in keys.items():
            secret = f"<Secret>{escape(key)}</Secret>"
            if name not in present:
                self._admin("create-user", f"<Account><Access>{name}</Access>{secret}<Role>user</Role></Account>")
            elif present[name] != key:
                self._admin(f"update-user?access={name}", f"<MutableProps>{secret}</MutableProps>")
            done = "created" if name not in present else "there" if present[name] == key else "has a new key"
            print(f"account {name}: {done}")

    def remove_accounts(self, kept: dict[str, str]) -> None:
        for name in self.accounts().keys() - kept.keys():
            self._admin(f"delete-user?access={quote(name, safe='')}")
            print(f"account {name}: removed, as objectStore.credentialNamespaces lists it no more")

    def accounts(self) -> dict[str, str]:
        """Access key -> secret key."""
        answer = ElementTree.fromstring(self._admin("list-users"))  # noqa: S314 - the store's own answer
        return {one.findtext("Access", ""): one.findtext("Secret", "") for one in answer.iter("Accounts")}

    def set_policies(self, buckets: list[str], wanted: dict[str, dict[str, Any]]) -> None:
        for bucket in buckets:
            if bucket in wanted:
                self._set_policy(bucket, json.dumps(wanted[bucket], separators=(",", ":")))
            elif self._policy(bucket).get("Id") == POLICY_ID:
                self.s3.delete_bucket_policy(Bucket=bucket)
                print(f"bucket {bucket}: policy removed")

    def _set_policy(self, bucket: str, text: str) -> None:
        try:
            self.s3.put_bucket_policy(Bucket=bucket, Policy=text)
        except ClientError as error:
            if error.response["Error"]["Code"] == "InternalError" and len(text) > 2000:
                raise WrongSettingsError(
                    f"bucket {bucket}: the policy takes {len(text)} bytes and was refused; {FULL}"
                ) from error
            raise
        print(f"bucket {bucket}: policy of {len(text)} bytes")

    def _policy(self, bucket: str) -> dict[str, Any]:
        try:
            found: dict[str, Any] = json.loads(self.s3.get_bucket_policy(Bucket=bucket)["Policy"])
        except ClientError as error:
            if error.response["Error"]["Code"] == "NoSuchBucketPolicy":
                return {}
            raise
        return found

    def _admin(self, path: str, body: str = "") -> str:
        request = AWSRequest("PATCH", f"{self.endpoint.rstrip('/')}/{path}", data=body.encode())
        self._signer.add_auth(request)
        answer = URLLib3Session(timeout=30).send(request.prepare())
        if answer.status_code >= 400:
            raise RefusedError(f"{path.partition('?')[0]}: {answer.status_code} {answer.text}")
        return str(answer.text)


def prepare(server: Server, settings: Settings, keys: dict[str, str]) -> None:
    """Accounts come before the policies that name them, and go after."""
    buckets = [settings["bucket"], *settings["extraBuckets"]]
    wanted = policies(settings)
    if unknown := sorted(wanted.keys() - set(buckets)):
        raise WrongSettingsError(
            f"bucket {', '.join(unknown)} is neither objectStore.bucket nor in objectStore.extraBuckets"
        )
    if server.root in keys:
        raise WrongSettingsError(
            f"the root key's AWS_ACCESS_KEY_ID is {server.root!r}, the name of a namespace; change it"
        )
    server.make_buckets(buckets)
    server.make_accounts(keys)
    server.set_policies(buckets, wanted)
    server.remove_accounts(keys)


def main(settings: Settings, endpoint: str, accounts: Path) -> None:
    """Waits for the store. Ends the process with a message when it cannot be prepared."""
    deadline = time.monotonic() + WAIT_SECONDS
    while True:
        try:
            prepare(Server(endpoint), settings, read_keys(settings, accounts))
            return
        except WrongSettingsError as error:
            sys.exit(str(error))
        except (BotoCoreError, ClientError, RefusedError) as error:
            if time.monotonic() > deadline:
                sys.exit(f"the object store at {endpoint} cannot be prepared: {error}")
            time.sleep(2)


if __name__ == "__main__":
    main(json.loads(sys.argv[1]), os.environ["STORE_ENDPOINT"], Path(os.environ["ACCOUNTS"]))
