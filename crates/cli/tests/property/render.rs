//! A program as Rust. `run` is asked for values, `dump` for the state, and `load` sets it.

use crate::program::{Expr, Function, Home, Kind, OPERATIONS, Object, Program, Static};
use std::fmt::Write as _;

/// The program's files.
pub(crate) fn files(program: &Program) -> Vec<(&'static str, String)> {
    vec![
        ("src/code.rs", root(program)),
        ("src/code/a.rs", format!("{}{}", items(program, Home::A), objects(program))),
        ("src/code/b.rs", format!("{}{}", items(program, Home::B), closures(program))),
        ("base/src/lib.rs", format!("#![allow(warnings)]\n{BASE}{}", items(program, Home::Base))),
    ]
}

const BASE: &str = "pub struct Pair { pub count: u64, pub times: u32 }\n";

/// What each module has: functions, statics, constants.
fn items(program: &Program, home: Home) -> String {
    let mut text = "// A remark.\n".repeat(program.remarks);
    text.push_str("use std::sync::atomic::{AtomicU64, Ordering::Relaxed};\nuse std::sync::Mutex;\n");
    for (index, (_, value)) in program.constants.iter().enumerate().filter(|(_, c)| c.0 == home) {
        writeln!(text, "pub const C{index}: u64 = {value};").unwrap();
    }
    for (index, table) in program.tables.iter().enumerate().filter(|(_, table)| table.home == home) {
        writeln!(text, "pub static T{index}: [u64; {}] = {:?};", table.values.len(), table.values).unwrap();
    }
    for one in program.statics.iter().filter(|one| one.home == home) {
        text.push_str(&static_(one));
    }
    for (index, generic) in program.generics.iter().enumerate().filter(|(_, one)| one.home == home) {
        let body = expression(program, home, &generic.body);
        writeln!(
            text,
            "pub fn g{index}<T: Into<u64> + Copy>(x: T, y: u64) -> u64 {{\n    let x: u64 = x.into();\n    {body}\n}}"
        )
        .unwrap();
    }
    for one in program.functions.iter().flatten().filter(|one| one.home == home) {
        text.push_str(&function(program, one));
    }
    text
}

fn static_(one: &Static) -> String {
    let Static { name, value, .. } = one;
    match one.kind {
        Kind::Atomic => format!("pub static {name}: AtomicU64 = AtomicU64::new({value});\n"),
        Kind::Local { lazy: false } => format!(
            "thread_local! {{ pub static {name}: std::cell::Cell<u64> = const {{ std::cell::Cell::new({value}) }}; }}\n"
        ),
        Kind::Local { lazy: true } => {
            format!(
                "thread_local! {{ pub static {name}: std::cell::Cell<u64> = std::cell::Cell::new({value}); }}\n"
            )
        }
        Kind::Locked => {
            let pair = if one.home == Home::Base { "Pair" } else { "base::Pair" };
            format!("pub static {name}: Mutex<{pair}> = Mutex::new({pair} {{ count: {value}, times: 0 }});\n")
        }
    }
}

fn function(program: &Program, function: &Function) -> String {
    let parameters: Vec<String> = function.parameters.iter().map(|name| format!("{name}: u64")).collect();
    let body = expression(program, function.home, &function.body);
    format!(
        "{}\npub fn {}({}) -> u64 {{\n    {body}\n}}\n",
        function.attribute,
        function.name,
        parameters.join(", ")
    )
}

