//! Functions with awkward beginnings: too short for a jump, a loop to the first instruction, a call there.

use crate::live::{Live, package_with};
use crate::project::Project;
use crate::session::livepatch;
use std::process::Command;

const CODE: &str = r#"
use std::arch::naked_asm;
use std::hint::black_box;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering::SeqCst};
use std::thread::JoinHandle;
use std::time::Duration;

static FLAG: AtomicBool = AtomicBool::new(false);
static INSIDE: AtomicU32 = AtomicU32::new(0);
static THREADS: Mutex<Vec<JoinHandle<u64>>> = Mutex::new(Vec::new());

#[unsafe(naked)]
extern "C" fn tiny(_: u64) -> u64 {
    naked_asm!("mov rax, rdi", "ret")
}

#[unsafe(naked)]
extern "C" fn neighbour(_: u64) -> u64 {
    naked_asm!("mov eax, edi", "ret")
}

#[unsafe(naked)]
extern "C" fn spins(_: &AtomicBool, _: &AtomicU32) -> u64 {
    naked_asm!("2: cmp byte ptr [rdi], 0", "je 2b", "mov eax, 1", "ret")
}

#[unsafe(naked)]
extern "C" fn calls(_: extern "C" fn()) -> u64 {
    naked_asm!("call rdi", "mov eax, 1", "ret")
}

#[unsafe(naked)]
extern "C" fn aligned_wait() {
    naked_asm!("sub rsp, 8", "call {}", "add rsp, 8", "ret", sym wait)
}

extern "C" fn wait() {
    INSIDE.fetch_add(1, SeqCst);
    while !FLAG.load(SeqCst) {
        std::thread::sleep(Duration::from_millis(1));
    }
}

#[inline(never)]
fn identity(x: u32) -> u32 { x }

#[inline(never)]
fn constant() -> bool { false }

#[inline(never)]
fn fails(x: u64) -> u64 {
    if FLAG.load(SeqCst) { panic!("as asked") }
    x * 2
}

#[inline(never)]
fn early(x: u64) -> u64 {
    fails(x);
    fails(x + 1) + 1
}

#[inline(never)]
fn through(callee: &dyn Fn() -> u64) -> u64 { callee() + 1 }

static PANICS: AtomicBool = AtomicBool::new(false);
fn waits() -> u64 {
    wait();
    if PANICS.load(SeqCst) { panic!("in the callee") }
    5
}

pub fn start() {}

pub fn answer(question: &str) -> String {
    match question {
        "tiny" => format!("{} {}", tiny(20), black_box(tiny as extern "C" fn(u64) -> u64)(30)),
        "neighbour" => neighbour(40).to_string(),
        "identity" => format!("{} {}", identity(black_box(20)), black_box(identity as fn(u32) -> u32)(30)),
        "constant" => black_box(constant as fn() -> bool)().to_string(),
        "spins" => spins(&FLAG, &INSIDE).to_string(),
        "calls" => calls(aligned_wait).to_string(),
        "spin" | "call" | "go through" => {
            let body: fn() -> u64 = match question {
                "spin" => || spins(&FLAG, &INSIDE),
                "call" => || calls(aligned_wait),
                _ => || through(black_box(&waits)),
            };
            let before = INSIDE.load(SeqCst);
            THREADS.lock().unwrap().push(std::thread::spawn(body));
            while question != "spin" && INSIDE.load(SeqCst) == before { std::thread::yield_now() }
            std::thread::sleep(Duration::from_millis(30));
            String::new()
        }
        "set" | "clear" => {
            FLAG.store(question == "set", SeqCst);
            String::new()
        }
        "panic" => {
            PANICS.store(true, SeqCst);
            String::new()
        }
        "join" => {
            let joined = |t: JoinHandle<u64>| t.join().map_or("caught".into(), |n| n.to_string());
            THREADS.lock().unwrap().drain(..).map(joined).collect::<Vec<String>>().join(" ")
        }
        "early" => match std::panic::catch_unwind(|| early(black_box(3))) {
            Ok(n) => n.to_string(),
            Err(_) => "caught".to_string(),
        },
        _ => String::new(),
    }
}
"#;

fn optimised() -> Live {
    // Optimised for size, functions are not aligned, so that there is no padding after them.
    let profile = "[profile.release]\nopt-level = 's'\n";
    Live::start(package_with(profile, CODE), &["--release"])
}

/// The bytes from a function's start to the next one, as another tool sees them.
fn room(project: &Project, function: &str) -> u64 {
    let mut nm = Command::new("nm");
    nm.args(["-C", "--defined-only", "-n"]).arg(project.file("target/release/app"));
    let output = nm.output().expect("nm can be run");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let address = |line: &str| u64::from_str_radix(line.split(' ').next().unwrap(), 16).unwrap();
    let mut lines = text.lines().skip_while(|line| !line.ends_with(function));
    let start = address(lines.next().expect("the function is there"));
    lines.map(address).find(|&next| next > start).expect("it is not the last") - start
}

