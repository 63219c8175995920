//! Kinds of code and data that edits change or bring.

use crate::live::{Live, package_with};

const CODE: &str = r#"
use std::any::Any;
use std::collections::HashMap;
use std::fmt::Debug;
use std::sync::{LazyLock, Mutex};

mod parts;

pub trait Shape: Send + Sync + Any { fn area(&self) -> f64; fn name(&self) -> String { "shape".into() } }
#[derive(Default)]
pub struct Square { pub side: f64 }
impl Shape for Square { fn area(&self) -> f64 { self.side * self.side } }

static SHAPES: Mutex<Vec<Box<dyn Shape>>> = Mutex::new(Vec::new());
static BOXES: Mutex<Vec<Box<dyn Any + Send>>> = Mutex::new(Vec::new());
static TABLE: [u32; 4] = [2, 3, 5, 7];
static LAZY: LazyLock<HashMap<&'static str, u32>> = LazyLock::new(|| HashMap::from([("a", 1), ("b", 2)]));

pub fn start() { SHAPES.lock().unwrap().push(Box::new(Square { side: 3.0 })); }

pub fn answer(question: &str) -> String {
    match question {
        "shapes" => shapes(),
        "boxes" => boxes(),
        "floats" => format!("{:?}", floats(question.len() as f64)),
        "table" => table(2).to_string(),
        "text" => include_str!("text.txt").trim().to_string(),
        "parts" => parts::part(4).to_string(),
        "asm" => format!("{} {}", unsafe { in_assembly() }, inline(5)),
        "simd" => format!("{:?}", vectors([1.0, 2.0, 3.0, 4.0])),
        "sort" => sort(),
        "signal" => signals(),
        "deep" => deep(200).to_string(),
        "lazy" => format!("{:?}", LAZY.get("b")),
        other => new(other),
    }
}

fn shapes() -> String {
    SHAPES.lock().unwrap().iter().map(|s| format!("{}={}", s.name(), s.area())).collect::<Vec<_>>().join(" ")
}
fn boxes() -> String {
    let mut all = BOXES.lock().unwrap();
    all.push(Box::new(Square { side: 1.5 }));
    all.push(Box::new("text"));
    all.iter().filter_map(|b| b.downcast_ref::<Square>()).map(|s| s.side).sum::<f64>().to_string()
}
fn floats(x: f64) -> [f64; 4] { [-x, x.abs() * 1.25, x.mul_add(2.0, 0.5), (x as f32 * 0.1) as f64] }
fn table(i: usize) -> u32 { TABLE[i] }
fn vectors(a: [f32; 4]) -> [f32; 4] { std::array::from_fn(|i| a[i] * [1.0, 10.0, 100.0, 1000.0][i]) }

std::arch::global_asm!(".globl in_assembly", "in_assembly:", "mov eax, 11", "ret");
extern "C" { fn in_assembly() -> u32; }
fn inline(x: u64) -> u64 { let y: u64; unsafe { std::arch::asm!("lea {0}, [{1} + 1]", out(reg) y, in(reg) x) }; y }

extern "C" fn compare(a: &i32, b: &i32) -> i32 { a.cmp(b) as i32 }
extern "C" { fn qsort(base: *mut i32, n: usize, size: usize, compare: extern "C" fn(&i32, &i32) -> i32); }
fn sort() -> String {
    let mut all = [3, 1, 2];
    unsafe { qsort(all.as_mut_ptr(), 3, 4, compare) };
    format!("{all:?}")
}

static CAUGHT: std::sync::atomic::AtomicU32 = std::sync::atomic::AtomicU32::new(0);
extern "C" fn handler(_: i32) { CAUGHT.fetch_add(1, std::sync::atomic::Ordering::SeqCst); }
extern "C" { fn signal(n: i32, handler: extern "C" fn(i32)) -> usize; fn raise(n: i32) -> i32; }
fn signals() -> String {
    if CAUGHT.load(std::sync::atomic::Ordering::SeqCst) == 0 { unsafe { signal(10, handler) }; }
    unsafe { raise(10) };
    CAUGHT.load(std::sync::atomic::Ordering::SeqCst).to_string()
}
fn deep(n: u64) -> u64 { if n == 0 { 0 } else { 1 + deep(n - 1) } }

