#![doc = include_str!("../ARCHITECTURE.md")]
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking"))]

pub mod data;
pub mod tensor;
