//! What only the kernel knows about threads.

/// Where the list of a thread's robust locks begins (`get_robust_list(2)`). glibc has it in the block by which it
/// controls the thread, which is the last thing on the thread's stack; who has no such list says nothing here.
#[cfg(any(target_os = "linux", target_os = "android"))]
pub(super) fn robust_list(thread: i32) -> Option<u64> {
    let mut head = std::ptr::null_mut::<libc::c_void>();
    let mut length = 0_usize;
    // SAFETY: the kernel writes an address and a length to these two; it changes nothing else.
    let failed =
        unsafe { libc::syscall(libc::SYS_get_robust_list, thread, &raw mut head, &raw mut length) } != 0;
    (!failed && !head.is_null()).then_some(head.addr() as u64)
}

#[cfg(not(any(target_os = "linux", target_os = "android")))]
pub(super) fn robust_list(_thread: i32) -> Option<u64> {
    None
}
