"""Files of TLS that change: what is taken, what is told of, and when; by looks and a set clock."""

import logging
import time
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, generate_private_key
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    PrivateFormat,
)
from tests.requirements import requirement
from tests.support.certificates import Authority, Files

from linkspan_process.tls import TlsConfig
from linkspan_process.tls.identity import TlsFileError, load_identity
from linkspan_process.tls.watching import TlsFiles

DAY = 24 * 3600.0


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path / "authority")


class Clock:
    """A wall clock that is set."""

    def __init__(self) -> None:
        self.now = time.time()

    def __call__(self) -> float:
        return self.now


def config_of(files: Files) -> TlsConfig:
    return TlsConfig(tls_cert=files.cert, tls_key=files.key, tls_ca=files.ca)


@requirement("tls.reload")
def test_a_change_is_taken_once_it_looks_the_same_twice(authority: Authority) -> None:
    files = authority.issue("one")
    tls = TlsFiles(config_of(files))
    first = tls.identity
    assert not tls.look()
    files.replace_with(authority.issue("two"))
    assert not tls.look()
    assert tls.identity is first
    assert tls.look()
    assert tls.identity != first
    assert not tls.look()


@requirement("tls.reload")
def test_files_that_are_half_written_are_not_complained_of(
    authority: Authority, caplog: pytest.LogCaptureFixture
) -> None:
    files = authority.issue("one")
    tls = TlsFiles(config_of(files))
    other = authority.issue("two")
    files.cert.write_bytes(other.cert.read_bytes())  # the key is still that of the old one
    assert not tls.look()
    files.key.write_bytes(other.key.read_bytes())
    assert not tls.look()
    assert tls.look()
    assert [record for record in caplog.records if record.levelno >= logging.WARNING] == []


@requirement("tls.reload")
def test_a_file_that_goes_away_is_told_of_once_and_taken_when_it_is_back(
    authority: Authority, caplog: pytest.LogCaptureFixture
) -> None:
    files = authority.issue("one")
    tls = TlsFiles(config_of(files))
    first, kept = tls.identity, files.key.read_bytes()
    files.key.unlink()
    assert not any(tls.look() for _ in range(5))
    (record,) = caplog.records
    assert "No such file or directory; the certificate that was in use" in record.getMessage()
    files.key.write_bytes(kept)
    tls.look()
    assert not tls.look()  # it is what is in use
    assert tls.identity is first
    assert len(caplog.records) == 1


@requirement("tls.reload")
def test_a_certificate_that_begins_later_is_told_of_once_and_taken_when_it_has_begun(
    authority: Authority, caplog: pytest.LogCaptureFixture
) -> None:
    clock = Clock()
    files = authority.issue("one")
    tls = TlsFiles(config_of(files), clock=clock)
    files.replace_with(authority.issue("tomorrow", begun_ago=timedelta(days=-1)))
    assert not any(tls.look() for _ in range(5))
    (record,) = caplog.records
    assert ": begins on " in record.getMessage()
    clock.now += 2 * DAY
    assert tls.look()


def test_files_that_are_swapped_through_a_link_are_seen(
    authority: Authority, tmp_path: Path
) -> None:
    one, two = authority.issue("one"), authority.issue("two")
    link = tmp_path / "now"
    link.symlink_to(one.cert)
    key = tmp_path / "key"
    key.symlink_to(one.key)
    tls = TlsFiles(TlsConfig(tls_cert=link, tls_key=key, tls_ca=one.ca))
    for place, target in ((link, two.cert), (key, two.key)):
        (tmp_path / "next").symlink_to(target)
        (tmp_path / "next").replace(place)
    tls.look()
    assert tls.look()


@requirement("tls.expiry")
def test_the_end_of_a_certificate_is_warned_of_once_before_and_once_after(
    authority: Authority, caplog: pytest.LogCaptureFixture
) -> None:
    clock = Clock()
    files = authority.issue("short", begun_ago=timedelta(0), ends_in=timedelta(days=10))
    tls = TlsFiles(config_of(files), clock=clock)
    assert tls.seconds_left() in range(round(10 * DAY) - 60, round(10 * DAY) + 1)
    tls.look()
    assert caplog.records == []
    clock.now += 9 * DAY
    for _ in range(3):
        tls.look()
    (near,) = caplog.records
    assert near.levelno == logging.WARNING
    assert "replace it" in near.getMessage()
    clock.now += 2 * DAY
    for _ in range(3):
        tls.look()
    assert tls.seconds_left() < 0
    assert [record.levelno for record in caplog.records] == [logging.WARNING, logging.ERROR]


def test_a_key_that_every_user_may_read_is_warned_of(
    authority: Authority, caplog: pytest.LogCaptureFixture
) -> None:
    files = authority.issue("one")
    TlsFiles(config_of(files))
    assert caplog.records == []
    files.key.chmod(0o644)
    TlsFiles(config_of(files))
    assert "every user of this machine may read it" in caplog.text


def test_no_part_of_a_key_is_printed(authority: Authority) -> None:
    identity = TlsFiles(config_of(authority.issue("one"))).identity
    assert "PRIVATE KEY" not in f"{identity!r} {identity}"


@requirement("tls.settings")
def test_what_is_wrong_with_a_file_is_said(authority: Authority, tmp_path: Path) -> None:
    good = authority.issue("good")
    late = authority.issue("late", ends_in=timedelta(seconds=-60))
    early = authority.issue("early", begun_ago=timedelta(days=-1))
    locked, noise = tmp_path / "locked.key", tmp_path / "noise.pem"
    locked.write_bytes(
        generate_private_key(SECP256R1()).private_bytes(
            Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"secret")
        )
    )
    noise.write_text("-----BEGIN CERTIFICATE-----\nno\n-----END CERTIFICATE-----\n")
    config = config_of(good)
    for wrong, words in (
        (replace(config, tls_cert=tmp_path / "none"), f"--tls-cert {tmp_path}/none: No such file"),
        (replace(config, tls_cert=tmp_path), f"--tls-cert {tmp_path}: Is a directory"),
        (replace(config, tls_cert=noise), f"--tls-cert {noise}: holds no certificate in PEM"),
        (replace(config, tls_ca=noise), f"--tls-ca {noise}: holds no certificate in PEM"),
        (replace(config, tls_key=good.cert), f"--tls-key {good.cert}: holds no private key in PEM"),
        (replace(config, tls_key=locked), f"--tls-key {locked}: is encrypted; give it in clear"),
        (replace(config, tls_key=late.key), f"--tls-key {late.key}: is not the key of the certif"),
        (config_of(late), f"--tls-cert {late.cert}: ended on "),
        (config_of(early), f"--tls-cert {early.cert}: begins on "),
    ):
        with pytest.raises(TlsFileError) as refused:
            load_identity(wrong, time.time())
        assert str(refused.value).startswith(words), refused.value
