"""The handle on a broker."""

from __future__ import annotations

import base64
import json
import os
import pickle
import sys
from multiprocessing import spawn

from . import _pickle, _types
from ._array import Array
from ._hosted import is_python, left, signatures
from ._sharehold import Channel, Session


class Manager:
    """A handle on a broker, which creates objects, finds them by name and tells who holds what.

    `Manager()` is one with a broker of its own, a child process that is started by `with`, by `start` or by the first use, and ends with the `with` or with this process, however that ends. `Manager.connect` joins a broker that
    runs already.

    `capacity` is in bytes, and what is not used of it costs nothing; `objects`, `sessions`, `tickets`, `names` and `types` are the most that there can be. `segment` takes a named segment for the memory instead of a memfd. `fresh` begins with
    an empty region, also where a broker of the name has died. `allow_uids` are other users who may attach, and `authkey` is what clients have to know. `room` is how many seconds creating waits for memory.
    """

    def __init__(
        self,
        name: str | None = None,
        *,
        capacity: int | None = None,
        objects: int | None = None,
        sessions: int | None = None,
        tickets: int | None = None,
        names: int | None = None,
        types: int | None = None,
        segment: bool = False,
        fresh: bool = False,
        debuggable: bool = False,
        allow_uids=(),
        authkey: bytes | None = None,
        room: float = 0.0,
    ) -> None:
        self._name = name
        self._sizes = {
            "capacity": capacity,
            "objects": objects,
            "sessions": sessions,
            "tickets": tickets,
            "names": names,
            "types": types,
            "segment": segment,
            "fresh": fresh,
            "debuggable": debuggable,
            "allow_uids": list(allow_uids),
            "authkey": authkey,
        }
        self._room = room
        self._registered: dict = {}
        self._joined: Session | None = None
        #: The process that has started the broker, if this manager has.
        self._starter: int | None = None
        self._ended = False

    @classmethod
    def connect(
        cls,
        name: str,
        *,
        authkey: bytes | None = None,
        read_only: bool = False,
        timeout: float | None = 0.0,
        room: float = 0.0,
    ) -> Manager:
        """Joins the broker of this name, for which it waits `timeout` seconds. `read_only` has the memory mapped for reading: nothing in this process can change it then."""
        manager = cls._of(Session.connect(name, authkey, read_only, timeout))
        manager._room = room
        return manager

    @classmethod
    def _of(cls, session: Session) -> Manager:
        manager = cls(session.name)
        manager._join(session)
        return manager

    def _join(self, session: Session) -> None:
        self._joined = session.waiting(self._room) if self._room else session
        _pickle.managers.add(self)

    def is_of(self, broker: str) -> bool:
        """Whether this is a manager of the broker of this name."""
        return self._joined is not None and self._joined.name == broker

    @property
    def _session(self) -> Session:
        if self._joined is None:
            self.start()
        return self._joined

    # --- the broker ---

    def register(self, name, cls=None, *, exposed=None, shared=()):
        """Registers a class before the broker is started: then `manager.NAME(...)` makes an object in the broker and gives its proxy.

        `exposed` are the names of the methods and properties that a proxy has; by default all that do not begin with an underscore, and `len`, indexing, `in` and calling. A method has its object for itself while it runs, unless it is
        marked by `sharehold.shared` or named in `shared`. The class has to be importable in another process, as everything for `multiprocessing` with "spawn". It can be used as a decorator: `@manager.register`.
        """
        if isinstance(name, type):
            return self.register(name.__name__, name, exposed=exposed, shared=shared)
        if cls is None:
            return lambda cls: self.register(name, cls, exposed=exposed, shared=shared)
        if self._joined is not None:
            raise RuntimeError("the broker runs already: register classes before it is started")
        self._registered[name] = (cls, exposed, shared)
        return cls

    def start(self) -> Manager:
        """Starts the broker and joins it."""
        if self._joined is not None:
            raise RuntimeError("the broker was started already")
        if self._ended:
            raise RuntimeError("the broker of this manager has ended: make another one")
        self._join(Session.start(self._name, self._sizes, self._command()))
        self._starter = os.getpid()
        return self

    def _command(self) -> list:
        classes = []
        for name, (cls, exposed, shared) in self._registered.items():
            try:
                pickled = pickle.dumps(cls)
            except Exception as error:
                raise TypeError(f"{cls!r} can't be found by another process: it has to stand at the top of a module") from error
            classes.append((name, pickled, None if exposed is None else list(exposed), list(shared)))
        preparation = spawn.get_preparation_data("sharehold-broker")
        # Neither is the broker's business, and the key may be in no list of processes.
        for unwanted in ("authkey", "log_to_stderr", "log_level"):
            preparation.pop(unwanted, None)
        if not any(cls.__module__ == "__main__" for cls, _, _ in self._registered.values()):
            preparation.pop("init_main_from_name", None)
            preparation.pop("init_main_from_path", None)
        described = {"sys_argv": list(sys.argv), "preparation": preparation, "classes": classes}
        text = base64.b64encode(pickle.dumps(described)).decode()
        executable = os.fsdecode(spawn.get_executable())
        return [executable, "-m", "sharehold._broker", self._name or "auto", text]

    def __enter__(self) -> Manager:
        if self._joined is None:
            self.start()
        return self

    def __exit__(self, *exception) -> None:
        self.close()

    def close(self) -> None:
        """Ends the broker, if this manager has started it, and leaves it. What proxies hold can still be read."""
        session, self._joined = self._joined, None
        _pickle.managers.discard(self)
        if session is None:
            return
        self._ended = True
        if self._starter == os.getpid():
            try:
                session.shutdown()
            except ConnectionError:
                pass

    def shutdown(self) -> None:
        """Ends the broker in order, whoever has started it."""
        self._session.shutdown()

    def restart(self) -> None:
        """Starts the broker again, if it has died, with all that is in the region. Hosted Python objects are lost."""
        self._session.restart()

    @property
    def name(self) -> str:
        """The name by which others connect."""
        return self._session.name

    @property
    def child_pid(self) -> int | None:
        """The process id of the broker, if this process has started it."""
        return self._session.child_pid

    # --- objects ---

    def value(self, number, kind=None):
        """Shares a number: an `int` as "i64" and a `float` as "f64", or of another type, as "u8"."""
        if kind is None:
            kind = getattr(number, "dtype", None) or (float if isinstance(number, float) else int)
        return self._session.value(_types.describe(kind)[0], number)

    def array(self, data, dtype=None) -> Array:
        """Shares a copy of what has a buffer, as a NumPy array, or of a sequence of numbers. A NumPy array keeps its shape."""
        element, inner, count, source = self._elements(data, dtype)
        return self._array(self._session.array(_types.shaped(element, inner), count, source), element, inner)

    def zeros(self, shape, dtype="f64") -> Array:
        """Shares an array of zeros, of this many elements or this shape."""
        count, *inner = (shape,) if isinstance(shape, int) else shape
        element = _types.describe(dtype)[0]
        return self._array(self._session.array(_types.shaped(element, inner), count), element, inner)

    def bytes(self, data) -> Array:
        """Shares bytes that nobody changes any more: `bytes(proxy)` and `memoryview(proxy)` read them."""
        array = self.array(memoryview(data).cast("B"))
        array.seal()
        return array

    def freeze(self, data, dtype=None) -> Array:
        """Shares a copy that the kernel keeps from being changed by anybody, also by a process that writes what is not its own. It costs a descriptor in the broker."""
        element, inner, _, source = self._elements(data, dtype)
        return self._array(self._session.freeze(_types.shaped(element, inner), source), element, inner)

    def channel(self, capacity: int, *, single: bool = False) -> Channel:
        """A queue by which processes hand objects over, with room for so many (rounded up to a power of two), and any number of senders and receivers; `single`: for one of each at a time, which is a little faster."""
        return self._session.channel(capacity, single)

    @staticmethod
    def _array(proxy, element, inner) -> Array:
        return Array(proxy) if isinstance(element, str) else Array(proxy, _types.shaped(element, inner))

    @staticmethod
    def _elements(data, dtype):
        """The elements' type, the inner dimensions, the number of elements, and something with their bytes."""
        if isinstance(dtype, _types.struct):
            size = memoryview(data).nbytes
            if size % dtype.size:
                raise ValueError(f"{size} bytes are no number of {dtype.name}, which has {dtype.size}")
            return _types.describe(dtype)[0], [], size // dtype.size, data
        numpy = sys.modules.get("numpy")
        if numpy is not None and (dtype is not None or isinstance(data, numpy.ndarray)):
            if isinstance(dtype, str) and dtype in _types._NAMES:
                dtype = {"u": "uint", "i": "int", "f": "float"}[dtype[0]] + dtype[1:]
            data = numpy.ascontiguousarray(data, dtype)
            dtype = None
        try:
            source = memoryview(data)
        except TypeError:
            from array import array

            # Whoever gives numbers says what they are by what they are.
            data = list(data)
            if dtype is None:
                dtype = "i64" if data and all(isinstance(number, int) for number in data) else "f64"
            element = _types.describe(dtype)[0]
            letters = {"i8": "b", "u8": "B", "i16": "h", "u16": "H", "i32": "i", "u32": "I", "i64": "q", "u64": "Q", "f32": "f", "f64": "d"}
            return element, [], len(data), array(letters[element], data)
        if not source.c_contiguous:
            source = memoryview(source.tobytes()).cast("B").cast(source.format, source.shape)
        element = _types.of_format(source.format, source.itemsize)
        count, *inner = source.shape or (1,)
        return element, inner, count, source

    # --- hosted objects ---

    def create(self, class_name: str, /, *args, **kwargs):
        """Makes an object of a class of the broker, and gives its proxy: what `manager.CLASS_NAME(...)` does."""
        session = self._session
        if is_python(signatures(session, class_name)):
            data, proxies = _pickle.dumps((args, kwargs))
            return session.create(class_name, data, proxies, left())
        if kwargs:
            raise TypeError(f"{class_name} is not written in Python: it takes no keywords")
        return session.create_plain(class_name, args, left())

    def __getattr__(self, name: str):
        if name.startswith("_"):
            raise AttributeError(name)
        if name in self._registered or signatures(self._session, name):
            return lambda *args, **kwargs: self.create(name, *args, **kwargs)
        raise AttributeError(f"the broker has no class {name!r}, and a manager has no such method")

    def classes(self) -> dict:
        """Every class of the broker, with what can be called."""
        return {name: [call for call in calls if call != "__class__()"] for name, calls in self._session.classes()}

    def describe(self, proxy) -> str:
        """The `repr` of a hosted object, as it is at this moment."""
        return self._session.describe(proxy)

    def clear_poison(self, proxy) -> None:
        """Lets the methods of a hosted object be called again that a panic may have left half changed."""
        self._session.clear_poison(proxy)

    def collect(self) -> int:
        """Frees built-in containers that only hold each other. Returns how many."""
        return self._session.collect()

    # --- names and tickets ---

    def publish(self, name: str, proxy, *, replace: bool = False) -> None:
        """Publishes an object under a name, which holds it until it is removed."""
        self._session.publish(name, proxy, replace)

    def unpublish(self, name: str) -> None:
        """Removes a name; its object dies if nothing else holds it."""
        self._session.unpublish(name)

    def lookup(self, name: str, *, timeout: float | None = 0.0):
        """A proxy of the object that is published under a name, for which it waits `timeout` seconds, or without limit."""
        return self._session.lookup(name, timeout)

    def redeem(self, ticket: str):
        """Takes one use of a ticket, and gives the proxy that it stands for."""
        return self._session.redeem(ticket)

    # --- what there is ---

    def names(self) -> list:
        """All published names."""
        return json.loads(self._session.names())

    def number_of_objects(self) -> int:
        """How many objects are alive, whoever holds them."""
        return self._session.number_of_objects()

    def debug_info(self) -> list:
        """Every live object, with the exact number of proxies in each process."""
        return json.loads(self._session.objects())

    def object_info(self, proxy) -> dict:
        """One live object: who holds it, and how often."""
        return json.loads(self._session.object_info(proxy))

    def tickets(self) -> list:
        """All tickets that can be redeemed."""
        return json.loads(self._session.tickets())

    def stats(self) -> dict:
        """How full everything is. Sizes are in bytes."""
        return json.loads(self._session.stats())

    def audit(self) -> dict:
        """Has the broker recompute what tickets and names hold."""
        return json.loads(self._session.audit())

    def __repr__(self) -> str:
        return f"<sharehold.Manager {self._joined.name if self._joined else 'not started'}>"
