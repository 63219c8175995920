//! Mach-O images, built here with clang and LLVM's linker in all their forms, and what LLVM's own reader sees in them.

#![expect(clippy::expect_used, clippy::unwrap_used, reason = "a test that cannot go on ends")]

mod build;
mod differential;
mod exports;
mod hazards;
mod heads;
mod lief;
mod malformed;
mod matrix;
mod objdump;
mod older;
mod pointers;
mod signed;
mod stubs;
mod zig;
