"""What the methods of a hosted object can use, in the broker."""

from __future__ import annotations

from . import _sharehold
from ._sharehold import caller, is_cancelled

__all__ = ["caller", "current", "host", "is_cancelled", "shared"]

#: The names of the classes that this process serves, if it is a broker.
names: dict = {}


def shared(method):
    """Marks a method of a class as one that runs beside others on the same object, as one does that only reads or only waits. Others have the object for themselves."""
    method.__sharehold_shared__ = True
    return method


def current():
    """The manager of the broker that executes this method: with it a method creates objects and finds names. Elsewhere it raises `Refused`."""
    from ._manager import Manager

    return Manager._of(_sharehold.Session.current())


def host(thing):
    """Hosts an object that a method has made, of a registered class, and gives the first proxy of it."""
    name = names.get(type(thing))
    if name is None:
        raise TypeError(f"{type(thing).__qualname__} is not registered with this broker; it has {', '.join(names.values()) or 'no classes'}")
    return _sharehold.host(name, thing)
