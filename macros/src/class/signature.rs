//! What one callable function takes and returns.

use proc_macro2::TokenStream;
use quote::{ToTokens, quote};
use syn::ext::IdentExt;
use syn::{Error, FnArg, Ident, Pat, PatType, Result, ReturnType, Signature, Type, TypeParamBound, parse_quote};

use super::problems::Problems;
use super::types::{bare, has_impl, last_named, text, type_arguments};

const GENERIC: &str = "a method of a class can't be generic: its arguments come from other processes";
const ASYNC: &str = "a method of a class can't be async: each call has a thread of its own";
const UNSAFE: &str = "a method of a class can't be unsafe: any process may call it";
const PATTERN: &str = "an argument of a class's method has a plain name";
const MUTABLE: &str = "an argument can't be borrowed mutably: it was sent from another process";
const BORROWED: &str = "a method of a class returns owned values: they go to other processes";
const OPAQUE: &str = "a method of a class returns a named type: the caller has to know it";

/// Methods that every proxy has.
const TAKEN: [&str; 7] = ["clone", "id", "ticket", "ticket_with", "object", "from_object", "downgrade"];

/// How an argument comes from the proxy's caller to the method.
enum Passage {
    Value(Type),
    /// `impl Into<T>`, which the proxy turns into a `T`.
    Into(Type),
    /// `&T`, which arrives as what `T` is owned as.
    Reference(Type),
}

impl Passage {
    fn read(ty: &Type) -> Result<Self> {
        match bare(ty) {
            Type::Reference(reference) if reference.mutability.is_some() => Err(Error::new_spanned(ty, MUTABLE)),
            Type::Reference(reference) if !has_impl(ty) => Ok(Self::Reference((*reference.elem).clone())),
            _ => match into_target(ty) {
                Some(target) => Ok(Self::Into(target.clone())),
                None if has_impl(ty) => Err(Error::new_spanned(ty, GENERIC)),
                None => Ok(Self::Value(ty.clone())),
            },
        }
    }
}

/// The `T` of `impl Into<T>`.
fn into_target(ty: &Type) -> Option<&Type> {
    let Type::ImplTrait(opaque) = bare(ty) else { return None };
    let mut bounds = opaque.bounds.iter();
    let (Some(TypeParamBound::Trait(bound)), None) = (bounds.next(), bounds.next()) else { return None };
    type_arguments(last_named(&bound.path, "Into")?).next().filter(|target| !has_impl(target))
}

pub(super) struct Argument {
    pub(super) name: Ident,
    passage: Passage,
}

impl Argument {
    fn read(argument: &PatType, problems: &mut Problems) -> Option<Self> {
        let name = problems.check(plain_name(&argument.pat));
        let passage = problems.check(Passage::read(&argument.ty));
        Some(Self { name: name?, passage: passage? })
    }

    /// The type in the proxy's method.
    pub(super) fn declared(&self) -> TokenStream {
        match &self.passage {
            Passage::Value(ty) => ty.to_token_stream(),
            Passage::Into(target) => quote!(impl ::core::convert::Into<#target>),
            Passage::Reference(referent) => quote!(&#referent),
        }
    }

    /// The type that arrives in the broker.
    pub(super) fn wire(&self) -> TokenStream {
        match &self.passage {
            Passage::Value(ty) | Passage::Into(ty) => ty.to_token_stream(),
            Passage::Reference(referent) => quote!(<#referent as ::std::borrow::ToOwned>::Owned),
        }
    }

    /// What the proxy sends.
    pub(super) fn sent(&self) -> TokenStream {
        let name = &self.name;
        match &self.passage {
            Passage::Into(target) => quote!(::core::convert::Into::<#target>::into(#name)),
            Passage::Value(_) | Passage::Reference(_) => name.to_token_stream(),
        }
    }

    /// What the method in the broker is called with.
    pub(super) fn passed(&self) -> TokenStream {
        let name = &self.name;
        match &self.passage {
            Passage::Reference(_) => quote!(&#name),
            Passage::Value(_) | Passage::Into(_) => name.to_token_stream(),
        }
    }

    fn text(&self) -> String {
        let ty = match &self.passage {
            Passage::Value(ty) | Passage::Into(ty) => text(ty),
            Passage::Reference(referent) => text(quote!(&#referent)),
        };
        format!("{}: {ty}", self.name.unraw())
    }
}

fn plain_name(pattern: &Pat) -> Result<Ident> {
    match pattern {
        Pat::Ident(name) if name.by_ref.is_none() && name.subpat.is_none() => Ok(name.ident.clone()),
        other => Err(Error::new_spanned(other, PATTERN)),
    }
}

pub(super) struct Answer {
    pub(super) value: Type,
    /// Whether the function returns a `Result` of the value.
    pub(super) fallible: bool,
}

impl Answer {
    fn read(output: &ReturnType) -> Result<Self> {
        let answer = match output {
            ReturnType::Default => Self { value: parse_quote!(()), fallible: false },
            ReturnType::Type(_, ty) => match result_value(bare(ty)) {
                Some(value) => Self { value, fallible: true },
                None => Self { value: (**ty).clone(), fallible: false },
            },
        };
        match bare(&answer.value) {
            Type::Reference(_) => Err(Error::new_spanned(output, BORROWED)),
            _ if has_impl(&answer.value) => Err(Error::new_spanned(output, OPAQUE)),
            _ => Ok(answer),
        }
    }
}

/// The `T` of `Result<T, E>`. A `Result` without arguments is an alias as `std::fmt::Result`, which has nothing to return.
fn result_value(ty: &Type) -> Option<Type> {
    let Type::Path(path) = ty else { return None };
    let result = last_named(&path.path, "Result")?;
    Some(type_arguments(result).next().cloned().unwrap_or_else(|| parse_quote!(())))
}

/// What the constructor and every method have.
pub(super) struct Callable {
    pub(super) name: Ident,
    pub(super) arguments: Vec<Argument>,
    pub(super) answer: Answer,
}

impl Callable {
    /// Of a signature that doesn't mention `Self`.
    pub(super) fn read(signature: &Signature, problems: &mut Problems) -> Option<Self> {
        check_kind(signature, problems);
        let name = signature.ident.clone();
        if TAKEN.iter().any(|taken| name.unraw() == taken) {
            problems.add(&name, format!("a class's method can't be named `{name}`: the proxy has one of that name"));
        }
        let mut arguments = Vec::new();
        for input in &signature.inputs {
            if let FnArg::Typed(argument) = input {
                arguments.extend(Argument::read(argument, problems));
            }
        }
        let answer = problems.check(Answer::read(&signature.output))?;
        Some(Self { name, arguments, answer })
    }

    /// The name as processes know it.
    pub(super) fn shared_name(&self) -> String {
        self.name.unraw().to_string()
    }

    /// The arguments, for error messages.
    pub(super) fn text(&self) -> String {
        self.arguments.iter().map(Argument::text).collect::<Vec<_>>().join(", ")
    }
}

fn check_kind(signature: &Signature, problems: &mut Problems) {
    if !signature.generics.params.is_empty() {
        problems.add(&signature.generics, GENERIC);
    }
    if let Some(word) = &signature.asyncness {
        problems.add(word, ASYNC);
    }
    if let Some(word) = &signature.unsafety {
        problems.add(word, UNSAFE);
    } else if let Some(words) = &signature.abi {
        problems.add(words, UNSAFE);
    }
}
