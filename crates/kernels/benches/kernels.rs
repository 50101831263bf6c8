//! Measures the kernels and checks their results.
fn main() {}
