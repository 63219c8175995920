//! Carries plans out and runs the functions, in a process of its own so that a crash is one failed test.

use crate::cases::{self, Case};
use crate::process::{self, Arguments, Outcome, Watch};
use livepatch_build::islands::{Islands, Redirection};
use livepatch_object::address::RuntimeAddress;
use livepatch_object::architecture::Architecture;
use livepatch_object::entry::x86_64::{Function, pun};
use livepatch_proto::{Stage, WireAddress, WireRange};
use std::process::Command;
use std::time::Duration;

/// Free memory below the block.
const BELOW: u64 = 1 << 31;
const BLOCK: u64 = 64 << 10;

#[test]
fn in_a_process_of_its_own() {
    let executable = std::env::current_exe().expect("this test");
    let child = Command::new(executable)
        .args(["execute::child", "--exact", "--ignored", "--nocapture", "--test-threads=1"])
        .output()
        .expect("the child");
    let (out, err) = (String::from_utf8_lossy(&child.stdout), String::from_utf8_lossy(&child.stderr));
    println!("{out}\n{err}");
    assert!(child.status.success(), "{}", child.status);
    assert!(out.contains("every function was redirected"));
}

/// What was run.
#[derive(Default, Debug)]
struct Counts {
    functions: usize,
    word: usize,
    stepwise: usize,
    trap: usize,
    calls: usize,
    trapped: usize,
    interrupted: usize,
}

#[test]
#[ignore = "changes its own code: `in_a_process_of_its_own` runs it"]
fn child() {
    process::take_signals();
    process::end_after(Duration::from_secs(240));
    let mut counts = Counts::default();
    // Every place of the entries in a word.
    for skew in 0..8 {
        let arena = Arena::new(skew);
        arena.run(&mut counts);
        for opcode in pun::TRAPPING {
            process::run_opcode(arena.patched & !15, opcode);
        }
    }
    assert!(counts.word > 0 && counts.stepwise > 0 && counts.trap > 0 && counts.trapped > 1000, "{counts:?}");
    println!("{counts:?}\nevery function was redirected");
}

/// Two copies of the block: one to patch, and one to compare with.
struct Arena {
    patched: u64,
    reference: u64,
    text: Vec<u8>,
    islands: Islands,
}

extern "sysv64" fn replacement(rdi: u64, rsi: u64, memory: *mut u64, rcx: u64, _: u64, _: *const u64) -> u64 {
    // SAFETY: `process::call` passes eight words.
    unsafe { *memory.add(7) = rcx };
    replaced(rdi, rsi)
}

fn replaced(rdi: u64, rsi: u64) -> u64 {
    rdi.rotate_left(7) ^ rsi ^ 0x5A5A
}

impl Arena {
    fn new(skew: u64) -> Self {
        let base = process::reserve((BELOW + BLOCK * 2) as usize);
        let all = libc::PROT_READ | libc::PROT_WRITE | libc::PROT_EXEC;
        process::map(base + BELOW, BLOCK * 2, all);
        let start = base + BELOW;
        let (patched, reference) = (start + skew, start + BLOCK + skew);
        let free = WireRange { start: WireAddress(base), end: WireAddress(start) };
        let islands = Islands::new(
            Architecture::X86_64,
            4096,
            RuntimeAddress(start)..RuntimeAddress(start + BLOCK),
            &[free],
        );
        // The text has bytes before and behind the block, as a section has.
        let mut text = vec![0xCC; skew as usize];
        text.extend_from_slice(&block_at(patched));
        text.resize((text.len() + 32).next_multiple_of(16), 0xCC);
        let arena = Self { patched, reference, text, islands };
        process::poke(reference, &block_at(reference));
        arena.restore();
        arena
    }

    fn restore(&self) {
        process::poke(self.patched & !15, &self.text);
    }

    fn function(&self, case: &Case) -> Function<'_> {
        Function {
            entry: RuntimeAddress(self.patched + case.offset as u64),
            text: &self.text,
            offset: case.offset + (self.patched & 15) as usize,
            size: case.size,
            padding: case.padding,
        }
    }

    fn run(&self, counts: &mut Counts) {
        let mut islands = self.islands.clone();
        for case in cases::cases() {
            // A plan of its own for each, so that each word has the neighbours' original bytes.
            let plan = islands.clone().plan(&self.function(case)).expect("a plan");
            let kept = islands.plan(&self.function(case)).expect("the same plan");
            plan.pages.iter().for_each(process::map_page);
            plan.writes.iter().for_each(process::write);
            assert_eq!((&plan.slot, &plan.original), (&kept.slot, &kept.original));
            Subject { arena: self, case, plan: &plan }.run(counts);
        }
    }
}

fn block_at(place: u64) -> Vec<u8> {
    let [helper, cell] = cases::places();
    let mut block = cases::block().to_vec();
    block[cell..cell + 8].copy_from_slice(&(place + helper as u64).to_le_bytes());
    block
}

/// One function and its plan.
struct Subject<'a> {
    arena: &'a Arena,
    case: &'a Case,
    plan: &'a Redirection,
}

