//! The machine code that stands at the entries of a changed future's old `poll` and old drop glue.
//!
//! ```text
//! poll(old):  mark? ─► call new poll(*old.pointer); when it has returned: free, old = Returned
//!             Unresumed? ─► allocate, move what was captured, old.pointer = new, old.state = mark, as above
//!             else ─► what was there before, through a slot: taking patches back changes what that is
//! drop(old):  mark? ─► new drop(*old.pointer), free
//!             else ─► what was there before
//! ```
//!
//! Both keep a frame pointer, so that one unwind rule holds wherever something can panic.

use super::shape::{Move, Shape};
use object::write::{Object, Relocation, SectionId, Symbol, SymbolId, SymbolSection};
use object::{
    Architecture, BinaryFormat, Endianness, RelocationEncoding, RelocationFlags, RelocationKind, SectionKind,
    SymbolFlags, SymbolKind, SymbolScope, elf,
};

/// `Unresumed` of every coroutine.
const UNRESUMED: u8 = 0;

/// Bytes of machine code, and the calls in it.
#[derive(Default)]
struct Code {
    bytes: Vec<u8>,
    /// Where the displacement of a call or jump to a symbol is.
    calls: Vec<(usize, Callee)>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Callee {
    /// The function of the new version.
    New,
    /// The slot that leads to what callers get without the shim.
    Before,
    Malloc,
    Free,
}

/// A forward jump whose distance is not known yet.
struct Forward(usize);

impl Code {
    fn put(&mut self, bytes: &[u8]) -> &mut Self {
        self.bytes.extend_from_slice(bytes);
        self
    }

    fn put_u32(&mut self, value: u32) -> &mut Self {
        self.put(&value.to_le_bytes())
    }

    /// `call` (`E8`) or `jmp` (`E9`).
    fn transfer(&mut self, opcode: u8, callee: Callee) {
        self.put(&[opcode]);
        self.calls.push((self.bytes.len(), callee));
        self.put_u32(0);
    }

    /// `jmp [slot]` (`FF /4`).
    fn jump_through(&mut self, slot: Callee) {
        self.put(&[0xFF, 0x25]);
        self.calls.push((self.bytes.len(), slot));
        self.put_u32(0);
    }

    /// A jump with a 32-bit distance: `0F 8x`, or `E9`.
    fn forward(&mut self, opcode: &[u8]) -> Forward {
        self.put(opcode).put_u32(0);
        Forward(self.bytes.len())
    }

