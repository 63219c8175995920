//! How a process introduces itself.

use crate::codec::{DecodeError, Reader, Wire, wire_enum, wire_struct};
use crate::{ModuleList, PROTOCOL, WireAddress, WireRange};

/// What every hello starts with, in every version of the protocol.
pub const MAGIC: [u8; 8] = *b"livepatc";

/// A session's secret: who shows it was started by this session's server.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Token(pub [u8; 32]);

impl Token {
    /// Compares in a time that does not depend on where the two differ.
    pub fn matches(&self, other: &Self) -> bool {
        self.0.iter().zip(&other.0).fold(0, |differ, (a, b)| differ | (a ^ b)) == 0
    }

    /// The token as 64 hexadecimal digits, as it stands in the environment of the process.
    pub fn to_hex(&self) -> String {
        self.0.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    /// Reads what [`Token::to_hex`] wrote.
    pub fn from_hex(text: &str) -> Option<Self> {
        let digits = text.as_bytes();
        if digits.len() != 64 {
            return None;
        }
        let mut token = [0; 32];
        for (byte, pair) in token.iter_mut().zip(digits.chunks_exact(2)) {
            let digit = |d: u8| (d as char).to_digit(16);
            *byte = u8::try_from(digit(pair[0])? * 16 + digit(pair[1])?).ok()?;
        }
        Some(Self(token))
    }
}

impl std::fmt::Debug for Token {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Token(…)")
    }
}

impl Wire for Token {
    const MIN: usize = 32;
    fn put(&self, out: &mut Vec<u8>) {
        self.0.put(out);
    }
    fn take(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        Wire::take(reader).map(Self)
    }
}

/// The contents of a `NT_GNU_BUILD_ID` note; empty where an image has none.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct BuildId(pub Vec<u8>);

impl std::fmt::Display for BuildId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl Wire for BuildId {
    const MIN: usize = 4;
    fn put(&self, out: &mut Vec<u8>) {
        self.0.put(out);
    }
    fn take(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        Vec::<u8>::take(reader).map(Self)
    }
}

wire_enum! {
    /// The instruction set of the process.
    #[derive(Clone, Copy, PartialEq, Eq, Debug)]
    pub enum Arch {
        /// x86-64.
        1 => X86_64,
        /// AArch64.
        2 => Aarch64,
        /// 32-bit ARM.
        3 => Arm,
        /// 32-bit x86.
        4 => X86,
        /// 64-bit RISC-V.
        5 => Riscv64,
    }
}

wire_enum! {
    /// The operating system of the process.
    #[derive(Clone, Copy, PartialEq, Eq, Debug)]
    pub enum Os {
        /// Linux with glibc.
        1 => LinuxGnu,
        /// Linux with musl.
        2 => LinuxMusl,
        /// Android.
        3 => Android,
        /// macOS.
        4 => MacOs,
        /// iOS, or its simulator.
        5 => Ios,
        /// Another Unix.
        6 => OtherUnix,
    }
}

wire_enum! {
    /// How functions of this process can be redirected.
    #[derive(Clone, PartialEq, Eq, Debug)]
    pub enum Redirection {
        /// At their entry: the self-test on a function of the agent's own passed.
        1 => Entry,
        /// Not at all: the self-test failed.
        2 => Unavailable {
            /// What failed.
            reason: String,
        },
        /// At their entry, as long as no thread has to trap later: the agent was loaded into a program that
        /// ran already, which blocks signals and replaces handlers without the agent's knowledge.
        3 => Unguarded,
        /// Not at their entry, but where callers ask the jump table: the program speaks for itself
        /// (`livepatch::connect`), and takes [`ToProcess::ApplyLibrary`](crate::ToProcess::ApplyLibrary).
        4 => JumpTable,
    }
}

wire_struct! {
    /// Thread-local storage that the agent holds for thread-locals that patches bring.
    #[derive(Clone, Copy, PartialEq, Eq, Debug)]
    pub struct TlsReserve {
        /// Where it starts, in bytes from the thread pointer; the same in every thread.
        pub tp_offset: i64,
        /// How long it is, in bytes.
        pub size: u32,
    }
}

wire_enum! {
    /// How the process came to be.
    #[derive(Clone, Copy, PartialEq, Eq, Debug)]
    pub enum Origin {
        /// The server started it.
        1 => Started,
        /// A process of this session forked it; it has the patches its parent had.
        2 => Forked {
            /// The parent's process id.
            parent: u32,
        },
        /// The program dialled by itself (`livepatch::connect`).
        3 => Dialled,
    }
}

/// The first message of a process.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Hello {
    /// The session's secret.
    pub token: Token,
    /// The host's build id.
    pub build_id: BuildId,
    /// The instruction set.
    pub arch: Arch,
    /// The operating system and C library.
    pub os: Os,
    /// The process id.
    pub pid: u32,
    /// How the process came to be.
    pub origin: Origin,
    /// The size of a page, in bytes.
    pub page_size: u32,
    /// Where the host's anchor is in this process: its entry point (`e_entry`), or
    /// [`HOST_ANCHOR`](crate::HOST_ANCHOR) where the origin is [`Origin::Dialled`].
    pub aslr_reference: WireAddress,
    /// The number of the patch the process is at; 0 is the base build.
    pub current: u32,
    /// Whether and how functions can be redirected.
    pub redirection: Redirection,
    /// Storage for new thread-locals that no earlier session has used, if the agent was preloaded.
    pub tls_reserve: Option<TlsReserve>,
    /// Ranges that nothing is mapped in, within 2 GiB of a loaded module, ascending.
    pub free_ranges: Vec<WireRange>,
    /// What is loaded.
    pub modules: ModuleList,
}

impl Wire for Hello {
    const MIN: usize = MAGIC.len() + 4 + 32;

    fn put(&self, out: &mut Vec<u8>) {
        MAGIC.put(out);
        PROTOCOL.put(out);
        self.token.put(out);
        self.build_id.put(out);
        self.arch.put(out);
        self.os.put(out);
        self.pid.put(out);
        self.origin.put(out);
        self.page_size.put(out);
        self.aslr_reference.put(out);
        self.current.put(out);
        self.redirection.put(out);
        self.tls_reserve.put(out);
        self.free_ranges.put(out);
        self.modules.put(out);
    }

    fn take(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        if <[u8; 8]>::take(reader)? != MAGIC {
            return Err(DecodeError::NotLivepatch);
        }
        let theirs = u32::take(reader)?;
        if theirs != PROTOCOL {
            return Err(DecodeError::OtherProtocol { theirs });
        }
        Ok(Self {
            token: Wire::take(reader)?,
            build_id: Wire::take(reader)?,
            arch: Wire::take(reader)?,
            os: Wire::take(reader)?,
            pid: Wire::take(reader)?,
            origin: Wire::take(reader)?,
            page_size: Wire::take(reader)?,
            aslr_reference: Wire::take(reader)?,
            current: Wire::take(reader)?,
            redirection: Wire::take(reader)?,
            tls_reserve: Wire::take(reader)?,
            free_ranges: Wire::take(reader)?,
            modules: Wire::take(reader)?,
        })
    }
}
