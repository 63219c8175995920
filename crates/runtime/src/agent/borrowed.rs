//! What a thread runs that `cargo livepatch attach` borrows (`livepatch_proto::attach::block`).
//!
//! It is never run where it is: its bytes are copied into the process that is to load the agent. So it
//! refers to nothing but the block, whose address is in `rbx`, and to its own last bytes.

use livepatch_proto::attach::block::{
    AGENT, ANSWER, CALLED, DLERROR, DLOPEN, DLSYM, ENTRY, FAILED, MASK, NAME, NAP, NAPS, REGISTERS, SOCKET,
    STAGE, TEXT, TEXT_SIZE, TOKEN, VECTORS,
};
use std::arch::naked_asm;

const OPEN_FLAGS: i32 = libc::RTLD_NOW | libc::RTLD_GLOBAL | libc::RTLD_NODELETE;

/// # Safety
/// Not to be called.
#[unsafe(no_mangle)]
#[unsafe(naked)]
unsafe extern "C" fn livepatch_borrowed() {
    naked_asm!(
        // What a function may change that the thread was not about to call.
        "mov eax, -1",
        "mov edx, -1",
        "xsave64 [rbx + {vectors}]",
        // The agent, and its entry.
        "mov r12, [rbx + {entry}]",
        "test r12, r12",
        "jnz 2f",
        "lea rdi, [rbx + {agent}]",
        "mov esi, {open_flags}",
        "call qword ptr [rbx + {dlopen}]",
        "test rax, rax",
        "jz 3f",
        "mov rdi, rax",
        "lea rsi, [rbx + {name}]",
        "call qword ptr [rbx + {dlsym}]",
        "test rax, rax",
        "jz 3f",
        "mov r12, rax",
        "2:",
        "lea rdi, [rbx + {socket}]",
        "lea rsi, [rbx + {token}]",
        "call r12",
        "mov [rbx + {answer}], rax",
        "mov r13d, {called}",
        "jmp 6f",
        // Why not: copied, since the C library keeps it for this thread's next mistake.
        "3:",
        "mov r13d, {failed}",
        "call qword ptr [rbx + {dlerror}]",
        "test rax, rax",
        "jz 6f",
        "lea rdi, [rbx + {text}]",
        "mov ecx, {text_size} - 1",
        "4:",
        "mov dl, [rax]",
        "mov [rdi], dl",
        "inc rax",
        "inc rdi",
        "dec ecx",
        "jz 6f",
        "test dl, dl",
        "jnz 4b",
        // Whoever borrowed the thread takes it from here, and puts it back exactly.
        "6:",
        "mov eax, -1",
        "mov edx, -1",
        "xrstor64 [rbx + {vectors}]",
        "mov [rbx + {stage}], r13",
        "mov r13d, {naps}",
        "7:",
        "mov eax, {nanosleep}",
        "lea rdi, [rbx + {nap}]",
        "mov esi, 0",
        "syscall",
        "dec r13d",
        "jnz 7b",
        // Nobody came: it puts itself back. Nothing is pushed once the stack is its own again.
        "push qword ptr [rbx + {registers} + 16 * 8]",
        "popfq",
        "mov rsp, [rbx + {registers} + 4 * 8]",
        // No flags are changed from here on: system calls keep them.
        "mov eax, {sigprocmask}",
        "mov edi, {setmask}",
        "lea rsi, [rbx + {mask}]",
        "mov edx, 0",
        "mov r10d, 8",
        "syscall",
        "mov rax, [rbx + {registers}]",
        "mov rcx, [rbx + {registers} + 8]",
        "mov rdx, [rbx + {registers} + 2 * 8]",
        "mov rbp, [rbx + {registers} + 5 * 8]",
        "mov rsi, [rbx + {registers} + 6 * 8]",
        "mov rdi, [rbx + {registers} + 7 * 8]",
        "mov r8, [rbx + {registers} + 8 * 8]",
        "mov r9, [rbx + {registers} + 9 * 8]",
        "mov r10, [rbx + {registers} + 10 * 8]",
        "mov r11, [rbx + {registers} + 11 * 8]",
        "mov r12, [rbx + {registers} + 12 * 8]",
        "mov r13, [rbx + {registers} + 13 * 8]",
        "mov r14, [rbx + {registers} + 14 * 8]",
        "mov r15, [rbx + {registers} + 15 * 8]",
        "mov rbx, [rbx + {registers} + 3 * 8]",
        "jmp qword ptr [rip + 8f]",
        // The last eight bytes: where the thread goes on.
        "8:",
        ".quad 0",
        sigprocmask = const libc::SYS_rt_sigprocmask,
        setmask = const libc::SIG_SETMASK,
        nanosleep = const libc::SYS_nanosleep,
        nap = const NAP,
        naps = const NAPS,
        open_flags = const OPEN_FLAGS,
        stage = const STAGE,
        answer = const ANSWER,
        entry = const ENTRY,
        dlopen = const DLOPEN,
        dlsym = const DLSYM,
        dlerror = const DLERROR,
        mask = const MASK,
        registers = const REGISTERS,
        token = const TOKEN,
        name = const NAME,
        socket = const SOCKET,
        text = const TEXT,
        text_size = const TEXT_SIZE,
        agent = const AGENT,
        vectors = const VECTORS,
        called = const CALLED,
        failed = const FAILED,
    )
}
