"""What is requests' own: bodies that are files, timeouts of every kind, the response object."""

# ruff: noqa: E402 - the library may be missing

from __future__ import annotations

import gc
import io
import pickle
from typing import Any

import pytest

requests = pytest.importorskip("requests")
urllib3 = pytest.importorskip("urllib3")

from clients import Requests
from origin import Answer
from requests.adapters import BaseAdapter

import faultplane as fp
from faultplane.integrations.requests import GuardedAdapter

RETRY = fp.Retry(attempts=3, backoff=fp.constant(0))


@pytest.fixture
def client() -> Requests:
    return Requests()


def test_a_file_is_sent_again_from_where_it_began(client, origin, name):
    dependency = fp.Dependency(name, retry=RETRY)
    origin.tell("/a", Answer(503), Answer(sent=0))
    file = io.BytesIO(b"unpaid and paid")
    file.seek(7)
    assert client.ask(dependency, "PUT", f"{origin.url}/a", body=file).status == 200
    assert [one.body for one in origin.asked] == [b"and paid"] * 3


def test_a_body_that_breaks_off_is_tried_again_where_nobody_streams_it(client, origin, name, seen):
    dependency = fp.Dependency(name, retry=RETRY, breaker=fp.Breaker())
    origin.tell("/a", Answer(body=b"x" * 100, sent=50))
    assert client.ask(dependency, "GET", f"{origin.url}/a").text == "well"
    assert origin.count("/a") == 2
    assert (seen(dependency).calls, seen(dependency).failures) == (2, 1)


@pytest.mark.parametrize(
    ("own", "bound"),
    [
        (None, 5.0),
        (2, 2),
        (9.0, 5.0),
        ((1, 9), (1, 5.0)),
        ((None, 2), (5.0, 2)),
    ],
)
def test_the_smaller_of_the_clients_timeout_and_the_dependencys_bounds_each_wait(own, bound, name):
    given: list[Any] = []

    class Inner(BaseAdapter):
        def send(self, request: Any, stream: Any, timeout: Any, **_: Any) -> Any:
            given.append(timeout)
            response = requests.Response()
            response.status_code, response._content = 200, b""
            return response

        def close(self) -> None:
            """Nothing to close."""

    request = requests.Request("GET", "http://shop/").prepare()
    GuardedAdapter(fp.Dependency(name), Inner()).send(request, timeout=own)
    guarded = GuardedAdapter(fp.Dependency(f"{name}-2", timeout=5.0), Inner())
    guarded.send(request, timeout=own)
    with fp.deadline(3.0):
        guarded.send(request, timeout=urllib3.Timeout(connect=1, read=60))
        guarded.send(request, timeout=urllib3.Timeout(total=2))
    guarded.send(request, timeout=urllib3.Timeout(9))
    assert given[:2] == [own, bound]
    assert 2 < given[2].total <= 3 and given[2].connect_timeout == 1
    assert given[3].total == 2
    assert given[4].total == 5


def test_a_streamed_response_that_nobody_has_gives_its_permit_back_at_once(
    client, origin, name, seen
):
    dependency = fp.Dependency(name, limit=1)
    gc.disable()
    try:
        with client.session(dependency) as session:
            response = session.get(f"{origin.url}/a", stream=True)
            assert seen(dependency).permits == 1
            del response
            assert seen(dependency).permits == 0
    finally:
        gc.enable()


def test_a_streamed_response_is_the_one_that_it_was(client, origin, name, seen):
    dependency = fp.Dependency(name, breaker=fp.Breaker(), limit=1)
    with client.session(dependency) as session:
        response = session.get(f"{origin.url}/a", stream=True)
        assert type(response) is requests.Response
        again = pickle.loads(pickle.dumps(response))
        assert (again.status_code, again.content) == (200, b"well")
        assert response.text == "well" and list(response.iter_content(2)) == [b"we", b"ll"]
        lines = session.get(f"{origin.url}/a", stream=True)
        assert list(lines.iter_lines()) == [b"well"]
        with pytest.raises(requests.exceptions.StreamConsumedError):
            lines.iter_content()
        whole = session.get(f"{origin.url}/a", stream=True)
        assert whole.raw.read() == b"well"
        assert seen(dependency).permits == 1
        whole.close()
    assert (seen(dependency).calls, seen(dependency).permits) == (3, 0)
    assert seen(dependency).totals["ignored"] == 0


def test_a_body_of_which_a_part_is_read_ended_well(client, origin, name, seen):
    dependency = fp.Dependency(name, breaker=fp.Breaker(), limit=1)
    with (
        client.session(dependency) as session,
        session.get(f"{origin.url}/a", stream=True) as response,
    ):
        for _ in response.iter_content(1):
            break
    assert (seen(dependency).calls, seen(dependency).totals["ignored"]) == (1, 0)


def test_the_connection_of_a_streamed_answer_that_nobody_gets_is_kept(client, origin, name):
    dependency = fp.Dependency(name, retry=RETRY)
    origin.tell("/a", Answer(503), Answer(503))
    with (
        client.session(dependency) as session,
        session.get(f"{origin.url}/a", stream=True) as response,
    ):
        assert response.status_code == 200
    assert origin.count("/a") == 3
    assert len({one.port for one in origin.asked}) == 1
