//! Shared objects with nothing but one function: the runtime loads three of Android's own libraries when it starts,
//! and is content with these.

use super::processor::Processor;
use crate::release::Pointer;

/// Where the second segment is: the loader writes to the dynamic section. Pages have up to 64 KiB.
const DYNAMIC: u64 = 0x1_0000;
/// Two to load, the dynamic section, and the stack's flags.
const SEGMENTS: u64 = 4;

/// The function.
#[derive(Clone, Copy)]
pub(super) struct Function {
    pub(super) name: &'static str,
    pub(super) code: &'static [u8],
}

/// An ELF file (gABI, chapters 4 and 5) with a name (`DT_SONAME`), which needs another library or none.
pub(super) fn library(
    processor: &Processor,
    name: &str,
    needs: Option<&[u8]>,
    Function { name: symbol, code }: Function,
) -> Vec<u8> {
    let mut out = Writer { pointer: processor.pointer, bytes: Vec::new() };
    let sizes = out.sizes();
    let own_name = symbol.len() as u64 + 2;
    let needed = own_name + name.len() as u64 + 1;
    let strings = [b"\0", symbol.as_bytes(), b"\0", name.as_bytes(), b"\0", needs.unwrap_or_default(), b"\0"];
    let strings = strings.concat();
    // Instructions have four bytes at most where they must be aligned.
    let code_at = (sizes.header + SEGMENTS * sizes.segment).next_multiple_of(4);
    let symbols = (code_at + code.len() as u64).next_multiple_of(8);
    let hash = symbols + 2 * sizes.symbol;
    let texts = hash + 6 * 4;
    let end = texts + strings.len() as u64;
    let dynamic = [
        (14, own_name),             // DT_SONAME
        (4, hash),                  // DT_HASH
        (6, symbols),               // DT_SYMTAB
        (11, sizes.symbol),         // DT_SYMENT
        (5, texts),                 // DT_STRTAB
        (10, strings.len() as u64), // DT_STRSZ
        // DT_NEEDED, or the end
        (u64::from(needs.is_some()), if needs.is_some() { needed } else { 0 }),
        (0, 0),
    ];
    let dynamic_size = dynamic.len() as u64 * 2 * processor.pointer.bytes() as u64;
    out.header(processor);
    out.segment(1, 5, 0, end);
    out.segment(1, 6, DYNAMIC, dynamic_size);
    out.segment(2, 6, DYNAMIC, dynamic_size);
    out.segment(0x6474_e551, 6, 0, 0);
    out.bytes.resize(code_at as usize, 0);
    out.bytes.extend(code);
    out.bytes.resize((symbols + sizes.symbol) as usize, 0);
    out.function(code_at, code.len() as u64);
    // One bucket and two chains: the bucket has the only symbol.
    out.words(&[1, 2, 1, 0, 0, 0]);
    out.bytes.extend(strings);
    out.bytes.resize(DYNAMIC as usize, 0);
    for (tag, value) in dynamic {
        out.address(tag);
        out.address(value);
    }
    out.bytes
}

/// How long the parts of a file are.
struct Sizes {
    header: u64,
    segment: u64,
    symbol: u64,
}

/// What is written of a file, which is one of 32 or of 64 bits.
struct Writer {
    pointer: Pointer,
    bytes: Vec<u8>,
}

impl Writer {
    fn sizes(&self) -> Sizes {
        match self.pointer {
            Pointer::Bits32 => Sizes { header: 52, segment: 32, symbol: 16 },
            Pointer::Bits64 => Sizes { header: 64, segment: 56, symbol: 24 },
        }
    }

    fn halves(&mut self, halves: &[u16]) {
        self.bytes.extend(halves.iter().flat_map(|half| half.to_le_bytes()));
    }

    fn words(&mut self, words: &[u32]) {
        self.bytes.extend(words.iter().flat_map(|word| word.to_le_bytes()));
    }

    /// Addresses and lengths are as wide as pointers.
    fn address(&mut self, value: u64) {
        self.bytes.extend(&value.to_le_bytes()[..self.pointer.bytes()]);
    }

    fn header(&mut self, processor: &Processor) {
        let (machine, flags) = processor.elf;
        let sizes = self.sizes();
        let class = if self.pointer == Pointer::Bits64 { 2 } else { 1 };
        self.bytes.extend([0x7f, b'E', b'L', b'F', class, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
        self.halves(&[3, machine]);
        self.words(&[1]);
        [0, sizes.header, 0].into_iter().for_each(|address| self.address(address));
        self.words(&[flags]);
        self.halves(&[sizes.header as u16, sizes.segment as u16, SEGMENTS as u16, 0, 0, 0]);
    }

    fn segment(&mut self, kind: u32, flags: u32, at: u64, size: u64) {
        self.words(&[kind]);
        // The flags are where they fill a gap before addresses of 64 bits.
        if self.pointer == Pointer::Bits64 {
            self.words(&[flags]);
        }
        [at, at, at, size, size].into_iter().for_each(|address| self.address(address));
        if self.pointer == Pointer::Bits32 {
            self.words(&[flags]);
        }
        self.address(DYNAMIC);
    }

    /// A global function in some section, whose name is the first one.
    fn function(&mut self, at: u64, size: u64) {
        self.words(&[1]);
        if self.pointer == Pointer::Bits32 {
            [at, size].into_iter().for_each(|address| self.address(address));
        }
        self.bytes.extend([0x12, 0, 1, 0]);
        if self.pointer == Pointer::Bits64 {
            [at, size].into_iter().for_each(|address| self.address(address));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `readelf` reads them, for whatever processor, without a complaint.
    #[test]
    fn they_are_libraries() -> Result<(), Box<dyn std::error::Error>> {
        let folder = tempfile::tempdir()?;
        let path = folder.path().join("libempty.so");
        let machines = ["Advanced Micro Devices X86-64", "Intel 80386", "AArch64", "ARM"]
            .map(|name| format!("Machine:{name}"));
        for (processor, machine) in Processor::all().iter().zip(machines) {
            let function = Function { name: "JNI_OnLoad", code: processor.version };
            std::fs::write(&path, library(processor, "libempty.so", Some(b"/a/b.so"), function))?;
            let Ok(output) = std::process::Command::new("readelf").args(["-WhldDs"]).arg(&path).output()
            else {
                println!("skipped: there is no readelf");
                return Ok(());
            };
            let text = String::from_utf8_lossy(&output.stdout).into_owned();
            for part in ["soname: [libempty.so]", "library: [/a/b.so]", "JNI_OnLoad", "GNU_STACK"] {
                assert!(text.contains(part), "{part}: {text}");
            }
            assert!(text.replace(' ', "").contains(&machine.replace(' ', "")), "{text}");
            assert!(output.stderr.is_empty(), "{}", String::from_utf8_lossy(&output.stderr));
        }
        Ok(())
    }
}
