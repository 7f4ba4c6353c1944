"""Keys of an issuer that changes, is slow, is away, or points elsewhere: over real HTTP."""

import asyncio
import time
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
from tests.auth.issuer import CLIENT_ID, CLIENT_SECRET, WAIT_SECONDS, Issuer, running_issuer
from tests.requirements import requirement
from tests.support.waiting import wait_until

from linkspan_auth import (
    Authenticator,
    AuthSettings,
    ClientSecret,
    Denial,
    Identity,
    Reason,
    authenticating,
    introspection,
)
from linkspan_auth.fetching import MAX_DOCUMENT_BYTES
from linkspan_auth.introspection import MAX_AT_ONCE
from linkspan_auth.refreshing import Refreshed

RESOURCE = "https://mcp.example/mcp"


@asynccontextmanager
async def verifying(issuer: Issuer, **settings: Any) -> AsyncGenerator[Authenticator]:
    more: dict[str, Any] = {"refresh_interval_seconds": 0.01, **settings}
    async with authenticating(AuthSettings(RESOURCE, (issuer.name,), **more)) as authenticator:
        yield authenticator


async def look(authenticator: Authenticator, token: str) -> Identity | Denial:
    async with asyncio.timeout(WAIT_SECONDS):
        return await authenticator.authenticate([f"Bearer {token}"])


async def until(authenticator: Authenticator, token: str, reason: Reason | None) -> None:
    """Ask until a token is judged so; None is verified."""
    async with asyncio.timeout(WAIT_SECONDS):
        while True:
            found = await look(authenticator, token)
            if (found.reason if isinstance(found, Denial) else None) is reason:
                return
            await asyncio.sleep(0.02)


def with_issuer(test: Callable[[Issuer], Awaitable[None]], path: str = "") -> None:
    with running_issuer(path) as issuer:
        asyncio.run(_run(test(issuer)))


async def _run(test: Awaitable[None]) -> None:
    await test


@requirement("auth.keys")
def test_a_hundred_first_requests_fetch_the_keys_once() -> None:
    async def test(issuer: Issuer) -> None:
        issuer.held.clear()
        async with verifying(issuer) as authenticator:
            tokens = [issuer.token(RESOURCE, subject=f"s{number}") for number in range(100)]
            looks = [asyncio.create_task(look(authenticator, token)) for token in tokens]
            await asyncio.to_thread(wait_until, lambda: bool(issuer.asked), "a fetch")
            issuer.held.set()
            found = await asyncio.gather(*looks)
        assert {each.subject for each in found if isinstance(each, Identity)} == {
            f"s{number}" for number in range(100)
        }
        assert issuer.asked["/jwks"] == 1
        assert issuer.asked["/.well-known/oauth-authorization-server"] == 1

    with_issuer(test)


@requirement("auth.keys")
def test_somebody_who_goes_away_does_not_take_the_fetch_from_the_others() -> None:
    async def test(issuer: Issuer) -> None:
        issuer.held.clear()
        async with verifying(issuer) as authenticator:
            token = issuer.token(RESOURCE)
            leaving = asyncio.create_task(look(authenticator, token))
            staying = asyncio.create_task(look(authenticator, token))
            await asyncio.to_thread(wait_until, lambda: bool(issuer.asked), "a fetch")
            leaving.cancel()
            issuer.held.set()
            assert isinstance(await staying, Identity)
            with pytest.raises(asyncio.CancelledError):
                await leaving

    with_issuer(test)


@requirement("auth.rotation")
def test_a_rotated_key_is_fetched_and_the_old_one_goes_out_of_use() -> None:
    async def test(issuer: Issuer) -> None:
        async with verifying(issuer, remember_seconds=0.001) as authenticator:
            old = issuer.token(RESOURCE)
            await until(authenticator, old, None)
            issuer.rsa_kid = "rsa-2"
            await until(authenticator, issuer.token(RESOURCE), None)
            await until(authenticator, old, Reason.UNKNOWN_KEY)

    with_issuer(test)


