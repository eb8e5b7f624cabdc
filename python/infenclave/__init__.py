"""Ask confidential image classifiers.

The enclave is attested against a policy before anything is sealed to it; pictures are sealed on this machine, and only
the enclave opens them.

    import infenclave

    with infenclave.Client("127.0.0.1:8001", "lite0.bundle.policy.toml") as client:
        answer = client.classify("cat.jpg")
        print(answer.label, answer.probability)
"""

from __future__ import annotations

import asyncio
import atexit
import os
import weakref
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from concurrent.futures import Future
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias, Union

from . import _client
from ._errors import (
    DeadlineError,
    InfenclaveError,
    InvalidInputError,
    NotFoundError,
    OverloadedError,
    RefusedError,
    UnavailableError,
    error_of,
)

if TYPE_CHECKING:
    from types import TracebackType

    import numpy as np
    from numpy.typing import NDArray

    # A path; the bytes of a JPEG, PNG or WebP file; or RGB pixels, uint8 of shape [height, width, 3].
    Picture: TypeAlias = Union[str, os.PathLike[str], bytes, NDArray[np.uint8]]

__all__ = [
    "Answer",
    "AsyncClient",
    "Client",
    "DeadlineError",
    "InfenclaveError",
    "InvalidInputError",
    "Model",
    "NotFoundError",
    "OverloadedError",
    "RefusedError",
    "ScoredClass",
    "UnavailableError",
]

_IN_FLIGHT = 16


@dataclass(frozen=True)
class ScoredClass:
    label: str
    probability: float


@dataclass(frozen=True)
class Answer:
    """What the enclave says a picture shows: the most probable classes, best first."""

    classes: tuple[ScoredClass, ...]

    @property
    def label(self) -> str:
        return self.classes[0].label

    @property
    def probability(self) -> float:
        return self.classes[0].probability


@dataclass(frozen=True)
class Model:
    """The model behind the attested enclave. `simulated`: no hardware protects it from whoever runs the server."""

    name: str
    version: int
    simulated: bool
    width: int
    height: int


def _read_credential(credential: str | os.PathLike[str] | bytes | None) -> bytes:
    if credential is None:
        return b""
    if isinstance(credential, bytes):
        return credential
    with open(credential, "rb") as file:
        return file.read(1 << 16)


def _check_pixels(picture: Any) -> None:
    """Pixels of another type would be converted, and floats between 0 and 1 become black."""
    try:
        view = memoryview(picture)
    except TypeError:
        view = None
    if view is None or view.format != "B" or view.ndim != 3 or view.shape is None or view.shape[2] != 3:
        what = type(picture).__name__ if view is None else f"{getattr(picture, 'dtype', view.format)} {view.shape}"
        raise error_of(3, f"a picture is a path, the bytes of a file, or an array uint8 [height, width, 3], not {what}")


# Requests in flight call back into the interpreter, which must still be there.
_open: weakref.WeakSet[Client] = weakref.WeakSet()


@atexit.register
def _close_all() -> None:
    for client in list(_open):
        client.close()


class Client:
    """A connection to one server, attested when it is made and again as often as the policy says. Thread-safe.

    server: HOST:PORT. policy: the path of a policy file. credential: the owner's invitation, as a path or its bytes,
    for bundles that are not open to everyone. timeout: seconds for each call. seen_versions: the file that remembers
    the highest bundle version seen, so that a host cannot go back; the user's own if not given.

    Raises RefusedError if the evidence is not what the policy asks for, UnavailableError if nobody answers.
    """

    def __init__(
        self,
        server: str,
        policy: str | os.PathLike[str],
        *,
        credential: str | os.PathLike[str] | bytes | None = None,
        timeout: float = 30.0,
        seen_versions: str | os.PathLike[str] | None = None,
    ) -> None:
        code, message, client = _client.connect(
            server,
            os.fspath(policy),
            _read_credential(credential),
            timeout,
            "" if seen_versions is None else os.fspath(seen_versions),
        )
        if code:
            raise error_of(code, message)
        self._inner: _client.Client | None = client
        _open.add(self)

    @property
    def model(self) -> Model:
        return Model(*self._connected().model())

    def classify(self, picture: Picture) -> Answer:
        """What the picture shows."""
        return self.submit(picture).result()

    def classify_many(self, pictures: Iterable[Picture]) -> Iterator[Answer]:
        """The answers in the pictures' order, with up to 16 requests in flight. The first error is raised where its
        answer would have been."""
        waiting: list[Future[Answer]] = []
        for picture in pictures:
            waiting.append(self.submit(picture))
            if len(waiting) == _IN_FLIGHT:
                yield waiting.pop(0).result()
        for future in waiting:
            yield future.result()

    def submit(self, picture: Picture) -> Future[Answer]:
        """Decodes and seals the picture on this thread, and does not wait for the answer."""
        future: Future[Answer] = Future()
        future.set_running_or_notify_cancel()  # what is sealed is sent: it cannot be cancelled

        def done(answer: Answer | None, error: InfenclaveError | None) -> None:
            if answer is None:
                future.set_exception(error)
            else:
                future.set_result(answer)

        self._start(picture, done)
        return future

    def close(self) -> None:
        """Waits for the requests in flight. Afterwards the client answers nothing."""
        inner, self._inner = self._inner, None
        if inner is not None:
            inner.close()

    def __enter__(self) -> Client:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _connected(self) -> _client.Client:
        if self._inner is None:
            raise error_of(9, "the client is closed")
        return self._inner

    def _start(self, picture: Any, done: Callable[[Answer | None, InfenclaveError | None], None]) -> None:
        def finished(code: int, message: str, classes: list[tuple[str, float]]) -> None:
            if code:
                done(None, error_of(code, message))
            else:
                done(Answer(tuple(ScoredClass(*found) for found in classes)), None)

        client = self._connected()
        if isinstance(picture, (str, os.PathLike)):
            client.submit_file(os.fspath(picture), finished)
        elif isinstance(picture, (bytes, bytearray, memoryview)):
            client.submit_bytes(bytes(picture), finished)
        else:
            _check_pixels(picture)
            client.submit_array(picture, finished)


class AsyncClient:
    """Client for asyncio: the same arguments and errors; `await AsyncClient.connect(...)` makes one."""

    def __init__(self, client: Client) -> None:
        self._client = client

    @classmethod
    async def connect(
        cls,
        server: str,
        policy: str | os.PathLike[str],
        *,
        credential: str | os.PathLike[str] | bytes | None = None,
        timeout: float = 30.0,
        seen_versions: str | os.PathLike[str] | None = None,
    ) -> AsyncClient:
        return cls(
            await asyncio.to_thread(
                Client, server, policy, credential=credential, timeout=timeout, seen_versions=seen_versions
            )
        )

    @property
    def model(self) -> Model:
        return self._client.model

    async def classify(self, picture: Picture) -> Answer:
        # Decoding and sealing take a thread's time, and attesting again may wait for the network.
        return await asyncio.wrap_future(await asyncio.to_thread(self._client.submit, picture))

    async def classify_many(self, pictures: Iterable[Picture]) -> AsyncIterator[Answer]:
        """As Client.classify_many."""
        waiting: list[asyncio.Task[Answer]] = []
        try:
            for picture in pictures:
                waiting.append(asyncio.ensure_future(self.classify(picture)))
                if len(waiting) == _IN_FLIGHT:
                    yield await waiting.pop(0)
            while waiting:
                yield await waiting.pop(0)
        finally:
            for task in waiting:
                task.cancel()

    async def close(self) -> None:
        await asyncio.to_thread(self._client.close)

    async def __aenter__(self) -> AsyncClient:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()