fn new(question: &str) -> String { question.to_string() }
"#;

fn start(arguments: &[&str]) -> Live {
    let project = package_with("", CODE);
    project.write("src/code/parts.rs", "pub fn part(x: u32) -> u32 { x * 10 }\n");
    project.write("src/text.txt", "first\n");
    Live::start(project, arguments)
}

/// Writes another file of the project; that must go live.
fn other(live: &mut Live, file: &str, text: &str) {
    live.project.write(file, text);
    let event = live.outcome();
    assert_eq!(event["event"], "patched", "{}", live.report());
}

fn what_is_edited(arguments: &[&str]) {
    let mut live = start(arguments);
    assert_eq!(live.ask("shapes"), "shape=9");
    assert_eq!(live.ask("boxes"), "1.5");
    assert_eq!(live.ask("floats"), "[-6.0, 7.5, 12.5, 0.6000000238418579]");
    live.edit("[-x, x.abs() * 1.25", "[-x * 3.0e10, x.abs() * 4.5");
    assert_eq!(live.ask("floats"), "[-180000000000.0, 27.0, 12.5, 0.6000000238418579]");
    live.edit("side * self.side }", "side * self.side + 1.0 }");
    live.edit("\"shape\".into()", "format!(\"shape{}\", self.type_id() == std::any::TypeId::of::<Square>())");
    assert_eq!(live.ask("shapes"), "shapetrue=10");
    live.edit("map(|s| s.side).sum", "map(|s| s.side * 2.0).sum");
    assert_eq!(live.ask("boxes"), "6", "values of before are still what they were");

    assert_eq!(live.ask("table"), "5");
    live.edit("[2, 3, 5, 7]", "[2, 3, 6, 7]");
    assert_eq!(live.ask("table"), "6");
    assert_eq!(live.ask("text"), "first");
    other(&mut live, "src/text.txt", "second, and longer\n");
    assert_eq!(live.ask("text"), "second, and longer");
    assert_eq!(live.ask("parts"), "40");
    other(&mut live, "src/code/parts.rs", "pub fn part(x: u32) -> u32 { x * 11 }\n");
    assert_eq!(live.ask("parts"), "44");

    assert_eq!(live.ask("asm"), "11 6");
    live.edit("[{1} + 1]", "[{1} + 2]");
    assert_eq!(live.ask("asm"), "11 7");
    assert_eq!(live.ask("simd"), "[1.0, 20.0, 300.0, 4000.0]");
    live.edit("100.0, 1000.0]", "100.0, 2000.0]");
    assert_eq!(live.ask("simd"), "[1.0, 20.0, 300.0, 8000.0]");
    assert_eq!(live.ask("sort"), "[1, 2, 3]");
    live.edit("a.cmp(b)", "b.cmp(a)");
    assert_eq!(live.ask("sort"), "[3, 2, 1]");
    assert_eq!([live.ask("signal"), live.ask("signal")], ["1", "2"]);
    live.edit("CAUGHT.fetch_add(1,", "CAUGHT.fetch_add(100,");
    assert_eq!(live.ask("signal"), "102");
    assert_eq!(live.ask("deep"), "200");
    live.edit("1 + deep(n - 1)", "2 + deep(n - 1)");
    assert_eq!(live.ask("deep"), "400");
    assert_eq!(live.ask("lazy"), "Some(2)");
    live.edit("(\"b\", 2)", "(\"b\", 3)");
    assert_eq!(live.ask("lazy"), "Some(2)", "it was made already");
}

#[test]
fn what_is_edited_takes_effect() {
    what_is_edited(&[]);
}

#[test]
fn what_is_edited_takes_effect_optimised() {
    what_is_edited(&["--release"]);
}