@requirement("auth.rotation")
def test_unknown_keys_fetch_no_more_often_than_the_interval_allows() -> None:
    async def test(issuer: Issuer) -> None:
        async with verifying(issuer, refresh_interval_seconds=3600) as authenticator:
            assert isinstance(await look(authenticator, issuer.token(RESOURCE)), Identity)
            for number in range(50):
                made_up = issuer.token(RESOURCE, header={"kid": f"k{number}"})
                assert await look(authenticator, made_up) == Denial(Reason.UNKNOWN_KEY)
        assert issuer.asked["/jwks"] == 1

    with_issuer(test)


@requirement("auth.issuer-away")
def test_known_keys_are_served_stale_while_the_issuer_is_away() -> None:
    async def test(issuer: Issuer) -> None:
        async with verifying(issuer) as authenticator:
            await until(authenticator, issuer.token(RESOURCE), None)
            issuer.away = True
            unknown = issuer.token(RESOURCE, header={"kid": "new"})
            await until(authenticator, unknown, Reason.ISSUER_AWAY)
            assert isinstance(await look(authenticator, issuer.token(RESOURCE)), Identity)
            issuer.away, issuer.rsa_kid = False, "new"
            await until(authenticator, unknown, None)

    with_issuer(test)


@requirement("auth.issuer-away")
def test_an_issuer_that_was_never_reached_is_503_with_a_time_and_recovers() -> None:
    async def test(issuer: Issuer) -> None:
        issuer.away = True
        async with verifying(issuer) as authenticator:
            found = await look(authenticator, issuer.token(RESOURCE))
            assert isinstance(found, Denial)
            assert (found.reason, found.status, found.error) == (Reason.ISSUER_AWAY, 503, "")
            assert found.retry_after_seconds >= 1
            issuer.away = False
            await until(authenticator, issuer.token(RESOURCE), None)

    with_issuer(test)


@requirement("auth.keys")
def test_what_is_old_is_given_out_while_a_newer_one_is_fetched() -> None:
    async def test() -> None:
        now = 0.0
        fetched = 0
        may_end = asyncio.Event()

        async def load() -> int:
            nonlocal fetched
            await may_end.wait()
            fetched += 1
            return fetched

        async with asyncio.timeout(WAIT_SECONDS), asyncio.TaskGroup() as tasks:
            document = Refreshed(
                "it", load, tasks, max_age_seconds=60, min_interval_seconds=1, monotonic=lambda: now
            )
            may_end.set()
            assert await document.get() == 1
            may_end.clear()
            now = 59
            assert await document.get() == 1
            now = 60
            assert await document.get() == 1
            waiting = asyncio.create_task(document.newer_than(1))
            may_end.set()
            assert await waiting == 2
            assert await document.get() == 2

    asyncio.run(test())


def test_an_issuer_with_a_path_is_found_where_rfc_8414_puts_it() -> None:
    async def test(issuer: Issuer) -> None:
        async with verifying(issuer) as authenticator:
            assert isinstance(await look(authenticator, issuer.token(RESOURCE)), Identity)
        assert issuer.asked["/.well-known/oauth-authorization-server/tenant"] == 1

    with_issuer(test, "/tenant")


@requirement("auth.fetch-bounds")
def test_a_redirect_of_the_keys_is_not_followed() -> None:
    async def test(issuer: Issuer) -> None:
        issuer.redirect_keys_to = f"{issuer.name}/elsewhere"
        async with verifying(issuer) as authenticator:
            found = await look(authenticator, issuer.token(RESOURCE))
        assert isinstance(found, Denial)
        assert found.reason is Reason.ISSUER_AWAY
        assert issuer.asked["/elsewhere"] == 0

    with_issuer(test)


@requirement("auth.fetch-bounds")
def test_a_key_set_over_the_limit_is_not_taken() -> None:
    async def test(issuer: Issuer) -> None:
        issuer.extra_bytes = MAX_DOCUMENT_BYTES
        async with verifying(issuer) as authenticator:
            found = await look(authenticator, issuer.token(RESOURCE))
        assert isinstance(found, Denial)
        assert found.reason is Reason.ISSUER_AWAY

    with_issuer(test)


