"""A broker that is an interpreter: `python -m sharehold._broker NAME CLASSES`, run by `Manager.start`. Its standard input is tied to the process that has started it."""

from __future__ import annotations

import base64
import inspect
import os
import pickle
import sys
import traceback

from . import _pickle, _served, _sharehold
from ._errors import Error

#: Special methods that a proxy has by default, if its class has them.
SPECIAL = ("__len__", "__getitem__", "__setitem__", "__delitem__", "__contains__", "__call__", "__bool__", "__int__", "__float__")


def exposed(cls) -> list:
    """The names of a class that its proxies have by default: all that are public, and the special ones above."""
    return [name for name in dir(cls) if name in SPECIAL or not name.startswith("_")]


class Served:
    """A class and what can be called of it: the one table from which the broker, its errors and all proxies know."""

    def __init__(self, name: str, cls, only, shared) -> None:
        self.name = name
        self.cls = cls
        self.constructor = takes(cls)
        self.methods = [("__class__", "", True)]
        self._calls: dict = {"__class__": lambda thing: f"{cls.__module__}.{cls.__qualname__}"}
        for attribute in exposed(cls) if only is None else only:
            found = inspect.getattr_static(cls, attribute, None)
            if isinstance(found, property):
                self._add(f"{attribute}.get", "", True, lambda thing, attribute=attribute: getattr(thing, attribute))
                if found.fset is not None:
                    self._add(f"{attribute}.set", "value", False, lambda thing, value, attribute=attribute: setattr(thing, attribute, value))
            elif callable(getattr(cls, attribute, None)):
                function = getattr(cls, attribute)
                is_shared = attribute in shared or getattr(function, "__sharehold_shared__", False)
                static = not inspect.isroutine(found) or isinstance(found, (staticmethod, classmethod))
                call = (lambda thing, *args, function=function, **kwargs: function(*args, **kwargs)) if static else function
                self._add(attribute, takes(function, not static), is_shared, call)
            elif only is not None:
                raise AttributeError(f"{cls.__qualname__} has no method {attribute!r} that could be exposed")

    def _add(self, method: str, signature: str, is_shared: bool, call) -> None:
        self.methods.append((method, signature, is_shared))
        self._calls[method] = call

    def call(self, thing, method: str, args, kwargs={}):
        """Makes an object, or calls a method."""
        return self.cls(*args, **kwargs) if thing is None else self._calls[method](thing, *args, **kwargs)

    def run(self, thing, method: str, data, arguments):
        """The same with a pickle and its proxies, or with the plain values of another language, and what a call is answered with."""
        if data is not None:
            result = self.call(thing, method, *_pickle.loads(data, arguments))
            return result if thing is None else pickled(result)
        args = [] if arguments is None else arguments if isinstance(arguments, list) else [arguments]
        result = self.call(thing, method, args)
        return result if thing is None else (False, result, [])


def pickled(result):
    """The result of a method for a caller in Python."""
    return True, *_pickle.dumps(result)


def takes(function, is_method: bool = False) -> str:
    """What a function takes, without brackets, and of a method without the object."""
    try:
        signature = inspect.signature(function)
    except (TypeError, ValueError):
        return "..."
    parameters = list(signature.parameters.values())[1 if is_method else 0 :]
    return str(signature.replace(parameters=parameters, return_annotation=inspect.Signature.empty))[1:-1]


def tell(error: BaseException):
    """An exception as its type, its text, its traceback, and itself as a pickle, if it can be one and be loaded again."""
    frames = error.__traceback__
    # The frame of this file says nothing to anybody.
    while frames is not None and frames.tb_frame.f_code.co_filename == __file__:
        frames = frames.tb_next
    text = "".join(traceback.format_exception(type(error), error, frames))
    kind = type(error)
    name = kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"
    try:
        original = _pickle.outside(error)
        pickle.loads(original)
    except Exception:
        original = b""
    return name, str(error), text, original


def main() -> None:
    """Serves the process that has started this one."""
    described = pickle.loads(base64.b64decode(sys.argv[2]))
    sys.argv = described.pop("sys_argv")
    from multiprocessing import spawn

    # The modules of the parent are found as there, and its main module under the name that it has there.
    spawn.prepare(described.pop("preparation"))
    served = []
    for name, pickled, only, shared in described["classes"]:
        cls = pickle.loads(pickled)
        # A class that is registered twice has its first name where a method has something hosted.
        _served.names.setdefault(cls, name)
        served.append(Served(name, cls, only, shared))
    status = 1
    try:
        _sharehold.serve_parent(served)
        status = 0
    except Error:
        # The process that has started this one is told.
        pass
    finally:
        sys.stderr.flush()
        # Without tearing down the interpreter, in which threads may still be.
        os._exit(status)


if __name__ == "__main__":
    # As the module that others import, not a second one of the name `__main__`.
    from sharehold import _broker

    _broker.main()
