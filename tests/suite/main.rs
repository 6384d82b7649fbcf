//! The integration tests.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking")]

mod architecture;
mod batch_norm;
mod cli;
mod gradient_reference;
mod inflate;
mod kernels;
mod laws;
mod losses;
mod random_graphs;
mod recompute;
mod recurrent;
mod round_trip;
mod safe_reference;
mod support;
mod zoo;
