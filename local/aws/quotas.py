"""Service Quotas, which MiniStack 1.5.33 does not have: each quota of an account that asked AWS."""

import json
from typing import Any

from ministack import app
from ministack.core import router

SERVICE, TARGET = "servicequotas", "ServiceQuotasV20190624"
ALLOWED = 64.0  # as many vCPUs as the engine allows functions at once


def install() -> None:
    """Patch the engine of this process; call once, before it serves."""
    router.SERVICE_PATTERNS[SERVICE] = {"target_prefixes": [TARGET]}
    app.SERVICE_HANDLERS[SERVICE] = _answer


async def _answer(
    _method: str, _path: str, headers: dict[str, str], body: bytes, _query: Any
) -> tuple[int, dict[str, str], bytes]:
    """`GetServiceQuota` and `GetAWSDefaultServiceQuota` of any quota."""
    action = headers.get("x-amz-target", "").rpartition(".")[2]
    if action not in {"GetServiceQuota", "GetAWSDefaultServiceQuota"}:
        return _json(400, {"__type": "UnknownOperationException", "message": action})
    asked = json.loads(body)
    codes = {key: asked[key] for key in ("ServiceCode", "QuotaCode")}
    return _json(200, {"Quota": {**codes, "Value": ALLOWED}})


def _json(status: int, answer: object) -> tuple[int, dict[str, str], bytes]:
    return status, {"Content-Type": "application/x-amz-json-1.1"}, json.dumps(answer).encode()