/// The trait, and what implements it.
fn objects(program: &Program) -> String {
    let twice = expression(program, Home::A, &program.twice);
    let mut text = format!(
        "pub trait Act {{\n    fn act(&self, x: u64) -> u64;\n    fn twice(&self, x: u64) -> u64 {{\n        {twice}\n    }}\n    \
         fn show(&self) -> String;\n}}\npub fn through(object: &dyn Act, x: u64) -> u64 {{\n    object.act(x) ^ object.twice(x)\n}}\n"
    );
    for object in &program.objects {
        let Object { name, fields, .. } = object;
        writeln!(text, "pub struct {name} {{").unwrap();
        fields.iter().for_each(|(name, bits)| writeln!(text, "    pub {name}: u{bits},").unwrap());
        writeln!(text, "}}\nimpl Act for {name} {{").unwrap();
        for (method, body) in [("act", Some(&object.act)), ("twice", object.twice.as_ref())] {
            if let Some(body) = body {
                let body = expression(program, Home::A, body);
                writeln!(text, "    fn {method}(&self, x: u64) -> u64 {{\n        {body}\n    }}").unwrap();
            }
        }
        let places = vec!["{}"; fields.len()].join(",");
        let values: String = fields.iter().map(|(name, _)| format!(", self.{name}")).collect();
        writeln!(
            text,
            "    fn show(&self) -> String {{\n        format!(\"{name}:{places}\"{values})\n    }}\n}}"
        )
        .unwrap();
    }
    text
}

/// Functions that make the closures that are kept.
fn closures(program: &Program) -> String {
    let mut text = String::from("pub type Kept = Box<dyn Fn(u64) -> u64 + Send>;\n");
    for (index, body) in program.closures.iter().enumerate() {
        let body = expression(program, Home::B, body);
        writeln!(
            text,
            "pub fn make{index}(a: u64) -> Kept {{\n    Box::new(move |x| a.wrapping_add({body}))\n}}"
        )
        .unwrap();
    }
    text
}

fn root(program: &Program) -> String {
    let mut text = String::from(ROOT);
    let held = program.functions.iter().flatten().filter(|function| function.held);
    let held: Vec<String> = held.map(|f| format!("{}::{}", f.home.path(Home::B), f.name)).collect();
    let made = |object: &Object, value: &str| {
        let fields = object.fields.iter().map(|(name, bits)| format!("{name}: {value} as u{bits}"));
        format!("Box::new(a::{} {{ {} }})", object.name, fields.collect::<Vec<_>>().join(", "))
    };
    let new: Vec<String> =
        program.objects.iter().enumerate().map(|(n, one)| format!("{n} => {}", made(one, "x"))).collect();
    let makers: Vec<String> = (0..program.closures.len()).map(|n| format!("b::make{n}")).collect();
    let parts: Vec<String> =
        program.run.iter().map(|part| format!("all.push({});", expression(program, Home::B, part))).collect();
    write!(
        text,
        "fn held() -> Vec<fn(u64) -> u64> {{\n    vec![{}]\n}}\n\
         fn new(x: u64) -> Object {{\n    match x % {} {{\n        {},\n        _ => unreachable!(),\n    }}\n}}\n\
         const MAKERS: &[fn(u64) -> b::Kept] = &[{}];\n\
         fn parts(x: u64, all: &mut Vec<u64>) {{\n    {}\n}}\n",
        held.join(", "),
        program.objects.len(),
        new.join(",\n        "),
        makers.join(", "),
        parts.join("\n    ")
    )
    .unwrap();
    text.push_str(&state(program));
    text
}

/// What reads and sets each static, and what makes objects of a text.
fn state(program: &Program) -> String {
    let (mut read, mut set) = (String::new(), String::new());
    for one in &program.statics {
        let (name, path) = (&one.name, format!("{}::{}", one.home.path(Home::B), one.name));
        let (get, put) = match one.kind {
            Kind::Atomic => (format!("{path}.load(Relaxed)"), format!("{path}.store(value[0], Relaxed)")),
            Kind::Local { .. } => (format!("{path}.get()"), format!("{path}.set(value[0])")),
            Kind::Locked => (
                format!(
                    "{{ let pair = {path}.lock().unwrap(); format!(\"{{}},{{}}\", pair.count, pair.times) }}"
                ),
                format!(
                    "{{ let mut pair = {path}.lock().unwrap(); pair.count = value[0]; pair.times = value[1] as u32; }}"
                ),
            ),
        };
        writeln!(read, "    all.push(format!(\"{name}={{}}\", {get}));").unwrap();
        writeln!(set, "        \"{name}\" => {put},").unwrap();
    }
    let mut known = String::new();
    for Object { name, fields, .. } in &program.objects {
        let fields = fields.iter().enumerate();
        let fields: Vec<String> =
            fields.map(|(n, (name, bits))| format!("{name}: value[{n}] as u{bits}")).collect();
        writeln!(known, "        \"{name}\" => Box::new(a::{name} {{ {} }}),", fields.join(", ")).unwrap();
    }
    format!(
        "fn read(all: &mut Vec<String>) {{\n{read}}}\nfn set(name: &str, value: &[u64]) {{\n    match name {{\n{set}        _ => {{}}\n    }}\n}}\n\
         fn object(name: &str, value: &[u64]) -> Object {{\n    match name {{\n{known}        _ => panic!(\"no object {{name}}\"),\n    }}\n}}\n"
    )
}

