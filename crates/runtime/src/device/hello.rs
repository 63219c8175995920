//! How a program that dials introduces itself.

use crate::{anchor, apply, build_id};
use livepatch_proto::{Arch, Hello, ModuleList, Origin, Os, Redirection, Token, WireAddress};

/// None on a platform that the protocol has no name for.
pub(super) fn hello(token: Token) -> Option<Hello> {
    Some(Hello {
        token,
        build_id: build_id(),
        arch: arch()?,
        os: os(),
        pid: std::process::id(),
        origin: Origin::Dialled,
        page_size: page_size(),
        aslr_reference: WireAddress(anchor::aslr_reference() as u64),
        current: apply::current(),
        redirection: Redirection::JumpTable,
        tls_reserve: None,
        free_ranges: Vec::new(),
        modules: ModuleList::default(),
    })
}

fn arch() -> Option<Arch> {
    Some(match std::env::consts::ARCH {
        "x86_64" => Arch::X86_64,
        "aarch64" => Arch::Aarch64,
        "arm" => Arch::Arm,
        "x86" => Arch::X86,
        "riscv64" => Arch::Riscv64,
        _ => return None,
    })
}

fn os() -> Os {
    match std::env::consts::OS {
        "linux" if cfg!(target_env = "musl") => Os::LinuxMusl,
        "linux" => Os::LinuxGnu,
        "android" => Os::Android,
        "macos" => Os::MacOs,
        "ios" => Os::Ios,
        _ => Os::OtherUnix,
    }
}

fn page_size() -> u32 {
    // SAFETY: `sysconf` only reads.
    u32::try_from(unsafe { libc::sysconf(libc::_SC_PAGESIZE) }).unwrap_or_default()
}
