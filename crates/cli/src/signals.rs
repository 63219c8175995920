//! Signals to this command.
//!
//! A terminal sends them to the program as well; one that somebody sent to this process alone is
//! passed on to the program.

use rustix::process::Signal;
use signal_hook::consts::{SIGHUP, SIGINT, SIGQUIT, SIGTERM};
use signal_hook::iterator::SignalsInfo;
use signal_hook::iterator::exfiltrator::origin::WithOrigin;
use signal_hook::low_level::siginfo::Cause;
use std::io;
use std::os::unix::process::ExitStatusExt;
use std::process::{ExitCode, ExitStatus};

/// A signal that came.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Received {
    /// Which.
    pub signal: Signal,
    /// Whether the program has got it too.
    pub from_terminal: bool,
}

/// Calls `received`, in a thread, for each signal that asks this process to end.
pub fn listen(mut received: impl FnMut(Received) + Send + 'static) -> io::Result<()> {
    let mut signals = SignalsInfo::<WithOrigin>::new([SIGINT, SIGTERM, SIGQUIT, SIGHUP])?;
    std::thread::spawn(move || {
        for origin in &mut signals {
            if let Some(signal) = Signal::from_named_raw(origin.signal) {
                received(Received { signal, from_terminal: origin.cause == Cause::Kernel });
            }
        }
    });
    Ok(())
}

/// The exit code that stands for how a process ended.
pub fn exit_code(status: ExitStatus) -> i32 {
    status.code().unwrap_or_else(|| 128 + status.signal().unwrap_or(0))
}

/// Ends this process as another one ended: by the same signal, or with the code returned.
pub fn end_as(status: ExitStatus) -> ExitCode {
    if let Some(signal) = status.signal() {
        let _ = signal_hook::low_level::emulate_default_handler(signal);
    }
    ExitCode::from(u8::try_from(exit_code(status)).unwrap_or(1))
}
