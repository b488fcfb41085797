from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Any, final

__version__: str
KINDS: list[str]

class Proxy:
    """A counted reference to an object: it lives as long as any proxy, ticket or name for it does."""

    def __new__(cls, proxy: Proxy, /) -> Proxy: ...
    @property
    def id(self) -> str:
        """The object's identity, the same in every process."""
    @property
    def kind(self) -> str:
        """What it is: "value", "array", "archive", "hosted", "frozen" or "channel"."""
    @property
    def type_name(self) -> str:
        """The name of its type, of its elements' type, or of its class."""
    @property
    def nbytes(self) -> int:
        """Bytes of its payload. A value has two copies."""
    def ticket(self, *, uses: int = 1, deadline: float | None = None) -> str:
        """A text that stands for the object and holds it until it is redeemed so often, or so many seconds have passed."""
    def __copy__(self) -> Proxy: ...
    def __deepcopy__(self, memo: dict[int, Any]) -> Proxy: ...
    @property
    def _session(self) -> Session: ...
    def _call(self, method: str, data: bytes, proxies: Sequence[Proxy], timeout: float | None) -> tuple[bytes, list[Any]]: ...
    def _call_simple(self, method: str, arguments: tuple[Any, ...], timeout: float | None) -> Any: ...
    def _call_plain(self, method: str, arguments: tuple[Any, ...], timeout: float | None) -> Any: ...

@final
class Value(Proxy):
    """A number that any process reads and writes whole. Readers wait for nobody; `timeout` is how many seconds a writer waits for others."""

    def get(self) -> int | float:
        """A copy of the number."""
    def set(self, number: float, /, *, timeout: float | None = None) -> None:
        """Replaces it."""
    def add(self, number: float, /, *, timeout: float | None = None) -> int | float:
        """Adds to it and gives the sum. One that does not fit is an `OverflowError`, and changes nothing."""
    def update(self, function: Callable[[Any], float], /, *, timeout: float | None = None) -> int | float:
        """Replaces it by what the function makes of it, while no other writes. If the function raises, it stays as it was."""
    def seal(self) -> None:
        """Makes it immutable for ever, in all processes."""

class Elements(Proxy):
    def __new__(cls, proxy: Proxy, description: Any = None, /) -> Elements: ...
    @property
    def shape(self) -> tuple[int, ...]:
        """Its dimensions."""
    @property
    def element(self) -> str:
        """The name of its elements' type, as "f64"."""
    @property
    def itemsize(self) -> int:
        """Bytes of an element."""
    @property
    def address(self) -> int:
        """Where it lies in this process."""
    @property
    def sealed(self) -> bool:
        """Whether it is immutable."""
    @property
    def poisoned(self) -> bool:
        """Whether a writer died in the middle, so that it may be half changed."""
    def clear_poison(self) -> None:
        """Takes that mark away. Whoever does it should write what is right next."""
    def seal(self) -> None:
        """Makes it immutable for ever, in all processes. Waits for readers and writers. As long as this process has views that may write, it is a `BufferError`."""
    def read(self, timeout: float | None = None) -> Guard:
        """Within `with`, nobody writes: `with array.read() as view`. Waits so many seconds for a writer, or without limit."""
    def write(self, timeout: float | None = None) -> Guard:
        """Within `with`, nobody else reads or writes: `with array.write() as view`. A process that dies there leaves the array poisoned; an exception only ends it."""
    @property
    def _description(self) -> Any: ...

class Buffered(Elements):
    def __buffer__(self, flags: int, /) -> memoryview: ...

@final
class Guard:
    def __enter__(self) -> memoryview: ...
    def __exit__(
        self, kind: type[BaseException] | None = None, error: BaseException | None = None, traceback: TracebackType | None = None
    ) -> None: ...

