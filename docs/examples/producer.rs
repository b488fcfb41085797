//! Owns a broker and an array, and changes the array at each line of input. See `consumer`.

use sharehold::Manager;

fn main() -> sharehold::Result<()> {
    let manager = Manager::builder().name("lab").start()?;
    let samples = manager.array(&[0.0_f32; 1_000_000])?;
    manager.publish("samples", &samples)?;
    for (round, _) in std::io::stdin().lines().enumerate() {
        samples.write()?.fill(round as f32); // press return to change them
    }
    Ok(())
}
