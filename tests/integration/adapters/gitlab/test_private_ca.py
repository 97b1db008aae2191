"""A GitLab with a certificate authority of its own, and one behind a proxy."""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from adapters.gitlab.call_allowance import OwnAllowance
from adapters.gitlab.client import GitLab
from adapters.gitlab.tls_ca import AT_MOST, read_tls_ca
from adapters.gitlab.way import Way
from adapters.ledger.fleet import FleetRows
from adapters.ledger.trouble_watch import TroubleWatch
from fleet.errors import Refused, Transient
from fleet.trouble import TLS
from tests.fakes import AT, Clock, FakeTable
from tests.private_ca import Passed, PrivateCa, make_ca, small_proxy, tls_door
from tests.unit.adapters.fake_gitlab import FakeGitLab, fake_gitlab

NOW = datetime(2026, 11, 26, tzinfo=UTC)
VERSION = {"version": "19.1.0-ee"}


@dataclass(frozen=True, kw_only=True)
class Site:
    """A GitLab behind TLS, and a proxy beside it."""

    fake: FakeGitLab
    url: str  # https
    ca: PrivateCa
    proxy: Passed

    def gitlab(self, **facts: Any) -> GitLab:
        allowance = OwnAllowance(calls_per_minute=2000, clock=Clock())
        return GitLab(self.url, "glpat-1", allowance=allowance, **facts)


@pytest.fixture(scope="module")
def ca(tmp_path_factory: pytest.TempPathFactory) -> PrivateCa:
    return make_ca(tmp_path_factory.mktemp("ca"))


@pytest.fixture
def site(ca: PrivateCa, monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    for name in ("HTTPS_PROXY", "HTTP_PROXY", "NO_PROXY", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)
    with fake_gitlab() as fake, tls_door(fake.url, ca) as url, small_proxy() as proxy:
        fake.answers("GET", "/version", VERSION)
        yield Site(fake=fake, url=url, ca=ca, proxy=proxy)


def test_gitlabs_authority_is_trusted_where_fleet_toml_names_it(site: Site) -> None:
    assert site.gitlab(way=Way(tls_ca=site.ca.pem)).version() == "19.1.0-ee"


def test_without_it_the_error_names_the_setting_and_status_shows_it(site: Site) -> None:
    fleet = FleetRows(FakeTable())
    gitlab = site.gitlab(witness=TroubleWatch(fleet, Clock()))
    for _ in range(3):
        with pytest.raises(Transient, match="set tls_ca_file of"):
            gitlab.version()
    (trouble,) = fleet.troubles()
    assert (trouble.kind, trouble.call) == (TLS, "GET /version")
    assert "certificate" in trouble.words
    assert "glpat" not in trouble.words
    assert trouble.says.startswith("GitLab's certificate is not trusted since")
    assert "tls_ca_file" in trouble.do
    site.gitlab(witness=TroubleWatch(fleet, Clock()), way=Way(tls_ca=site.ca.pem)).version()
    assert fleet.troubles() == ()
    assert len(site.fake.requests) == 1


def test_another_authority_is_not_enough(site: Site, tmp_path: Path) -> None:
    other = make_ca(tmp_path)
    with pytest.raises(Transient, match="set tls_ca_file of"):
        site.gitlab(way=Way(tls_ca=other.pem)).version()


@pytest.mark.parametrize("by", ["fleet.toml", "environment"])
def test_a_proxy_carries_every_call(by: str, site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    proxy = site.proxy.url if by == "fleet.toml" else ""
    elsewhere = "http://127.0.0.1:1" if by == "fleet.toml" else site.proxy.url
    monkeypatch.setenv("HTTPS_PROXY", elsewhere)
    gitlab = site.gitlab(way=Way(tls_ca=site.ca.pem, proxy=proxy))
    assert gitlab.version() == "19.1.0-ee"
    assert site.proxy.connects == [f"CONNECT {site.url.removeprefix('https://')}"]


def test_a_proxy_that_does_not_answer_is_named(site: Site) -> None:
    gitlab = site.gitlab(way=Way(tls_ca=site.ca.pem, proxy="http://127.0.0.1:1"))
    with pytest.raises(Transient, match="check proxy of"):
        gitlab.version()


class TestFile:
    """What `tls_ca_file` may name."""

    def test_only_its_certificates_are_kept(self, ca: PrivateCa, tmp_path: Path) -> None:
        file = tmp_path / "ours.pem"
        file.write_text(f"# our authority\n{ca.pem}\nsome words\n{ca.pem}")
        certificates = read_tls_ca(file, at=NOW)
        assert certificates.count("BEGIN CERTIFICATE") == 2
        assert "words" not in certificates

    @pytest.mark.parametrize(
        ("content", "says"),
        [
            ("", "holds no certificate"),
            ("nothing", "holds no certificate"),
            ("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----", "cannot be read"),
            ("-----BEGIN CERTIFICATE-----\n???\n-----END CERTIFICATE-----", "cannot be read"),
            (b"\x30\x82\xff\xfe", "openssl x509 -inform der"),
        ],
    )
    def test_anything_else_is_refused(
        self, content: str | bytes, says: str, tmp_path: Path
    ) -> None:
        file = tmp_path / "ours.pem"
        file.write_bytes(content if isinstance(content, bytes) else content.encode())
        with pytest.raises(Refused, match=says) as caught:
            read_tls_ca(file, at=NOW)
        assert caught.value.facts == {"file": str(file)}

    def test_a_missing_file_is_refused(self, tmp_path: Path) -> None:
        with pytest.raises(Refused, match="No such file"):
            read_tls_ca(tmp_path / "none.pem", at=NOW)

    def test_a_key_is_refused_and_not_shown(self, ca: PrivateCa, tmp_path: Path) -> None:
        file = tmp_path / "both.pem"
        file.write_text(ca.pem + ca.key.read_text())
        with pytest.raises(Refused, match="private key") as caught:
            read_tls_ca(file, at=NOW)
        assert "BEGIN" not in str(caught.value)

    def test_an_expired_certificate_is_refused(self, tmp_path: Path) -> None:
        with pytest.raises(Refused, match="has expired on 2020-01-01"):
            read_tls_ca(make_ca(tmp_path, days=0).authority, at=NOW)

    def test_all_authorities_of_a_system_are_too_many(self, ca: PrivateCa, tmp_path: Path) -> None:
        file = tmp_path / "bundle.pem"
        file.write_text(ca.pem * (AT_MOST // len(ca.pem) + 1))
        with pytest.raises(Refused, match="over 64 KB"):
            read_tls_ca(file, at=AT + timedelta(days=1))


@pytest.mark.parametrize("name", ["zero", "pipe", "folder"])
def test_what_is_no_plain_file_is_not_read(name: str, tmp_path: Path) -> None:
    """A `fleet.toml` of a stranger may name one without an end."""
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "folder").mkdir()
    path = Path("/dev/zero") if name == "zero" else tmp_path / name
    with pytest.raises(Refused, match="no plain file"):
        read_tls_ca(path, at=NOW)
