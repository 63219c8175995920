//! The two directions of the conversation.

use crate::codec::wire_enum;
use crate::frame::Message;
use crate::{
    BuildId, Crash, Generation, Hello, ImageSource, LibraryPatch, ModuleKey, ModuleList, Patch, Redirected,
    Shim, SlotSet, Times, WireAddress, WireRange,
};

wire_enum! {
    /// From the server to the process.
    #[derive(Clone, PartialEq, Eq, Debug)]
    pub enum ToProcess {
        /// The hello was accepted.
        1 => Welcome,
        /// The hello was not accepted; the connection ends.
        2 => Refused {
            /// Why.
            reason: String,
        },
        /// Asks where the process finds these dynamic symbols: in the global scope, then in a module's own,
        /// as the dynamic linker does for that module's references.
        3 => Resolve {
            /// Mangled names.
            names: Vec<String>,
            /// The module that refers to them; none means the program itself.
            within: Option<ModuleKey>,
        },
        /// Asks for the ranges that nothing is mapped in now.
        4 => FreeRanges,
        /// Applies a patch.
        5 => Apply {
            /// The patch.
            patch: Patch,
        },
        /// Goes back to an earlier patch: only slots change.
        6 => Rollback {
            /// The patch to be at afterwards; 0 is the base build.
            to: u32,
            /// The patch the process must be at.
            from: u32,
            /// Where slots point from then on.
            slots: Vec<SlotSet>,
        },
        /// Ends the conversation; the process goes on as it is.
        7 => Goodbye,
        /// Asks what is loaded.
        8 => Modules {
            /// What the server knows already.
            known: Generation,
        },
        /// Not answered: from now on, when the program itself loads a library with one of these build ids,
        /// the process sends [`FromProcess::Loaded`] and holds the thread that did it for a moment.
        9 => Watch {
            /// The build ids; none ends it.
            libraries: Vec<BuildId>,
        },
        /// Not answered: the thread that loaded a library goes on.
        10 => Proceed {
            /// As in [`FromProcess::Loaded`]. Those with lower numbers go on too.
            ticket: u32,
        },
        /// Asks which functions were redirected so far, in earlier sessions too.
        11 => Redirections,
        /// Applies a patch library with its jump table. Answered as [`ToProcess::Apply`] is.
        12 => ApplyLibrary {
            /// The patch.
            patch: LibraryPatch,
        },
        /// Loads a patch library, which changes nothing yet: a [patch](ToProcess::Apply) without images
        /// follows, or [`ToProcess::UnloadLibrary`].
        13 => LoadLibrary {
            /// The library.
            library: ImageSource,
        },
        /// Not answered: the libraries that were loaded since the last patch are not needed, since none came of them.
        14 => UnloadLibrary,
        /// As [`ToProcess::LoadLibrary`], through another dynamic linker than the process's own.
        15 => LoadThroughLinker {
            /// The path of a shared library that loads others (`livepatch-linker`).
            linker: String,
            /// The path of the patch library.
            library: String,
        },
    }
}

wire_enum! {
    /// From the process to the server.
    #[derive(Clone, PartialEq, Eq, Debug)]
    pub enum FromProcess {
        /// The first message.
        1 => Hello {
            /// Who speaks.
            hello: Hello,
        },
        /// Answers [`ToProcess::Resolve`], in the order of the names.
        2 => Resolved {
            /// Where each is; none where the process does not have it.
            addresses: Vec<Option<WireAddress>>,
        },
        /// Answers [`ToProcess::FreeRanges`].
        3 => FreeRanges {
            /// As in [`Hello::free_ranges`].
            ranges: Vec<WireRange>,
        },
        /// Answers [`ToProcess::Apply`]: the patch is live.
        4 => Applied {
            /// Its number.
            patch: u32,
            /// How long it took.
            times: Times,
        },
        /// Answers [`ToProcess::Rollback`].
        5 => RolledBack {
            /// The patch the process is at.
            to: u32,
        },
        /// Answers [`ToProcess::Apply`] and [`ToProcess::Rollback`]: nothing was changed.
        6 => Failed {
            /// Why.
            error: ApplyError,
        },
        /// Something worth saying.
        7 => Log {
            /// How bad it is.
            level: LogLevel,
            /// The text.
            text: String,
        },
        /// Answers [`ToProcess::Modules`].
        8 => Modules {
            /// What is loaded; none where that is what the server knows.
            list: Option<ModuleList>,
            /// As in [`Hello::free_ranges`]; empty where nothing else was loaded.
            free_ranges: Vec<WireRange>,
        },
        /// The program has loaded a library that the server watches for.
        9 => Loaded {
            /// What [`ToProcess::Proceed`] is to say.
            ticket: u32,
        },
        /// The first message, and the last, of a connection that a crashing process makes for it.
        10 => Crashed {
            /// Where and why.
            crash: Crash,
        },
        /// Answers [`ToProcess::Redirections`].
        11 => Redirections {
            /// The functions, in the order in which they were redirected.
            functions: Vec<Redirected>,
            /// The shims, in the order in which they came.
            shims: Vec<Shim>,
        },
        /// Answers [`ToProcess::LoadLibrary`]; so does [`FromProcess::Failed`].
        12 => LibraryLoaded {
            /// Its load bias: run-time minus link-time address of everything in it (modulo 2^64).
            bias: u64,
            /// From its first to after its last mapped byte.
            range: WireRange,
            /// As in [`Hello::free_ranges`].
            free_ranges: Vec<WireRange>,
        },
    }
}

