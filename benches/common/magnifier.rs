//! A class whose calls cost next to nothing but the call.

#[derive(Debug)]
pub struct Magnifier {
    factor: f64,
}

#[sharehold::class]
impl Magnifier {
    pub fn new(factor: f64) -> Self {
        Self { factor }
    }

    pub fn scale(&self, x: f64) -> f64 {
        self.factor * x
    }
}
