//! Shared objects with nothing but a `JNI_OnLoad`: the runtime loads three of Android's own libraries when it
//! starts, and is content with these.

/// `JNI_OnLoad` returns `JNI_VERSION_1_6`: `mov eax, 0x10006; ret`.
const CODE: [u8; 6] = [0xb8, 0x06, 0x00, 0x01, 0x00, 0xc3];
const SYMBOL: &str = "JNI_OnLoad";
/// Where the second segment is: the loader writes to the dynamic section.
const DYNAMIC: u64 = 0x1000;
const HEADER: u64 = 64;
const SEGMENT: u64 = 56;
/// Two to load, the dynamic section, and the stack's flags.
const SEGMENTS: u64 = 4;
const SYMBOL_SIZE: u64 = 24;

/// An ELF file for x86-64 (gABI, chapters 4 and 5) with a name (`DT_SONAME`), which needs another library or none.
pub(super) fn library(name: &str, needs: Option<&str>) -> Vec<u8> {
    let own_name = SYMBOL.len() as u64 + 2;
    let needed = own_name + name.len() as u64 + 1;
    let strings = format!("\0{SYMBOL}\0{name}\0{}\0", needs.unwrap_or_default());
    let code = HEADER + SEGMENTS * SEGMENT;
    let symbols = (code + CODE.len() as u64).next_multiple_of(8);
    let hash = symbols + 2 * SYMBOL_SIZE;
    let texts = hash + 6 * 4;
    let end = texts + strings.len() as u64;
    let dynamic = [
        (14, own_name),             // DT_SONAME
        (4, hash),                  // DT_HASH
        (6, symbols),               // DT_SYMTAB
        (11, SYMBOL_SIZE),          // DT_SYMENT
        (5, texts),                 // DT_STRTAB
        (10, strings.len() as u64), // DT_STRSZ
        // DT_NEEDED, or the end
        (u64::from(needs.is_some()), if needs.is_some() { needed } else { 0 }),
        (0, 0),
    ];
    let dynamic_size = dynamic.len() as u64 * 16;
    let mut out = header();
    segment(&mut out, 1, 5, 0, end);
    segment(&mut out, 1, 6, DYNAMIC, dynamic_size);
    segment(&mut out, 2, 6, DYNAMIC, dynamic_size);
    segment(&mut out, 0x6474_e551, 6, 0, 0);
    out.extend(CODE);
    out.resize(symbols as usize + SYMBOL_SIZE as usize, 0);
    // A global function in some section.
    out.extend(1_u32.to_le_bytes());
    out.extend([0x12, 0, 1, 0]);
    out.extend(code.to_le_bytes());
    out.extend((CODE.len() as u64).to_le_bytes());
    // One bucket and two chains: the bucket has the only symbol.
    [1_u32, 2, 1, 0, 0, 0].iter().for_each(|word| out.extend(word.to_le_bytes()));
    out.extend(strings.as_bytes());
    out.resize(DYNAMIC as usize, 0);
    for (tag, value) in dynamic {
        out.extend(u64::to_le_bytes(tag));
        out.extend(value.to_le_bytes());
    }
    out
}

fn header() -> Vec<u8> {
    let mut out = vec![0x7f, b'E', b'L', b'F', 2, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    out.extend([3, 0, 62, 0]);
    out.extend(1_u32.to_le_bytes());
    out.extend([0_u64, HEADER, 0].iter().flat_map(|word| word.to_le_bytes()));
    out.extend(0_u32.to_le_bytes());
    let halves = [HEADER, SEGMENT, SEGMENTS, 64, 0, 0];
    out.extend(halves.iter().flat_map(|half| (*half as u16).to_le_bytes()));
    out
}

fn segment(out: &mut Vec<u8>, kind: u32, flags: u32, at: u64, size: u64) {
    out.extend([kind, flags].iter().flat_map(|word| word.to_le_bytes()));
    out.extend([at, at, at, size, size, 0x1000].iter().flat_map(|word| word.to_le_bytes()));
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The system's own linker takes it, and its `readelf` reads it.
    #[test]
    fn it_is_a_library() -> Result<(), Box<dyn std::error::Error>> {
        let folder = tempfile::tempdir()?;
        let path = folder.path().join("libempty.so");
        std::fs::write(&path, library("libempty.so", None))?;
        let Ok(output) = std::process::Command::new("readelf").args(["-WdDs"]).arg(&path).output() else {
            println!("skipped: there is no readelf");
            return Ok(());
        };
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(text.contains("soname: [libempty.so]") && text.contains("JNI_OnLoad"), "{text}");
        assert!(output.stderr.is_empty(), "{}", String::from_utf8_lossy(&output.stderr));
        Ok(())
    }
}
