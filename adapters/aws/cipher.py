"""The stack's KMS key: seals the secret parts of credentials, each for one mailbox.

The mailbox is the encryption context. The key's own policy says who may seal, and that a machine
opens what names its own mailbox.
"""

from base64 import b64decode, b64encode
from binascii import Error as NotBase64
from typing import Any, Protocol

from adapters.aws.clients import aws_call
from fleet.errors import Refused

TAKEN_BYTES = 4096  # by one call of KMS


class KmsClient(Protocol):
    """The part of boto3's client that a cipher needs."""

    def encrypt(self, **request: Any) -> Any:
        """KMS's Encrypt."""

    def decrypt(self, **request: Any) -> Any:
        """KMS's Decrypt."""


class KmsCipher:
    """Seals and opens with one key. Every call raises `Transient` or `Refused`, nothing else."""

    def __init__(self, client: KmsClient, key: str) -> None:
        """`key`: its ARN or id."""
        self._client = client
        self._key = key

    def seal(self, text: str, mailbox_id: str) -> str:
        """The text sealed for a mailbox, as Base64. Raises `Refused` for more than 4 KiB."""
        plain = text.encode()
        if len(plain) > TAKEN_BYTES:
            raise Refused("the secrets of a credential are too long", bytes=len(plain))
        with aws_call("kms.Encrypt"):
            answer = self._client.encrypt(
                KeyId=self._key, Plaintext=plain, EncryptionContext=_context(mailbox_id)
            )
        return b64encode(answer["CiphertextBlob"]).decode()

    def open(self, sealed: str, mailbox_id: str) -> str:
        """The text that was sealed for this mailbox. Raises `Refused` for anything else."""
        try:
            blob = b64decode(sealed, validate=True)
        except (NotBase64, TypeError, ValueError):
            raise Refused("this credential is not sealed") from None
        with aws_call("kms.Decrypt"):
            answer = self._client.decrypt(
                KeyId=self._key, CiphertextBlob=blob, EncryptionContext=_context(mailbox_id)
            )
        return str(answer["Plaintext"], "utf-8")


def _context(mailbox_id: str) -> dict[str, str]:
    return {"mailbox": mailbox_id}
