#![doc = include_str!("../ARCHITECTURE.md")]
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking"))]

pub mod autodiff;
pub mod bench;
pub mod compress;
pub mod cost;
pub mod data;
pub mod deps;
pub mod engine;
pub mod ir;
pub mod kernels;
pub mod memory;
pub mod ops;
pub mod report;
pub mod safe;
pub mod shrink;
pub mod tensor;
pub mod trace;
pub mod verify;
