//! Shapes of projects.

use crate::live::{Live, package, package_with};
use crate::project::{Project, manifest};
use std::fmt::Write as _;

const CODE: &str = "pub fn start() {}\npub fn answer(x: &str) -> String { format!(\"{} {}\", 1, x.len()) }\n";

/// What links a package's own library `app` to its binary `app`.
fn library_and_binary(library: &str) -> Project {
    let project = package_with(library, CODE);
    let main = std::fs::read_to_string(project.file("src/main.rs")).unwrap();
    project.write("src/main.rs", &main.replace("mod code;", "use app::code;"));
    project.write("src/lib.rs", "pub mod code;\n");
    project
}

fn is_edited(project: Project, arguments: &[&str]) -> Live {
    let mut live = Live::start(project, arguments);
    assert_eq!(live.ask("abc"), "1 3");
    live.edit("1, x.len()", "2, x.len()");
    assert_eq!(live.ask("abc"), "2 3");
    live.edit("x.len())", "x.to_uppercase())");
    assert_eq!(live.ask("abc"), "2 ABC");
    live
}

#[test]
fn a_library_and_a_binary_of_one_name() {
    is_edited(library_and_binary(""), &[]);
}

#[test]
fn a_library_that_is_a_shared_object_too() {
    is_edited(library_and_binary("[lib]\ncrate-type = ['rlib', 'cdylib']\n"), &[]);
}

#[test]
fn std_as_a_shared_object() {
    let project = package(CODE);
    project.write(".cargo/config.toml", "[build]\nrustflags = ['-Cprefer-dynamic']\n");
    is_edited(project, &[]);
}

#[test]
fn code_that_a_build_script_and_a_macro_make() {
    let more = "[dependencies]\nmakes = { path = 'makes' }\n[workspace]\nmembers = ['makes']\n";
    let code = r#"
include!(concat!(env!("OUT_DIR"), "/made.rs"));
makes::function!(by_macro 30);
pub fn start() {}
pub fn answer(x: &str) -> String { format!("{} {} {} {}", by_script(), by_macro(), x.len(), env!("MADE")) }
"#;
    let project = package_with(more, code);
    let script = "fn main() {\n    let to = std::path::Path::new(&std::env::var(\"OUT_DIR\").unwrap()).join(\"made.rs\");\n    \
        std::fs::write(to, \"pub fn by_script() -> u32 { 20 }\").unwrap();\n    println!(\"cargo:rustc-env=MADE=yes\");\n    \
        println!(\"cargo:rerun-if-changed=build.rs\");\n}\n";
    project.write("build.rs", script);
    project.write("makes/Cargo.toml", &manifest("makes", "[lib]\nproc-macro = true\n"));
    let makes = "use proc_macro::TokenStream;\n#[proc_macro]\npub fn function(input: TokenStream) -> TokenStream {\n    \
        let mut input = input.into_iter();\n    \
        format!(\"fn {}() -> u32 {{ {} + 1 }}\", input.next().unwrap(), input.next().unwrap()).parse().unwrap()\n}\n";
    project.write("makes/src/lib.rs", makes);
    let mut live = Live::start(project, &[]);
    assert_eq!(live.ask("abc"), "20 31 3 yes");
    live.edit("x.len()", "x.len() + 1");
    assert_eq!(live.ask("abc"), "20 31 4 yes");
    live.edit("by_macro 30", "by_macro 40");
    assert_eq!(live.ask("abc"), "20 41 4 yes");
    live.edit("env!(\"MADE\"))", "option_env!(\"MADE\").is_some())");
    assert_eq!(live.ask("abc"), "20 41 4 true");
}

#[test]
fn a_thousand_functions_in_one_edit() {
    let mut code = String::from("pub fn start() {}\n");
    for n in 0..1000 {
        writeln!(code, "fn f{n}(x: u64) -> u64 {{ x.wrapping_mul(FACTOR).rotate_left(1) ^ {n} }}").unwrap();
    }
    code.push_str("const FACTOR: u64 = 3;\nstatic ALL: [fn(u64) -> u64; 1000] = [");
    (0..1000).for_each(|n| write!(code, "f{n},").unwrap());
    code.push_str(
        "];\npub fn answer(x: &str) -> String { ALL.iter().fold(x.len() as u64, |x, f| f(x)).to_string() }\n",
    );
    let expected =
        |factor: u64| (0..1000).fold(4, |x: u64, n| x.wrapping_mul(factor).rotate_left(1) ^ n).to_string();
    let mut live = Live::new(&code);
    assert_eq!(live.ask("abcd"), expected(3));
    let mut before = 3;
    for factor in [5, 7] {
        let patched = live.edit(&format!("u64 = {before};"), &format!("u64 = {factor};"));
        assert_eq!(crate::live::functions(&patched).len(), 1000);
        println!("1000 functions: {}", patched["ms"]);
        assert_eq!(live.ask("abcd"), expected(factor));
        before = factor;
    }
}
