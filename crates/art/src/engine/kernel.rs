//! What only the kernel knows about threads, and leave to read it.

use std::io;

/// Where the list of a thread's robust locks begins (`get_robust_list(2)`). glibc has it in the block by which it
/// controls the thread, which is the last thing on the thread's stack; who has no such list says nothing here.
pub(super) fn robust_list(thread: i32) -> Option<u64> {
    let mut head = std::ptr::null_mut::<libc::c_void>();
    let mut length = 0_usize;
    // SAFETY: the kernel writes an address and a length to these two; it changes nothing else.
    let failed =
        unsafe { libc::syscall(libc::SYS_get_robust_list, thread, &raw mut head, &raw mut length) } != 0;
    (!failed && !head.is_null()).then_some(head.addr() as u64)
}

/// The leave to read what `/proc` says about this process, as long as it lives. The kernel refuses that to processes
/// that are not dumpable (proc(5)), which on Android all programs are that cannot be debugged.
#[derive(Debug)]
pub(super) struct Readable {
    is_lent: bool,
}

impl Readable {
    /// Makes the process dumpable if it is not.
    pub(super) fn new() -> io::Result<Self> {
        let is_lent = dumpable(libc::PR_GET_DUMPABLE, 0)? != 1;
        if is_lent {
            dumpable(libc::PR_SET_DUMPABLE, 1)?;
        }
        Ok(Self { is_lent })
    }
}

impl Drop for Readable {
    fn drop(&mut self) {
        if self.is_lent {
            // It was possible to set it.
            let _ = dumpable(libc::PR_SET_DUMPABLE, 0);
        }
    }
}

/// Asks for that flag of the process, or sets it.
fn dumpable(what: libc::c_int, value: libc::c_ulong) -> io::Result<libc::c_int> {
    const NO: libc::c_ulong = 0;
    // SAFETY: neither has to do with memory.
    match unsafe { libc::prctl(what, value, NO, NO, NO) } {
        -1 => Err(io::Error::last_os_error()),
        value => Ok(value),
    }
}
