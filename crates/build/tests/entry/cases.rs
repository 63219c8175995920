//! Functions with many shapes of prologue, in one block of code that works wherever it is copied to.
//!
//! Arguments: rdi any, rsi 1 to 6, rdx eight writable words, rcx 1 to 6, r8 a helper, r9 a cell with the helper.

use std::arch::global_asm;

global_asm!(
    ".macro case name",
    "  .pushsection .data.rel.ro.entry_cases, \"aw\"",
    "  .quad \\name - entry_block, \\name\\()_end - \\name, \\name\\()_padded_end - \\name\\()_end",
    "  .popsection",
    "  \\name:",
    ".endm",
    // Ends a function, with room behind it; `tight` without.
    ".macro done name",
    "  \\name\\()_end:",
    "  .balign 16, 0xCC",
    "  \\name\\()_padded_end:",
    ".endm",
    ".macro tight name",
    "  \\name\\()_end:",
    "  \\name\\()_padded_end:",
    ".endm",
    ".pushsection .data.rel.ro.entry_cases, \"aw\"",
    ".balign 8",
    "entry_cases:",
    ".popsection",
    ".pushsection .text.entry_block, \"ax\"",
    ".balign 4096",
    ".globl entry_block, entry_block_end, entry_cases, entry_cases_end, entry_places",
    "entry_block:",
    // Helpers; the first is what r8 and the cells point to.
    "helper: lea rax, [rdi + rsi*2 + 11]; xor rcx, rax; ret",
    ".balign 16",
    "helper_where: mov rax, [rsp]; ret",
    ".balign 16",
    "cell: .quad 0",
    "number: .quad 5",
    "number2: .quad 0x1234567",
    ".balign 16",
    // What opt-level 0 makes: boundaries 1, 4.
    "case frame; push rbp; mov rbp, rsp; sub rsp, 0x20; mov [rbp - 8], rdi; mov rax, [rbp - 8]; add rax, rsi",
    "  leave; ret; done frame",
    "case stack; sub rsp, 0x18; mov [rsp], rdi; mov rax, [rsp]; add rax, rsi; add rsp, 0x18; ret; done stack",
    "case pushes; push rbp; push r15; push r14; push rbx; lea rax, [rdi + rsi]; pop rbx; pop r14; pop r15; pop rbp",
    "  ret; done pushes",
    "case pushes2; push r14; push rbx; push rax; mov rbx, rdi; lea rax, [rbx + 3]; pop rcx; pop rbx; pop r14; ret",
    "  done pushes2",
    "case singles; push rbx; push rbp; push rdi; push rsi; pop rax; pop rcx; pop rbp; pop rbx; sub rax, rcx; ret",
    "  done singles",
    "case exact; mov eax, 1000; add rax, rdi; ret; done exact",
    "case long_first; movabs rax, 0x123456789ABCDEF; add rax, rdi; ret; done long_first",
    "case straddles; push rbx; movabs rbx, 0x123456789ABCDEF; lea rax, [rbx + rdi]; pop rbx; ret; done straddles",
    // Calls: the return address is behind the window, or inside it.
    "case calls; call helper; add rax, rdi; ret; done calls",
    "case calls_second; push rbx; call helper; pop rbx; sub rax, rdi; ret; done calls_second",
    "case calls_register; call r8; lea rax, [rax + rdi*2]; ret; done calls_register",
    "case calls_rax; mov rax, r8; call rax; sub rax, rdi; ret; done calls_rax",
    "case calls_cell; call [rip + cell]; not rax; ret; done calls_cell",
    "case calls_memory; call [r9]; not rax; ret; done calls_memory",
    "case calls_index; xor eax, eax; call [r9 + rax*8]; not rax; ret; done calls_index",
    "case calls_stack; push r8; call [rsp]; pop r8; inc rax; ret; done calls_stack",
    "case calls_stack2; push r8; push rcx; call [rsp + 8]; pop rcx; pop r8; inc rax; ret; done calls_stack2",
    "case calls_stack3; push r8; notrack call [rsp]; pop r8; inc rax; ret; done calls_stack3",
    "case asks_where; call helper_where; lea rcx, [rip + asks_where]; sub rax, rcx; ret; done asks_where",
    "case asks_where2; lea rax, [rip + helper_where]; call rax; lea rcx, [rip + asks_where2]; sub rax, rcx; ret",
    "  done asks_where2",
    "case recurses; dec rsi; js 1f; push rdi; call recurses; pop rdi; lea rax, [rax + rdi]; ret",
    "  1: mov rax, rdi; ret; done recurses",
    // Loops to the first instruction.
    "case loops; add [rdx], rdi; dec rsi; jnz loops; mov rax, [rdx]; ret; done loops",
    "case loops_far; add [rdx], rdi; dec rsi; .nops 200; jnz loops_far; mov rax, [rdx]; ret; done loops_far",
    "case loops_inside; dec rsi; jnz loops_inside; mov rax, rdi; ret; done loops_inside",
    "case loops_jmp; sub rsi, 1; jc 1f; add [rdx], rdi; jmp loops_jmp; 1: mov rax, [rdx]; ret; done loops_jmp",
    "case loops_jmp_far; sub rsi, 1; jc 1f; add [rdx], rdi; .nops 140; jmp loops_jmp_far",
    "  1: mov rax, [rdx]; ret; done loops_jmp_far",
    "case loops_loop; add [rdx], rdi; loop loops_loop; mov rax, [rdx]; ret; done loops_loop",
    "case loops_loop_behind; add [rdx], rdi; xor [rdx], rsi; loop loops_loop_behind; mov rax, [rdx]; ret",
    "  done loops_loop_behind",
    "case loops_second; push rbx; 1: add [rdx], rdi; dec rsi; jnz 1b; pop rbx; mov rax, [rdx]; ret; done loops_second",
    // Branches in the window.
    "case jrcxz_; lea rcx, [rsi - 1]; jrcxz 1f; lea rax, [rdi + rcx]; ret; 1: lea rax, [rdi + 7]; ret; done jrcxz_",
    "case jecxz_; lea ecx, [rsi - 1]; jecxz 1f; lea rax, [rdi + rcx]; ret; 1: lea rax, [rdi + 7]; ret; done jecxz_",
    "case loop_; mov rcx, rsi; loop 1f; lea rax, [rdi + 1]; ret; 1: lea rax, [rdi + rcx]; ret; done loop_",
    "case loope_; cmp esi, 3; loope 1f; lea rax, [rdi + 1]; ret; 1: lea rax, [rdi + rcx]; ret; done loope_",
    "case branches; test dil, 1; je 1f; lea rax, [rdi + 1]; ret; 1: lea rax, [rdi + 2]; ret; done branches",
    "case branches_far; test edi, edi; js 1f; .nops 150; lea rax, [rdi + 1]; ret; 1: lea rax, [rdi + 2]; ret",
    "  done branches_far",
    "case branches_on; cmp rdi, rsi; jb 1f; 1: setb al; movzx eax, al; ret; done branches_on",
    "case jumps; push rbx; jmp 1f; ud2; 1: pop rax; mov rax, rdi; ret; done jumps",
    "case jumps_far; push rbx; jmp 1f; .skip 150, 0xCC; 1: pop rax; mov rax, rdi; ret; done jumps_far",
    "case jumps_inside; push rsi; jmp 1f; int3; 1: pop rax; ret; done jumps_inside",
    "case tail_cell; jmp [rip + cell]; done tail_cell",
    "case tail_register; jmp r8; done tail_register",
    "case tail_direct; inc rdi; jmp helper; done tail_direct",
    // Operands relative to rip, flags across boundaries, the red zone.
    "case refers; lea rax, [rip + number]; mov rax, [rax]; add rax, rdi; ret; done refers",
    "case refers_second; push rbx; mov rbx, [rip + number2]; lea rax, [rbx + rdi]; pop rbx; ret; done refers_second",
    "case compares; cmp qword ptr [rip + number], 5; sete al; movzx eax, al; add rax, rdi; ret; done compares",
    "case compares_word; cmp dword ptr [rip + number2], 0x1234567; sete al; movzx eax, al; add rax, rdi; ret",
    "  done compares_word",
    "case pushes_number; push [rip + number2]; pop rax; add rax, rdi; ret; done pushes_number",
    "case keeps_flags; cmp rdi, rsi; setb al; movzx eax, al; ret; done keeps_flags",
    "case red_zone; mov [rsp - 8], edi; mov [rsp - 16], rsi; mov eax, [rsp - 8]; add rax, [rsp - 16]; ret; done red_zone",
    "case vectors; movq xmm0, rdi; pxor xmm1, xmm1; paddq xmm0, xmm0; movq rax, xmm0; ret; done vectors",
    "case marked; endbr64; lea rax, [rdi + 9]; ret; done marked",
    "case stores; mov rdi, rdx; rep stosb; mov rax, [rdx]; ret; done stores",
    "case system; push rbx; push rbx; mov al, 39; movzx eax, al; syscall; pop rbx; pop rbx; mov rax, rdi; ret; done system",
    "case nops; nop; xchg ax, ax; nop; nop; mov rax, rdi; ret; done nops",
    // Short ones.
    "case five; lea rax, [rdi + 1]; ret; done five",
    "case four; mov rax, rdi; ret; done four",
    "case three; push rdi; pop rax; ret; done three",
    "case tight_three; push rsi; pop rax; ret; tight tight_three",
    "case tight_four; lea eax, [rdi]; nop; ret; tight tight_four",
    "case tight_loop; dec esi; jnz tight_loop; ret; tight tight_loop",
    "case last; lea rax, [rdi + rsi]; ret; done last",
    "entry_block_end:",
    ".popsection",
    ".pushsection .data.rel.ro.entry_cases, \"aw\"",
    "entry_cases_end:",
    ".popsection",
    ".pushsection .rodata.entry_places, \"a\"",
    ".balign 8",
    "entry_places: .quad helper - entry_block, cell - entry_block",
    ".popsection",
);

