"""Shared-memory objects with counted proxies in any process.

Objects live in one mapped region, or in a broker process that calls their methods. A proxy is a counted reference: an object lives exactly as long as
some proxy, ticket or name holds it, whichever process dies meanwhile. Proxies can be pickled, so they go through every queue, pipe and pool.

>>> import sharehold
>>> with sharehold.Manager() as manager:
...     prices = manager.array([1.0, 2.0, 3.0])
...     with prices.write() as view:
...         view[0] = 10.0
...     prices.tolist()
[10.0, 2.0, 3.0]
"""

from ._array import Array
from ._errors import *  # noqa: F403
from ._errors import __all__ as _kinds
from ._hosted import Dict, Hosted, List, Namespace, timeout
from ._manager import Manager
from ._pickle import pickling, redeem
from ._served import caller, current, host, is_cancelled, shared
from ._sharehold import Channel, Proxy, Receiver, Sender, Value, __version__, brokers
from ._types import struct

__all__ = [
    "Array",
    "Channel",
    "Dict",
    "Hosted",
    "List",
    "Manager",
    "Namespace",
    "Proxy",
    "Receiver",
    "Sender",
    "Value",
    "brokers",
    "caller",
    "current",
    "host",
    "is_cancelled",
    "pickling",
    "redeem",
    "shared",
    "struct",
    "timeout",
    "__version__",
    *_kinds,
]
