//! A record's access flags: Java's (dex format, `access_flags`), and those that the runtime keeps beside them
//! (`art/libdexfile/dex/modifiers.h`), whose meaning depends on the release.

use crate::release::Release;

/// Callable from its own class only.
pub const PRIVATE: u32 = 0x0002;
/// Of the class, and not of objects.
pub const STATIC: u32 = 0x0008;
/// Not to be overridden.
pub const FINAL: u32 = 0x0010;
/// A monitor is held while it runs.
pub const SYNCHRONIZED: u32 = 0x0020;
/// Its body is a native function.
pub const NATIVE: u32 = 0x0100;
/// Of a class: it is an interface.
pub const INTERFACE: u32 = 0x0200;
/// It has no body.
pub const ABSTRACT: u32 = 0x0400;
/// Made by a compiler.
pub const SYNTHETIC: u32 = 0x1000;
/// `<init>` or `<clinit>`.
pub const CONSTRUCTOR: u32 = 0x0001_0000;
/// What the source calls `synchronized` (native methods have only this one).
pub const DECLARED_SYNCHRONIZED: u32 = 0x0002_0000;
/// Its class is verified: no checks of access while it runs. The same bit means something else for native methods.
pub const SKIP_ACCESS_CHECKS: u32 = 0x0008_0000;
/// Its monitors are not nested in a way that is known beforehand (7.0 and later).
const MUST_COUNT_LOCKS: u32 = 0x0400_0000;

/// What follows from the body, and comes with it.
const OF_THE_BODY: u32 = SYNCHRONIZED | DECLARED_SYNCHRONIZED | SKIP_ACCESS_CHECKS;

/// The compiler leaves the method alone.
pub fn compile_dont_bother(release: Release) -> u32 {
    match release.level() {
        ..24 => 0,
        24..=26 => 0x0100_0000,
        27.. => 0x0200_0000,
    }
}

/// The interpreter may call it without asking (10 to 12).
fn fast_interpreter(release: Release) -> u32 {
    if (29..=32).contains(&release.level()) { 0x4000_0000 } else { 0 }
}

/// Its compiled code came with the app, and may be used again.
fn precompiled(release: Release) -> u32 {
    match release.level() {
        ..30 => 0,
        30 => 0x0020_0000,
        31.. => 0x0080_0000,
    }
}

/// What the interpreter of 12 and later takes for granted about a body.
fn nterp(release: Release) -> u32 {
    if release.level() >= 31 { 0x0010_0000 | 0x0020_0000 } else { 0 }
}

/// The runtime knows the method, and has code of its own for it: a body would not be called.
pub fn is_intrinsic(flags: u32, release: Release) -> bool {
    release.level() >= 26 && flags & 0x8000_0000 != 0
}

/// The flags of a method that has another one's body: its own, but for what the body brings; nothing that was
/// concluded from the old body; and the compiler leaves it alone, because what it would keep has the old body inside.
pub fn with_body(own: u32, body: u32, release: Release) -> u32 {
    let of_the_body = OF_THE_BODY | if release.level() >= 24 { MUST_COUNT_LOCKS } else { 0 };
    (own & !of_the_body & !concluded(release)) | (body & of_the_body) | compile_dont_bother(release)
}

/// What the runtime has concluded from a body, and would not ask again.
pub fn concluded(release: Release) -> u32 {
    fast_interpreter(release) | precompiled(release) | nterp(release)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn release(version: u32) -> Release {
        Release::of_version(version).unwrap_or(Release::LAST)
    }

    /// Only a private method is called directly, only a static one without an object: callers are compiled or
    /// interpreted for what the method was.
    #[test]
    fn what_callers_rely_on_stays() {
        for release in Release::all() {
            let made = with_body(PRIVATE | FINAL, STATIC | SYNCHRONIZED, release);
            assert_eq!(made & (PRIVATE | FINAL | STATIC | SYNCHRONIZED), PRIVATE | FINAL | SYNCHRONIZED);
        }
    }

    /// Bits of the table in the design: what was concluded about the old body is gone, each where it means that.
    #[test]
    fn conclusions_are_dropped() {
        assert_eq!(with_body(0x4000_0000, 0, release(10)), 0x0200_0000);
        assert_eq!(with_body(0x4000_0000, 0, release(9)), 0x4200_0000);
        assert_eq!(with_body(0x0020_0000, 0, release(11)), 0x0200_0000);
        assert_eq!(with_body(0x0020_0000, 0, release(10)), 0x0220_0000);
        assert_eq!(with_body(0x00b0_0000, 0, release(12)), 0x0200_0000);
        assert_eq!(with_body(0, 0, release(7)), 0x0100_0000);
        assert_eq!(with_body(0, 0, release(6)), 0);
        assert!(is_intrinsic(0x8000_0000, release(8)) && !is_intrinsic(0x8000_0000, release(7)));
    }
}
