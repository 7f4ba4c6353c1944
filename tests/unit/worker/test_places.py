"""Places of connections: by address, or by /64 for IPv6, and none is kept that is not held."""

import pytest

from linkspan_worker.http.places import Places


@pytest.mark.parametrize(
    ("held", "coming", "is_let_in"),
    [
        ("192.0.2.1", "192.0.2.1", False),
        ("192.0.2.1", "192.0.2.2", True),
        ("2001:db8::1", "2001:db8:0:0:ffff::2", False),
        ("2001:db8::1", "2001:db8:0:1::1", True),
        ("::ffff:192.0.2.1", "192.0.2.1", False),
        ("::ffff:192.0.2.1", "::ffff:192.0.2.2", True),
        ("fe80::1%eth0", "fe80::2%eth0", False),
    ],
)
def test_a_place_is_an_addresss_or_its_networks(held: str, coming: str, is_let_in: bool) -> None:
    places = Places(1)
    assert places.take("first", held)
    assert places.take("second", coming) is is_let_in
    places.give_back("first")
    places.give_back("second")
    assert len(places) == 0
    assert places.take("third", coming)


def test_a_connection_without_a_place_gives_none_back() -> None:
    places = Places(1, lambda address: address == "192.0.2.9")
    assert places.take("first", "192.0.2.1")
    assert not places.take("second", "192.0.2.1")
    assert all(places.take(f"proxied {number}", "192.0.2.9") for number in range(3))
    for name in ("second", "proxied 0", "unknown"):
        places.give_back(name)
    assert not places.take("third", "192.0.2.1")
    places.give_back("first")
    places.give_back("first")
    assert len(places) == 0
