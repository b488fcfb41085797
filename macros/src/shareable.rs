//! The derive `Shareable`: one layout, described by a fingerprint that other processes compare.

use proc_macro2::TokenStream;
use quote::quote;
use syn::{Data, DeriveInput, Error, Fields, LitStr, Result};

pub(crate) fn derive(input: DeriveInput) -> Result<TokenStream> {
    let Data::Struct(data) = &input.data else {
        return Err(Error::new_spanned(
            &input.ident,
            "only a struct can be Shareable: any bytes must be a valid value",
        ));
    };
    if !input.generics.params.is_empty() {
        return Err(Error::new_spanned(&input.generics, "a Shareable struct can't be generic: its layout must be one"));
    }
    if matches!(data.fields, Fields::Unit) {
        return Err(Error::new_spanned(
            &input.ident,
            "a Shareable struct has fields: there is nothing to share in an empty one",
        ));
    }
    let mut name = input.ident.to_string();
    for attribute in input.attrs.iter().filter(|attribute| attribute.path().is_ident("shareable")) {
        attribute.parse_nested_meta(|meta| {
            if !meta.path.is_ident("name") {
                return Err(meta.error("the only option is name = \"...\""));
            }
            name = meta.value()?.parse::<LitStr>()?.value();
            Ok(())
        })?;
    }
    let ident = &input.ident;
    let fields = data.fields.members().zip(data.fields.iter()).map(|(member, field)| {
        let (label, kind) = (
            match &member {
                syn::Member::Named(name) => name.to_string(),
                syn::Member::Unnamed(index) => index.index.to_string(),
            },
            &field.ty,
        );
        quote!((#label, ::core::mem::offset_of!(#ident, #member), <#kind as ::sharehold::Shareable>::FINGERPRINT))
    });
    Ok(quote! {
        impl ::sharehold::Shareable for #ident {
            const FINGERPRINT: u64 = ::sharehold::__fingerprint(
                #name,
                ::core::mem::size_of::<#ident>(),
                ::core::mem::align_of::<#ident>(),
                &[#(#fields),*],
            );

            fn type_name() -> ::std::string::String {
                ::std::string::String::from(#name)
            }
        }
    })
}

#[cfg(test)]
mod tests {
    use syn::parse_quote;

    use super::derive;

    #[test]
    fn misuse_is_explained_in_a_sentence() {
        let said = |input| derive(input).expect_err("refused").to_string();
        assert_eq!(
            said(parse_quote!(
                enum Side {
                    Buy,
                    Sell,
                }
            )),
            "only a struct can be Shareable: any bytes must be a valid value"
        );
        assert_eq!(
            said(parse_quote!(
                struct Pair<T> {
                    first: T,
                    second: T,
                }
            )),
            "a Shareable struct can't be generic: its layout must be one"
        );
        assert_eq!(
            said(parse_quote!(
                struct Nothing;
            )),
            "a Shareable struct has fields: there is nothing to share in an empty one"
        );
        assert_eq!(
            said(parse_quote!(
                #[shareable(title = "x")]
                struct Wrong {
                    a: u8,
                }
            )),
            "the only option is name = \"...\""
        );
    }

    #[test]
    fn every_field_is_in_the_fingerprint() {
        let code = derive(parse_quote!(
            #[shareable(name = "q")]
            struct Quote {
                bid: f64,
                ask: f64,
            }
        ));
        let code = code.expect("accepted").to_string();
        for part in ["\"q\"", "\"bid\"", "\"ask\"", "offset_of"] {
            assert!(code.contains(part), "{part} is not in {code}");
        }
    }
}