fn what_is_brought(arguments: &[&str]) {
    let mut live = start(arguments);
    assert_eq!(live.ask("x"), "x");
    let mut body = "question.to_string()".to_owned();
    let mut new = |live: &mut Live, to: &str, items: &str| {
        let code = live.code.replace(&format!("{{ {body} }}"), &format!("{{ {to} }}"));
        body = to.to_owned();
        live.patch(&format!("{code}\n{items}\n"));
        live.ask("x")
    };
    // A type and a trait object of it, among old ones.
    let circle = "struct Circle(f64, String); impl Shape for Circle { fn area(&self) -> f64 { self.0 * 3.0 } \
        fn name(&self) -> String { self.1.clone() } }";
    let push = "SHAPES.lock().unwrap().push(Box::new(Circle(2.0, question.repeat(2)))); shapes()";
    assert_eq!(new(&mut live, push, circle), "shape=9 xx=6");
    assert_eq!(live.ask("shapes"), "shape=9 xx=6");
    // Derives, a map with a key type of its own, generics over it.
    let point = "#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Default)] struct Point<T> { x: T, y: Option<String> }";
    let map = "let map: HashMap<Point<u8>, u32> = HashMap::from([(Point::default(), 4)]); \
        let mut all: Vec<_> = map.into_iter().collect(); all.sort(); format!(\"{all:?} {}\", std::any::type_name::<Point<u8>>())";
    assert_eq!(new(&mut live, map, point), "[(Point { x: 0, y: None }, 4)] app::code::Point<u8>");
    // A static that is made when it is first used, kept over later patches.
    let lazy =
        "static MADE: LazyLock<Mutex<Vec<String>>> = LazyLock::new(|| Mutex::new(vec![\"made\".into()]));";
    let use_it = "let mut made = MADE.lock().unwrap(); made.push(question.into()); made.join(\",\")";
    assert_eq!(new(&mut live, use_it, lazy), "made,x");
    assert_eq!(new(&mut live, &use_it.replace("\",\"", "\"+\""), ""), "made+x+x");
    // A thread-local with a destructor, in a thread of the patch.
    let local = "static ENDED: std::sync::atomic::AtomicU32 = std::sync::atomic::AtomicU32::new(0); struct Ends(u32); \
        impl Drop for Ends { fn drop(&mut self) { ENDED.fetch_add(self.0, std::sync::atomic::Ordering::SeqCst); } } \
        thread_local! { static ENDS: std::cell::RefCell<Vec<Ends>> = std::cell::RefCell::new(vec![]); }";
    let thread = "for n in 1..4 { std::thread::spawn(move || ENDS.with_borrow_mut(|v| v.push(Ends(n)))).join().unwrap() } \
        ENDED.load(std::sync::atomic::Ordering::SeqCst).to_string()";
    assert_eq!(new(&mut live, thread, local), "6");
    // Thread-locals with values that are not zero, in threads old and new.
    let value = "thread_local! { static VALUE: std::cell::Cell<u64> = const { std::cell::Cell::new(77) }; }";
    let values = "VALUE.set(VALUE.get() + 1); format!(\"{} {}\", VALUE.get(), std::thread::spawn(|| VALUE.get()).join().unwrap())";
    assert_eq!(new(&mut live, values, value), "78 77");
    assert_eq!(live.ask("x"), "79 77");
    // Data and variadic functions of the C library.
    let c = "extern \"C\" { static environ: *const *const std::ffi::c_char; fn snprintf(to: *mut u8, n: usize, format: *const std::ffi::c_char, ...) -> i32; }";
    let print = "let mut to = [0; 32]; let n = unsafe { snprintf(to.as_mut_ptr(), 32, c\"%d-%.2f\".as_ptr(), 42i32, 1.5f64) }; \
        format!(\"{} {}\", String::from_utf8_lossy(&to[..n as usize]), unsafe { !(*environ).is_null() })";
    assert_eq!(new(&mut live, print, c), "42-1.50 true");
    // Closures that capture, iterators, errors with `?`.
    let fails = "fn parse(s: &str) -> Result<u32, Box<dyn std::error::Error>> { let n: u32 = s.trim().parse()?; Ok(n.checked_add(1).ok_or(\"big\")?) }";
    let parse = "let twice = |s: &str| parse(s).map(|n| n * question.len() as u32); \
        format!(\"{:?}\", [\"4\", \"x\", \"4294967295\"].iter().map(|s| twice(s).map_err(|e| e.to_string())).collect::<Vec<_>>())";
    assert_eq!(new(&mut live, parse, fails), "[Ok(5), Err(\"invalid digit found in string\"), Err(\"big\")]");
    let debug = "fn show<T: Debug + ?Sized>(x: &T) -> String { format!(\"{x:#?}\") }";
    assert_eq!(
        new(&mut live, "show::<[Option<&str>]>(&[Some(question)])", debug),
        "[\n    Some(\n        \"x\",\n    ),\n]"
    );
}