def test_metadata_of_another_issuer_are_not_believed() -> None:
    async def test(issuer: Issuer) -> None:
        issuer.says_it_is = "https://other.example"
        async with verifying(issuer) as authenticator:
            found = await look(authenticator, issuer.token(RESOURCE))
        assert isinstance(found, Denial)
        assert found.reason is Reason.ISSUER_AWAY

    with_issuer(test)


@requirement("auth.remembered")
def test_a_verified_token_is_remembered_but_not_past_its_own_end() -> None:
    async def test(issuer: Issuer) -> None:
        async with verifying(issuer) as authenticator:
            token = issuer.token(RESOURCE, exp=int(time.time()) + 2)
            first = await look(authenticator, token)
            assert isinstance(first, Identity)
            assert await look(authenticator, token) is first
            await until(authenticator, token, Reason.EXPIRED)

    with_issuer(test)


@requirement("auth.fetch-bounds")
def test_an_issuer_that_never_answers_is_given_up_in_time() -> None:
    async def test(issuer: Issuer) -> None:
        issuer.held.clear()
        async with verifying(issuer) as authenticator:
            found = await look(authenticator, issuer.token(RESOURCE))
        assert isinstance(found, Denial)
        assert found.reason is Reason.ISSUER_AWAY

    with_issuer(test)


@requirement("auth.opaque")
def test_a_token_is_asked_about_once_at_a_time_and_too_many_are_shed() -> None:
    async def test(issuer: Issuer) -> None:
        known = {"active": True, "sub": "alice", "aud": RESOURCE}
        issuer.opaque = {f"t{number}": known for number in range(MAX_AT_ONCE)}
        client = ClientSecret(CLIENT_ID, CLIENT_SECRET)
        async with verifying(issuer, client=client) as authenticator:
            await until(authenticator, issuer.token(RESOURCE), None)
            issuer.held.clear()
            looks = [
                asyncio.create_task(look(authenticator, token))
                for token in [*issuer.opaque, *issuer.opaque]
            ]
            await asyncio.to_thread(wait_until, lambda: bool(issuer.asked["/introspect"]), "one")
            assert await look(authenticator, "one-more") == Denial(
                Reason.BUSY, retry_after_seconds=1
            )
            issuer.held.set()
            found = await asyncio.gather(*looks)
        assert all(isinstance(each, Identity) for each in found)
        assert issuer.asked["/introspect"] == MAX_AT_ONCE

    with_issuer(test)


@requirement("auth.opaque")
def test_a_token_that_is_not_active_is_not_asked_about_again_for_a_while() -> None:
    async def test(issuer: Issuer) -> None:
        client = ClientSecret(CLIENT_ID, CLIENT_SECRET)
        async with verifying(issuer, client=client) as authenticator:
            for _ in range(3):
                assert await look(authenticator, "made-up") == Denial(Reason.INACTIVE)
        assert issuer.asked["/introspect"] == 1
        issuer.opaque["late"] = {"active": False}
        async with verifying(issuer, client=client, remember_seconds=0.001) as authenticator:
            assert await look(authenticator, "late") == Denial(Reason.INACTIVE)
            issuer.opaque["late"] = {"active": True, "sub": "alice", "aud": RESOURCE}
            await until(authenticator, "late", None)

    with_issuer(test)


@requirement("auth.opaque")
def test_an_error_of_ours_in_asking_ends_nothing_and_is_told_as_no_answer(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(*_: object) -> Identity:
        raise ZeroDivisionError

    async def test(issuer: Issuer) -> None:
        client = ClientSecret(CLIENT_ID, CLIENT_SECRET)
        async with verifying(issuer, client=client) as authenticator:
            with monkeypatch.context() as patch:
                patch.setattr(introspection, "read_answer", broken)
                found = await look(authenticator, "opaque")
            assert isinstance(found, Denial)
            assert found.reason is Reason.ISSUER_AWAY
            await until(authenticator, "opaque", Reason.INACTIVE)

    with_issuer(test)
    assert "ZeroDivisionError" in caplog.text


def test_leaving_the_block_raises_what_the_block_raised() -> None:
    async def test(issuer: Issuer) -> None:
        issuer.held.clear()
        with pytest.raises(LookupError):
            async with verifying(issuer):
                raise LookupError

    with_issuer(test)
