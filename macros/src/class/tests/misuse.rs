//! What the attribute says about misuse.

use proc_macro2::TokenStream;

use crate::class::{expand, generate, inherent};

fn tokens(code: &str) -> TokenStream {
    code.parse().expect("tokens")
}

/// All that is wrong with a block, in order.
fn faults(options: &str, block: &str) -> Vec<String> {
    let mut block = inherent(tokens(block)).unwrap_or_else(|error| panic!("{error}"));
    let error = generate(tokens(options), &mut block).expect_err("refused");
    error.into_iter().map(|fault| fault.to_string()).collect()
}

/// Asserts that each of these blocks has this one fault.
fn assert_block(blocks: &[&str], sentence: &str) {
    for block in blocks {
        assert_eq!(faults("", block), [sentence], "of {block}");
    }
}

/// Asserts that a block with each of these functions has this one fault.
fn assert_said(functions: &[&str], sentence: &str) {
    for function in functions {
        assert_block(&[&format!("impl Lens {{ {function} }}")], sentence);
    }
}

#[test]
fn the_attribute_stands_on_an_inherent_block() {
    let place = "#[class] stands on an `impl` block of a type, as `#[class] impl Magnifier { ... }`";
    for item in ["struct Lens;", "fn lens() {}", "impl Clone for Lens {}"].map(tokens) {
        assert_eq!(inherent(item.clone()).err().expect("refused").to_string(), place);
        let code = expand(TokenStream::new(), item.clone()).to_string();
        assert!(code.starts_with(&item.to_string()) && code.contains("compile_error"), "{code}");
    }
    assert_block(&["impl dyn Lens {}", "impl [Lens] {}"], place);
}

#[test]
fn a_class_is_not_generic() {
    assert_block(
        &["impl<T> Lens<T> {}", "impl<T> Lens {}", "impl Lens<'_> {}", "impl Lens<f64> {}"],
        "a class can't be generic: its name stands for one type",
    );
}

#[test]
fn a_method_is_not_generic() {
    assert_said(
        &[
            "pub fn f<T>(&self) {}",
            "pub fn f<'a>(&'a self) {}",
            "pub fn f<const N: usize>(&self) {}",
            "pub fn f(&self, x: impl Fn(u8)) {}",
            "pub fn f(&self, x: &impl Into<u8>) {}",
            "pub fn f(&self, x: Option<impl Into<u8>>) {}",
            "pub fn f(&self, x: impl Into<u8> + Clone) {}",
            "pub fn f(&self, x: impl Into<Box<impl Sized>>) {}",
            "pub fn new<T>() -> Self {}",
        ],
        "a method of a class can't be generic: its arguments come from other processes",
    );
}

#[test]
fn a_method_is_an_ordinary_one() {
    assert_said(
        &["pub async fn f(&self) {}", "pub async fn new() -> Self {}"],
        "a method of a class can't be async: each call has a thread of its own",
    );
    assert_said(
        &["pub unsafe fn f(&self) {}", "pub extern \"C\" fn f(&self) {}", "pub unsafe extern \"C\" fn f(&self) {}"],
        "a method of a class can't be unsafe: any process may call it",
    );
}

#[test]
fn a_method_borrows_its_object() {
    assert_said(
        &["pub fn f(self) {}", "pub fn f(self: Box<Self>) {}", "pub fn f(self: &Box<Self>) {}"],
        "a method of a class takes `&self` or `&mut self`: others hold the object too",
    );
}

#[test]
fn a_function_without_self_is_the_constructor_or_private() {
    assert_said(
        &["pub fn parse(text: String) -> Self {}"],
        "a function without `self` can't be called through a proxy: name it `new`, mark it #[constructor], or make it private",
    );
    assert_said(
        &[
            "pub fn new() -> Self {} #[constructor] pub fn open() -> Self {}",
            "#[constructor] fn make() -> Self {} #[constructor] fn open() -> Self {}",
        ],
        "a class has one constructor",
    );
    assert_said(
        &["#[constructor] pub fn open(&self) -> Self {}"],
        "#[constructor] stands on a function without `self`: there is no object before it",
    );
    assert_said(
        &["pub fn new() {}"],
        "a constructor returns the object, or a proxy of one that exists, or a `Result` of either",
    );
}