/// A function of the block: where it is in it, how long it is, and how much room is behind it, in bytes.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub(crate) struct Case {
    pub(crate) offset: usize,
    pub(crate) size: usize,
    pub(crate) padding: usize,
}

unsafe extern "C" {
    static entry_block: u8;
    static entry_block_end: u8;
    static entry_cases: Case;
    static entry_cases_end: Case;
    static entry_places: [usize; 2];
}

/// The block, with 0 in the cell.
pub(crate) fn block() -> &'static [u8] {
    let (start, end) = (&raw const entry_block, &raw const entry_block_end);
    // SAFETY: the two symbols delimit the block above, which nothing writes to.
    unsafe { std::slice::from_raw_parts(start, end.addr() - start.addr()) }
}

/// The functions.
pub(crate) fn cases() -> &'static [Case] {
    let (start, end) = (&raw const entry_cases, &raw const entry_cases_end);
    let count = (end.addr() - start.addr()) / size_of::<Case>();
    // SAFETY: the two symbols delimit the table above: three 64-bit words a function, as in `Case`.
    unsafe { std::slice::from_raw_parts(start, count) }
}

/// Where in the block the helper and the cell are.
pub(crate) fn places() -> [usize; 2] {
    // SAFETY: the table above has two 64-bit words, aligned.
    unsafe { entry_places }
}
