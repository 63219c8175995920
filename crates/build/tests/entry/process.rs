//! A process that patches itself: memory, signals, calls.

use livepatch_proto::{IslandPage, MemoryWrite, Stage, Trap, TrapTarget, WireAddress};
use std::arch::asm;
use std::sync::atomic::{AtomicPtr, AtomicU64, Ordering};
use std::time::Duration;

/// The functions' arguments.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Arguments {
    pub(crate) rdi: u64,
    pub(crate) rsi: u64,
    pub(crate) rcx: u64,
}

/// What a call left.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Outcome {
    pub(crate) rax: u64,
    pub(crate) memory: [u64; 8],
}

/// What the signal handlers know.
#[derive(Default)]
pub(crate) struct Watch {
    pub(crate) traps: Vec<Trap>,
    pub(crate) stages: Vec<Stage>,
    /// At which step each stage is carried out.
    pub(crate) at: Vec<usize>,
    /// The function: steps count from its first instruction.
    pub(crate) entry: u64,
    pub(crate) steps: usize,
    /// Program counters at which stages were carried out.
    pub(crate) program_counters: Vec<u64>,
    /// Traps that led somewhere.
    pub(crate) trapped: usize,
}

static WATCH: AtomicPtr<Watch> = AtomicPtr::new(std::ptr::null_mut());

/// Maps `length` bytes of nothing, for others to be mapped over.
pub(crate) fn reserve(length: usize) -> u64 {
    let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE;
    // SAFETY: a fresh mapping that nothing else refers to.
    let at = unsafe { libc::mmap(std::ptr::null_mut(), length, libc::PROT_NONE, flags, -1, 0) };
    assert_ne!(at, libc::MAP_FAILED);
    at as u64
}

/// Maps pages inside what [`reserve`] gave.
pub(crate) fn map(start: u64, length: u64, protection: i32) {
    let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_FIXED;
    // SAFETY: the callers own the range: it is part of what `reserve` gave.
    let at = unsafe { libc::mmap(start as *mut _, length as usize, protection, flags, -1, 0) };
    assert_eq!(at as u64, start);
}

pub(crate) fn map_page(page: &IslandPage) {
    let code = libc::PROT_READ | libc::PROT_EXEC;
    map(page.start.0, page.length, if page.code == 1 { code } else { libc::PROT_READ | libc::PROT_WRITE });
}

/// Writes into island pages, which are executable and not writable.
pub(crate) fn write(write: &MemoryWrite) {
    let start = write.at.0 & !4095;
    let end = (write.at.0 + write.bytes.len() as u64).next_multiple_of(4096);
    let protect = |protection| {
        // SAFETY: these are island pages, which `map_page` mapped; no thread runs in them now.
        let done = unsafe { libc::mprotect(start as *mut _, (end - start) as usize, protection) };
        assert_eq!(done, 0);
    };
    protect(libc::PROT_READ | libc::PROT_WRITE);
    poke(write.at.0, &write.bytes);
    protect(libc::PROT_READ | libc::PROT_EXEC);
}

/// Writes into memory that is mapped writable.
pub(crate) fn poke(at: u64, bytes: &[u8]) {
    // SAFETY: the callers own that memory and have mapped it writable; no Rust value lives there.
    unsafe { std::ptr::copy_nonoverlapping(bytes.as_ptr(), at as *mut u8, bytes.len()) };
}

/// Carries out a stage.
pub(crate) fn carry_out(stage: &Stage) {
    match stage {
        Stage::Word { store } => {
            // SAFETY: an aligned word in the block of code, which is mapped writable.
            let word = unsafe { AtomicU64::from_ptr(store.at.0 as *mut u64) };
            word.store(store.new, Ordering::SeqCst);
        }
        Stage::Bytes { writes } => writes.iter().for_each(|write| poke(write.at.0, &[write.byte])),
    }
}

/// Calls the function at `entry`. Stages of `watch` are carried out while it runs, the thread between two
/// instructions; those that come too late, after it.
pub(crate) fn call(entry: u64, helper: u64, arguments: &Arguments, watch: &mut Watch) -> Outcome {
    watch.entry = entry;
    (watch.steps, watch.trapped) = (0, 0);
    watch.program_counters.clear();
    watch.program_counters.reserve(watch.stages.len());
    let stepping = u64::from(!watch.at.is_empty()) << 8;
    WATCH.store(watch, Ordering::SeqCst);
    let mut memory = [7, 6, 5, 4, 3, 2, 1, 0];
    let (cell, mut rax) = (helper, 0);
    // SAFETY: `entry` is the address of a function of the block, whose arguments these are. The trap flag is set
    // before the call and cleared behind it; the handlers take the traps.
    unsafe {
        asm!(
            "pushfq", "or [rsp], {stepping}", "popfq",
            "call {entry}",
            "pushfq", "and qword ptr [rsp], -0x101", "popfq",
            stepping = in(reg) stepping,
            entry = in(reg) entry,
            inout("rax") rax,
            in("rdi") arguments.rdi, in("rsi") arguments.rsi, in("rdx") memory.as_mut_ptr(),
            in("rcx") arguments.rcx, in("r8") helper, in("r9") &raw const cell,
            clobber_abi("sysv64"),
        );
    }
    WATCH.store(std::ptr::null_mut(), Ordering::SeqCst);
    for stage in &watch.stages[watch.program_counters.len()..] {
        carry_out(stage);
    }
    Outcome { rax, memory }
}

