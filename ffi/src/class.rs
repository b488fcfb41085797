//! Classes whose methods are functions of C, and the broker that serves them.

use std::ffi::{CStr, c_char, c_void};

use sharehold_rust::{Broker, ClassBuilder, ClassTable, Datum, MethodError};

use crate::border::{Result, border, get, get_mut, give, invalid, slice, take_back, text};
use crate::datum::{Tree, datum_of, sh_datum};
use crate::manager::{broker, options, sh_options};
use crate::status::{SH_OK, sh_status};

/// What a method answers. Valid while the method runs, in its thread.
pub struct sh_reply {
    result: Datum,
    failure: Option<(String, String)>,
}

/// Makes the state of a new object out of arguments. Any thread; called at the same time for several objects. What it returns, SH_OK or why not, is the answer; sh_reply_fail says more.
pub type sh_make = Option<
    unsafe extern "C" fn(
        context: *mut c_void,
        arguments: *const sh_datum,
        count: usize,
        state: *mut *mut c_void,
        reply: *mut sh_reply,
    ) -> sh_status,
>;
/// A method of an object, in any thread; `context` is what it was registered with. SH_OK: the answer is what was given to sh_reply_return, else nil.
pub type sh_method = Option<
    unsafe extern "C" fn(
        state: *mut c_void,
        context: *mut c_void,
        arguments: *const sh_datum,
        count: usize,
        reply: *mut sh_reply,
    ) -> sh_status,
>;
/// Frees the state of an object, when nothing refers to it any more. Any thread.
pub type sh_drop = Option<unsafe extern "C" fn(state: *mut c_void)>;

/// A class: what can be made and called. One thread at a time.
pub struct sh_class {
    name: String,
    signature: String,
    make: Make,
    methods: Vec<Method>,
}

#[derive(Clone, Copy)]
struct Make {
    make: unsafe extern "C" fn(*mut c_void, *const sh_datum, usize, *mut *mut c_void, *mut sh_reply) -> sh_status,
    drop: sh_drop,
    context: *mut c_void,
}

// SAFETY: called from any thread, as the header says.
unsafe impl Send for Make {}
// SAFETY: as above.
unsafe impl Sync for Make {}

struct Method {
    name: String,
    signature: String,
    call: Call,
    changes: bool,
}

#[derive(Clone, Copy)]
struct Call {
    call: unsafe extern "C" fn(*mut c_void, *mut c_void, *const sh_datum, usize, *mut sh_reply) -> sh_status,
    context: *mut c_void,
}

// SAFETY: called from any thread, as the header says.
unsafe impl Send for Call {}
// SAFETY: as above.
unsafe impl Sync for Call {}

/// The state of an object, which is C's.
struct State {
    state: *mut c_void,
    drop: sh_drop,
}

// SAFETY: used from any thread, as the header says.
unsafe impl Send for State {}
// SAFETY: as above.
unsafe impl Sync for State {}

impl Drop for State {
    fn drop(&mut self) {
        if let Some(drop) = self.drop {
            // SAFETY: the state of this object, once.
            unsafe { drop(self.state) }
        }
    }
}

/// Runs a function of C, and reads what it has answered.
fn answer(
    arguments: Datum,
    work: impl FnOnce(&[sh_datum], *mut sh_reply) -> sh_status,
) -> std::result::Result<Datum, MethodError> {
    let arguments = match arguments {
        // A call without arguments.
        Datum::Unit => Datum::List(Vec::new()),
        list @ Datum::List(_) => list,
        _ => return Err(MethodError::new("the arguments are no list")),
    };
    let tree = Tree::new(arguments);
    let mut reply = sh_reply { result: Datum::Unit, failure: None };
    let status = work(tree.arguments(), &raw mut reply);
    match reply.failure {
        Some((type_name, message)) => Err(MethodError::foreign(type_name, message, "", Vec::new())),
        None if status == SH_OK => Ok(reply.result),
        None => {
            // SAFETY: the text of this thread, until the next failure.
            let said = unsafe { CStr::from_ptr(crate::border::sh_last_error()) }.to_string_lossy();
            let said = if said.is_empty() { "it says no more".into() } else { said };
            Err(MethodError::foreign("", format!("status {status}: {said}"), "", Vec::new()))
        }
    }
}

