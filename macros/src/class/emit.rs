//! Writes the proxy, the class's table and its registration.

use proc_macro2::{Span, TokenStream};
use quote::{ToTokens, quote, quote_spanned};
use syn::spanned::Spanned;
use syn::{Attribute, Ident, Meta};

use super::model::{Class, Constructor, Method, References};
use super::signature::{Argument, Callable};
use super::types::text;

pub(super) fn class(class: &Class) -> TokenStream {
    let parts = [proxy(class), proxy_traits(class), class_trait(class), registration(class)];
    parts.into_iter().collect()
}

/// A name that no name of the user's can clash with.
fn local(name: &str) -> Ident {
    Ident::new(name, Span::mixed_site())
}

/// Where the compiler says what is wrong with a proxy's method: at the user's function. `self` is still the generated one.
fn place(fn_name: &Ident) -> Span {
    fn_name.span().resolved_at(Span::call_site())
}

/// Generated code bears places of the user's, but is not for the user's lints.
fn quiet() -> TokenStream {
    quote! {
        #[allow(
            clippy::all,
            clippy::pedantic,
            clippy::nursery,
            dead_code,
            deprecated,
            private_interfaces,
            unreachable_pub,
            unused_imports,
            unused_qualifications,
            rustdoc::private_intra_doc_links
        )]
    }
}

fn proxy(class: &Class) -> TokenStream {
    let (quiet, proxy) = (quiet(), &class.proxy);
    let docs = &class.docs;
    let about = documentation(docs, || {
        format!(" A proxy of a hosted [`{}`]: its methods run in the broker.", text(&class.own))
    });
    let constructor = class.constructor.as_ref().map(|constructor| proxy_constructor(class, constructor));
    let methods = class.methods.iter().map(|method| proxy_method(class, method));
    quote! {
        #about
        #(#docs)*
        #quiet
        #[derive(::core::clone::Clone)]
        pub struct #proxy(::sharehold::Object);

        #quiet
        impl #proxy {
            #constructor
            #(#methods)*
        }
    }
}