/// Ends the process by a signal when it has taken this long: a wrong plan may send it round in circles.
pub(crate) fn end_after(time: Duration) {
    // SAFETY: no pointers; nothing handles SIGALRM.
    unsafe { libc::alarm(time.as_secs() as u32) };
}

/// Takes the trap signals; every other fault ends the process with a line that says where.
pub(crate) fn take_signals() {
    for signal in [libc::SIGTRAP, libc::SIGILL, libc::SIGSEGV, libc::SIGBUS] {
        // SAFETY: `on_signal` has the signature that SA_SIGINFO asks for; zeros are a valid `sigaction`.
        unsafe {
            let mut action: libc::sigaction = std::mem::zeroed();
            action.sa_sigaction = on_signal as extern "C" fn(_, _, _) as usize;
            action.sa_flags = libc::SA_SIGINFO | libc::SA_NODEFER | libc::SA_ONSTACK;
            assert_eq!(libc::sigaction(signal, &action, std::ptr::null_mut()), 0);
        }
    }
}

extern "C" fn on_signal(signal: i32, info: *mut libc::siginfo_t, context: *mut libc::c_void) {
    // SAFETY: the kernel passes both; the context is this thread's own for the duration of the handler.
    let (info, registers) = unsafe { (&*info, &mut (*context.cast::<libc::ucontext_t>()).uc_mcontext.gregs) };
    // SAFETY: `call` keeps its watch alive and untouched while the function runs in this thread.
    let watch = unsafe { WATCH.load(Ordering::SeqCst).as_mut() };
    let counter = registers[libc::REG_RIP as usize] as u64;
    let Some(watch) = watch else { die(signal, counter, 0) };
    if signal == libc::SIGTRAP && info.si_code == libc::TRAP_TRACE {
        if !step(watch, counter) {
            registers[libc::REG_EFL as usize] &= !0x100;
        }
        return;
    }
    let at = counter - u64::from(signal == libc::SIGTRAP);
    match watch.traps.iter().find(|trap| trap.at.0 == at) {
        Some(trap) if matches!(signal, libc::SIGTRAP | libc::SIGILL) => {
            watch.trapped += 1;
            registers[libc::REG_RIP as usize] = match trap.target {
                TrapTarget::Address { address } => address.0,
                // SAFETY: a slot, which the plan put into a page that `map_page` mapped.
                TrapTarget::Slot { slot } => unsafe { *(slot.0 as *const u64) },
            } as i64;
        }
        _ => die(signal, counter, watch.entry),
    }
}

/// Runs one opcode at `at`, which is mapped writable and executable, and comes back through the trap it raises.
pub(crate) fn run_opcode(at: u64, opcode: u8) {
    let ret = [0xC3];
    poke(at, &[opcode, 0, 0, 0, 0, 0, 0, 0]);
    poke(at + 8, &ret);
    let target = TrapTarget::Address { address: WireAddress(at + 8) };
    let mut watch = Watch { traps: vec![Trap { at: WireAddress(at), target }], ..Watch::default() };
    call(at, at, &Arguments { rdi: 0, rsi: 0, rcx: 0 }, &mut watch);
    assert_eq!(watch.trapped, 1, "{opcode:02x} does not trap");
}

/// Counts a step and carries out what is due; whether there is more to come.
fn step(watch: &mut Watch, counter: u64) -> bool {
    if watch.steps > 0 || counter == watch.entry {
        while watch.at.get(watch.program_counters.len()) == Some(&watch.steps) {
            // Never beyond the capacity, which `call` reserved: no allocation here.
            carry_out(&watch.stages[watch.program_counters.len()]);
            watch.program_counters.push(counter);
        }
        watch.steps += 1;
    }
    watch.program_counters.len() < watch.at.len()
}

fn die(signal: i32, counter: u64, entry: u64) -> ! {
    eprintln!("signal {signal} at {counter:#x}, {:#x} from the entry", counter.wrapping_sub(entry));
    std::process::exit(86);
}
