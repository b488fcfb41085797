//! Tests of the attribute, which run it on tokens.

mod generated;
mod misuse;
