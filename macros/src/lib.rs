//! Macros of `sharehold`; use them through that crate.

use proc_macro::TokenStream;
use syn::{DeriveInput, Error, parse_macro_input};

mod class;
mod shareable;

/// Makes a plain struct one that values and arrays can hold in shared memory.
///
/// The struct is `#[repr(C)]` and derives `bytemuck`'s `Pod` and `Zeroable` too; every field is `Shareable`. Its shared name is the struct's own;
/// `#[shareable(name = "...")]` gives another, so that two programs can call one layout differently.
#[proc_macro_derive(Shareable, attributes(shareable))]
pub fn shareable(input: TokenStream) -> TokenStream {
    shareable::derive(parse_macro_input!(input as DeriveInput)).unwrap_or_else(Error::into_compile_error).into()
}

/// Makes a type a class: the broker hosts its objects, and other processes call their methods through proxies.
///
/// It stands on an inherent `impl` block, which stays as it is.
///
/// ```ignore
/// pub struct Magnifier {
///     factor: f64,
/// }
///
/// #[sharehold::class]
/// impl Magnifier {
///     /// Creates a magnifier.
///     pub fn new(factor: f64) -> Self {
///         Self { factor }
///     }
///
///     /// Magnifies a number.
///     pub fn scale(&self, x: f64) -> f64 {
///         self.factor * x
///     }
///
///     /// Changes the factor.
///     pub fn set(&mut self, factor: f64) {
///         self.factor = factor;
///     }
/// }
///
/// let lens = MagnifierProxy::new(&manager, 2.0)?;
/// assert_eq!(lens.scale(21.0)?, 42.0);
/// ```
///
/// # What it generates
///
/// - A proxy, `MagnifierProxy`: a counted reference to a hosted object. It has each method of the class under the same name and with the same
///   documentation; that of the block is the proxy's own. All its methods take `&self` and return `sharehold::Result`, because the broker may be gone; so `Result<T, E>` becomes
///   `sharehold::Result<T>` with the error inside. A `Result` is known by its name, so an alias of it is called `Result` too.
/// - `impl Class for Magnifier` with the table of what can be called, and `impl ClassProxy for MagnifierProxy`.
/// - The entry by which every broker that runs this program, or one that links this crate, knows the class.
///
/// # What can be called
///
/// - Every `pub fn` with `&self`. Such calls run at the same time.
/// - Every `pub fn` with `&mut self`. Such a call has the object for itself.
/// - The constructor: the `pub fn new` without `self`, or the function marked `#[constructor]`, also a private one. Its proxy's counterpart takes
///   the manager first. It returns `Self` or a `Result` of it. If it returns anything else, then that is a proxy of an object that exists already,
///   and creating gives that object to the caller.
///
/// Functions that are private or `pub(crate)`, constants and types are left alone.
///
/// # Marks on functions
///
/// - `#[constructor]` makes a function of any name the constructor.
/// - `#[proxy]`: the broker hosts what the method returns, and the caller gets a proxy of it. The method returns an object of a class or a `Result`
///   of one.
/// - `#[references]`, at most once and with any visibility, on `fn held(&self, visit: &mut dyn FnMut(&sharehold::Object))`: calls `visit` with every
///   proxy that the object holds, so that the broker finds objects that only hold each other. It is not callable.
///
/// # Arguments and results
///
/// They travel between processes, so they are owned and serializable with `serde`, with two conveniences:
///
/// - An argument of type `&T` travels as what `T` is owned as, for instance `&str` as a `String`. The proxy takes a reference too.
/// - An argument of type `impl Into<T>` travels as a `T`. The proxy takes `impl Into<T>` too.
///
/// Neither the type nor a method of it is generic, and no method is async or unsafe or named as one that every proxy has: `clone`, `id`, `ticket`,
/// `ticket_with`, `object`, `from_object`, `downgrade`.
///
/// # Options
///
/// - `name = "Lens"` is the name by which processes know the class. By default it is the type's own.
/// - `proxy = LensProxy` is the name of the generated proxy. By default it is the type's with `Proxy` after it.
/// - `internal`: objects of this class can't be created from outside the broker; they only come from other objects' methods.
/// - `snapshot`: objects of this class outlive their broker. The type implements `sharehold::Snapshot`.
#[proc_macro_attribute]
pub fn class(options: TokenStream, item: TokenStream) -> TokenStream {
    class::expand(options.into(), item.into()).into()
}