fn proxy_constructor(class: &Class, constructor: &Constructor) -> TokenStream {
    let Constructor { attributes, callable, .. } = constructor;
    let about = documentation(attributes, || format!(" Creates a `{}` in the broker.", text(&class.own)));
    let (fn_name, name, manager) = (&callable.name, &class.name, local("manager"));
    let (declared, sent) = (declared(quote!(#manager: &::sharehold::Manager), callable), sent(callable));
    quote_spanned! {place(fn_name)=>
        #about
        #(#attributes)*
        pub fn #fn_name(#declared) -> ::sharehold::Result<Self> {
            #manager.create(#name, &#sent)
        }
    }
}

fn proxy_method(class: &Class, method: &Method) -> TokenStream {
    let Method { attributes, callable, hosts, .. } = method;
    let about = documentation(attributes, || {
        format!(" Calls `{}::{}` in the broker.", text(&class.own), callable.shared_name())
    });
    let (fn_name, name, value) = (&callable.name, callable.shared_name(), &callable.answer.value);
    let (declared, sent) = (declared(quote!(&self), callable), sent(callable));
    let value = if *hosts { quote!(<#value as ::sharehold::Class>::Proxy) } else { quote!(#value) };
    quote_spanned! {place(fn_name)=>
        #about
        #(#attributes)*
        pub fn #fn_name(#declared) -> ::sharehold::Result<#value> {
            self.0.call(#name, &#sent)
        }
    }
}

/// A sentence for what the user has not documented: the proxy is public, and lints may ask for one.
fn documentation(attributes: &[Attribute], sentence: impl FnOnce() -> String) -> Option<TokenStream> {
    let is_text =
        |attribute: &Attribute| attribute.path().is_ident("doc") && matches!(attribute.meta, Meta::NameValue(_));
    (!attributes.iter().any(is_text)).then(|| {
        let sentence = sentence();
        quote!(#[doc = #sentence])
    })
}

/// The parameters of a proxy's method.
fn declared(first: TokenStream, callable: &Callable) -> TokenStream {
    let names = callable.arguments.iter().map(|argument| &argument.name);
    let types = callable.arguments.iter().map(|argument| argument.declared());
    quote!(#first #(, #names: #types)*)
}

/// What the proxy sends.
fn sent(callable: &Callable) -> TokenStream {
    tuple(callable.arguments.iter().map(Argument::sent))
}

fn tuple(parts: impl ExactSizeIterator<Item = TokenStream>) -> TokenStream {
    // The comma makes a tuple of a single part too.
    let comma = (parts.len() == 1).then(|| quote!(,));
    quote!((#(#parts),* #comma))
}

fn proxy_traits(class: &Class) -> TokenStream {
    let (quiet, name, proxy) = (quiet(), &class.name, &class.proxy);
    quote! {
        #[automatically_derived]
        #quiet
        impl ::sharehold::ClassProxy for #proxy {
            const CLASS: &'static str = #name;

            fn from_object(object: ::sharehold::Object) -> Self {
                Self(object)
            }

            fn object(&self) -> &::sharehold::Object {
                &self.0
            }
        }

        ::sharehold::__private::proxy_traits!(#proxy);
    }
}

fn class_trait(class: &Class) -> TokenStream {
    let Class { own, name, proxy, .. } = class;
    let (quiet, builder) = (quiet(), local("builder"));
    let entries = entries(class);
    quote! {
        #[automatically_derived]
        #quiet
        impl ::sharehold::Class for #own {
            const NAME: &'static str = #name;

            type Proxy = #proxy;

            fn table() -> ::sharehold::ClassTable {
                use ::sharehold::__private::DebugFallback as _;
                let #builder = ::sharehold::ClassBuilder::<#own>::new(#name);
                #entries
                #builder.build()
            }
        }
    }
}

/// One statement for each entry of the table, because an entry can depend on a `cfg` of the user's.
fn entries(class: &Class) -> TokenStream {
    let builder = local("builder");
    let internal = class.internal.then(|| quote!(let #builder = #builder.internal();));
    let own = &class.own;
    // The compiler says at the type that it lacks the trait.
    let snapshot = class.snapshot.then(|| quote_spanned!(own.span()=> let #builder = #builder.snapshot();));
    let constructor = class.constructor.as_ref().map(|constructor| constructor_entry(class, constructor));
    let methods = class.methods.iter().map(|method| method_entry(class, method));
    let references = class.references.as_ref().map(|references| references_entry(class, references));
    let debug = debug_entry(class);
    quote!(#internal #snapshot #constructor #(#methods)* #references #debug)
}

fn constructor_entry(class: &Class, constructor: &Constructor) -> TokenStream {
    let Constructor { attributes, callable, factory } = constructor;
    let (own, fn_name, builder) = (&class.own, &callable.name, local("builder"));
    let (cfg, text, received, passed) = (cfg(attributes), callable.text(), received(callable), passed(callable));
    let kind = Ident::new(if *factory { "factory" } else { "constructor" }, fn_name.span());
    let outcome = outcome(callable, quote_spanned!(fn_name.span()=> #own::#fn_name(#passed)));
    quote_spanned! {fn_name.span()=>
        #(#cfg)*
        let #builder = #builder.#kind(#text, |#received| #outcome);
    }
}

fn method_entry(class: &Class, method: &Method) -> TokenStream {
    let Method { attributes, callable, exclusive, hosts } = method;
    let (own, fn_name, name) = (&class.own, &callable.name, callable.shared_name());
    let (builder, this) = (local("builder"), local("this"));
    let (cfg, text, received, passed) = (cfg(attributes), callable.text(), received(callable), passed(callable));
    let (kind, receiver) = if *exclusive { ("method_mut", quote!(&mut #own)) } else { ("method", quote!(&#own)) };
    let kind = Ident::new(kind, fn_name.span());
    let call = quote_spanned!(fn_name.span()=> #this.#fn_name(#passed));
    let outcome = if *hosts { hosted(callable, call) } else { outcome(callable, call) };
    quote_spanned! {fn_name.span()=>
        #(#cfg)*
        let #builder = #builder.#kind(#name, #text, |#this: #receiver, #received| #outcome);
    }
}

/// The call as a `Result`. An error takes its place in the source from here, so the code stands at the user's function.
fn outcome(callable: &Callable, call: TokenStream) -> TokenStream {
    let (span, error) = (callable.name.span(), local("error"));
    if callable.answer.fallible {
        quote_spanned!(span=> #call.map_err(|#error| ::sharehold::MethodError::from(#error)))
    } else {
        quote_spanned!(span=> ::core::result::Result::Ok(#call))
    }
}

/// The call whose value becomes an object of its own.
fn hosted(callable: &Callable, call: TokenStream) -> TokenStream {
    let span = callable.name.span();
    let value = if callable.answer.fallible {
        let outcome = outcome(callable, call);
        quote_spanned!(span=> #outcome?)
    } else {
        call
    };
    quote_spanned!(span=> ::sharehold::__private::host(#value))
}

/// The closure's parameter: the tuple of what arrives.
fn received(callable: &Callable) -> TokenStream {
    let names = tuple(callable.arguments.iter().map(|argument| argument.name.to_token_stream()));
    let types = tuple(callable.arguments.iter().map(Argument::wire));
    quote!(#names: #types)
}

fn passed(callable: &Callable) -> TokenStream {
    let passed = callable.arguments.iter().map(Argument::passed);
    quote!(#(#passed),*)
}

fn cfg(attributes: &[Attribute]) -> Vec<&Attribute> {
    attributes.iter().filter(|attribute| attribute.path().is_ident("cfg")).collect()
}

fn references_entry(class: &Class, references: &References) -> TokenStream {
    let (own, fn_name, cfg) = (&class.own, &references.name, cfg(&references.attributes));
    let (builder, this, visit) = (local("builder"), local("this"), local("visit"));
    quote_spanned! {fn_name.span()=>
        #(#cfg)*
        let #builder = #builder.references(
            |#this: &#own, #visit: &mut dyn ::core::ops::FnMut(&::sharehold::Object)| #this.#fn_name(#visit)
        );
    }
}

/// The type's `Debug` if it has one: a method of `MaybeDebug` itself goes before the trait's.
fn debug_entry(class: &Class) -> TokenStream {
    let (own, builder) = (&class.own, local("builder"));
    quote! {
        let #builder = #builder.debug(|this: &#own, f: &mut ::core::fmt::Formatter<'_>| {
            (&::sharehold::__private::MaybeDebug(this)).fmt_maybe(f)
        });
    }
}

fn registration(class: &Class) -> TokenStream {
    let (quiet, own) = (quiet(), &class.own);
    quote! {
        #quiet
        const _: () = {
            use ::sharehold::__private::linkme;
            #[::sharehold::__private::linkme::distributed_slice(::sharehold::__private::CLASSES)]
            #[linkme(crate = ::sharehold::__private::linkme)]
            static REGISTERED: fn() -> ::sharehold::ClassTable = <#own as ::sharehold::Class>::table;
        };
    }
}