    fn land(&mut self, jump: &Forward) {
        let distance = u32::try_from(self.bytes.len() - jump.0).unwrap_or(u32::MAX);
        self.bytes[jump.0 - 4..jump.0].copy_from_slice(&distance.to_le_bytes());
    }
}

const JE: &[u8] = &[0x0F, 0x84];
const JNE: &[u8] = &[0x0F, 0x85];
const CALL: u8 = 0xE8;
const JUMP: u8 = 0xE9;

/// What is put onto the stack after the frame pointer: the three argument registers, and a spare word that
/// keeps the stack aligned. Offsets from the frame pointer.
const SAVED_DI: u8 = 0xF8; // -8
const SAVED_SI: u8 = 0xF0; // -16

/// `poll(self, context)`, with a place for the result before them if it is returned in memory.
fn poll(shape: &Shape, moves: bool) -> Code {
    let mut code = Code::default();
    let env_at = if shape.result_in_memory { SAVED_SI } else { SAVED_DI };
    prologue(&mut code);
    code.put(&[0x57, 0x56, 0x52, 0x52]); // push rdi; push rsi; push rdx; push rdx
    code.put(&[0x4C, 0x8B, 0x5D, env_at]); // mov r11, [rbp+env]
    load_state(&mut code, 0x83, shape.old.state); // movzx eax, byte [r11+state]
    let marked = compare_state(&mut code, shape.mark, JE);
    let before = if moves { begin(&mut code, shape, env_at) } else { vec![code.forward(&[JUMP])] };
    code.land(&marked);
    delegate_poll(&mut code, shape, env_at);
    before.iter().for_each(|jump| code.land(jump));
    code.put(&[0x48, 0x8B, 0x7D, SAVED_DI]); // mov rdi, [rbp-8]
    code.put(&[0x48, 0x8B, 0x75, SAVED_SI]); // mov rsi, [rbp-16]
    code.put(&[0x48, 0x8B, 0x55, 0xE8]); // mov rdx, [rbp-24]
    code.put(&[0xC9]); // leave
    code.jump_through(Callee::Before);
    code
}

/// Moves a future that was not begun; returns the jumps of those that stay as they are.
fn begin(code: &mut Code, shape: &Shape, env_at: u8) -> Vec<Forward> {
    let begun = compare_state(code, UNRESUMED, JNE);
    code.put(&[0xBF]).put_u32(shape.new.size); // mov edi, size
    code.transfer(CALL, Callee::Malloc);
    code.put(&[0x48, 0x85, 0xC0]); // test rax, rax
    let no_memory = code.forward(JE);
    code.put(&[0x4C, 0x8B, 0x5D, env_at]); // mov r11, [rbp+env]
    shape.moves.iter().for_each(|captured| move_captured(code, captured));
    code.put(&[0xC6, 0x80]).put_u32(shape.new.state).put(&[UNRESUMED]); // mov byte [rax+state], 0
    code.put(&[0x49, 0x89, 0x83]).put_u32(shape.pointer); // mov [r11+pointer], rax
    code.put(&[0x41, 0xC6, 0x83]).put_u32(shape.old.state).put(&[shape.mark]); // mov byte [r11+state], mark
    vec![begun, no_memory]
}

/// Calls the new `poll`; frees the new environment when it has come to its end.
fn delegate_poll(code: &mut Code, shape: &Shape, env_at: u8) {
    code.put(&[0x4C, 0x8B, 0x5D, env_at]); // mov r11, [rbp+env]
    if shape.result_in_memory {
        code.put(&[0x48, 0x8B, 0x7D, SAVED_DI]); // mov rdi, [rbp-8]
        code.put(&[0x49, 0x8B, 0xB3]).put_u32(shape.pointer); // mov rsi, [r11+pointer]
        code.put(&[0x48, 0x8B, 0x55, 0xE8]); // mov rdx, [rbp-24]
    } else {
        code.put(&[0x49, 0x8B, 0xBB]).put_u32(shape.pointer); // mov rdi, [r11+pointer]
        code.put(&[0x48, 0x8B, 0x75, SAVED_SI]); // mov rsi, [rbp-16]
        code.put(&[0x48, 0x8B, 0x55, 0xE8]); // mov rdx, [rbp-24]
    }
    code.transfer(CALL, Callee::New);
    code.put(&[0x4C, 0x8B, 0x5D, env_at]); // mov r11, [rbp+env]
    code.put(&[0x4D, 0x8B, 0x93]).put_u32(shape.pointer); // mov r10, [r11+pointer]
    code.put(&[0x41, 0x80, 0xBA]).put_u32(shape.new.state).put(&[shape.returned]); // cmp byte [r10+state], returned
    let goes_on = code.forward(JNE);
    code.put(&[0x41, 0xC6, 0x83]).put_u32(shape.old.state).put(&[shape.returned]); // mov byte [r11+state], returned
    // The result may be in any of these.
    code.put(&[0x50, 0x52]); // push rax; push rdx
    code.put(&[0x48, 0x83, 0xEC, 0x20]); // sub rsp, 32
    code.put(&[0x0F, 0x11, 0x04, 0x24]); // movups [rsp], xmm0
    code.put(&[0x0F, 0x11, 0x4C, 0x24, 0x10]); // movups [rsp+16], xmm1
    code.put(&[0x4C, 0x89, 0xD7]); // mov rdi, r10
    code.transfer(CALL, Callee::Free);
    code.put(&[0x0F, 0x10, 0x04, 0x24]); // movups xmm0, [rsp]
    code.put(&[0x0F, 0x10, 0x4C, 0x24, 0x10]); // movups xmm1, [rsp+16]
    code.put(&[0x48, 0x83, 0xC4, 0x20]); // add rsp, 32
    code.put(&[0x5A, 0x58]); // pop rdx; pop rax
    code.land(&goes_on);
    code.put(&[0xC9, 0xC3]); // leave; ret
}

/// `drop_in_place(self)`.
fn drop_glue(shape: &Shape, has_new: bool) -> Code {
    let mut code = Code::default();
    prologue(&mut code);
    code.put(&[0x57, 0x57]); // push rdi; push rdi
    load_state(&mut code, 0x87, shape.old.state); // movzx eax, byte [rdi+state]
    let before = compare_state(&mut code, shape.mark, JNE);
    code.put(&[0x48, 0x8B, 0xBF]).put_u32(shape.pointer); // mov rdi, [rdi+pointer]
    if has_new {
        code.transfer(CALL, Callee::New);
        code.put(&[0x48, 0x8B, 0x7D, SAVED_DI]); // mov rdi, [rbp-8]
        code.put(&[0x48, 0x8B, 0xBF]).put_u32(shape.pointer); // mov rdi, [rdi+pointer]
    }
    code.put(&[0xC9]); // leave
    code.transfer(JUMP, Callee::Free);
    code.land(&before);
    code.put(&[0xC9]); // leave; rdi is as it was
    code.jump_through(Callee::Before);
    code
}

fn prologue(code: &mut Code) {
    code.put(&[0x55, 0x48, 0x89, 0xE5]); // push rbp; mov rbp, rsp
}

/// `movzx eax, byte [register+state]`; the register is in the ModRM byte: `83` for r11, `87` for rdi.
fn load_state(code: &mut Code, modrm: u8, state: u32) {
    if modrm == 0x83 {
        code.put(&[0x41]);
    }
    code.put(&[0x0F, 0xB6, modrm]).put_u32(state);
}

/// `cmp al, state` and a jump.
fn compare_state(code: &mut Code, state: u8, jump: &[u8]) -> Forward {
    code.put(&[0x3C, state]);
    code.forward(jump)
}

/// Copies bytes from `[r11+from]` to `[rax+to]`.
fn move_captured(code: &mut Code, captured: &Move) {
    code.put(&[0x49, 0x8D, 0xB3]).put_u32(captured.from); // lea rsi, [r11+from]
    code.put(&[0x48, 0x8D, 0xB8]).put_u32(captured.to); // lea rdi, [rax+to]
    code.put(&[0xB9]).put_u32(captured.size); // mov ecx, size
    code.put(&[0xF3, 0xA4]); // rep movsb
}

/// The name that stands for the slot that leads to what callers get without the shim.
pub(crate) const BEFORE: &str = "livepatch.before";
/// The name that stands for the function of the new version.
pub(crate) const NEW: &str = "livepatch.new";

/// A relocatable object with the shim of `poll`. Without `moves`, futures that were not begun stay as they
/// are.
pub(super) fn poll_object(shape: &Shape, moves: bool) -> Result<Vec<u8>, object::write::Error> {
    relocatable("livepatch::delegated_poll", &poll(shape, moves))
}

/// A relocatable object with the shim of drop glue; `has_new` says whether the new version has any.
pub(super) fn drop_object(shape: &Shape, has_new: bool) -> Result<Vec<u8>, object::write::Error> {
    relocatable("livepatch::delegated_drop", &drop_glue(shape, has_new))
}

fn relocatable(name: &str, code: &Code) -> Result<Vec<u8>, object::write::Error> {
    let mut object = Object::new(BinaryFormat::Elf, Architecture::X86_64, Endianness::Little);
    let text = object.add_section(Vec::new(), b".text.delegate".to_vec(), SectionKind::Text);
    object.append_section_data(text, &code.bytes, 16);
    object.add_symbol(Symbol {
        name: name.into(),
        value: 0,
        size: code.bytes.len() as u64,
        kind: SymbolKind::Text,
        scope: SymbolScope::Compilation,
        weak: false,
        section: SymbolSection::Section(text),
        flags: SymbolFlags::None,
    });
    let mut names = Names { object, known: Vec::new() };
    for &(offset, callee) in &code.calls {
        let symbol = names.symbol(callee);
        let r_type = if callee == Callee::Before { elf::R_X86_64_PC32 } else { elf::R_X86_64_PLT32 };
        let flags = RelocationFlags::Elf { r_type };
        names.object.add_relocation(text, Relocation { offset: offset as u64, symbol, addend: -4, flags })?;
    }
    let mut object = names.object;
    unwind_entry(&mut object, text, code.bytes.len())?;
    object.write()
}

struct Names<'o> {
    object: Object<'o>,
    known: Vec<(Callee, SymbolId)>,
}

