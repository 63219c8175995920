//! What `cargo livepatch attach` calls in a process: a function of the agent that is found by name.
//!
//! ```c
//! int livepatch_attach_1(const char *socket, const char *token);
//! ```
//!
//! It takes the path of the server's socket and the session's token in hexadecimal, both ended by a zero
//! byte, and answers one of the numbers below. Whatever changes of this changes the name.

/// The function's name.
pub const ENTRY: &str = "livepatch_attach_1";

/// The agent is about to dial.
pub const DIALS: i32 = 0;
/// It converses with a server already.
pub const BUSY: i32 = 1;
/// It could not start its thread.
pub const NO_THREAD: i32 = 2;
/// The arguments are not what they should be.
pub const INVALID: i32 = 3;

/// A thread that is borrowed for the call: what it finds, at which offset, in the memory that it is given.
///
/// ```text
/// code (a page, read + execute) | block | vector registers | stack
/// ```
///
/// The code is a function of the agent's file, [`BORROWED`](block::BORROWED), which is copied there. It is
/// entered with the block's address in `rbx`, the end of the stack in `rsp` and signals blocked, calls what there is to call,
/// notes what came of it, and waits to be put back where the thread was. Should nobody do so, it has the
/// thread go on itself, with all registers and the signal mask that it had, at the address that the last
/// eight bytes of the code hold.
pub mod block {
    /// The function's name.
    pub const BORROWED: &str = "livepatch_borrowed";
    /// Bytes for the code, before the block.
    pub const CODE: usize = 0x1000;

    /// How far the thread is: 0, [`CALLED`] or [`FAILED`].
    pub const STAGE: usize = 0;
    /// What the entry answered.
    pub const ANSWER: usize = 0x08;
    /// The entry's address, where an agent is loaded; else 0, and it is loaded first.
    pub const ENTRY: usize = 0x10;
    /// The address of the C library's function.
    pub const DLOPEN: usize = 0x18;
    /// The same.
    pub const DLSYM: usize = 0x20;
    /// The same.
    pub const DLERROR: usize = 0x28;
    /// The thread's own signal mask.
    pub const MASK: usize = 0x30;
    /// The registers that it goes on with: `rax rcx rdx rbx rsp rbp rsi rdi r8 … r15 rflags`.
    pub const REGISTERS: usize = 0x40;
    /// How long the thread waits at a time: a `timespec`.
    pub const NAP: usize = 0xd0;
    /// How often it waits before it goes on by itself.
    pub const NAPS: u32 = 3000;
    /// The token, ended by a zero byte.
    pub const TOKEN: usize = 0x100;
    /// The entry's name, likewise.
    pub const NAME: usize = 0x150;
    /// The socket's path, likewise.
    pub const SOCKET: usize = 0x180;
    /// Why the agent could not be loaded, likewise.
    pub const TEXT: usize = 0x200;
    /// Bytes there is room for.
    pub const TEXT_SIZE: usize = 0x200;
    /// The agent's path, ended by a zero byte.
    pub const AGENT: usize = 0x400;
    /// The vector registers, as `xsave64` has them.
    pub const VECTORS: usize = 0x2000;
    /// The stack.
    pub const STACK: usize = 0x6000;
    /// Its size, in bytes.
    pub const STACK_SIZE: usize = 0x20000;
    /// All of it, without the code.
    pub const SIZE: usize = STACK + STACK_SIZE;

    /// The entry was called.
    pub const CALLED: u64 = 1;
    /// The agent could not be loaded: [`TEXT`] says why.
    pub const FAILED: u64 = 2;
}
