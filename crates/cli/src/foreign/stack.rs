//! From a thread's registers to the calls that it is in.

use super::maps::{Mapping, Maps};
use super::memory::Memory;
use framehop::x86_64::{CacheX86_64, UnwindRegsX86_64, UnwinderX86_64};
use framehop::{ExplicitModuleSectionInfo, FrameAddress, Module, Unwinder};
use livepatch_object::address::RuntimeAddress;
use object::elf::{FileHeader64, PT_LOAD};
use object::read::elf::{ElfFile64, ProgramHeader as _};
use object::{Architecture, LittleEndian as LE, Object as _, ObjectSection as _, ReadCache, ReadRef};
use std::collections::HashSet;

/// The registers that a stack is unwound from.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Registers {
    /// The instruction's address.
    pub pc: RuntimeAddress,
    /// The stack pointer.
    pub sp: RuntimeAddress,
    /// The frame pointer register.
    pub bp: RuntimeAddress,
}

/// The calls that a thread is in.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Stack {
    /// The instruction that the thread is at; then, for each caller, an address inside its call.
    pub frames: Vec<RuntimeAddress>,
    /// Whether the last frame is the thread's first function.
    pub whole: bool,
}

/// More frames than this are not looked for.
const MOST: usize = 4096;

/// What a signal handler returns to: `mov $__NR_rt_sigreturn, %rax; syscall` (glibc's `__restore_rt`).
const SIGNAL_RETURN: [u8; 9] = [0x48, 0xc7, 0xc0, 0x0f, 0, 0, 0, 0x0f, 0x05];
/// Where a `ucontext_t`, at which the stack pointer is then, has the registers (ucontext.h).
const CONTEXT_REGISTERS: u64 = 40;
const REG_RBP: u64 = 10;
const REG_RSP: u64 = 15;
const REG_RIP: u64 = 16;

/// Unwinds the stacks of one process.
pub struct Unwinding<'a> {
    maps: &'a Maps,
    memory: &'a Memory,
    unwinder: UnwinderX86_64<Vec<u8>>,
    /// The files, by where they are mapped, whose unwind information was looked for.
    known: HashSet<RuntimeAddress>,
}

impl<'a> Unwinding<'a> {
    /// For a process with that memory.
    pub fn new(maps: &'a Maps, memory: &'a Memory) -> Self {
        Self { maps, memory, unwinder: UnwinderX86_64::new(), known: HashSet::new() }
    }

    /// The calls that a thread with these registers is in.
    pub fn stack(&mut self, registers: Registers) -> Stack {
        let mut stack = Stack { frames: Vec::new(), whole: false };
        let mut cache = CacheX86_64::new();
        let memory = self.memory;
        let mut read = |address| memory.word(RuntimeAddress(address)).map_err(drop);
        let mut address = FrameAddress::from_instruction_pointer(registers.pc.0);
        let mut now = UnwindRegsX86_64::new(registers.pc.0, registers.sp.0, registers.bp.0);
        while stack.frames.len() < MOST {
            let at = RuntimeAddress(address.address_for_lookup());
            stack.frames.push(at);
            self.learn(at);
            let caller = match self.unwinder.unwind_frame(address, &mut now, &mut cache, &mut read) {
                Ok(Some(caller)) => caller,
                Ok(None) => {
                    stack.whole = true;
                    break;
                }
                Err(_) => break,
            };
            if let Some(interrupted) = self.interrupted(caller, now.sp()) {
                address = FrameAddress::from_instruction_pointer(interrupted.pc.0);
                now = UnwindRegsX86_64::new(interrupted.pc.0, interrupted.sp.0, interrupted.bp.0);
            } else if let Some(caller) = FrameAddress::from_return_address(caller) {
                address = caller;
            } else {
                break;
            }
        }
        stack
    }

    /// Where a thread was interrupted by the signal whose handler returns to `caller`, if that is one.
    fn interrupted(&self, caller: u64, sp: u64) -> Option<Registers> {
        let mut code = [0; SIGNAL_RETURN.len()];
        self.memory.read(RuntimeAddress(caller), &mut code).ok()?;
        if code != SIGNAL_RETURN {
            return None;
        }
        let register = |number: u64| {
            let at = sp.checked_add(CONTEXT_REGISTERS + number * 8)?;
            self.memory.word(RuntimeAddress(at)).ok().map(RuntimeAddress)
        };
        Some(Registers { pc: register(REG_RIP)?, sp: register(REG_RSP)?, bp: register(REG_RBP)? })
    }

    /// Reads the unwind information of the file that an address is of, once.
    fn learn(&mut self, address: RuntimeAddress) {
        let Some(mapping) = self.maps.at(address) else { return };
        if mapping.inode != 0
            && self.known.insert(mapping.range.start)
            && let Some(module) = self.module(mapping)
        {
            self.unwinder.add_module(module);
        }
    }

    fn module(&self, mapping: &Mapping) -> Option<Module<Vec<u8>>> {
        let file = ReadCache::new(self.maps.open(mapping).ok()?);
        let elf = ElfFile64::<LE, _>::parse(&file).ok()?;
        // An emulated program's registers are others; its frames' links are where they would be here.
        if elf.architecture() != Architecture::X86_64 {
            return None;
        }
        let bias = bias(&elf, mapping)?;
        let section = |name: &str| {
            let section = elf.section_by_name(name)?;
            let range = section.address()..section.address().checked_add(section.size())?;
            Some((range, section.data().ok()?.to_vec()))
        };
        let (eh_frame_svma, eh_frame) = section(".eh_frame")?;
        let (eh_frame_hdr_svma, eh_frame_hdr) = section(".eh_frame_hdr").unzip();
        let range_of = |name: &str| {
            elf.section_by_name(name).map(|section| section.address()..section.address() + section.size())
        };
        let sections = ExplicitModuleSectionInfo {
            text_svma: range_of(".text"),
            got_svma: range_of(".got"),
            eh_frame_svma: Some(eh_frame_svma),
            eh_frame: Some(eh_frame),
            eh_frame_hdr_svma,
            eh_frame_hdr,
            ..ExplicitModuleSectionInfo::default()
        };
        let range = mapping.range.start.0..mapping.range.end.0;
        Some(Module::new(mapping.path.clone(), range, bias, sections))
    }
}

/// Run-time minus link-time address of a file that is mapped so.
pub(super) fn bias<'f, R: ReadRef<'f>>(elf: &ElfFile64<'f, LE, R>, mapping: &Mapping) -> Option<u64> {
    let segments = elf.elf_program_headers().iter().filter(|segment| segment.p_type(LE) == PT_LOAD);
    let of = |segment: &<FileHeader64<LE> as object::read::elf::FileHeader>::ProgramHeader| {
        // A mapping begins at the page that the segment begins in.
        let start = segment.p_offset(LE) & !0xfff;
        let into = mapping.offset.0.checked_sub(start)?;
        let inside = mapping.offset.0 < segment.p_offset(LE).checked_add(segment.p_filesz(LE))?;
        let link = (segment.p_vaddr(LE) & !0xfff).checked_add(into)?;
        inside.then(|| mapping.range.start.0.wrapping_sub(link))
    };
    // The last one: segments may share a page, which is mapped for each.
    segments.filter_map(of).next_back()
}
