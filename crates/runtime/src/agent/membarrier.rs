//! Making every core of this process refetch instructions, without a signal (membarrier(2)).

use super::memory::SystemError;

const PRIVATE_EXPEDITED_SYNC_CORE: libc::c_int = 1 << 5;
const REGISTER_PRIVATE_EXPEDITED_SYNC_CORE: libc::c_int = 1 << 6;

/// Announces that [`synchronize`] will be used. Cheap while the process has one thread only.
pub(crate) fn register() -> Result<(), SystemError> {
    call(REGISTER_PRIVATE_EXPEDITED_SYNC_CORE)
}

/// Returns once every thread of this process has executed a core-serializing instruction, or will
/// before it runs user code again.
pub(crate) fn synchronize() -> Result<(), SystemError> {
    call(PRIVATE_EXPEDITED_SYNC_CORE)
}

fn call(command: libc::c_int) -> Result<(), SystemError> {
    // SAFETY: membarrier(2) with these commands reads and writes no memory of the caller.
    match unsafe { libc::syscall(libc::SYS_membarrier, command, 0, 0) } {
        0 => Ok(()),
        _ => Err(SystemError::last("membarrier")),
    }
}