#[test]
fn what_travels_is_owned() {
    assert_said(
        &[
            "pub fn f(&self) -> &str {}",
            "pub fn f(&self) -> Result<&u8, Bad> {}",
            "pub fn f(&self) -> io::Result<(&'static u8)> {}",
        ],
        "a method of a class returns owned values: they go to other processes",
    );
    assert_said(
        &["pub fn f(&self) -> impl Iterator<Item = u8> {}"],
        "a method of a class returns a named type: the caller has to know it",
    );
    assert_said(
        &["pub fn f(&self, x: &mut u8) {}", "pub fn f(&self, x: &mut dyn FnMut()) {}"],
        "an argument can't be borrowed mutably: it was sent from another process",
    );
}

#[test]
fn names_are_plain_and_free() {
    assert_said(
        &["pub fn f(&self, (x, y): (u8, u8)) {}", "pub fn f(&self, _: u8) {}", "pub fn f(&self, ref x: u8) {}"],
        "an argument of a class's method has a plain name",
    );
    for name in ["clone", "id", "ticket", "ticket_with", "object", "from_object", "downgrade"] {
        let sentence = format!("a class's method can't be named `{name}`: the proxy has one of that name");
        assert_said(&[&format!("pub fn {name}(&self) {{}}")], &sentence);
    }
}

#[test]
fn a_mark_of_a_hosted_result_stands_on_one() {
    assert_said(
        &["#[proxy] pub fn spawn(&self) {}", "#[proxy] pub fn new() -> Self {}"],
        "#[proxy] stands on a method that returns an object of a class",
    );
    assert_said(&["#[proxy] fn spawn(&self) -> Lens {}"], "#[proxy] stands on a `pub` method: proxies call no others");
    assert_said(
        &["#[proxy(Spawned)] pub fn spawn(&self) -> Spawned {}", "#[proxy = 1] pub fn spawn(&self) -> Spawned {}"],
        "#[constructor], #[proxy] and #[references] have no arguments",
    );
}

#[test]
fn one_method_tells_what_an_object_holds() {
    let held = "#[references] fn held(&self, visit: &mut dyn FnMut(&sharehold::Object)) {}";
    let other = "#[references] fn other(&self, visit: &mut dyn FnMut(&sharehold::Object)) {}";
    assert_said(&[&format!("{held} {other}")], "a class has one method that is marked #[references]");
    assert_said(
        &[&format!("#[proxy] {held}"), &format!("#[constructor] {held}")],
        "#[references] stands alone: proxies can't call the method that it marks",
    );
    assert_said(
        &[
            "#[references] fn held(&mut self, visit: &mut dyn FnMut(&sharehold::Object)) {}",
            "#[references] fn held(visit: &mut dyn FnMut(&sharehold::Object)) {}",
            "#[references] fn held(&self) {}",
            "#[references] fn held(&self, visit: &mut dyn FnMut(&sharehold::Object)) -> bool {}",
            "#[references] fn held<F: FnMut(&sharehold::Object)>(&self, visit: F) {}",
        ],
        "#[references] stands on a method as `fn held(&self, visit: &mut dyn FnMut(&sharehold::Object))`",
    );
}

#[test]
fn options_are_the_known_ones() {
    for options in ["title = \"x\"", "hidden", "internal, hidden"] {
        assert_eq!(
            faults(options, "impl Lens {}"),
            ["the options are name = \"...\", proxy = Name, internal and snapshot"]
        );
    }
}

#[test]
fn the_name_of_a_class_fits_the_table_of_types_and_a_line() {
    for name in [String::new(), "x".repeat(89), "a\tb".into(), "a\nb".into(), "a\0b".into()] {
        let options = format!("name = {name:?}");
        assert_eq!(
            faults(&options, "impl Lens {}"),
            ["the name of a class has 1 to 88 bytes and no control characters"]
        );
    }
}

#[test]
fn all_faults_of_a_block_are_reported_together() {
    let block = "impl<T> Lens<T> {
        pub async fn first(self, _: &mut u8) -> &str {}
        pub fn second(x: impl Sized) {}
    }";
    let faults = faults("hidden", block);
    assert_eq!(faults.len(), 9, "{faults:?}");
}

#[test]
fn a_refused_block_stays() {
    let code = expand(TokenStream::new(), tokens("impl Lens { #[proxy] pub fn f(&self) {} }")).to_string();
    assert!(
        code.starts_with(&tokens("#[allow(unreachable_pub)] impl Lens { pub fn f(&self) {} }").to_string()),
        "{code}"
    );
    assert!(code.contains("compile_error"), "{code}");
}
