"""A cipher in memory: a text is opened only for the mailbox that it was sealed for."""

import json
from base64 import b64decode, b64encode

from fleet.errors import FleetError, Refused


class FakeCipher:
    """`adapters.aws.cipher.KmsCipher` in memory, both sides of it."""

    def __init__(self) -> None:
        self.failing: FleetError | None = None  # raised by the next call

    def seal(self, text: str, mailbox_id: str) -> str:
        self._may_fail()
        return b64encode(json.dumps([mailbox_id, text]).encode()).decode()

    def open(self, sealed: str, mailbox_id: str) -> str:
        self._may_fail()
        meant_for, text = json.loads(b64decode(sealed))
        if meant_for != mailbox_id:
            raise Refused(call="kms.Decrypt", code="InvalidCiphertextException")
        return str(text)

    def _may_fail(self) -> None:
        failing, self.failing = self.failing, None
        if failing is not None:
            raise failing