const ROOT: &str = r#"#![allow(warnings)]
pub mod a;
pub mod b;
use std::sync::Mutex;
use std::sync::atomic::Ordering::Relaxed;

type Object = Box<dyn a::Act + Send>;
static OBJECTS: Mutex<Vec<Object>> = Mutex::new(Vec::new());
static CLOSURES: Mutex<Vec<(usize, u64, b::Kept)>> = Mutex::new(Vec::new());
static HELD: Mutex<Vec<fn(u64) -> u64>> = Mutex::new(Vec::new());

pub fn start() {
    HELD.lock().unwrap().extend(held());
    (0..3).for_each(|x| OBJECTS.lock().unwrap().push(new(x)));
    (0..2).for_each(|n| CLOSURES.lock().unwrap().push((n, 100 + n as u64, MAKERS[n](100 + n as u64))));
}
pub fn answer(question: &str) -> String {
    match question.split_once(' ') {
        Some(("run", x)) => run(x.parse().unwrap()),
        Some(("load", state)) => load(state),
        _ => dump(),
    }
}
fn run(x: u64) -> String {
    let mut all = Vec::new();
    parts(x, &mut all);
    let mut objects = OBJECTS.lock().unwrap();
    objects.iter().for_each(|object| all.push(a::through(&**object, x)));
    let mut closures = CLOSURES.lock().unwrap();
    closures.iter().for_each(|closure| all.push(closure.2(x)));
    HELD.lock().unwrap().iter().for_each(|held| all.push(held(x)));
    if objects.len() < 7 {
        objects.push(new(x));
    }
    if closures.len() < 5 {
        let n = x as usize % MAKERS.len();
        closures.push((n, x, MAKERS[n](x)));
    }
    all.iter().map(u64::to_string).collect::<Vec<_>>().join(" ")
}
fn dump() -> String {
    let mut all = Vec::new();
    read(&mut all);
    OBJECTS.lock().unwrap().iter().for_each(|object| all.push(format!("object={}", object.show())));
    CLOSURES.lock().unwrap().iter().for_each(|closure| all.push(format!("closure={}:{}", closure.0, closure.1)));
    all.join(" ")
}
fn load(state: &str) -> String {
    OBJECTS.lock().unwrap().clear();
    CLOSURES.lock().unwrap().clear();
    for (name, value) in state.split(' ').filter_map(|word| word.split_once('=')) {
        let (of, value) = value.split_once(':').unwrap_or(("", value));
        let value: Vec<u64> = value.split(',').map(|n| n.parse().unwrap()).collect();
        match name {
            "object" => OBJECTS.lock().unwrap().push(object(of, &value)),
            "closure" => {
                let n: usize = of.parse().unwrap();
                CLOSURES.lock().unwrap().push((n, value[0], MAKERS[n](value[0])));
            }
            _ => set(name, &value),
        }
    }
    "loaded".to_owned()
}
"#;

