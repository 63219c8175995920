//! The processors that Debian packages the runtime for and that are known here.

use crate::release::Pointer;

/// What has to be known about one.
#[derive(PartialEq, Eq, Debug)]
pub(super) struct Processor {
    /// As `cfg` has it.
    name: &'static str,
    /// What Debian names its folders of libraries.
    pub(super) debian: &'static str,
    /// What Android names it.
    pub(super) android: &'static str,
    pub(super) pointer: Pointer,
    /// `e_machine` and `e_flags` of its files.
    pub(super) elf: (u16, u32),
    /// A function that returns 0x10006, which is `JNI_VERSION_1_6`.
    pub(super) version: &'static [u8],
    /// A function that returns 0, where the runtime does not start without it: it gives its workers stacks of 64 KiB,
    /// and glibc wants 128 KiB there (`PTHREAD_STACK_MIN`; 16 KiB elsewhere).
    pub(super) success: Option<&'static [u8]>,
    /// What the runtime uses and does not say that it needs.
    pub(super) unnamed: &'static [&'static str],
}

const ALL: [Processor; 4] = [
    Processor {
        name: "x86_64",
        debian: "x86_64-linux-gnu",
        android: "x86_64",
        pointer: Pointer::Bits64,
        elf: (62, 0),
        // mov eax, 0x10006; ret
        version: &[0xb8, 0x06, 0x00, 0x01, 0x00, 0xc3],
        success: None,
        unnamed: &[],
    },
    Processor {
        name: "x86",
        debian: "i386-linux-gnu",
        android: "x86",
        pointer: Pointer::Bits32,
        elf: (3, 0),
        version: &[0xb8, 0x06, 0x00, 0x01, 0x00, 0xc3],
        success: None,
        unnamed: &["libatomic.so.1"],
    },
    Processor {
        name: "aarch64",
        debian: "aarch64-linux-gnu",
        android: "arm64",
        pointer: Pointer::Bits64,
        elf: (183, 0),
        // mov w0, #6; movk w0, #1, lsl #16; ret
        version: &[0xc0, 0x00, 0x80, 0x52, 0x20, 0x00, 0xa0, 0x72, 0xc0, 0x03, 0x5f, 0xd6],
        // mov w0, #0; ret
        success: Some(&[0x00, 0x00, 0x80, 0x52, 0xc0, 0x03, 0x5f, 0xd6]),
        unnamed: &[],
    },
    Processor {
        name: "arm",
        debian: "arm-linux-gnueabihf",
        android: "arm",
        pointer: Pointer::Bits32,
        // EF_ARM_EABI_VER5
        elf: (40, 0x0500_0000),
        // movw r0, #6; movt r0, #1; bx lr
        version: &[0x06, 0x00, 0x00, 0xe3, 0x01, 0x00, 0x40, 0xe3, 0x1e, 0xff, 0x2f, 0xe1],
        success: None,
        unnamed: &[],
    },
];

impl Processor {
    /// This process's.
    pub(super) fn own() -> Option<&'static Self> {
        Self::all().iter().find(|processor| processor.name == std::env::consts::ARCH)
    }

    /// Those that are known.
    pub(super) fn all() -> &'static [Self] {
        &ALL
    }
}
