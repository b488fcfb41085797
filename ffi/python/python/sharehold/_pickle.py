"""Proxies in pickles.

In a pickle that goes anywhere a proxy is a ticket, which holds the object until somebody loads the pickle. In the arguments and results of a call it is a reference, which the call carries beside the pickle.
"""

from __future__ import annotations

import copyreg
import os
import pickle
import threading
import weakref

from . import _sharehold

#: Proxies of the call that this thread writes or reads.
_calls = threading.local()

#: Sessions that only tickets have brought about: they stay, so that the next ticket finds them.
_kept: dict = {}
#: Managers of this process, which keep sessions themselves.
managers: weakref.WeakSet = weakref.WeakSet()


class _Terms:
    uses = 1
    deadline = 3600.0


class pickling:
    """Sets what the tickets in pickles allow, for the whole process: how often each pickle may be loaded, and for how many seconds.

    Default: once, within an hour. A pickle that is never loaded holds its objects until then; one that is loaded again raises `TicketSpent`. Within `with` the earlier terms come back at its end. What a `multiprocessing.Queue` is given
    is pickled by a thread of its own, a little later, so set it for the whole program there.
    """

    def __init__(self, *, uses: int = 1, deadline: float | None = 3600.0) -> None:
        if not 1 <= uses < 1 << 24:
            raise ValueError("a pickle can be loaded 1 to 16777215 times")
        self._before = (_Terms.uses, _Terms.deadline)
        _Terms.uses, _Terms.deadline = uses, deadline

    def __enter__(self) -> pickling:
        return self

    def __exit__(self, *exception) -> None:
        _Terms.uses, _Terms.deadline = self._before


def reduce(proxy, *more):
    """What stands for a proxy in the pickle that is being written."""
    outgoing = getattr(_calls, "outgoing", None)
    if outgoing is not None:
        outgoing.append(proxy)
        return _of_call, (len(outgoing) - 1, *more)
    return redeem, (proxy.ticket(uses=_Terms.uses, deadline=_Terms.deadline), *more)


def _typed(proxy, description=None):
    return proxy if description is None else type(proxy)(proxy, description)


def _of_call(place, description=None):
    return _typed(_calls.incoming[place], description)


def redeem(ticket: str, description=None):
    """Takes one use of a ticket and gives the proxy that it stands for, in a process that may have nothing but the ticket.

    The session with the broker that this brings about stays until the process ends.
    """
    broker = ticket.rpartition("/")[0]
    proxy = _sharehold.redeem(ticket)
    key = (os.getpid(), broker)
    if key not in _kept and not any(manager.is_of(broker) for manager in list(managers)):
        _kept[key] = proxy._session
    return _typed(proxy, description)


def dumps(value):
    """A pickle for a call, and the proxies in it. A method that is written meanwhile may make calls of its own."""
    before = getattr(_calls, "outgoing", None)
    _calls.outgoing = proxies = []
    try:
        return pickle.dumps(value, 5), proxies
    finally:
        _calls.outgoing = before


def loads(data, proxies):
    """The reverse of `dumps`."""
    if not proxies:
        return pickle.loads(data)
    before = getattr(_calls, "incoming", None)
    _calls.incoming = proxies
    try:
        return pickle.loads(data)
    finally:
        _calls.incoming = before


def outside(value):
    """A pickle for no call, also in the middle of one."""
    before = getattr(_calls, "outgoing", None)
    _calls.outgoing = None
    try:
        return pickle.dumps(value, 5)
    finally:
        _calls.outgoing = before


# Classes in Rust, which can't say it by themselves.
copyreg.pickle(_sharehold.Value, reduce)
copyreg.pickle(_sharehold.Channel, reduce)