impl sh_class {
    fn table(&self) -> ClassTable {
        let whole = self.make;
        let mut class = ClassBuilder::<State>::new(&self.name).constructor(&self.signature, move |arguments: Datum| {
            let Make { make, drop, context } = { whole };
            let mut state = std::ptr::null_mut();
            // SAFETY: a function of C with what it was registered with.
            answer(arguments, |list, reply| unsafe {
                make(context, list.as_ptr(), list.len(), &raw mut state, reply)
            })?;
            Ok(State { state, drop })
        });
        for Method { name, signature, call, changes } in &self.methods {
            let whole = *call;
            let run = move |object: &State, arguments: Datum| {
                let Call { call, context } = { whole };
                // SAFETY: a method of the class, with the state of an object of it and what it was registered with.
                answer(arguments, |list, reply| unsafe {
                    call(object.state, context, list.as_ptr(), list.len(), reply)
                })
            };
            class = if *changes {
                class.method_mut(name, signature, move |object, arguments: Datum| run(object, arguments))
            } else {
                class.method(name, signature, run)
            };
        }
        class.build()
    }
}

/// A class whose objects `make` makes and `drop`, if it is not NULL, frees. `context` is given to `make`, and must live as long as the class is served. `signature` is for errors and lists, as "factor: f64". Any thread. To be
/// dropped by sh_class_drop, which a broker that serves it does not mind.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sh_class_new(
    name: *const c_char,
    signature: *const c_char,
    make: sh_make,
    drop: sh_drop,
    context: *mut c_void,
    class: *mut *mut sh_class,
) -> sh_status {
    border! {
        let class = crate::border::out(class)?;
        let (name, signature) = (text(name)?, text(signature)?);
        if !(1..=88).contains(&name.len()) || name.contains(char::is_control) {
            return Err(invalid("the name of a class has 1 to 88 bytes and no control characters"));
        }
        let make = make.ok_or_else(|| invalid("the function that makes objects is NULL"))?;
        let make = Make { make, drop, context };
        class.set(give(sh_class { name: name.into(), signature: signature.into(), make, methods: Vec::new() }));
        Ok(())
    }
}

/// Adds a method. Those with `changes` 0 run together on one object, others alone. `context` is given to it, and must live as long as the class is served. `signature` is as in sh_class_new. One thread at a time.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sh_class_method(
    class: *mut sh_class,
    name: *const c_char,
    signature: *const c_char,
    method: sh_method,
    context: *mut c_void,
    changes: u32,
) -> sh_status {
    border! {
        let class = get_mut(class)?;
        let call = method.ok_or_else(|| invalid("the method is NULL"))?;
        let (name, signature) = (text(name)?.to_owned(), text(signature)?.to_owned());
        class.methods.push(Method { name, signature, call: Call { call, context }, changes: changes != 0 });
        Ok(())
    }
}

/// Drops a class, which no other thread uses meanwhile. NULL is nothing.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sh_class_drop(class: *mut sh_class) -> sh_status {
    border! { take_back(class) }
}

unsafe fn tables(classes: *const *const sh_class, count: usize) -> Result<Vec<ClassTable>> {
    // SAFETY: by the caller's word.
    unsafe { slice(classes, count)?.iter().map(|class| get(*class).map(sh_class::table)).collect() }
}

/// Runs a broker with these classes in this process, until SIGTERM, SIGINT or SIGHUP comes or a client ends it. Call it early in `main`: the signals are blocked in this thread and those it starts.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sh_serve(
    options: *const sh_options,
    classes: *const *const sh_class,
    count: usize,
) -> sh_status {
    border! {
        let mut builder = Broker::builder();
        if let Some(options) = self::options(options)? {
            builder = broker(builder, options)?;
        }
        for table in tables(classes, count)? {
            builder = builder.class_table(table);
        }
        Ok(builder.serve()?)
    }
}

/// Serves these classes to the process that has run this one by `sh_options.command`, until that ends. The standard input ties the two: nobody else may read from it. Call it in the thread of `main`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sh_serve_parent(classes: *const *const sh_class, count: usize) -> sh_status {
    border! { Ok(Broker::serve_parent(tables(classes, count)?)?) }
}

/// Sets what a method answers. What is in it is copied. In the thread that runs the method.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sh_reply_return(reply: *mut sh_reply, result: *const sh_datum) -> sh_status {
    border! {
        get_mut(reply)?.result = datum_of(get(result)?, 0)?;
        Ok(())
    }
}

/// Makes the call fail: the caller gets SH_METHOD_FAILED with this text. `type_name` says what kind of error it is. In the thread that runs the method.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sh_reply_fail(
    reply: *mut sh_reply,
    type_name: *const c_char,
    message: *const c_char,
) -> sh_status {
    border! {
        get_mut(reply)?.failure = Some((text(type_name)?.into(), text(message)?.into()));
        Ok(())
    }
}
