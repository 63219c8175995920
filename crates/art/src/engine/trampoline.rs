//! A few instructions that pass a call on to another method.
//!
//! Compiled code and the runtime call a method by jumping to its entry, with its record in a register that the
//! runtime's calling convention has for it (`art/runtime/arch/*/asm_support_*.S`). An entry that puts another record
//! there, and jumps to that one's entry, calls the other method with the same arguments, and leaves no frame.

/// How long one is; a multiple of what instructions and literals are aligned to.
pub(super) const SIZE: usize = 32;

/// A machine whose trampolines are known.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Machine {
    X86,
    X86_64,
    Arm,
    AArch64,
}

impl Machine {
    /// The one that this process runs on.
    pub(super) fn own() -> Option<Self> {
        match std::env::consts::ARCH {
            "x86" => Some(Self::X86),
            "x86_64" => Some(Self::X86_64),
            "arm" => Some(Self::Arm),
            "aarch64" => Some(Self::AArch64),
            _ => None,
        }
    }

    /// Instructions that call the method with the record at this address, whose entry is at this offset in it: below
    /// 128, and a multiple of a pointer's size.
    pub(super) fn code(self, record: usize, entry: u8) -> [u8; SIZE] {
        let record = record as u64;
        let low = (record as u32).to_le_bytes();
        let high = ((record >> 32) as u32).to_le_bytes();
        let mut code = [0; SIZE];
        let mut put = |parts: &[&[u8]]| {
            let bytes = parts.concat();
            code[..bytes.len()].copy_from_slice(&bytes);
        };
        match self {
            // mov eax, RECORD; jmp [eax + entry]
            Self::X86 => put(&[&[0xb8], &low, &[0xff, 0x60, entry]]),
            // mov rdi, RECORD; jmp [rdi + entry]
            Self::X86_64 => put(&[&[0x48, 0xbf], &low, &high, &[0xff, 0x67, entry]]),
            // ldr r0, [pc, #0]; ldr pc, [r0, #entry]; RECORD
            Self::Arm => {
                let jump = 0xe590_f000 | u32::from(entry);
                put(&[&0xe59f_0000_u32.to_le_bytes(), &jump.to_le_bytes(), &low]);
            }
            // ldr x0, RECORD; ldr x16, [x0, #entry]; br x16; nop; RECORD
            Self::AArch64 => {
                let load = 0xf940_0010 | u32::from(entry / 8) << 10;
                let words = [0x5800_0080, load, 0xd61f_0200, 0xd503_201f].map(u32::to_le_bytes);
                put(&[&words.concat(), &low, &high]);
            }
        }
        code
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::Command;

    const RECORD: usize = 0x1234_5678;

    /// What LLVM's disassembler makes of the instructions, without its remarks.
    fn disassembled(machine: Machine, triple: &str, length: usize) -> Option<Vec<String>> {
        let code = machine.code(RECORD, 24);
        let text: String = code[..length].iter().map(|byte| format!("0x{byte:02x} ")).collect();
        let folder = tempfile::tempdir().ok()?;
        let path = folder.path().join("code");
        std::fs::write(&path, text).ok()?;
        let mut tool = Command::new("llvm-mc");
        let output = tool.arg("--disassemble").arg(format!("-triple={triple}")).arg(path).output().ok()?;
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let words = |line: &str| line.split(" # ").next().map(|line| line.trim().replace('\t', " "));
        Some(
            text.lines()
                .filter(|line| !line.contains(".text"))
                .filter_map(words)
                .map(|line| line.trim().to_owned())
                .collect(),
        )
    }

    #[test]
    fn they_are_what_they_say() {
        let all: [(Machine, &str, usize, &[&str]); 4] = [
            (Machine::X86, "i686", 8, &["movl $305419896, %eax", "jmpl *24(%eax)"]),
            (Machine::X86_64, "x86_64", 13, &["movabsq $305419896, %rdi", "jmpq *24(%rdi)"]),
            (Machine::Arm, "armv7", 8, &["ldr r0, [pc]", "ldr pc, [r0, #24]"]),
            (Machine::AArch64, "aarch64", 16, &["ldr x0, #16", "ldr x16, [x0, #24]", "br x16", "nop"]),
        ];
        for (machine, triple, length, expected) in all {
            match disassembled(machine, triple, length) {
                Some(seen) => assert_eq!(seen, expected),
                None => println!("skipped: there is no llvm-mc"),
            }
        }
        // Where the literals are: ARM's `pc` is 8 ahead.
        assert_eq!(Machine::Arm.code(RECORD, 24)[8..12], 0x1234_5678_u32.to_le_bytes());
        assert_eq!(Machine::AArch64.code(RECORD, 24)[16..24], 0x1234_5678_u64.to_le_bytes());
    }
}
