//! Values of no declared type, on their way from C and to it.

use std::ffi::{c_char, c_void};
use std::ptr;

use sharehold_rust::Datum;

use crate::border::{Result, allocate, border, bytes, get, give, invalid, out, slice, text};
use crate::object::sh_object;
use crate::status::sh_status;

/// Nothing.
pub const SH_NIL: u32 = 0;
/// `of.integer` is 0 or 1.
pub const SH_BOOL: u32 = 1;
/// `of.integer`.
pub const SH_INT: u32 = 2;
/// `of.natural`: what is too large for SH_INT.
pub const SH_UINT: u32 = 3;
/// `of.real`.
pub const SH_FLOAT: u32 = 4;
/// `of.bytes` is UTF-8. What the library gives has a zero behind it.
pub const SH_TEXT: u32 = 5;
/// `of.bytes`.
pub const SH_BYTES: u32 = 6;
/// `of.items`.
pub const SH_LIST: u32 = 7;
/// `of.items`: a key, its value, the next key, and so on.
pub const SH_MAP: u32 = 8;
/// `of.object`.
pub const SH_OBJECT: u32 = 9;

/// Bytes somewhere.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct sh_bytes {
    /// Where; may be NULL for none.
    pub data: *const c_void,
    /// How many.
    pub len: usize,
}

impl sh_bytes {
    pub(crate) unsafe fn get<'a>(self) -> Result<&'a [u8]> {
        // SAFETY: what was given to a function is there while it runs, by the caller's word.
        unsafe { bytes(self.data, self.len) }
    }
}

/// Values one behind the other.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct sh_items {
    /// Where; may be NULL for none.
    pub data: *const sh_datum,
    /// How many.
    pub len: usize,
}

/// What a value is, by its tag.
#[repr(C)]
#[derive(Clone, Copy)]
pub union sh_datum_of {
    /// SH_BOOL, SH_INT.
    pub integer: i64,
    /// SH_UINT.
    pub natural: u64,
    /// SH_FLOAT.
    pub real: f64,
    /// SH_TEXT, SH_BYTES.
    pub bytes: sh_bytes,
    /// SH_LIST, SH_MAP.
    pub items: sh_items,
    /// SH_OBJECT.
    pub object: *const sh_object,
}

/// A value of no declared type: an argument or a result. What it points to stays its owner's: functions copy what they take, and what they give is the library's, until sh_datum_free.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct sh_datum {
    /// SH_NIL and so on.
    pub tag: u32,
    /// What belongs to the tag.
    pub of: sh_datum_of,
}

/// Deepest nesting that is read: the stack is not endless.
const DEPTH: usize = 120;

/// Copies what C has made.
pub(crate) unsafe fn datum_of(from: &sh_datum, depth: usize) -> Result<Datum> {
    if depth > DEPTH {
        return Err(invalid(format!("a value is nested deeper than {DEPTH} levels")));
    }
    // SAFETY: the tag says what is there, by the caller's word.
    unsafe {
        Ok(match from.tag {
            SH_NIL => Datum::Unit,
            SH_BOOL => Datum::Bool(from.of.integer != 0),
            SH_INT => Datum::Int(from.of.integer.into()),
            SH_UINT => Datum::Int(from.of.natural.into()),
            SH_FLOAT => Datum::Float(from.of.real),
            SH_TEXT => match std::str::from_utf8(from.of.bytes.get()?) {
                Ok(text) => Datum::from(text),
                Err(_) => return Err(invalid("a text is not UTF-8")),
            },
            SH_BYTES => Datum::from(from.of.bytes.get()?),
            SH_LIST => Datum::List(items_of(from, depth)?),
            SH_MAP => {
                let mut items = items_of(from, depth)?.into_iter();
                let mut entries = Vec::new();
                while let Some(key) = items.next() {
                    let value = items.next().ok_or_else(|| invalid("the last key of a map has no value"))?;
                    entries.push((key, value));
                }
                Datum::Map(entries)
            }
            SH_OBJECT => Datum::Proxy(get(from.of.object)?.0.clone()),
            tag => return Err(invalid(format!("there are no values with tag {tag}"))),
        })
    }
}

unsafe fn items_of(from: &sh_datum, depth: usize) -> Result<Vec<Datum>> {
    // SAFETY: as in `datum_of`.
    unsafe { slice(from.of.items.data, from.of.items.len)?.iter().map(|item| datum_of(item, depth + 1)).collect() }
}

/// A value for C, with all that it points to. The root comes first: its address is that of the whole.
#[repr(C)]
pub(crate) struct Tree {
    root: sh_datum,
    kept: Kept,
}

