"""Arrays as Python objects."""

from __future__ import annotations

from . import _pickle
from ._sharehold import Buffered
from ._types import describe


class Array(Buffered):
    """Many numbers, or plain structs, in shared memory.

    It has the buffer protocol: `numpy.asarray(array)` and `memoryview(array)` look at the very memory that all processes see, and keep it alive. Such views keep no lock: several processes that write at the same
    time see each other's halves, as with `multiprocessing.shared_memory`. `with array.read()` and `with array.write()` keep the others out for as long as it takes. A sealed array is immutable for
    ever, and its views are read-only.
    """

    __slots__ = ("__weakref__",)

    @property
    def dtype(self):
        """The type of its elements as a `numpy.dtype`."""
        import numpy

        return numpy.asarray(self).dtype

    def typed(self, kind) -> Array:
        """The same array as one of a `struct`, of which the region only tells the name and the size. Another type than its own is a `TypeError`."""
        return Array(self, describe(kind)[0])

    def tolist(self) -> list:
        """A copy of the elements."""
        return memoryview(self).tolist()

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, index):
        with memoryview(self) as view:
            found = view[index]
            return found.tolist() if isinstance(found, memoryview) else found

    def __setitem__(self, index, value) -> None:
        with memoryview(self) as view:
            view[index] = value

    def __iter__(self):
        return iter(self.tolist())

    def __bytes__(self) -> bytes:
        return memoryview(self).tobytes()

    def __reduce__(self):
        description = self._description
        return _pickle.reduce(self) if description is None else _pickle.reduce(self, description)

    def __copy__(self) -> Array:
        return Array(self) if self._description is None else Array(self, self._description)

    def __deepcopy__(self, memo) -> Array:
        return self.__copy__()
