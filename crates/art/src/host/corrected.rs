//! Debian 13's build of the runtime, corrected: built otherwise than Android builds it, it does not start.
//!
//! Two places of its code count on what the compiler and the C++ library that Android uses make of them. They are
//! corrected in a copy of the file; a file that does not have exactly these bytes there is refused.

use memchr::memmem;
use thiserror::Error;

/// The file is not the build that is known.
#[derive(Debug, Error)]
#[error("not the build of the runtime that is known: {what} is there {times} times")]
pub struct UnknownBuild {
    what: &'static str,
    times: usize,
}

/// A place in the code.
struct Correction {
    what: &'static str,
    was: &'static [u8],
    is: &'static [u8],
    /// In how many functions it is.
    times: usize,
}

const CORRECTIONS: [Correction; 2] = [
    // Where methods get their places in the vtable, the bits for those that have one are on the stack, and nobody
    // clears them: the compiler does, where it is told to (`-ftrivial-auto-var-init=zero`). Otherwise methods have no
    // places, at random. That function is the only one that calls this constructor; here the constructor clears them.
    Correction {
        what: "art::BitVector::BitVector(bool, Allocator*, uint32_t, uint32_t*)",
        was: &[
            0x4c, 0x89, 0x47, 0x08, // mov [rdi+8], r8: the storage
            0x89, 0x4f, 0x10, // mov [rdi+16], ecx: its size in words
            0x48, 0x89, 0x57, 0x18, // mov [rdi+24], rdx
            0x40, 0x88, 0x77, 0x20, // mov [rdi+32], sil
            0x5d, 0xc3, // pop rbp; ret
            0x66, 0x66, 0x66, 0x66, 0x2e, 0x0f, 0x1f, // what fills up to the next function
        ],
        is: &[
            0x4c, 0x89, 0x47, 0x08, 0x89, 0x4f, 0x10, 0x48, 0x89, 0x57, 0x18, 0x40, 0x88, 0x77, 0x20, 0x4c,
            0x89, 0xc7, // mov rdi, r8
            0x31, 0xc0, // xor eax, eax
            0xf3, 0xab, // rep stosd
            0x5d, 0xc3, // pop rbp; ret
        ],
        times: 1,
    },
    // A method without arguments is called with a null pointer to them and their size, for which the size of an empty
    // `std::array` is taken: one byte in the library that Debian builds with, which is then read. Arguments are words;
    // here words are copied, of which one byte has none.
    Correction {
        what: "art_quick_invoke_stub and art_quick_invoke_static_stub",
        was: &[
            0x41, 0x89, 0xd2, // mov r10d, edx: the size in bytes
            0x83, 0xc2, 0x64, 0x83, 0xe2, 0xf0, 0x83, 0xea, 0x48, 0x48, 0x29, 0xd4, // room on the stack
            0x48, 0xc7, 0x04, 0x24, 0x00, 0x00, 0x00, 0x00, // mov qword [rsp], 0
            0x44, 0x89, 0xd1, // mov ecx, r10d
            0x48, 0x89, 0xf8, 0x49, 0x89, 0xf3, 0x48, 0x8d, 0x7c, 0x24, 0x08, // rax, r11, rdi
            0xf3, 0xa4, // rep movsb
        ],
        is: &[
            0x89, 0xd1, 0x90, // mov ecx, edx; nop
            0x83, 0xc2, 0x64, 0x83, 0xe2, 0xf0, 0x83, 0xea, 0x48, 0x48, 0x29, 0xd4, //
            0x48, 0xc7, 0x04, 0x24, 0x00, 0x00, 0x00, 0x00, //
            0xc1, 0xe9, 0x02, // shr ecx, 2
            0x48, 0x89, 0xf8, 0x49, 0x89, 0xf3, 0x48, 0x8d, 0x7c, 0x24, 0x08, //
            0xf3, 0xa5, // rep movsd
        ],
        times: 2,
    },
];

/// The file with both places corrected.
pub(super) fn corrected(mut file: Vec<u8>) -> Result<Vec<u8>, UnknownBuild> {
    for Correction { what, was, is, times } in &CORRECTIONS {
        let places: Vec<usize> = memmem::find_iter(&file, was).collect();
        if places.len() != *times {
            return Err(UnknownBuild { what, times: places.len() });
        }
        for at in places {
            let place = file.get_mut(at..).into_iter().flatten();
            place.zip(*is).for_each(|(byte, new)| *byte = *new);
        }
    }
    Ok(file)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::Command;

    /// Whatever file has both places.
    fn file() -> Vec<u8> {
        let [bits, stub] = CORRECTIONS.map(|correction| correction.was);
        [b"before", bits, b"between", stub, stub, b"after"].concat()
    }

    #[test]
    fn only_what_was_there_is_corrected() {
        let [bits, stub] = CORRECTIONS.map(|correction| correction.is);
        let expected = [b"before", bits, b"between", stub, stub, b"after"].concat();
        assert_eq!(corrected(file()).expect("the build"), expected);
        assert!(corrected(expected).is_err());
    }

    #[test]
    fn another_build_is_refused() {
        for Correction { was, .. } in CORRECTIONS {
            let at = memmem::find(&file(), was).expect("in the file");
            for at in at..at + was.len() {
                let mut other = file();
                other[at] ^= 1;
                assert!(corrected(other).is_err(), "{at}");
            }
        }
        assert!(corrected([file(), file()].concat()).is_err());
    }

    /// As another program reads what is written: nothing is cut off, and it is what the comments say.
    #[test]
    fn the_code_is_what_it_says() -> Result<(), Box<dyn std::error::Error>> {
        const EXPECTED: [&[&str]; 2] = [
            &[
                "mov QWORD PTR [rdi+0x8],r8",
                "mov DWORD PTR [rdi+0x10],ecx",
                "mov QWORD PTR [rdi+0x18],rdx",
                "mov BYTE PTR [rdi+0x20],sil",
                "mov rdi,r8",
                "xor eax,eax",
                "rep stos DWORD PTR es:[rdi],eax",
                "pop rbp",
                "ret",
            ],
            &[
                "mov ecx,edx",
                "nop",
                "add edx,0x64",
                "and edx,0xfffffff0",
                "sub edx,0x48",
                "sub rsp,rdx",
                "mov QWORD PTR [rsp],0x0",
                "shr ecx,0x2",
                "mov rax,rdi",
                "mov r11,rsi",
                "lea rdi,[rsp+0x8]",
                "rep movs DWORD PTR es:[rdi],DWORD PTR ds:[rsi]",
            ],
        ];
        let folder = tempfile::tempdir()?;
        for (Correction { was, is, .. }, expected) in CORRECTIONS.iter().zip(EXPECTED) {
            assert_eq!(was.len(), is.len());
            let path = folder.path().join("code");
            std::fs::write(&path, is)?;
            let words = ["-D", "-b", "binary", "-m", "i386:x86-64", "-M", "intel", "--no-show-raw-insn"];
            let Ok(output) = Command::new("objdump").args(words).arg(&path).output() else {
                println!("skipped: there is no objdump");
                return Ok(());
            };
            let text = String::from_utf8(output.stdout)?;
            let code = text.lines().filter_map(|line| line.split_once(":\t"));
            let code = code.map(|(_, code)| code.split_whitespace().collect::<Vec<_>>().join(" "));
            assert_eq!(code.collect::<Vec<_>>(), expected);
        }
        Ok(())
    }
}
