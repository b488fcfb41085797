//! A class that is made from closures, without the attribute, and called by the names of its methods.
//!
//! Run it with `cargo run --example by_hand`. Its broker is a thread of this process: the closures exist only here.
#![allow(clippy::print_stdout, reason = "a program that shows something")]

use sharehold::{Broker, ClassBuilder, ErrorKind, Manager, MethodError, Object};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    // Its objects are `Vec<f64>`s. The texts say what a method takes; they are for lists and errors.
    let series = ClassBuilder::<Vec<f64>>::new("Series")
        .constructor("values: Vec<f64>", |(values,): (Vec<f64>,)| Ok(values))
        .method_mut("add", "value: f64", |series, (value,): (f64,)| {
            series.push(value);
            Ok(series.len())
        })
        .method("mean", "", |series, (): ()| {
            if series.is_empty() {
                return Err(MethodError::new("an empty series has no mean"));
            }
            Ok(series.iter().sum::<f64>() / series.len() as f64)
        })
        .build();

    let name = format!("by-hand-{}", std::process::id());
    let broker = Broker::builder().name(&name).class_table(series).spawn()?;

    // Any process of this user could do this, if it knew the name.
    let manager = Manager::connect(&name)?;
    for class in manager.classes()?.iter().filter(|class| class.name == "Series") {
        println!("The class {} can do this: {}.", class.name, class.signatures.join(", "));
    }
    let series: Object = manager.create("Series", &(vec![1.0, 2.0],))?;
    let count: usize = series.call("add", &(6.0,))?;
    let mean: f64 = series.call("mean", &())?;
    println!("The mean of {count} values is {mean}.");
    assert_eq!((count, mean), (3, 3.0));

    // Names and types are checked when a call arrives, and the error says what there is.
    let unknown = series.call::<f64>("median", &()).err().ok_or("there is no such method")?;
    println!("An unknown method is an error: {unknown}");
    assert_eq!(unknown.kind(), ErrorKind::MethodNotFound);

    drop(series);
    broker.stop()?;
    Ok(())
}
