"""One exception class for each kind of error, all of them under `Error`, and each with the class of Python that means the same."""

from __future__ import annotations

import pickle
import queue


class Error(Exception):
    """An error of this package: `message` says what happened, `advice` what can be done about it, if anything."""

    message = ""
    advice = ""

    def __str__(self) -> str:
        return f"{self.message} ({self.advice})" if self.advice else self.message

    def __reduce__(self):
        return _again, (type(self), self.message, self.advice, dict(self.__dict__))


def _again(kind, message, advice, attributes):
    error = _made(kind, message, advice)
    error.__dict__.update(attributes)
    return error


class RemoteTraceback(Exception):
    """The traceback of a method, as it was in the broker. It is the `__cause__` of what the caller gets."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self.text = text

    def __str__(self) -> str:
        return f'\n"""\n{self.text}"""'


class TicketError(Error, ValueError):
    """A ticket can't be redeemed."""


class MethodFailed(Error, RuntimeError):
    """A method of a hosted object failed.

    `causes` are the types and texts of the errors behind each other, `places` the methods, files and lines where it came about and that had called it, `traceback` is the stack there.
    """

    causes: list = []
    places: list = []
    traceback = ""


# The kinds in the order of their numbers, which are never used for another kind.
_KINDS = {
    "Os": ("A system call failed.", (Error, OSError)),
    "BrokerNotFound": ("No broker of this name runs.", (Error, ConnectionError)),
    "BrokerGone": ("The broker ended or closed the connection.", (Error, ConnectionError)),
    "BrokerExists": ("A broker of this name runs already.", (Error, FileExistsError)),
    "LayoutMismatch": ("The two processes were built with different layouts of the region.", (Error, RuntimeError)),
    "TypeMismatch": ("The object has another type than the one asked for.", (Error, TypeError)),
    "Gone": ("The object is gone.", (Error, ReferenceError)),
    "TicketMalformed": ("The text is not a ticket.", (TicketError,)),
    "TicketForged": ("The ticket was not made by this broker's processes.", (TicketError,)),
    "TicketSpent": ("All uses of the ticket are taken.", (TicketError,)),
    "TicketExpired": ("The ticket's deadline has passed.", (TicketError,)),
    "TicketForeign": ("The ticket belongs to another broker.", (TicketError,)),
    "NameTaken": ("The name holds an object already.", (Error, ValueError)),
    "NameNotFound": ("No object is published under this name.", (Error, KeyError)),
    "Timeout": ("The time allowed ran out.", (Error, TimeoutError)),
    "RegionFull": ("The region has no free piece of this size, or the system no memory.", (Error, MemoryError)),
    "TableFull": ("A table of the region is full.", (Error, MemoryError)),
    "Sealed": ("The object is sealed: it can't be changed any more.", (Error, ValueError)),
    "NotSealed": ("The object is not sealed.", (Error, ValueError)),
    "Poisoned": ("A process died while it changed the object.", (Error, RuntimeError)),
    "InvalidArgument": ("An argument is out of range.", (Error, ValueError)),
    "Protocol": ("The other side sent something that is not of the protocol.", (Error, ConnectionError)),
    "Refused": ("The broker refused the peer or the request.", (Error, PermissionError)),
    "Damaged": ("Something in the region can't be what was written there.", (Error, RuntimeError)),
    "ArchiveInvalid": ("The bytes are not a valid archive of this type.", (Error, ValueError)),
    "Forked": ("The proxy was inherited through fork, and does nothing in this process.", (Error, RuntimeError)),
    "ClassNotFound": ("The broker has no class of this name.", (Error, LookupError)),
    "MethodNotFound": ("The class has no method of this name.", (Error, AttributeError)),
    "MethodFailed": (None, MethodFailed),
    "MethodPanicked": ("A method that is written in Rust panicked.", (MethodFailed,)),
    "Cancelled": ("The call was cancelled.", (Error,)),
    "Unserializable": ("A value can't be written as an argument or a result.", (Error, TypeError)),
    "Deadlock": ("Two calls wait for each other's objects; this one gave way.", (Error, RuntimeError)),
    "Lost": ("The hosted object was in the memory of a broker that has died.", (Error, LookupError)),
    "ReadOnly": ("The manager only reads.", (Error, PermissionError)),
    "WrongAuthkey": ("The broker's authkey is another one, or one side has none.", (Error, PermissionError)),
    "TooManyTries": ("Too many wrong authkeys came from this user.", (Error, PermissionError)),
    "Disconnected": ("All senders of a channel are gone, or all receivers, or it was closed.", (Error, EOFError)),
    "ChannelFull": ("The channel is full.", (Error, queue.Full)),
}

_BY_NUMBER: list = [Error]
for _name, (_doc, _bases) in _KINDS.items():
    if _doc is not None:
        globals()[_name] = type(_name, _bases, {"__doc__": _doc, "__module__": "sharehold"})
    _BY_NUMBER.append(globals()[_name])

#: The number of that kind, for those who raise it here.
TIMEOUT = _BY_NUMBER.index(globals()["Timeout"])

for _class in (Error, MethodFailed, RemoteTraceback, TicketError):
    _class.__module__ = "sharehold"

__all__ = ["Error", "RemoteTraceback", "TicketError", *_KINDS]


def _made(kind: type, message: str, advice: str) -> Error:
    error = kind(message)
    error.message = message
    error.advice = advice
    return error


def make(number: int, message: str, advice: str, remote) -> BaseException:
    """The exception for an error of the library. An exception that a method raised in Python is that exception again."""
    kind = _BY_NUMBER[number] if number < len(_BY_NUMBER) else Error
    error = _made(kind, message, advice)
    if remote is None:
        return error
    causes, places, traceback, original = remote
    if original:
        try:
            raised = pickle.loads(original)
        except Exception:  # Of a class that this process can't import: then it is told what is known.
            raised = None
        if isinstance(raised, BaseException):
            raised.__cause__ = RemoteTraceback(traceback)
            return raised
    error.causes, error.places, error.traceback = causes, places, traceback
    if traceback:
        error.__cause__ = RemoteTraceback(traceback)
    return error
