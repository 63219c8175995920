//! `abort`, which is told before it raises a signal: on the small stack that handlers of stack overflows
//! run on there may be no room for the frame of another.

use crate::agent::next::Next;
use crate::agent::signals::{active, stand_in};
use crate::agent::{crash, entry};

static ABORT: Next = Next::new(c"abort");

#[unsafe(no_mangle)]
extern "C" fn abort() -> ! {
    // A handler of the program's own may prevent the end yet.
    if active() && stand_in::is_fatal(libc::SIGABRT) {
        crash::tell(libc::SIGABRT, libc::SI_TKILL, entry::registers_here());
        stand_in::withdraw(libc::SIGABRT);
    }
    let address = ABORT.address();
    if address != 0 {
        // SAFETY: the address is that of the C library's function of this signature.
        unsafe { std::mem::transmute::<usize, extern "C" fn() -> !>(address)() }
    }
    loop {
        // SAFETY: the signal is this thread's own; its default action ends the process.
        unsafe { libc::syscall(libc::SYS_tgkill, libc::getpid(), libc::gettid(), libc::SIGKILL) };
    }
}