impl Message for ToProcess {}
impl Message for FromProcess {}

wire_enum! {
    /// How bad a log line is.
    #[derive(Clone, Copy, PartialEq, Eq, Debug)]
    pub enum LogLevel {
        /// For the curious.
        1 => Info,
        /// Something does not work as well as it could.
        2 => Warning,
        /// Something does not work.
        3 => Error,
    }
}

wire_enum! {
    /// Why a patch was not applied. Nothing of it is live then.
    #[derive(Clone, PartialEq, Eq, Debug)]
    pub enum ApplyError {
        /// The process runs another build.
        1 => WrongBuild {
            /// The build id of the process, in hexadecimal.
            process: String,
        },
        /// The process is at another patch than the one this was made for.
        2 => OutOfOrder {
            /// Where the process is.
            current: u32,
            /// Where it would have to be.
            predecessor: u32,
        },
        /// The dynamic linker did not take the image.
        3 => ImageRejected {
            /// What it said.
            detail: String,
        },
        /// The image was put somewhere else than it was made for.
        4 => ImagePlacedElsewhere {
            /// The load bias it got.
            bias: u64,
            /// What is free now.
            free_ranges: Vec<WireRange>,
        },
        /// An island's page is taken.
        5 => IslandOccupied {
            /// The page.
            address: WireAddress,
            /// What is free now.
            free_ranges: Vec<WireRange>,
        },
        /// The code is not what the file says: a breakpoint, or another tool's hook.
        6 => CodeDiffers {
            /// Where.
            address: WireAddress,
            /// What the file has there.
            expected: Vec<u8>,
            /// What the process has there.
            found: Vec<u8>,
        },
        /// An address is not where this kind of write may go.
        7 => BadAddress {
            /// The address.
            address: WireAddress,
            /// What it was for.
            purpose: String,
        },
        /// A debugger is attached, which would swallow the traps that this patch needs.
        8 => Traced {
            /// The tracer's process id.
            tracer: u32,
        },
        /// A thread blocks the trap signals that this patch needs.
        9 => TrapsBlocked {
            /// The thread's id.
            thread: u32,
        },
        /// A system call failed.
        10 => System {
            /// Which.
            call: String,
            /// The `errno` it set.
            errno: u32,
        },
        /// The message contradicts itself or the agent's limits.
        11 => Invalid {
            /// How.
            detail: String,
        },
        /// A module that the patch is for is not loaded (any more).
        12 => ModuleGone {
            /// Which.
            module: ModuleKey,
        },
    }
}

impl std::fmt::Display for ApplyError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::WrongBuild { process } => write!(f, "the process runs another build ({process})"),
            Self::OutOfOrder { current, predecessor } => {
                write!(f, "the process is at patch {current}, the patch was made for {predecessor}")
            }
            Self::ImageRejected { detail } => {
                write!(f, "the dynamic linker refused the patch image: {detail}")
            }
            Self::ImagePlacedElsewhere { bias, .. } => {
                write!(f, "the dynamic linker put the patch image elsewhere (load bias {bias:#x})")
            }
            Self::IslandOccupied { address, .. } => write!(f, "the page {address} for an island is taken"),
            Self::CodeDiffers { address, expected, found } => write!(
                f,
                "the code at {address} is not what the file has ({expected:02x?} expected, {found:02x?} found)"
            ),
            Self::BadAddress { address, purpose } => write!(f, "{address} cannot be {purpose}"),
            Self::Traced { tracer } => {
                write!(
                    f,
                    "a debugger (process {tracer}) is attached and would swallow the traps this patch needs"
                )
            }
            Self::TrapsBlocked { thread } => write!(f, "thread {thread} blocks SIGTRAP or SIGILL"),
            Self::System { call, errno } => {
                write!(f, "{call}: {}", std::io::Error::from_raw_os_error(*errno as i32))
            }
            Self::Invalid { detail } => write!(f, "the patch is invalid: {detail}"),
            Self::ModuleGone { module } => {
                write!(f, "the module {} is not loaded any more", module.build_id)
            }
        }
    }
}

impl std::error::Error for ApplyError {}
