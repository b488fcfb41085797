//! What is to be generated for a block: read from it, with everything that is wrong with it.

use quote::format_ident;
use syn::ext::IdentExt;
use syn::visit_mut::VisitMut;
use syn::{
    Attribute, Error, FnArg, Ident, ImplItem, ImplItemFn, ItemImpl, Meta, Path, PathArguments, Receiver, Result,
    ReturnType, Signature, Type, TypePath, Visibility,
};

use super::options::Options;
use super::problems::Problems;
use super::signature::Callable;
use super::types::{NameSelf, bare, text};

const GENERIC: &str = "a class can't be generic: its name stands for one type";
const OWNED_SELF: &str = "a method of a class takes `&self` or `&mut self`: others hold the object too";
const NO_SELF: &str = "a function without `self` can't be called through a proxy: name it `new`, mark it #[constructor], or make it private";
const CONSTRUCTORS: &str = "a class has one constructor";
const CONSTRUCTOR_SELF: &str = "#[constructor] stands on a function without `self`: there is no object before it";
const CONSTRUCTOR_ANSWER: &str =
    "a constructor returns the object, or a proxy of one that exists, or a `Result` of either";
const PROXY: &str = "#[proxy] stands on a method that returns an object of a class";
const PRIVATE_PROXY: &str = "#[proxy] stands on a `pub` method: proxies call no others";
const REFERENCES: &str = "a class has one method that is marked #[references]";
const REFERENCES_SHAPE: &str =
    "#[references] stands on a method as `fn held(&self, visit: &mut dyn FnMut(&sharehold::Object))`";
const REFERENCES_ALONE: &str = "#[references] stands alone: proxies can't call the method that it marks";
/// As `sharehold::region::layout::TYPE_NAME_BYTES`.
const LONGEST_NAME: usize = 88;
const NAME: &str = "the name of a class has 1 to 88 bytes and no control characters";
const MARK: &str = "#[constructor], #[proxy] and #[references] have no arguments";

pub(super) struct Class {
    /// The path of the type itself.
    pub(super) own: Path,
    /// The documentation of the block, which is that of the proxy.
    pub(super) docs: Vec<Attribute>,
    pub(super) name: String,
    pub(super) proxy: Ident,
    pub(super) internal: bool,
    pub(super) snapshot: bool,
    pub(super) constructor: Option<Constructor>,
    pub(super) methods: Vec<Method>,
    pub(super) references: Option<References>,
}

pub(super) struct Constructor {
    pub(super) attributes: Vec<Attribute>,
    pub(super) callable: Callable,
    /// Whether it returns a proxy instead of the object.
    pub(super) factory: bool,
}

pub(super) struct Method {
    pub(super) attributes: Vec<Attribute>,
    pub(super) callable: Callable,
    pub(super) exclusive: bool,
    /// Whether its result is hosted.
    pub(super) hosts: bool,
}

pub(super) struct References {
    pub(super) attributes: Vec<Attribute>,
    pub(super) name: Ident,
}

impl Class {
    /// Takes the marks out of the block.
    pub(super) fn read(options: Options, block: &mut ItemImpl, problems: &mut Problems) -> Option<Self> {
        let functions = marked_functions(block, problems);
        let own = own_path(block, problems)?;
        let docs = block.attrs.extract_if(.., |attribute| attribute.path().is_ident("doc")).collect();
        let ident = own.segments.last()?.ident.unraw();
        let name = options.name.unwrap_or_else(|| ident.to_string());
        if !(1..=LONGEST_NAME).contains(&name.len()) || name.contains(char::is_control) {
            problems.add(&own, NAME);
        }
        let mut class = Self {
            name,
            proxy: options.proxy.unwrap_or_else(|| format_ident!("{ident}Proxy")),
            internal: options.internal,
            snapshot: options.snapshot,
            own,
            docs,
            constructor: None,
            methods: Vec::new(),
            references: None,
        };
        for (marks, function) in functions {
            class.function(&marks, function, problems);
        }
        Some(class)
    }

    fn function(&mut self, marks: &Marks, mut function: ImplItemFn, problems: &mut Problems) {
        NameSelf(&self.own).visit_signature_mut(&mut function.sig);
        let public = matches!(function.vis, Visibility::Public(_));
        let associated = function.sig.receiver().is_none();
        if marks.references {
            self.references(marks, &function, problems);
        } else if marks.constructor || (public && associated && function.sig.ident == "new") {
            self.constructor(marks, &function, problems);
        } else if public {
            self.method(marks, &function, problems);
        } else if marks.proxy {
            problems.add(&function.sig.ident, PRIVATE_PROXY);
        }
    }

    fn references(&mut self, marks: &Marks, function: &ImplItemFn, problems: &mut Problems) {
        let signature = &function.sig;
        if marks.constructor || marks.proxy {
            problems.add(&signature.ident, REFERENCES_ALONE);
        }
        if !self.visits(signature) {
            problems.add(&signature.ident, REFERENCES_SHAPE);
        }
        let references = References { attributes: copied(&function.attrs), name: signature.ident.clone() };
        if self.references.replace(references).is_some() {
            problems.add(&signature.ident, REFERENCES);
        }
    }

