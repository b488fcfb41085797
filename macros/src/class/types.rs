//! Types of arguments and results: named without `Self`, taken apart, and printed.

use proc_macro2::{Delimiter, Group, Punct, Spacing, TokenStream, TokenTree};
use quote::ToTokens;
use syn::visit_mut::{self, VisitMut};
use syn::{AngleBracketedGenericArguments, GenericArgument, Path, PathArguments, PathSegment, Type};

/// Replaces `Self` by the type it means, for code that stands in the proxy's `impl` block.
pub(super) struct NameSelf<'a>(pub(super) &'a Path);

impl VisitMut for NameSelf<'_> {
    fn visit_path_mut(&mut self, path: &mut Path) {
        visit_mut::visit_path_mut(self, path);
        if path.segments.first().is_some_and(|first| first.ident == "Self") {
            let rest = path.segments.iter().skip(1).cloned();
            path.segments = self.0.segments.iter().cloned().chain(rest).collect();
            path.leading_colon = self.0.leading_colon;
        }
    }
}

/// The type without parentheses and without the invisible ones that a `macro_rules` puts around it.
pub(super) fn bare(ty: &Type) -> &Type {
    match ty {
        Type::Group(group) => bare(&group.elem),
        Type::Paren(paren) => bare(&paren.elem),
        other => other,
    }
}

/// The segment `name` at the end of a path, if the path ends so.
pub(super) fn last_named<'a>(path: &'a Path, name: &str) -> Option<&'a PathSegment> {
    path.segments.last().filter(|segment| segment.ident == name)
}

/// The types in the angle brackets of a segment.
pub(super) fn type_arguments(segment: &PathSegment) -> impl Iterator<Item = &Type> {
    let arguments = match &segment.arguments {
        PathArguments::AngleBracketed(AngleBracketedGenericArguments { args, .. }) => Some(args),
        _ => None,
    };
    arguments.into_iter().flatten().filter_map(|argument| match argument {
        GenericArgument::Type(ty) => Some(ty),
        _ => None,
    })
}

/// Whether `impl Trait` stands anywhere in the type: nothing else in a type has the word.
pub(super) fn has_impl(ty: &Type) -> bool {
    fn found(tokens: TokenStream) -> bool {
        tokens.into_iter().any(|token| match token {
            TokenTree::Group(group) => found(group.stream()),
            TokenTree::Ident(ident) => ident == "impl",
            _ => false,
        })
    }
    found(ty.to_token_stream())
}

/// The text of a type as a person writes it.
pub(super) fn text(ty: impl ToTokens) -> String {
    let mut writer = Writer { text: String::new(), last: Last::Mark };
    writer.stream(ty.to_token_stream());
    writer.text
}

/// What stands last in the text: it decides whether a space follows.
enum Last {
    Mark,
    Word,
    /// A word that never touches what follows it.
    Keyword,
}

struct Writer {
    text: String,
    last: Last,
}

impl Writer {
    fn stream(&mut self, tokens: TokenStream) {
        let mut tokens = tokens.into_iter().peekable();
        while let Some(token) = tokens.next() {
            match token {
                TokenTree::Group(group) => self.group(&group),
                TokenTree::Punct(mark) => self.punctuation(&mark, tokens.peek().is_none()),
                word => self.word(&word.to_string()),
            }
        }
    }

    fn group(&mut self, group: &Group) {
        let (open, close) = match group.delimiter() {
            Delimiter::Parenthesis => ("(", ")"),
            Delimiter::Bracket => ("[", "]"),
            Delimiter::Brace => ("{ ", " }"),
            Delimiter::None => return self.stream(group.stream()),
        };
        self.mark(open);
        self.stream(group.stream());
        self.last = Last::Mark;
        self.mark(close);
    }

    fn punctuation(&mut self, mark: &Punct, ends: bool) {
        match mark.as_char() {
            sign @ (',' | ';') if !ends => self.mark(&format!("{sign} ")),
            '-' if mark.spacing() == Spacing::Joint => self.mark(" -"),
            '>' if self.text.ends_with('-') => self.mark("> "),
            sign @ ('=' | '+') => self.mark(&format!(" {sign} ")),
            sign => self.mark(&sign.to_string()),
        }
    }

    fn mark(&mut self, mark: &str) {
        if matches!(self.last, Last::Keyword) {
            self.text.push(' ');
        }
        self.text.push_str(mark);
        self.last = Last::Mark;
    }

    fn word(&mut self, word: &str) {
        if !matches!(self.last, Last::Mark) {
            self.text.push(' ');
        }
        self.text.push_str(word);
        self.last = if matches!(word, "as" | "const" | "dyn" | "impl" | "mut") { Last::Keyword } else { Last::Word };
    }
}