impl Subject<'_> {
    fn run(&self, counts: &mut Counts) {
        counts.functions += 1;
        let word = self.plan.redirect.stages.iter().any(|stage| matches!(stage, Stage::Word { .. }));
        match (self.plan.traps_calls, word) {
            (true, _) => counts.trap += 1,
            (false, true) => counts.word += 1,
            (false, false) => counts.stepwise += 1,
        }
        self.check_expected();
        for arguments in inputs() {
            self.called(&arguments, counts);
        }
        for arguments in inputs().skip(1).step_by(2) {
            self.interrupted(&arguments, counts);
        }
    }

    fn entry(&self) -> u64 {
        self.arena.patched + self.case.offset as u64
    }

    fn check_expected(&self) {
        let base = self.arena.patched & !15;
        for run in &self.plan.redirect.expected {
            let start = (run.at.0 - base) as usize;
            assert_eq!(self.arena.text[start..start + run.bytes.len()], run.bytes);
        }
    }

    fn call(&self, entry: u64, arguments: &Arguments, watch: &mut Watch) -> Outcome {
        let [helper, _] = cases::places();
        let block = if entry >= self.arena.reference { self.arena.reference } else { self.arena.patched };
        process::call(entry, block + helper as u64, arguments, watch)
    }

    fn reference(&self, arguments: &Arguments) -> Outcome {
        self.call(self.arena.reference + self.case.offset as u64, arguments, &mut Watch::default())
    }

    fn set_slot(&self, target: u64) {
        process::poke(self.plan.slot.0, &target.to_le_bytes());
    }

    fn watch(&self, at: Vec<usize>) -> Watch {
        let stages = self.plan.redirect.stages.clone();
        Watch { traps: self.plan.traps.clone(), stages, at, ..Watch::default() }
    }

    /// Calls after each stage, with the slot at either place.
    fn called(&self, arguments: &Arguments, counts: &mut Counts) {
        let before = self.reference(arguments);
        self.set_slot(replacement as Code as usize as u64);
        let loops = self.loop_stages();
        for (done, stage) in self.plan.redirect.stages.iter().enumerate() {
            process::carry_out(stage);
            let mut watch = Watch { traps: self.plan.traps.clone(), ..Watch::default() };
            let outcome = self.call(self.entry(), arguments, &mut watch);
            if done < loops {
                assert_eq!(outcome, before, "{self:?} after its loops trap");
            } else {
                assert_eq!(
                    outcome.rax,
                    replaced(arguments.rdi, arguments.rsi),
                    "{self:?} after stage {done}"
                );
                assert_eq!(outcome.memory[7], arguments.rcx);
            }
            counts.calls += 1;
        }
        self.set_slot(self.plan.original.0);
        let mut watch = Watch { traps: self.plan.traps.clone(), ..Watch::default() };
        assert_eq!(self.call(self.entry(), arguments, &mut watch), before, "{self:?} rolled back");
        counts.trapped += watch.trapped;
        self.arena.restore();
    }

    /// How many stages change loops only.
    fn loop_stages(&self) -> usize {
        let entry = self.entry();
        let touches = |stage: &&Stage| match stage {
            Stage::Word { .. } => true,
            Stage::Bytes { writes } => writes.iter().any(|write| write.at.0 == entry),
        };
        self.plan.redirect.stages.iter().take_while(|stage| !touches(stage)).count()
    }

    /// Stages are carried out while the thread is at each of its instructions in turn.
    fn interrupted(&self, arguments: &Arguments, counts: &mut Counts) {
        let before = self.reference(arguments);
        // Never reached: counts the steps, which go on a little behind the function's end.
        let mut never = Watch { stages: Vec::new(), at: vec![usize::MAX], ..Watch::default() };
        assert_eq!(self.call(self.entry(), arguments, &mut never), before);
        let stages = self.plan.redirect.stages.len();
        for first in (0..never.steps).step_by(never.steps.div_ceil(60)) {
            for apart in [0, 1, 2] {
                let at: Vec<_> = (0..stages).map(|stage| first + stage * apart).collect();
                for target in [self.plan.original.0, replacement as Code as usize as u64] {
                    self.set_slot(target);
                    let mut watch = self.watch(at.clone());
                    let outcome = self.call(self.entry(), arguments, &mut watch);
                    // A thread that stands at the entry when that changes, or calls it later, is a call.
                    let stood_at = watch.program_counters.get(self.loop_stages());
                    let entered = stood_at == Some(&self.entry()) || self.calls_itself();
                    if target == self.plan.original.0 || !entered {
                        assert_eq!(outcome, before, "{self:?} interrupted at {at:?}");
                    }
                    counts.interrupted += 1;
                    counts.trapped += watch.trapped;
                    self.arena.restore();
                }
            }
        }
    }

    fn calls_itself(&self) -> bool {
        let function = self.arena.function(self.case);
        let body = function.body().expect("its bytes");
        body.windows(5).enumerate().any(|(at, code)| {
            let field = i32::from_le_bytes([code[1], code[2], code[3], code[4]]);
            code[0] == 0xE8 && at as i32 + 5 + field == 0
        })
    }
}

type Code = extern "sysv64" fn(u64, u64, *mut u64, u64, u64, *const u64) -> u64;

impl std::fmt::Debug for Subject<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let body = self.arena.function(self.case).body().unwrap_or_default().to_vec();
        write!(f, "the function at {:#x} ({body:02x?})", self.entry())
    }
}

fn inputs() -> impl Iterator<Item = Arguments> {
    let large = [0, 1, 0x8000_0000, 0x1234_5678_9ABC_DEF0, u64::MAX];
    large.into_iter().zip([1, 3, 2, 6, 4]).zip([2, 1, 3, 2, 5]).map(|((rdi, rsi), rcx)| Arguments {
        rdi,
        rsi,
        rcx,
    })
}