    /// Whether a function takes `&self` and one argument more, and returns nothing. The compiler sees whether the argument is right.
    fn visits(&self, signature: &Signature) -> bool {
        let shared = signature.receiver().and_then(|receiver| self.exclusive(receiver).ok()) == Some(false);
        let plain = signature.generics.params.is_empty() && signature.asyncness.is_none();
        shared && plain && signature.inputs.len() == 2 && matches!(signature.output, ReturnType::Default)
    }

    fn constructor(&mut self, marks: &Marks, function: &ImplItemFn, problems: &mut Problems) {
        let signature = &function.sig;
        if let Some(receiver) = signature.receiver() {
            problems.add(receiver.self_token, CONSTRUCTOR_SELF);
        }
        if marks.proxy {
            problems.add(&signature.ident, PROXY);
        }
        if matches!(signature.output, ReturnType::Default) {
            problems.add(&signature.ident, CONSTRUCTOR_ANSWER);
        }
        let Some(callable) = Callable::read(signature, problems) else { return };
        let factory = text(bare(&callable.answer.value)) != text(&self.own);
        let constructor = Constructor { attributes: copied(&function.attrs), callable, factory };
        if self.constructor.replace(constructor).is_some() {
            problems.add(&signature.ident, CONSTRUCTORS);
        }
    }

    fn method(&mut self, marks: &Marks, function: &ImplItemFn, problems: &mut Problems) {
        let signature = &function.sig;
        if marks.proxy && matches!(signature.output, ReturnType::Default) {
            problems.add(&signature.ident, PROXY);
        }
        let callable = Callable::read(signature, problems);
        let exclusive = match signature.inputs.first() {
            Some(FnArg::Receiver(receiver)) => self.exclusive(receiver),
            _ => Err(Error::new_spanned(&signature.ident, NO_SELF)),
        };
        if let (Some(exclusive), Some(callable)) = (problems.check(exclusive), callable) {
            let attributes = copied(&function.attrs);
            self.methods.push(Method { attributes, callable, exclusive, hosts: marks.proxy });
        }
    }

    /// Whether a receiver is `&mut self`; any but that and `&self` is wrong.
    fn exclusive(&self, receiver: &Receiver) -> Result<bool> {
        match &*receiver.ty {
            Type::Reference(reference) if text(bare(&reference.elem)) == text(&self.own) => {
                Ok(reference.mutability.is_some())
            }
            _ => Err(Error::new_spanned(receiver.self_token, OWNED_SELF)),
        }
    }
}

/// The path of the block's type. That of a generic one comes without the arguments, so that the rest of the block is looked at too.
fn own_path(block: &ItemImpl, problems: &mut Problems) -> Option<Path> {
    let Type::Path(TypePath { qself: None, path }) = bare(&block.self_ty) else {
        problems.add(&block.self_ty, super::PLACE);
        return None;
    };
    let mut own = path.clone();
    own.segments.iter_mut().for_each(|segment| segment.arguments = PathArguments::None);
    if !block.generics.params.is_empty() || text(&own) != text(path) {
        problems.add(path, GENERIC);
    }
    Some(own)
}

#[derive(Default)]
struct Marks {
    constructor: bool,
    proxy: bool,
    references: bool,
}

impl Marks {
    /// Takes the marks from a function's attributes, so that the compiler doesn't look for attributes of that name.
    fn take(attributes: &mut Vec<Attribute>, problems: &mut Problems) -> Self {
        let mut marks = Self::default();
        attributes.retain(|attribute| {
            let Some(mark) = attribute.path().get_ident().and_then(|name| marks.named(&name.to_string())) else {
                return true;
            };
            *mark = true;
            if !matches!(attribute.meta, Meta::Path(_)) {
                problems.add(attribute, MARK);
            }
            false
        });
        marks
    }

    fn named(&mut self, name: &str) -> Option<&mut bool> {
        match name {
            "constructor" => Some(&mut self.constructor),
            "proxy" => Some(&mut self.proxy),
            "references" => Some(&mut self.references),
            _ => None,
        }
    }
}

/// The functions of a block, each with the marks that were taken from it.
fn marked_functions(block: &mut ItemImpl, problems: &mut Problems) -> Vec<(Marks, ImplItemFn)> {
    let mut functions = Vec::new();
    for item in &mut block.items {
        if let ImplItem::Fn(function) = item {
            functions.push((Marks::take(&mut function.attrs, problems), function.clone()));
        }
    }
    functions
}

/// The attributes that what is generated for a function has too.
fn copied(attributes: &[Attribute]) -> Vec<Attribute> {
    let wanted =
        |attribute: &&Attribute| ["doc", "cfg", "deprecated"].iter().any(|name| attribute.path().is_ident(name));
    attributes.iter().filter(wanted).cloned().collect()
}
