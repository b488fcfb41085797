//! What the attribute generates.

use proc_macro2::TokenStream;
use quote::quote;
use syn::{ItemImpl, parse_quote};

use crate::class::types::text;
use crate::class::{expand, generate};

fn generated(options: TokenStream, functions: TokenStream) -> String {
    let mut block: ItemImpl = parse_quote!(impl Lens { #functions });
    generate(options, &mut block).expect("accepted").to_string()
}

/// Code without its spaces, which depend on how it was put together.
fn dense(code: &str) -> String {
    code.split_whitespace().collect()
}

/// Asserts that the generated code has these pieces.
fn assert_has(code: &str, pieces: &[TokenStream]) {
    for piece in pieces {
        let piece = piece.to_string();
        assert!(dense(code).contains(&dense(&piece)), "this is not there: {piece}\nin: {code}");
    }
}

#[test]
fn the_block_loses_only_its_marks() {
    let code = expand(
        TokenStream::new(),
        quote!(
            impl Lens {
                const N: u8 = 1;
                /// Opens.
                #[constructor]
                #[inline]
                pub fn open() -> Self { Self }
                #[proxy]
                pub fn spawn(&self) -> Self { Self }
                #[references]
                fn held(&self, visit: &mut dyn FnMut(&sharehold::Object)) {}
                fn helper(self, _: u8) {}
            }
        ),
    );
    let kept = quote!(
        #[allow(unreachable_pub)]
        impl Lens {
            const N: u8 = 1;
            /// Opens.
            #[inline]
            pub fn open() -> Self {
                Self
            }
            pub fn spawn(&self) -> Self {
                Self
            }
            fn held(&self, visit: &mut dyn FnMut(&sharehold::Object)) {}
            fn helper(self, _: u8) {}
        }
    );
    assert!(code.to_string().starts_with(&kept.to_string()), "{code}");
}

#[test]
fn the_proxy_has_the_methods_and_their_documentation() {
    let code = generated(
        TokenStream::new(),
        quote!(
            /// Grinds a lens.
            pub fn new(factor: f64) -> Self {}
            /// Scales.
            #[inline]
            pub fn scale(&self, mut x: f64) -> f64 {}
            #[deprecated]
            #[cfg(unix)]
            pub fn set(&mut self, factor: f64, other: Option<Self>) -> Result<Self, Bad> {}
            pub fn flush(&self) -> std::fmt::Result {}
            #[proxy]
            pub fn spawn(&self) -> io::Result<Spawned> {}
            pub fn push(&mut self, item: impl Into<Datum>) {}
            pub fn greet(&self, name: &'_ str) -> String {}
            pub fn r#match(&self) {}
            pub(crate) fn internal(&self) {}
            fn helper(&self) {}
        ),
    );
    assert_has(
        &code,
        &[
            quote!(#[doc = " A proxy of a hosted [`Lens`]: its methods run in the broker."]),
            quote!(
                pub struct LensProxy(::sharehold::Object);
            ),
            quote!(
                /// Grinds a lens.
                pub fn new(manager: &::sharehold::Manager, factor: f64) -> ::sharehold::Result<Self> {
                    manager.create("Lens", &(factor,))
                }
                /// Scales.
                pub fn scale(&self, x: f64) -> ::sharehold::Result<f64> {
                    self.0.call("scale", &(x,))
                }
                #[doc = " Calls `Lens::set` in the broker."]
                #[deprecated]
                #[cfg(unix)]
                pub fn set(&self, factor: f64, other: Option<Lens>) -> ::sharehold::Result<Lens> {
                    self.0.call("set", &(factor, other))
                }
                #[doc = " Calls `Lens::flush` in the broker."]
                pub fn flush(&self) -> ::sharehold::Result<()> {
                    self.0.call("flush", &())
                }
                #[doc = " Calls `Lens::spawn` in the broker."]
                pub fn spawn(&self) -> ::sharehold::Result<<Spawned as ::sharehold::Class>::Proxy> {
                    self.0.call("spawn", &())
                }
                #[doc = " Calls `Lens::push` in the broker."]
                pub fn push(&self, item: impl ::core::convert::Into<Datum>) -> ::sharehold::Result<()> {
                    self.0.call("push", &(::core::convert::Into::<Datum>::into(item),))
                }
                #[doc = " Calls `Lens::greet` in the broker."]
                pub fn greet(&self, name: &str) -> ::sharehold::Result<String> {
                    self.0.call("greet", &(name,))
                }
            ),
            quote!(
                pub fn r#match(&self) -> ::sharehold::Result<()> {
                    self.0.call("match", &())
                }
            ),
            quote!(
                const CLASS: &'static str = "Lens";
            ),
            quote!(::sharehold::__private::proxy_traits!(LensProxy);),
        ],
    );
    assert!(!code.contains("helper") && !code.contains("fn internal"), "{code}");
}

#[test]
fn the_table_has_an_entry_for_each_method() {
    let code = generated(
        TokenStream::new(),
        quote!(
            pub fn new(factor: f64) -> Self {}
            pub fn scale(self: &Self, x: f64) -> f64 {}
            #[cfg(unix)]
            pub fn set(&mut self, factor: f64, other: Option<Self>) -> Result<(), Bad> {}
            #[proxy]
            pub fn spawn(&self) -> Spawned {}
            #[proxy]
            pub fn split(&mut self) -> Result<Spawned> {}
            pub fn push(&mut self, item: impl Into<Vec<f64>>) {}
            pub fn greet(&self, name: &'_ str, r#type: &[u8]) -> String {}
            #[references]
            pub fn held(&self, visit: &mut dyn FnMut(&sharehold::Object)) {}
        ),
    );
    assert_has(
        &code,
        &[
            quote!(
                const NAME: &'static str = "Lens";
                type Proxy = LensProxy;
            ),
            quote!(
                let builder = ::sharehold::ClassBuilder::<Lens>::new("Lens");
                let builder = builder.constructor("factor: f64", |(factor,): (f64,)| ::core::result::Result::Ok(Lens::new(factor)));
                let builder = builder.method("scale", "x: f64", |this: &Lens, (x,): (f64,)| ::core::result::Result::Ok(this.scale(x)));
                #[cfg(unix)]
                let builder = builder.method_mut("set", "factor: f64, other: Option<Lens>", |this: &mut Lens, (factor, other): (f64, Option<Lens>)|
                    this.set(factor, other).map_err(|error| ::sharehold::MethodError::from(error)));
                let builder = builder.method("spawn", "", |this: &Lens, (): ()| ::sharehold::__private::host(this.spawn()));
                let builder = builder.method_mut("split", "", |this: &mut Lens, (): ()|
                    ::sharehold::__private::host(this.split().map_err(|error| ::sharehold::MethodError::from(error))?));
                let builder = builder.method_mut("push", "item: Vec<f64>", |this: &mut Lens, (item,): (Vec<f64>,)|
                    ::core::result::Result::Ok(this.push(item)));
                let builder = builder.method("greet", "name: &str, type: &[u8]",
                    |this: &Lens, (name, r#type): (<str as ::std::borrow::ToOwned>::Owned, <[u8] as ::std::borrow::ToOwned>::Owned)|
                    ::core::result::Result::Ok(this.greet(&name, &r#type)));
                let builder = builder.references(|this: &Lens, visit: &mut dyn ::core::ops::FnMut(&::sharehold::Object)| this.held(visit));
            ),
            quote!((&::sharehold::__private::MaybeDebug(this)).fmt_maybe(f)),
            quote!(builder.build()),
            quote!(
                static REGISTERED: fn() -> ::sharehold::ClassTable = <Lens as ::sharehold::Class>::table;
            ),
        ],
    );
    assert!(!code.contains(". internal ()") && !code.contains("\"held\""), "{code}");
}

#[test]
fn a_constructor_makes_the_object_or_finds_one() {
    let entry = |function| generated(TokenStream::new(), quote!(#[constructor] #function));
    let error = quote!(.map_err(|error| ::sharehold::MethodError::from(error)));
    assert_has(
        &entry(quote!(
            fn open() -> Lens {}
        )),
        &[quote!(builder.constructor("", |(): ()| ::core::result::Result::Ok(Lens::open())))],
    );
    assert_has(
        &entry(quote!(
            fn open() -> io::Result<Self> {}
        )),
        &[quote!(builder.constructor("", |(): ()| Lens::open() #error))],
    );
    assert_has(
        &entry(quote!(
            fn open() -> LensProxy {}
        )),
        &[quote!(builder.factory("", |(): ()| ::core::result::Result::Ok(Lens::open())))],
    );
    assert_has(
        &entry(quote!(
            fn open() -> Result<LensProxy, Bad> {}
        )),
        &[
            quote!(builder.factory("", |(): ()| Lens::open() #error)),
            quote!(pub fn open(manager: &::sharehold::Manager) -> ::sharehold::Result<Self>),
        ],
    );
}

#[test]
fn options_name_the_class_and_the_proxy() {
    let code = generated(
        quote!(name = "Glass", proxy = Eye, internal, snapshot),
        quote!(
            pub fn new() -> Self {}
        ),
    );
    assert_has(
        &code,
        &[
            quote!(
                pub struct Eye(::sharehold::Object);
            ),
            quote!(manager.create("Glass", &())),
            quote!(
                const CLASS: &'static str = "Glass";
            ),
            quote!(
                const NAME: &'static str = "Glass";
                type Proxy = Eye;
            ),
            quote!(::sharehold::ClassBuilder::<Lens>::new("Glass"); let builder = builder.internal();
                let builder = builder.snapshot();),
        ],
    );
}

#[test]
fn types_are_printed_as_people_write_them() {
    for written in [
        "Vec<f64>",
        "&str",
        "&'a mut [u8]",
        "[u8; 4]",
        "(f64,)",
        "(u8, Option<String>)",
        "HashMap<String, Vec<(u8, u8)>>",
        "fn(u8, &str) -> Vec<u8>",
        "Box<dyn Iterator<Item = u8> + Send>",
        "<Lens as ::core::iter::Iterator>::Item",
        "dyn ::std::fmt::Debug",
        "*const u8",
        "std::io::Result<()>",
    ] {
        let tokens: TokenStream = written.parse().expect("tokens");
        assert_eq!(text(tokens), written);
    }
}

#[test]
fn self_is_named_in_every_type() {
    let code = generated(
        TokenStream::new(),
        quote!(
            pub fn f(&self, a: Vec<Self>, b: &[Self], c: impl Into<(Self, u8)>) -> Result<Option<Box<Self>>, Bad> {}
            pub fn g(&self, d: <Self as Trait>::Item, e: [u8; Self::N]) {}
        ),
    );
    assert_has(
        &code,
        &[
            quote!("a: Vec<Lens>, b: &[Lens], c: (Lens, u8)"),
            quote!(::sharehold::Result<Option<Box<Lens>>>),
            quote!("d: <Lens as Trait>::Item, e: [u8; Lens::N]"),
        ],
    );
}
