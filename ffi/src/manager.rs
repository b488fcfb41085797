//! The handle on a broker: to start one, or to connect to it.

use std::ffi::c_char;
use std::time::Duration;

use sharehold_rust::{BrokerBuilder, Datum, Manager, ManagerBuilder};

use crate::border::{Result, allocate, border, bytes, get, give, invalid, out, slice, take_back, text, time};
use crate::datum::{Tree, datum_of, sh_bytes, sh_datum};
use crate::object::sh_object;
use crate::status::sh_status;

/// A process's handle on a broker. Any threads may use it at once; whoever drops it lets nobody else use it meanwhile.
pub struct sh_manager(pub(crate) Manager);

/// How to start, serve or connect. All that is zero is as usual; NULL instead of it, too.
#[repr(C)]
pub struct sh_options {
    /// `sizeof(sh_options)`.
    pub size: usize,
    /// The name of the broker that is started or served; of one that is started it may be NULL: then it has a name that nobody else has.
    pub name: *const c_char,
    /// Bytes of objects that there is room for.
    pub capacity: u64,
    /// Most objects.
    pub objects: u32,
    /// Most processes, the broker included.
    pub sessions: u32,
    /// The secret that the broker and its clients share.
    pub authkey: sh_bytes,
    /// How long creating objects waits for room.
    pub room_ms: u64,
    /// How long connecting waits for the broker to serve.
    pub connect_ms: u64,
    /// Not 0: the region is mapped for reading.
    pub read_only: u32,
    /// Not 0: a broker's process can be traced by others of its user.
    pub debuggable: u32,
    /// What is run as the broker that is started, which calls sh_serve_parent: a program and its arguments, then NULL. NULL: this program is run again, and never comes to `main`.
    pub command: *const *const c_char,
}

/// The options, unless they are of another version of this library.
pub(crate) unsafe fn options<'a>(options: *const sh_options) -> Result<Option<&'a sh_options>> {
    if options.is_null() {
        return Ok(None);
    }
    // SAFETY: by the caller's word.
    let options = unsafe { get(options) }?;
    if options.size != size_of::<sh_options>() {
        return Err(invalid(format!("sh_options.size is {}, not {}", options.size, size_of::<sh_options>())));
    }
    Ok(Some(options))
}

macro_rules! set_up {
    ($builder:expr, $options:expr) => {{
        let (mut builder, options) = ($builder, $options);
        if !options.name.is_null() {
            builder = builder.name(text(options.name)?);
        }
        if options.capacity > 0 {
            builder = builder.capacity(options.capacity);
        }
        if options.objects > 0 {
            builder = builder.objects(options.objects);
        }
        if options.sessions > 0 {
            builder = builder.sessions(options.sessions);
        }
        if options.authkey.len > 0 {
            builder = builder.authkey(bytes(options.authkey.data, options.authkey.len)?);
        }
        if options.debuggable != 0 {
            builder = builder.debuggable();
        }
        builder
    }};
}

pub(crate) unsafe fn broker(builder: BrokerBuilder, options: &sh_options) -> Result<BrokerBuilder> {
    // SAFETY: by the caller's word.
    unsafe { Ok(set_up!(builder, options)) }
}

unsafe fn builder(options: Option<&sh_options>) -> Result<ManagerBuilder> {
    let Some(options) = options else { return Ok(Manager::builder()) };
    // SAFETY: by the caller's word.
    let mut builder = unsafe { set_up!(Manager::builder(), options) };
    builder = builder.wait_for_room(Duration::from_millis(options.room_ms));
    if options.read_only != 0 {
        builder = builder.read_only();
    }
    if !options.command.is_null() {
        let mut words = Vec::new();
        // SAFETY: by the caller's word there is NULL in the end.
        unsafe {
            let mut next = options.command;
            while !get(next)?.is_null() {
                words.push(text(*next)?);
                next = next.add(1);
            }
        }
        let (program, arguments) = words.split_first().ok_or_else(|| invalid("the command is empty"))?;
        builder = builder.command(*program, arguments.iter().copied());
    }
    Ok(builder)
}

/// Starts a broker as a child process and connects to it. It ends with this process's last manager and object. Any thread. To be dropped by sh_manager_drop.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sh_manager_start(options: *const sh_options, manager: *mut *mut sh_manager) -> sh_status {
    border! {
        let manager = out(manager)?;
        manager.set(give(sh_manager(builder(self::options(options)?)?.start()?)));
        Ok(())
    }
}

