//! What a process says that crashes: made inside a signal handler, so without allocation.

use crate::codec::wire_struct;
use crate::{Token, WireAddress};

wire_struct! {
    /// Where a process crashed. It waits, for a moment, until the server has hung up: by then the server
    /// has read from its memory what it wants to know.
    #[derive(Clone, Copy, PartialEq, Eq, Debug)]
    pub struct Crash {
        /// The session's secret.
        pub token: Token,
        /// The process id.
        pub pid: u32,
        /// The process that it was forked from, and whose patches it has; 0 if the server started it.
        pub parent: u32,
        /// The thread that crashed.
        pub thread: u32,
        /// The signal's number.
        pub signal: u32,
        /// Where the signal came from (`si_code`).
        pub code: i32,
        /// The address of the instruction that crashed, or of one in the function that gave up.
        pub pc: WireAddress,
        /// The stack pointer there.
        pub sp: WireAddress,
        /// The frame pointer register there.
        pub bp: WireAddress,
    }
}

impl Crash {
    /// The tag of [`crate::FromProcess::Crashed`].
    const TAG: u8 = 10;
    const PAYLOAD: usize = 1 + 32 + 5 * 4 + 3 * 8;

    /// The length of the frame that says it, in bytes.
    pub const FRAME: usize = 4 + Self::PAYLOAD;

    /// The frame that [`crate::frame::send`] makes of it. Nothing is allocated.
    pub fn frame(&self) -> [u8; Self::FRAME] {
        let mut frame = [0; Self::FRAME];
        let mut rest = frame.as_mut_slice();
        let mut put = |bytes: &[u8]| {
            if let Some((place, behind)) = std::mem::take(&mut rest).split_at_mut_checked(bytes.len()) {
                place.copy_from_slice(bytes);
                rest = behind;
            }
        };
        put(&(Self::PAYLOAD as u32).to_le_bytes());
        put(&[Self::TAG]);
        put(&self.token.0);
        [self.pid, self.parent, self.thread, self.signal].iter().for_each(|n| put(&n.to_le_bytes()));
        put(&self.code.to_le_bytes());
        [self.pc, self.sp, self.bp].iter().for_each(|address| put(&address.0.to_le_bytes()));
        frame
    }
}
