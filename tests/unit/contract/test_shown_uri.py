"""What is left of a URI where secrets must not stand."""

import pytest

from linkspan_contract.shown_uri import shown_uri


@pytest.mark.parametrize(
    ("uri", "shown"),
    [
        ("file:///a/b.txt", "file:///a/b.txt"),
        ("https://host/a?token=s3cret", "https://host/a"),
        ("https://host/a#access_token=s3cret", "https://host/a"),
        ("https://host#a?s3cret", "https://host"),
        ("https://ana:s3cret@host/a@b", "https://host/a@b"),
        ("https://ana:s3cr@et@host", "https://host"),
        ("//s3cret@host/a", "//host/a"),
        ("note://host/a//b@c", "note://host/a//b@c"),
        ("mailto:ana@example.com", "mailto:ana@example.com"),
        ("no URI at all", "no URI at all"),
        ("", ""),
    ],
)
def test_userinfo_query_and_fragment_are_left_out(uri: str, shown: str) -> None:
    assert shown_uri(uri) == shown