/// An expression, in parentheses unless it is a name or a call.
fn expression(program: &Program, home: Home, expr: &Expr) -> String {
    let sub = |expr: &Expr| expression(program, home, expr);
    let list = |all: &[Expr]| all.iter().map(sub).collect::<Vec<_>>().join(", ");
    match expr {
        Expr::Number(number) => format!("{number}u64"),
        Expr::Variable(name) => name.clone(),
        Expr::Constant(index) => format!("{}::C{index}", program.constants[*index].0.path(home)),
        Expr::Element(index, at) => {
            let table = format!("{}::T{index}", program.tables[*index].home.path(home));
            format!("{table}[({} % {table}.len() as u64) as usize]", sub(at))
        }
        Expr::Read(index) => read(&program.statics[*index], home),
        Expr::Add(index, more) => add(&program.statics[*index], home, &sub(more)),
        Expr::Call(index, all) => match &program.functions[*index] {
            Some(function) => format!("{}::{}({})", function.home.path(home), function.name, list(all)),
            None => "0u64".to_owned(),
        },
        Expr::Generic(index, bits, a, b) => {
            let path = program.generics[*index].home.path(home);
            format!("{path}::g{index}({} as u{bits}, {})", sub(a), sub(b))
        }
        Expr::Method { object, fields, argument, dynamic } => {
            let object = &program.objects[*object];
            let values = object.fields.iter().zip(fields);
            let values: Vec<String> =
                values.map(|((name, bits), value)| format!("{name}: {} as u{bits}", sub(value))).collect();
            let how = if *dynamic { "through" } else { "Act::twice" };
            let (name, values) = (&object.name, values.join(", "));
            format!("crate::code::a::{how}(&crate::code::a::{name} {{ {values} }}, {})", sub(argument))
        }
        Expr::Operation(operation, a, b) => {
            format!("({})", OPERATIONS[*operation].replace("{a}", &sub(a)).replace("{b}", &sub(b)))
        }
        Expr::If(condition, a, b) => {
            format!("(if {} % 2 == 1 {{ {} }} else {{ {} }})", sub(condition), sub(a), sub(b))
        }
        Expr::Match(of, arms) => {
            let mut text = format!("(match {} % {} {{ ", sub(of), arms.len());
            let last = arms.len() - 1;
            for (index, arm) in arms.iter().enumerate() {
                let pattern = if index == last { "_".to_owned() } else { index.to_string() };
                write!(text, "{pattern} => {}, ", sub(arm)).unwrap();
            }
            text + "})"
        }
        Expr::Fold { count, from, names: [a, b], body } => {
            format!("(0..{} % 4).fold({}, |{a}: u64, {b}: u64| {})", sub(count), sub(from), sub(body))
        }
        Expr::Map { of: [a, b, c], name, body } => {
            let of = format!("[{}, {}, {}]", sub(a), sub(b), sub(c));
            let elements = match program.references {
                true => format!("iter().map(|&{name}: &u64|"),
                false => format!("into_iter().map(|{name}: u64|"),
            };
            format!("{of}.{elements} {}).fold(0u64, u64::wrapping_add)", sub(body))
        }
    }
}

fn read(one: &Static, home: Home) -> String {
    let path = format!("{}::{}", one.home.path(home), one.name);
    match one.kind {
        Kind::Atomic => format!("{path}.load(std::sync::atomic::Ordering::Relaxed)"),
        Kind::Local { .. } => format!("{path}.get()"),
        Kind::Locked => {
            format!("({{ let p = {path}.lock().unwrap(); let n = p.count ^ u64::from(p.times); n }})")
        }
    }
}

fn add(one: &Static, home: Home, more: &str) -> String {
    let path = format!("{}::{}", one.home.path(home), one.name);
    match one.kind {
        Kind::Atomic => format!("{path}.fetch_add({more}, std::sync::atomic::Ordering::Relaxed)"),
        Kind::Local { .. } => {
            format!("({{ let more_ = {more}; {path}.replace({path}.get().wrapping_add(more_)) }})")
        }
        Kind::Locked => format!(
            "({{ let more_ = {more}; let mut p = {path}.lock().unwrap(); let n = p.count; \
             p.count = n.wrapping_add(more_); p.times = p.times.wrapping_add(1); n }})"
        ),
    }
}
