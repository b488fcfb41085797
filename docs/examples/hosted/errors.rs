//! A method fails three calls deep, and the client learns where, why and how it came to that.
//!
//! Run it with `cargo run --example errors`.
#![allow(clippy::print_stdout, reason = "a program that shows something")]

use std::fmt;

use sharehold::{ErrorKind, Manager, MethodError};

struct Shop;
struct Till;
struct Account {
    balance: u32,
}

#[derive(Debug)]
struct TooLittle {
    missing: u32,
}

impl fmt::Display for TooLittle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} are missing", self.missing)
    }
}

impl std::error::Error for TooLittle {}

#[sharehold::class]
impl Account {
    pub fn new(balance: u32) -> Self {
        Self { balance }
    }

    pub fn withdraw(&mut self, amount: u32) -> Result<(), MethodError> {
        // The question mark makes a `MethodError` of any error, and notes its type and this line.
        self.balance = self.balance.checked_sub(amount).ok_or(TooLittle { missing: amount - self.balance })?;
        Ok(())
    }
}

#[sharehold::class]
impl Till {
    pub fn new() -> Self {
        Self
    }

    pub fn pay(&self, account: &AccountProxy, amount: u32) -> Result<(), MethodError> {
        account.withdraw(amount)?;
        Ok(())
    }
}

#[sharehold::class]
impl Shop {
    pub fn new() -> Self {
        Self
    }

    pub fn buy(&self, till: &TillProxy, account: &AccountProxy) -> Result<(), MethodError> {
        till.pay(account, 100)?;
        Ok(())
    }
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let manager = Manager::builder().class::<Shop>().class::<Till>().class::<Account>().start()?;
    let (shop, till) = (ShopProxy::new(&manager)?, TillProxy::new(&manager)?);
    let account = AccountProxy::new(&manager, 1)?;

    let error = shop.buy(&till, &account).err().ok_or("one can't buy for 100 with 1")?;
    println!("In one line: {error}\n");
    assert_eq!(error.kind(), ErrorKind::MethodFailed);

    let remote = error.remote().ok_or("an error of a method has more to tell")?;
    println!("The error is a {}, and it says: {}.", remote.causes[0].type_name, remote.causes[0].message);
    assert_eq!((&*remote.causes[0].type_name, &*remote.causes[0].message), ("TooLittle", "99 are missing"));

    println!("It came about in {}.", remote.places[0]);
    remote.places[1..].iter().for_each(|place| println!("That was called by {place}."));
    let calls: Vec<&str> = remote.places.iter().map(|place| &*place.call).collect();
    assert_eq!(calls, ["Account.withdraw", "Till.pay", "Shop.buy"]);

    println!("\nThe backtrace in the broker has {} lines and begins so:", remote.backtrace.lines().count());
    remote.backtrace.lines().take(8).for_each(|line| println!("{line}"));
    Ok(())
}