/// Joins the broker of this name. Any thread. To be dropped by sh_manager_drop.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sh_manager_connect(
    name: *const c_char,
    options: *const sh_options,
    manager: *mut *mut sh_manager,
) -> sh_status {
    border! {
        let manager = out(manager)?;
        let (name, options) = (text(name)?, self::options(options)?);
        let patience = Duration::from_millis(options.map_or(0, |options| options.connect_ms));
        manager.set(give(sh_manager(builder(options)?.connect_within(name, patience)?)));
        Ok(())
    }
}

/// The manager of the broker that runs this method: in a thread that runs one. To be dropped by sh_manager_drop, in the method.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sh_manager_current(manager: *mut *mut sh_manager) -> sh_status {
    border! {
        let manager = out(manager)?;
        manager.set(give(sh_manager(Manager::current()?)));
        Ok(())
    }
}

/// The manager of the broker that an object belongs to, for those who have got the object by its ticket. Any thread. To be dropped by sh_manager_drop.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sh_manager_of(object: *const sh_object, manager: *mut *mut sh_manager) -> sh_status {
    border! {
        let manager = out(manager)?;
        manager.set(give(sh_manager(Manager::of(&get(object)?.0)?)));
        Ok(())
    }
}

/// Gives a manager up, which no other thread uses meanwhile. Objects that were made by it stay. NULL is nothing.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sh_manager_drop(manager: *mut sh_manager) -> sh_status {
    border! { take_back(manager) }
}

/// The broker's name. Any thread. To be freed by sh_free.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sh_manager_name(manager: *const sh_manager, name: *mut *mut c_char) -> sh_status {
    border! {
        let name = out(name)?;
        name.set(allocate(get(manager)?.0.name().as_bytes())?.cast());
        Ok(())
    }
}

/// Ends the broker in order. Any thread.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sh_manager_shutdown(manager: *const sh_manager) -> sh_status {
    border! { Ok(get(manager)?.0.shutdown()?) }
}

/// Makes an object of a class in the broker. Any thread. To be dropped by sh_object_drop.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sh_manager_create(
    manager: *const sh_manager,
    class: *const c_char,
    arguments: *const sh_datum,
    count: usize,
    object: *mut *mut sh_object,
) -> sh_status {
    border! {
        let object = out(object)?;
        let (manager, class) = (get(manager)?, text(class)?);
        let arguments = slice(arguments, count)?.iter().map(|datum| datum_of(datum, 0)).collect::<Result<_>>()?;
        object.set(sh_object::give(manager.0.create(class, &Datum::List(arguments))?));
        Ok(())
    }
}

/// Publishes an object under a name, which holds it until it is removed; with `replace` not 0 takes the name over if another object has it. Any thread.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sh_manager_publish(
    manager: *const sh_manager,
    name: *const c_char,
    object: *const sh_object,
    replace: u32,
) -> sh_status {
    border! {
        let (manager, name, object) = (&get(manager)?.0, text(name)?, &get(object)?.0);
        Ok(if replace == 0 { manager.publish(name, object) } else { manager.publish_over(name, object) }?)
    }
}

/// The object that is published under a name; waits for it at most `timeout_ms`, without limit if it is negative, not at all if it is 0. Any thread. To be dropped by sh_object_drop.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sh_manager_lookup(
    manager: *const sh_manager,
    name: *const c_char,
    timeout_ms: i64,
    object: *mut *mut sh_object,
) -> sh_status {
    border! {
        let object = out(object)?;
        let (manager, name) = (&get(manager)?.0, text(name)?);
        let found = match timeout_ms {
            0 => manager.lookup(name),
            // A hundred years.
            _ => manager.wait(name, time(timeout_ms).unwrap_or(Duration::from_secs(3_155_760_000))),
        };
        object.set(sh_object::give(found?));
        Ok(())
    }
}

/// Removes a name; its object dies if nothing else holds it. Any thread.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sh_manager_unpublish(manager: *const sh_manager, name: *const c_char) -> sh_status {
    border! { Ok(get(manager)?.0.unpublish(text(name)?)?) }
}

/// Every live object and who holds it: a list of maps with `id`, `kind`, `type_name`, `bytes`, `sealed`, `pins` and `holders`. To be freed by sh_datum_free. Any thread.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sh_manager_debug_info(manager: *const sh_manager, info: *mut *const sh_datum) -> sh_status {
    border! {
        let info = out(info)?;
        info.set(Tree::give(Datum::of(&get(manager)?.0.debug_info()?)?)?);
        Ok(())
    }
}

/// How full the broker is: a map with `objects`, `sessions`, `heap_used`, `heap_capacity` and others. To be freed by sh_datum_free. Any thread.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sh_manager_stats(manager: *const sh_manager, stats: *mut *const sh_datum) -> sh_status {
    border! {
        let stats = out(stats)?;
        stats.set(Tree::give(Datum::of(&get(manager)?.0.stats()?)?)?);
        Ok(())
    }
}
