//! What a procedure linkage table jumps to when a function is called for the first time: machine code that
//! keeps all arguments, has [`crate::link::lazy`] find the function, and jumps there.

#[cfg(target_arch = "aarch64")]
mod aarch64;
#[cfg(target_arch = "x86_64")]
mod x86_64;

#[cfg(target_arch = "aarch64")]
pub(crate) use aarch64::{can_keep_registers, entry};
#[cfg(target_arch = "x86_64")]
pub(crate) use x86_64::{SAVE_MASK, SAVE_SIZE, can_keep_registers, entry, keeper, restore_state, save_state};
#[cfg(all(target_arch = "x86_64", target_os = "linux", target_env = "gnu"))]
pub(crate) use x86_64::{macho_binder, macho_thread_local};

#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
mod none {
    pub(crate) fn can_keep_registers() -> bool {
        false
    }

    pub(crate) fn entry() -> u64 {
        0
    }
}
#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
pub(crate) use none::{can_keep_registers, entry};
