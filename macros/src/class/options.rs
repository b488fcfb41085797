//! What stands in the parentheses of `#[class(...)]`.

use proc_macro2::TokenStream;
use syn::parse::Parser;
use syn::{Ident, LitStr, Result};

const OPTIONS: &str = "the options are name = \"...\", proxy = Name, internal and snapshot";

#[derive(Default)]
pub(super) struct Options {
    pub(super) name: Option<String>,
    pub(super) proxy: Option<Ident>,
    pub(super) internal: bool,
    pub(super) snapshot: bool,
}

impl Options {
    pub(super) fn read(tokens: TokenStream) -> Result<Self> {
        let mut options = Self::default();
        let parser = syn::meta::parser(|meta| {
            if meta.path.is_ident("name") {
                options.name = Some(meta.value()?.parse::<LitStr>()?.value());
            } else if meta.path.is_ident("proxy") {
                options.proxy = Some(meta.value()?.parse()?);
            } else if meta.path.is_ident("internal") {
                options.internal = true;
            } else if meta.path.is_ident("snapshot") {
                options.snapshot = true;
            } else {
                return Err(meta.error(OPTIONS));
            }
            Ok(())
        });
        parser.parse2(tokens)?;
        Ok(options)
    }
}
