"""What `--session` takes: an address, a list of addresses, or a name that gRPC looks up."""

import pytest

from linkspan_process.errors import SettingError
from linkspan_process.settings import from_env
from linkspan_worker.config import ENV_PREFIX, WorkerConfig
from linkspan_worker.targets import parse_target


@pytest.mark.parametrize(
    "target",
    [
        "127.0.0.1:50051",
        "localhost:50051",
        "[::1]:50051",
        "dns:sessions:50051",
        "dns:///sessions.default.svc:50051",
        "dns://10.0.0.53/sessions:50051",
        "unix:/run/linkspan/session.sock",
    ],
)
def test_what_grpc_takes_as_it_is_stays_as_it_is(target: str) -> None:
    assert parse_target(f" {target} ") == target


@pytest.mark.parametrize(
    ("text", "target"),
    [
        ("10.0.0.1:50051,10.0.0.2:50052", "ipv4:10.0.0.1:50051,10.0.0.2:50052"),
        (" 10.0.0.1:1 , 10.0.0.2:2 ,", "ipv4:10.0.0.1:1,10.0.0.2:2"),
        ("ipv4:10.0.0.1:50051,10.0.0.2:50051", "ipv4:10.0.0.1:50051,10.0.0.2:50051"),
        ("ipv4:10.0.0.1:50051", "ipv4:10.0.0.1:50051"),
        ("[::1]:50051,[fd00::2]:50051", "ipv6:[::1]:50051,[fd00::2]:50051"),
        ("ipv6:[::1]:50051", "ipv6:[::1]:50051"),
    ],
)
def test_a_list_of_addresses_is_written_as_grpc_wants_it(text: str, target: str) -> None:
    assert parse_target(text) == target


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("  ", "must not be empty"),
        ("localhost", "must be HOST:PORT"),
        ("localhost:", "must be HOST:PORT"),
        (":50051", "must be HOST:PORT"),
        ("localhost:0", "must be HOST:PORT"),
        ("localhost:65536", "must be HOST:PORT"),
        ("http://localhost/", "must be HOST:PORT"),
        ("::1:50051", "must be HOST:PORT"),
        ("dns:///sessions", "must be HOST:PORT"),
        ("10.0.0.1:1,10.0.0.2", "must be HOST:PORT"),
        ("a:1,b:2", "'a' is a name; give all servers one name and write dns:///NAME:PORT"),
        ("10.0.0.1:1,b:2", "'b' is a name"),
        ("ipv4:sessions:1", "'sessions' is a name"),
        ("10.0.0.1:1,[::1]:1", "not both"),
        ("ipv4:[::1]:1", "after ipv4: holds no IPv6"),
        ("ipv4:", "must name one at least"),
        (",", "must name one at least"),
    ],
)
def test_what_nobody_could_be_reached_by_is_refused(text: str, why: str) -> None:
    with pytest.raises(ValueError, match=r"^[a-z]") as refused:
        parse_target(text)
    assert why in str(refused.value)


def test_a_bad_target_stops_the_start_under_its_name() -> None:
    with pytest.raises(SettingError, match=r"^LINKSPAN_WORKER_SESSION: .*'a' is a name"):
        from_env(WorkerConfig, {"LINKSPAN_WORKER_SESSION": "a:1,b:2"}, prefix=ENV_PREFIX)