@final
class Channel(Proxy):
    """A queue in shared memory, by which processes hand objects over without a copy and without the broker.

    What is in it belongs to it until it is received, whatever becomes of the sender. It is an object like any other: it can be published, pickled, and sent through another channel.
    """

    @property
    def capacity(self) -> int:
        """How many objects it has room for."""
    def __len__(self) -> int:
        """How many objects are in it, while others may be sending and receiving."""
    def __bool__(self) -> bool: ...
    @property
    def closed(self) -> bool:
        """Whether it was closed."""
    def close(self) -> None:
        """Closes it for good: nothing is sent any more, and what is in it is received until it is empty. All who wait are woken."""
    def sender(self) -> Sender:
        """An end to send with. Receivers are told when all senders are gone: close it, or use it in `with`."""
    def receiver(self) -> Receiver:
        """An end to receive with."""

@final
class Sender:
    """The end of a channel that sends. A child that was forked opens one of its own."""

    def send(self, proxy: Proxy, /, timeout: float | None = None) -> None:
        """Puts an object into the channel. Waits so many seconds for room, or without limit: `Timeout`. `Disconnected` if there were receivers and all are gone, or the channel was closed."""
    def close(self) -> None:
        """Lets go of this end."""
    def __enter__(self) -> Sender: ...
    def __exit__(
        self, kind: type[BaseException] | None = None, error: BaseException | None = None, traceback: TracebackType | None = None
    ) -> None: ...

@final
class Receiver:
    """The end of a channel that receives. Iterating gives all that comes, until all senders are gone or the channel was closed. A child that was forked opens one of its own."""

    def receive(self, timeout: float | None = None) -> Any:
        """The oldest object in the channel. Waits so many seconds for one, or without limit: `Timeout`. `Disconnected` if the channel is empty and there is nobody any more who sends."""
    def close(self) -> None:
        """Lets go of this end."""
    def __iter__(self) -> Receiver: ...
    def __next__(self) -> Any: ...
    def __enter__(self) -> Receiver: ...
    def __exit__(
        self, kind: type[BaseException] | None = None, error: BaseException | None = None, traceback: TracebackType | None = None
    ) -> None: ...

@final
class Session:
    @staticmethod
    def start(name: str | None, sizes: dict[str, Any], command: list[str]) -> Session: ...
    @staticmethod
    def connect(name: str, authkey: bytes | None, read_only: bool, timeout: float | None) -> Session: ...
    @staticmethod
    def current() -> Session: ...
    @property
    def name(self) -> str: ...
    @property
    def child_pid(self) -> int | None: ...
    def waiting(self, room: float) -> Session: ...
    def restart(self) -> None: ...
    def shutdown(self) -> None: ...
    def value(self, kind: str, number: float) -> Value: ...
    def array(self, description: Any, len: int, source: Any = None) -> Proxy: ...
    def channel(self, capacity: int, single: bool) -> Channel: ...
    def freeze(self, description: Any, source: Any) -> Proxy: ...
    def create(self, class_: str, data: bytes, proxies: Sequence[Proxy], timeout: float | None) -> Any: ...
    def create_plain(self, class_: str, arguments: tuple[Any, ...], timeout: float | None) -> Any: ...
    def classes(self) -> list[tuple[str, list[str]]]: ...
    def redeem(self, ticket: str) -> Any: ...
    def publish(self, name: str, proxy: Proxy, replace: bool) -> None: ...
    def unpublish(self, name: str) -> None: ...
    def lookup(self, name: str, timeout: float | None) -> Any: ...
    def names(self) -> str: ...
    def number_of_objects(self) -> int: ...
    def objects(self) -> str: ...
    def object_info(self, proxy: Proxy) -> str: ...
    def tickets(self) -> str: ...
    def stats(self) -> str: ...
    def audit(self) -> str: ...
    def collect(self) -> int: ...
    def describe(self, proxy: Proxy) -> str: ...
    def clear_poison(self, proxy: Proxy) -> None: ...

def redeem(ticket: str) -> Any: ...
def brokers() -> list[str]:
    """The names of this user's brokers that run."""

def serve_parent(classes: list[Any]) -> None: ...
def host(class_: str, object: Any) -> Any: ...
def caller() -> int | None:
    """The process that made the call which this thread is executing. `None` outside of methods."""

def is_cancelled() -> bool:
    """Whether nobody waits any more for the method that this thread is executing: a long method looks from time to time."""
