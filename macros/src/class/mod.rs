//! The attribute `class`: makes the `pub` functions of a type callable from other processes.
//!
//! `model` reads the block and finds everything that is wrong with it; `emit` writes the code.

mod emit;
mod model;
mod options;
mod problems;
mod signature;
#[cfg(test)]
mod tests;
mod types;

use proc_macro2::TokenStream;
use quote::quote;
use syn::{Error, Item, ItemImpl, Result};

use model::Class;
use options::Options;
use problems::Problems;

const PLACE: &str = "#[class] stands on an `impl` block of a type, as `#[class] impl Magnifier { ... }`";

/// The block without its marks, and what is generated for it or what is wrong with it.
///
/// The block comes in either case: without it, every use of its functions would be an error too.
pub(crate) fn expand(options: TokenStream, item: TokenStream) -> TokenStream {
    match inherent(item.clone()) {
        Ok(mut block) => {
            let generated = generate(options, &mut block).unwrap_or_else(Error::into_compile_error);
            // `pub` says here what proxies can call, also of a type that is private itself.
            quote!(#[allow(unreachable_pub)] #block #generated)
        }
        Err(error) => {
            let error = error.into_compile_error();
            quote!(#item #error)
        }
    }
}

fn inherent(item: TokenStream) -> Result<ItemImpl> {
    match syn::parse2(item)? {
        Item::Impl(block) if block.trait_.is_none() => Ok(block),
        other => Err(Error::new_spanned(other, PLACE)),
    }
}

/// The code for a block, which loses its marks.
fn generate(options: TokenStream, block: &mut ItemImpl) -> Result<TokenStream> {
    let mut problems = Problems::default();
    let options = problems.check(Options::read(options)).unwrap_or_default();
    let class = Class::read(options, block, &mut problems);
    problems.finish()?;
    Ok(class.map(|class| emit::class(&class)).unwrap_or_default())
}
