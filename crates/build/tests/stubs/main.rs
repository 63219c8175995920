//! Stub objects, by what linkers, loaders and processors make of them.

mod elf;
mod machine;
mod tools;