impl Names<'_> {
    fn symbol(&mut self, callee: Callee) -> SymbolId {
        if let Some((_, symbol)) = self.known.iter().find(|(known, _)| *known == callee) {
            return *symbol;
        }
        let name = match callee {
            Callee::New => NEW,
            Callee::Before => BEFORE,
            Callee::Malloc => "malloc",
            Callee::Free => "free",
        };
        let symbol = self.object.add_symbol(Symbol {
            name: name.into(),
            value: 0,
            size: 0,
            kind: SymbolKind::Text,
            scope: SymbolScope::Dynamic,
            weak: false,
            section: SymbolSection::Undefined,
            flags: SymbolFlags::None,
        });
        self.known.push((callee, symbol));
        symbol
    }
}

/// One unwind entry: the caller's frame is above the frame pointer. Specification: DWARF 5, section 6.4,
/// and LSB, `.eh_frame`.
fn unwind_entry(object: &mut Object<'_>, text: SectionId, length: usize) -> Result<(), object::write::Error> {
    const CIE: [u8; 24] = [
        20, 0, 0, 0, 0, 0, 0, 0, // length, id
        1, b'z', b'R', 0, 1, 0x78, 16, // version, augmentation, alignments 1 and -8, return address
        1, 0x1B, // pointers are PC-relative, 4 bytes
        0x0C, 7, 8, 0x90, 1, // def_cfa rsp+8; return address at cfa-8
        0, 0, // nops
    ];
    let mut bytes = CIE.to_vec();
    let start = bytes.len();
    bytes.extend([28, 0, 0, 0, 28, 0, 0, 0]); // length, distance to the CIE
    let location = bytes.len();
    bytes.extend([0; 4]);
    bytes.extend(u32::try_from(length).unwrap_or(u32::MAX).to_le_bytes());
    bytes.push(0); // no augmentation data
    bytes.extend([0x41, 0x0E, 16, 0x86, 2]); // after `push rbp`: cfa is rsp+16, rbp at cfa-16
    bytes.extend([0x43, 0x0D, 6]); // after `mov rbp, rsp`: cfa is rbp+16
    bytes.resize(start + 32, 0);
    let frames = object.add_section(Vec::new(), b".eh_frame".to_vec(), SectionKind::ReadOnlyData);
    object.append_section_data(frames, &bytes, 8);
    let symbol = object.section_symbol(text);
    let flags = RelocationFlags::Generic {
        kind: RelocationKind::Relative,
        encoding: RelocationEncoding::Generic,
        size: 32,
    };
    object.add_relocation(frames, Relocation { offset: location as u64, symbol, addend: 0, flags })
}