#[test]
fn what_is_brought_works() {
    what_is_brought(&[]);
}

#[test]
fn what_is_brought_works_optimised() {
    what_is_brought(&["--release"]);
}

#[test]
fn assembly_of_a_whole_module_is_patched_or_the_program_starts_anew() {
    let mut live = start(&[]);
    assert_eq!(live.ask("asm"), "11 6");
    let code = live.code.replace("mov eax, 11", "mov eax, 12");
    let event = live.save(&code);
    match event["event"].as_str() {
        Some("patched") => assert_eq!(live.ask("asm"), "12 6"),
        Some("restarted") => assert_ne!(event["reason"], ""),
        _ => panic!("{}", live.report()),
    }
}

#[test]
fn modules_are_moved_and_split() {
    let mut live = start(&[]);
    assert_eq!(live.ask("parts"), "40");
    let pointer = "static KEPT: std::sync::OnceLock<fn(u32) -> u32> = std::sync::OnceLock::new();\n\
        pub fn kept(x: u32) -> u32 { KEPT.get_or_init(|| part)(x) }\npub fn part(x: u32) -> u32 { x * 10 }\n";
    other(&mut live, "src/code/parts.rs", pointer);
    live.edit("parts::part(4)", "parts::kept(4)");
    assert_eq!(live.ask("parts"), "40");
    // The module's file moves: the same function comes from another file.
    live.project.write("src/code/parts/mod.rs", &pointer.replace("x * 10", "x * 11"));
    std::fs::remove_file(live.project.file("src/code/parts.rs")).unwrap();
    assert_eq!(live.outcome()["event"], "patched", "{}", live.report());
    assert_eq!(live.ask("parts"), "44");
    // The function moves to a module inside: another function, and the old pointer keeps the old one.
    live.project.write("src/code/parts/inner.rs", "pub fn part(x: u32) -> u32 { x * 12 }\n");
    let split = pointer.replace("pub fn part(x: u32) -> u32 { x * 10 }", "mod inner;\npub use inner::part;");
    other(&mut live, "src/code/parts/mod.rs", &split.replace("(|| part)(x)", "(|| part)(x) + part(x)"));
    assert_eq!(live.ask("parts"), "92");
}

#[test]
fn the_programs_own_allocator_is_patched() {
    let code = r#"
use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
static COUNT: AtomicU64 = AtomicU64::new(0);
struct Counting;
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 { COUNT.fetch_add(1, Relaxed); unsafe { System.alloc(layout) } }
    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) { unsafe { System.dealloc(at, layout) } }
}
#[global_allocator]
static ALLOCATOR: Counting = Counting;
pub fn start() {}
pub fn answer(_: &str) -> String {
    let before = COUNT.load(Relaxed);
    drop(std::hint::black_box(Box::new([1u8; 100])));
    (COUNT.load(Relaxed) - before).to_string()
}
"#;
    let mut live = Live::new(code);
    assert_eq!(live.ask("?"), "1");
    live.edit("COUNT.fetch_add(1,", "COUNT.fetch_add(layout.size() as u64,");
    assert_eq!(live.ask("?"), "100");
}
