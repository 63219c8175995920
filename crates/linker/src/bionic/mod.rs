//! What Android code expects of its C library and its platform, on top of glibc (x86-64 and AArch64).
//!
//! Most functions of bionic have the same name, arguments and structures as glibc's, and lead there. The others
//! are here: those that glibc does not have, and those whose constants or structures differ
//! (`sigset_t` has 8 bytes instead of 128, `sysconf` counts otherwise, `addrinfo` has another order, `FILE`s are
//! elements of `__sF`, recursive mutexes are initialised by another number).
//!
//! ```no_run
//! use livepatch_linker::{Flags, Linker, bionic};
//!
//! let linker = bionic::add_to(Linker::builder().search_path("jni/x86_64")).build();
//! let yoga = linker.dlopen("libyoga.so", Flags::NOW)?;
//! # Ok::<(), livepatch_linker::LinkerError>(())
//! ```
//!
//! | module | what differs |
//! | --- | --- |
//! | `stdio` | `__sF`, and every function that takes a `FILE *` |
//! | `signals` | `sigset_t`, `struct sigaction` |
//! | `threads` | mutexes that are initialised statically; condition variables with a clock |
//! | `semaphores` | `sem_t`: its size and alignment |
//! | `jumps` | `setjmp`: `jmp_buf` is shorter |
//! | `network` | `addrinfo`, and the flags and errors of `getaddrinfo` |
//! | `system` | `errno`, `sysconf`, `strerror_r`, terminals, and small functions that glibc does not have |
//! | `checks` | `__*_chk` functions of bionic's own |
//! | `log` | `__android_log_*` on standard error, abort messages, assertions |
//! | `properties` | `__system_property_*` |
//! | `platform` | `ALooper_*`, and `AAsset*` of an app without assets |
//!
//! Each of these functions is called by code that was compiled for Android's headers: what they say of its
//! arguments is what it promises.

mod checks;
mod jumps;
mod log;
mod network;
mod platform;
mod properties;
mod semaphores;
mod signals;
mod stdio;
mod system;
mod threads;

use crate::provider::{Precedence, SymbolProvider};
use crate::{LinkerBuilder, process};
use livepatch_object::address::RuntimeAddress;
use std::collections::HashMap;
use std::sync::{Arc, LazyLock};

/// Names and where they are.
type Symbols = Vec<(&'static str, *const ())>;

/// Libraries of Android's that need not be there.
const LIBRARIES: [&str; 8] = [
    "libc.so",
    "libm.so",
    "libdl.so",
    "liblog.so",
    "libandroid.so",
    "libstdc++.so",
    "libz.so",
    "libjnigraphics.so",
];

/// glibc's libraries that have what Android's have.
const HOSTS: [&std::ffi::CStr; 4] = [c"libc.so.6", c"libm.so.6", c"libgcc_s.so.1", c"libz.so.1"];

/// Lets a linker load libraries for Android.
///
/// A library of the system's own must not be loaded by the same linker: it would be given these functions, too.
#[must_use]
pub fn add_to(builder: LinkerBuilder) -> LinkerBuilder {
    stdio::prepare();
    // References without versions would be bound to the oldest of glibc's functions: the provider gives those
    // that programs are linked with today.
    builder
        .without_host()
        .provider(Precedence::First, Arc::new(Replaced))
        .provider(Precedence::AsLibrary, Arc::new(Libraries))
}

/// The functions of this module, in decimal addresses: pointers are not to be shared between threads.
static SYMBOLS: LazyLock<HashMap<&'static str, u64>> = LazyLock::new(|| {
    let all = [
        stdio::symbols(),
        signals::symbols(),
        threads::symbols(),
        jumps::symbols(),
        semaphores::symbols(),
        network::symbols(),
        system::symbols(),
        checks::symbols(),
        log::symbols(),
        properties::symbols(),
        platform::symbols(),
    ];
    all.into_iter().flatten().map(|(name, at)| (name, at as u64)).collect()
});

/// What is there in place of glibc's.
struct Replaced;

impl SymbolProvider for Replaced {
    fn name(&self) -> &str {
        "bionic"
    }

    fn find(&self, symbol: &str, _version: Option<&str>) -> Option<RuntimeAddress> {
        SYMBOLS.get(symbol).map(|&at| RuntimeAddress(at))
    }
}

/// What is the same in glibc. The versions of bionic's symbols are not those of glibc's.
struct Libraries;

impl SymbolProvider for Libraries {
    fn name(&self) -> &str {
        "glibc, for bionic"
    }

    fn stands_for(&self, library: &str) -> bool {
        LIBRARIES.contains(&library)
    }

    fn find(&self, symbol: &str, _version: Option<&str>) -> Option<RuntimeAddress> {
        HOSTS.iter().find_map(|library| process::symbol_of(library, symbol.as_bytes()))
    }
}
