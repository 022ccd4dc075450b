"""Creates the buckets named on the command line unless they exist; waits up to three minutes for the store."""

import os
import sys
import time

import boto3
from botocore.exceptions import BotoCoreError, ClientError

store = boto3.client("s3", endpoint_url=os.environ["STORE_ENDPOINT"])
deadline = time.monotonic() + 180
while True:
    try:
        present = {bucket["Name"] for bucket in store.list_buckets()["Buckets"]}
        for name in sys.argv[1:]:
            if name not in present:
                store.create_bucket(Bucket=name)
            print(f"bucket {name}: {'there' if name in present else 'created'}")
        break
    except (BotoCoreError, ClientError) as error:
        if time.monotonic() > deadline:
            sys.exit(f"the object store at {os.environ['STORE_ENDPOINT']} cannot be used: {error}")
        time.sleep(2)