#[derive(Default)]
struct Kept {
    items: Vec<Box<[sh_datum]>>,
    // Each stays where it is while others come.
    #[expect(clippy::vec_box, reason = "C has pointers to them")]
    objects: Vec<Box<sh_object>>,
    bytes: Vec<Box<[u8]>>,
}

impl Tree {
    pub(crate) fn new(datum: Datum) -> Self {
        let mut kept = Kept::default();
        let root = kept.shown(datum);
        Self { root, kept }
    }

    /// The value itself, and if it is a list its elements.
    pub(crate) fn arguments(&self) -> &[sh_datum] {
        // The root's elements were kept last.
        if self.root.tag == SH_LIST { self.kept.items.last().map_or(&[], |items| items) } else { &[] }
    }

    pub(crate) fn give(datum: Datum) -> Result<*const sh_datum> {
        Ok(give(Self::new(datum)).cast_const().cast())
    }
}

impl Kept {
    fn shown(&mut self, datum: Datum) -> sh_datum {
        let (tag, of) = match datum {
            Datum::Unit => (SH_NIL, sh_datum_of { integer: 0 }),
            Datum::Bool(value) => (SH_BOOL, sh_datum_of { integer: value.into() }),
            Datum::Int(value) => match i64::try_from(value) {
                Ok(integer) => (SH_INT, sh_datum_of { integer }),
                // No other ones can be sent.
                Err(_) => (SH_UINT, sh_datum_of { natural: value as u64 }),
            },
            Datum::Float(real) => (SH_FLOAT, sh_datum_of { real }),
            Datum::Text(text) => (SH_TEXT, self.bytes(text.into_bytes())),
            Datum::Bytes(bytes) => (SH_BYTES, self.bytes(bytes)),
            Datum::List(items) => (SH_LIST, self.items(items)),
            Datum::Map(entries) => {
                (SH_MAP, self.items(entries.into_iter().flat_map(|(key, value)| [key, value]).collect()))
            }
            Datum::Proxy(object) => {
                let object = Box::new(sh_object::new(object));
                let of = sh_datum_of { object: ptr::from_ref(&*object) };
                self.objects.push(object);
                (SH_OBJECT, of)
            }
        };
        sh_datum { tag, of }
    }

    fn bytes(&mut self, mut bytes: Vec<u8>) -> sh_datum_of {
        let len = bytes.len();
        bytes.push(0);
        let bytes = bytes.into_boxed_slice();
        let of = sh_datum_of { bytes: sh_bytes { data: bytes.as_ptr().cast(), len } };
        self.bytes.push(bytes);
        of
    }

    fn items(&mut self, items: Vec<Datum>) -> sh_datum_of {
        let items: Box<[sh_datum]> = items.into_iter().map(|item| self.shown(item)).collect();
        let of = sh_datum_of { items: sh_items { data: items.as_ptr(), len: items.len() } };
        self.items.push(items);
        of
    }
}

/// Frees a value that the library has given, with all in it. NULL is nothing. Any thread.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sh_datum_free(datum: *const sh_datum) -> sh_status {
    border! { crate::border::take_back(datum.cast_mut().cast::<Tree>()) }
}

/// The value of a text key in a map, which belongs to the map; NULL if there is no such key. Any thread.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sh_datum_get(
    map: *const sh_datum,
    key: *const c_char,
    value: *mut *const sh_datum,
) -> sh_status {
    border! {
        let value = out(value)?;
        let (map, key) = (get(map)?, text(key)?);
        if map.tag != SH_MAP {
            return Err(invalid("the value is no map"));
        }
        let mut found = ptr::null();
        for entry in slice(map.of.items.data, map.of.items.len)?.chunks_exact(2) {
            if entry[0].tag == SH_TEXT && entry[0].of.bytes.get()? == key.as_bytes() {
                found = ptr::from_ref(&entry[1]);
                break;
            }
        }
        value.set(found);
        Ok(())
    }
}

/// A value as bytes of MessagePack. No objects can be in it. `bytes.data` is to be freed by sh_free. Any thread.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sh_datum_to_msgpack(datum: *const sh_datum, bytes: *mut sh_bytes) -> sh_status {
    border! {
        let bytes = out(bytes)?;
        let packed = datum_of(get(datum)?, 0)?.to_msgpack()?;
        bytes.set(sh_bytes { data: allocate(&packed)?.cast_const().cast(), len: packed.len() });
        Ok(())
    }
}

/// The value in bytes of MessagePack. To be freed by sh_datum_free. Any thread.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sh_datum_from_msgpack(bytes: sh_bytes, datum: *mut *const sh_datum) -> sh_status {
    border! {
        let datum = out(datum)?;
        datum.set(Tree::give(Datum::from_msgpack(bytes.get()?)?)?);
        Ok(())
    }
}
