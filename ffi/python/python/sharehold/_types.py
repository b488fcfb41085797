"""Types of elements: NumPy's and those of the module `struct` as the region names them."""

from __future__ import annotations

import sys

_BY_CODE = {
    ("i", 1): "i8",
    ("i", 2): "i16",
    ("i", 4): "i32",
    ("i", 8): "i64",
    ("u", 1): "u8",
    ("u", 2): "u16",
    ("u", 4): "u32",
    ("u", 8): "u64",
    ("f", 4): "f32",
    ("f", 8): "f64",
}
_NAMES = frozenset(_BY_CODE.values())
_BY_LETTER = {"b": "i1", "B": "u1", "h": "i2", "H": "u2", "i": "i4", "I": "u4", "q": "i8", "Q": "u8", "f": "f4", "d": "f8", "c": "u1"}
_WORD = "8" if sys.maxsize > 1 << 32 else "4"
_BY_LETTER.update({"l": "i" + _WORD, "L": "u" + _WORD, "n": "i" + _WORD, "N": "u" + _WORD})


class struct:
    """A plain struct, as Rust and C have it: a name, and fields with their types, one behind the other without gaps.

    >>> Quote = struct("Quote", [("bid", "f64"), ("size", "u64")])

    With the same name and fields it is the type that a Rust program declares with `#[derive(Shareable)]`. NumPy sees a structured dtype.
    """

    def __init__(self, name: str, fields) -> None:
        described, offset = [], 0
        for field, kind in fields:
            element, size = describe(kind)
            described.append((field, offset, element))
            offset += size
        self.name = name
        self.size = offset
        self._element = ("struct", name, offset, described)

    def __repr__(self) -> str:
        fields = ", ".join(f"{field}: {element}" for field, _, element in self._element[3])
        return f"struct({self.name} {{{fields}}})"


def describe(kind):
    """A type as `_sharehold` takes it, and its bytes. `kind`: a name as "f64", a `struct`, or whatever `numpy.dtype` takes for a number."""
    if isinstance(kind, struct):
        return kind._element, kind.size
    if isinstance(kind, str) and kind in _NAMES:
        return kind, int(kind[1:]) // 8
    if kind is int:
        return "i64", 8
    if kind is float:
        return "f64", 8
    if isinstance(kind, tuple):
        element, size = describe(kind[0])
        return ("array", element, kind[1]), size * kind[1]
    code, size = getattr(kind, "kind", None), getattr(kind, "itemsize", None)
    if code is None:
        numpy = sys.modules.get("numpy")
        if numpy is None:
            raise TypeError(f"{kind!r} is no type of elements: it can be 'f64', 'u8' and the like, or a sharehold.struct")
        kind = numpy.dtype(kind)
        code, size = kind.kind, kind.itemsize
    found = _BY_CODE.get((code, size))
    if found is None or not getattr(kind, "isnative", True):
        raise TypeError(
            f"elements of {kind} can't be shared: integers and floats of this machine's byte order can; "
            "view truth values as uint8, and fields as a sharehold.struct"
        )
    return found, size


def of_format(text: str, itemsize: int):
    """The type of a buffer's elements."""
    letter = text.lstrip("@=<" if sys.byteorder == "little" else "@=>")
    code = _BY_LETTER.get(letter)
    if code is None or int(code[1]) != itemsize:
        raise TypeError(f"elements of format {text!r} can't be shared: view truth values as uint8, and fields as a sharehold.struct")
    return _BY_CODE[code[0], int(code[1])]


def shaped(element, inner):
    """The type of what one index of the first dimension gives."""
    for count in reversed(inner):
        element = ("array", element, count)
    return element