fn roll_back(live: &Live, to: &str) {
    let output = livepatch(&live.project, &["rollback", "--to", to]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn functions_shorter_than_a_jump() {
    let mut live = optimised();
    let rooms = ["tiny", "neighbour", "identity", "constant"]
        .map(|name| room(&live.project, &format!(" app::code::{name}")));
    println!("bytes up to the next function: {rooms:?}");
    assert!(rooms.iter().any(|&room| room < 5), "{rooms:?}");
    let all = ["tiny", "neighbour", "identity", "constant"];
    let base = ["20 30", "40", "20 30", "false"];
    assert_eq!(all.map(|q| live.ask(q)), base);
    live.edit("mov rax, rdi", "lea rax, [rdi + rdi]");
    assert_eq!(all.map(|q| live.ask(q)), ["40 60", "40", "20 30", "false"]);
    live.edit("mov eax, edi", "lea eax, [rdi + 1]");
    live.edit("(x: u32) -> u32 { x }", "(x: u32) -> u32 { x + 2 }");
    live.edit("{ false }", "{ true }");
    assert_eq!(all.map(|q| live.ask(q)), ["40 60", "41", "22 32", "true"]);
    live.edit("lea rax, [rdi + rdi]", "lea rax, [rdi + rdi + 5]");
    assert_eq!(all.map(|q| live.ask(q)), ["45 65", "41", "22 32", "true"]);
    roll_back(&live, "0");
    assert_eq!(all.map(|q| live.ask(q)), base);
}

#[test]
fn a_loop_to_the_first_instruction_ends_as_it_began() {
    let mut live = optimised();
    live.ask("spin");
    live.edit("je 2b\", \"mov eax, 1", "je 2b\", \"mov eax, 2");
    live.ask("spin");
    live.edit("je 2b\", \"mov eax, 2", "je 2b\", \"mov eax, 3");
    live.ask("set");
    assert_eq!(live.ask("join"), "1 2");
    assert_eq!(live.ask("spins"), "3");
    roll_back(&live, "0");
    assert_eq!(live.ask("spins"), "1");
}

#[test]
fn a_call_in_the_first_bytes_returns_to_the_body_it_came_from() {
    let mut live = optimised();
    live.ask("call");
    live.edit("call rdi\", \"mov eax, 1", "call rdi\", \"mov eax, 2");
    live.ask("call");
    live.edit("call rdi\", \"mov eax, 2", "call rdi\", \"mov eax, 3");
    // The relocated original waits in its call as well.
    roll_back(&live, "0");
    live.ask("call");
    live.edit("call rdi\", \"mov eax, 3", "call rdi\", \"mov eax, 4");
    live.ask("set");
    assert_eq!(live.ask("join"), "1 2 1");
    assert_eq!(live.ask("calls"), "4");
}

#[test]
fn a_panic_unwinds_through_a_beginning_that_was_moved() {
    for arguments in [&["--release"][..], &[]] {
        let mut live = Live::start(package_with("", CODE), arguments);
        assert_eq!(live.ask("early"), "9");
        live.edit("fails(x + 1) + 1", "fails(x + 2) + 1");
        assert_eq!(live.ask("early"), "11");
        live.ask("set");
        assert_eq!(live.ask("early"), "caught");
        roll_back(&live, "0");
        assert_eq!(live.ask("early"), "caught", "through the original, whose first bytes are elsewhere");
        live.ask("clear");
        assert_eq!(live.ask("early"), "9");
    }
}

/// Whether a call in a function's first bytes returns into what a jump there overwrites.
fn returns_inside(project: &Project, function: &str) -> bool {
    let mut objdump = Command::new("objdump");
    objdump.args(["-d", "-C", "--no-show-raw-insn", &format!("--disassemble={function}")]);
    let output = objdump.arg(project.file("target/release/app")).output().expect("objdump can be run");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let mut instructions = text.lines().filter_map(|line| {
        let (address, instruction) = line.split_once(":\t")?;
        Some((u64::from_str_radix(address.trim(), 16).ok()?, instruction.starts_with("call")))
    });
    let start = instructions.clone().next().expect("the function is there").0;
    instructions.find(|instruction| instruction.1).expect("it calls");
    instructions.next().expect("it returns").0 - start < 5
}

#[test]
fn a_callee_returns_and_panics_into_overwritten_bytes() {
    for panics in [false, true] {
        let mut live = optimised();
        assert!(returns_inside(&live.project, "app::code::through"));
        live.ask("go through");
        live.edit("callee() + 1 }", "callee() + 100 }");
        live.ask("go through");
        roll_back(&live, "0");
        live.ask("go through");
        live.edit("callee() + 100 }", "callee() + 200 }");
        live.ask("go through");
        if panics {
            live.ask("panic");
        }
        live.ask("set");
        let expected = if panics { "caught caught caught caught" } else { "6 105 6 205" };
        assert_eq!(live.ask("join"), expected);
    }
}
