"""EC2's query protocol: fields there and back, and a signature that fits."""

import boto3

from local.chaos.query import read_fields, signed, write_fields


def test_fields_come_back_as_they_went() -> None:
    fields = {"Action": "CreateFleet", "Tag.1.Value": "a b&c=ü", "Empty": ""}
    assert read_fields(write_fields(fields)) == fields


def test_a_request_is_signed_for_the_host_it_goes_to() -> None:
    session = boto3.Session(aws_access_key_id="AK", aws_secret_access_key="sk")
    headers = dict(signed(session, "http://127.0.0.1:4566", b"Action=X", region="us-east-1"))
    assert headers["Host"] == "127.0.0.1:4566"
    assert "Credential=AK/" in headers["Authorization"]
    assert "/us-east-1/ec2/aws4_request" in headers["Authorization"]
    assert headers["Content-Type"].startswith("application/x-www-form-urlencoded")


def test_another_body_has_another_signature() -> None:
    session = boto3.Session(aws_access_key_id="AK", aws_secret_access_key="sk")
    first, second = (
        dict(signed(session, "http://127.0.0.1:1", body, region="us-east-1"))["Authorization"]
        for body in (b"Action=X", b"Action=Y")
    )
    assert first != second
