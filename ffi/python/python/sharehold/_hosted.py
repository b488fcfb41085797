"""Proxies of hosted objects: their methods are called in the broker."""

from __future__ import annotations

import inspect
import re
import threading
import time
from collections.abc import MutableMapping, MutableSequence

from . import _pickle
from ._errors import TIMEOUT, MethodFailed, make
from ._sharehold import Proxy

_limits = threading.local()


class timeout:
    """Lets all calls of this thread within `with` take so many seconds together; one that is not answered in time raises `Timeout`.

    The method goes on in the broker until it ends or looks at `is_cancelled`. Inside another one the earlier end counts.
    """

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds

    def __enter__(self) -> timeout:
        self._before = getattr(_limits, "until", None)
        until = time.monotonic() + self._seconds
        _limits.until = until if self._before is None else min(until, self._before)
        return self

    def __exit__(self, *exception) -> None:
        _limits.until = self._before


def left() -> float | None:
    """Seconds that the calls of this thread have left."""
    until = getattr(_limits, "until", None)
    if until is None:
        return None
    seconds = until - time.monotonic()
    if seconds <= 0:
        raise make(TIMEOUT, "the time that was given for this call is over", "", None)
    return seconds


class Hosted(Proxy):
    """A proxy of an object in the broker. Its methods are those of the object's class."""

    __slots__ = ("__weakref__",)

    def _pickled(self, method, args, kwargs):
        answer = NotImplemented if kwargs else self._call_simple(method, args, left())
        if answer is NotImplemented:
            data, proxies = _pickle.dumps((args, kwargs))
            answer = self._call(method, data, proxies, left())
        # Nothing simple is a tuple.
        return _pickle.loads(*answer) if type(answer) is tuple else answer

    def _plain(self, method, *args):
        return self._call_plain(method, args, left())

    def __reduce__(self):
        return _pickle.reduce(self)


#: Each class of a broker, by its name and what can be called.
_classes: dict = {}
#: What can be called, by the broker's name and the class's.
_known: dict = {}


def signatures(session, name: str, *, again: bool = False) -> tuple:
    """What can be called of a class. It is asked for once."""
    key = (session.name, name)
    if again or key not in _known:
        for found, methods in session.classes():
            _known[session.name, found] = tuple(methods)
    return _known.get(key, ())


def is_python(methods) -> bool:
    """Whether a class is written in Python: such have a method that tells the class's name there."""
    return "__class__()" in methods


def of(proxy):
    """A proxy of a hosted object as an instance of the class that suits it."""
    name = proxy.type_name
    builtin = _BUILTIN.get(name)
    if builtin is not None:
        return builtin(proxy)
    return class_of(name, signatures(proxy._session, name))(proxy)


def class_of(name: str, methods: tuple) -> type:
    """The class of proxies for a class of the broker."""
    key = (name, methods)
    if key not in _classes:
        _classes[key] = _made(name, methods)
    return _classes[key]


def _made(name: str, methods: tuple) -> type:
    body: dict = {"__slots__": (), "__module__": "sharehold", "__doc__": f"A proxy of a {name}."}
    python = is_python(methods)
    properties: dict = {}
    for signature in methods:
        method, _, takes = signature.partition("(")
        takes = takes[:-1]
        base, _, access = method.partition(".")
        if method in (name, "__class__"):
            continue
        if access:
            properties.setdefault(base, {})[access] = _method(method, takes, python)
        else:
            body[method] = _method(method, takes, python)
    for base, found in properties.items():
        body[base] = property(found.get("get"), found.get("set"))
    if "__getitem__" in body and "__len__" in body and "__iter__" not in body:
        body["__iter__"] = _by_index
    return type(name if name.isidentifier() else "Hosted", (Hosted,), body)


def _by_index(self):
    for index in range(len(self)):
        yield self[index]


def _method(method: str, takes: str, python: bool):
    if python:

        def call(self, /, *args, **kwargs):
            return self._pickled(method, args, kwargs)

    else:

        def call(self, /, *args):
            return self._plain(method, *args)

    call.__name__ = call.__qualname__ = method.partition(".")[0]
    call.__doc__ = f"{method}({takes}), called in the broker."
    names = [re.match(r"\w*", part.strip()).group() for part in takes.split(",")] if takes and not python else []
    if all(part.isidentifier() for part in names) and len(set(names)) == len(names) and not python:
        kind = inspect.Parameter.POSITIONAL_ONLY
        call.__signature__ = inspect.Signature([inspect.Parameter(part, kind) for part in ["self", *names]])
    return call


