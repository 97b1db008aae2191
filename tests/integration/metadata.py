"""The instance metadata of a machine, as EC2 has it."""

from typing import Any

from local.machines.imds import InstanceMetadata

KEYS = {
    "AWS_ACCESS_KEY_ID": "ASIA",
    "AWS_SECRET_ACCESS_KEY": "secret",
    "AWS_SESSION_TOKEN": "session",
}


def instance(instance_id: str = "i-1", **changes: Any) -> InstanceMetadata:
    usual: dict[str, Any] = {
        "instance_id": instance_id,
        "region": "eu-central-1",
        "zone": "eu-central-1a",
        "instance_type": "m7i.large",
        "image_id": "ami-1",
        "role": "machine",
        "tags": {"runner-fleet:stack": "fleet", "Name": "rf-1"},
        "user_data": "#!/bin/bash\necho",
        "role_keys": lambda: KEYS,
    }
    return InstanceMetadata(**(usual | changes))