def _missing(error: MethodFailed, what: type, key):
    """The exception of Python for an error of a built-in class, which says that something is not there."""
    missing = what(key if what is KeyError else str(error.causes[0][1]))
    missing.__cause__ = error
    return missing


class List(Hosted):
    """A list of values and proxies, shared by processes.

    It holds what all languages have: `None`, truth values, numbers, text, bytes, lists and dictionaries of these, and proxies. Tuples become lists. Each operation is one call, and whole in itself.
    """

    __slots__ = ()

    def __len__(self) -> int:
        return self._plain("len")

    def __getitem__(self, index):
        if isinstance(index, slice):
            return self.tolist()[index]
        return self._at("get", index)

    def __setitem__(self, index, value) -> None:
        self._at("set", index, value)

    def __delitem__(self, index) -> None:
        self._at("remove", index)

    def _at(self, method, index, *args):
        try:
            return self._plain(method, index, *args)
        except MethodFailed as error:
            raise _missing(error, IndexError, index) from error

    def __iter__(self):
        return iter(self.tolist())

    def __contains__(self, value) -> bool:
        return value in self.tolist()

    def append(self, value) -> None:
        """Adds a value at the end."""
        self._plain("push", value)

    def extend(self, values) -> None:
        """Adds values at the end, all at once."""
        self._plain("extend", list(values))

    def insert(self, index: int, value) -> None:
        """Adds a value before the one at `index`."""
        self._at("insert", index, value)

    def pop(self, index: int = -1):
        """Takes the value at `index`, by default the last one."""
        return self._at("remove", index)

    def index(self, value) -> int:
        """Where a value stands first."""
        return self.tolist().index(value)

    def clear(self) -> None:
        """Removes all values."""
        self._plain("clear")

    def tolist(self) -> list:
        """A copy of all values."""
        return self._plain("to_vec")


class Dict(Hosted):
    """A dictionary of values and proxies, shared by processes. Keys are text, whole numbers or truth values, and kept in order; values as in `List`."""

    __slots__ = ()

    def __len__(self) -> int:
        return self._plain("len")

    def __getitem__(self, key):
        return self._of("get", key)

    def __setitem__(self, key, value) -> None:
        self._plain("set", key, value)

    def __delitem__(self, key) -> None:
        self._of("remove", key)

    def _of(self, method, key):
        try:
            return self._plain(method, key)
        except MethodFailed as error:
            raise _missing(error, KeyError, key) from error

    def __contains__(self, key) -> bool:
        return self._plain("contains", key)

    def __iter__(self):
        return iter(self.keys())

    def get(self, key, default=None):
        """The value of a key, or `default`."""
        try:
            return self[key]
        except KeyError:
            return default

    def setdefault(self, key, default=None):
        """The value of a key, which is set to `default` if there is none yet."""
        return self._plain("get_or_set", key, default)

    def pop(self, key, *default):
        """Takes the value of a key; `default`, if there is none."""
        try:
            return self._of("remove", key)
        except KeyError:
            if default:
                return default[0]
            raise

    def update(self, *others, **more) -> None:
        """Sets the values of keys, one after the other."""
        for key, value in dict(*others, **more).items():
            self[key] = value

    def clear(self) -> None:
        """Removes all entries."""
        self._plain("clear")

    def keys(self) -> list:
        """A copy of the keys."""
        return self._plain("keys")

    def values(self) -> list:
        """A copy of the values."""
        return [value for _, value in self._plain("items")]

    def items(self) -> list:
        """A copy of the entries."""
        return [(key, value) for key, value in self._plain("items")]

    def copy(self) -> dict:
        """A copy of all as a plain dictionary."""
        return dict(self.items())


class Namespace(Hosted):
    """Named values and proxies, shared by processes: its attributes."""

    __slots__ = ()

    def __getattr__(self, name):
        if name.startswith("_"):
            raise AttributeError(name)
        try:
            return self._plain("get", name)
        except MethodFailed as error:
            raise _missing(error, AttributeError, name) from error

    def __setattr__(self, name, value) -> None:
        self._plain("set", name, value)

    def __delattr__(self, name) -> None:
        try:
            self._plain("remove", name)
        except MethodFailed as error:
            raise _missing(error, AttributeError, name) from error

    def __dir__(self) -> list:
        return self._plain("names")


MutableSequence.register(List)
MutableMapping.register(Dict)
_BUILTIN = {"List": List, "Dict": Dict, "Namespace": Namespace}

