//! Going back, by edit and by command.

use crate::live::Live;
use crate::session::livepatch;

const CODE: &str = r#"
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
static N: AtomicU32 = AtomicU32::new(0);
static NAMES: [&str; 3] = ["a", "b", "c"];
pub fn start() {}
struct Odd;
impl std::fmt::Display for Odd {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result { write!(f, "odd") }
}
fn generic<T: std::fmt::Display>(x: T) -> String { format!("<{x}>") }
fn name(i: usize) -> &'static str { NAMES[i % 3] }
pub fn answer(question: &str) -> String {
    let n = N.fetch_add(1, Relaxed);
    format!("{n} {} {} {} {}", generic(question), generic(Odd), name(n as usize), shape(question.len()))
}
fn shape(x: usize) -> usize { [1, 2, 4].iter().map(|y| x * y).sum() }
"#;

/// What the base build answers as its `n`th answer.
fn base(n: usize, question: &str) -> String {
    format!("{n} <{question}> <odd> {} {}", ["a", "b", "c"][n % 3], question.len() * 7)
}

/// Edits everything; the answer that follows.
fn edit_all(live: &mut Live) {
    let code = live.code.replace("\"odd\")", "\"even {}\", 2)").replace("<{x}>", "[{x}]");
    let code = code.replace("i % 3]", "(i + 1) % 3]").replace("[1, 2, 4]", "[1, 2, 5, 8]");
    live.patch(&code);
}

fn edited(n: usize, question: &str) -> String {
    format!("{n} [{question}] [even 2] {} {}", ["a", "b", "c"][(n + 1) % 3], question.len() * 16)
}

fn roll_back(live: &Live, to: &str) {
    let output = livepatch(&live.project, &["rollback", "--to", to]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn an_edit_taken_back_is_the_program_of_before_with_its_state() {
    let mut live = Live::new(CODE);
    assert_eq!(live.ask("hey"), base(0, "hey"));
    edit_all(&mut live);
    assert_eq!(live.ask("hey"), edited(1, "hey"));
    live.patch(CODE);
    assert_eq!(live.ask("hey"), base(2, "hey"));
    edit_all(&mut live);
    assert_eq!(live.ask("hey"), edited(3, "hey"));
    roll_back(&live, "0");
    assert_eq!(live.ask("hey"), base(4, "hey"));
    // On from there, as if nothing had been.
    live.edit("[1, 2, 5, 8]", "[1, 1]");
    let answer = live.ask("hey");
    assert_eq!(answer, format!("5 [hey] [even 2] {} 6", ["a", "b", "c"][6 % 3]));
    roll_back(&live, "0");
    assert_eq!(live.ask("hey"), base(6, "hey"));
}

#[test]
fn every_patch_can_be_gone_back_to() {
    let mut live = Live::new(CODE);
    let tail = |answer: String| answer.rsplit(' ').next().unwrap().to_owned();
    for n in 1..=5 {
        let from = if n == 1 { "x * y)".to_owned() } else { format!("x * y + {})", n - 1) };
        live.edit(&from, &format!("x * y + {n})"));
    }
    for to in [4, 2, 1, 0] {
        roll_back(&live, &to.to_string());
        // Three terms, each with the number added.
        assert_eq!(tail(live.ask("xx")), (14 + 3 * to).to_string());
    }
}

/// Of patches long ago it is not known any more how to go back to them, but to the beginning it is: with what each
/// of them added, and what was added again.
#[test]
fn from_many_patches_to_the_beginning() {
    const PATCHES: usize = 36;
    let mut live = Live::new(CODE);
    let code = |n: usize| {
        let code = CODE.replace("[1, 2, 4]", &format!("[1, 2, 4, added_{n}()]"));
        code + &format!(
            "fn added_{n}() -> usize {{ {n} + LATE.len() }}\nstatic LATE: [u8; {n}] = [0; {n}];\n"
        )
    };
    let tail = |live: &mut Live| live.ask("x").rsplit(' ').next().unwrap().to_owned();
    for n in 1..=PATCHES {
        live.patch(&code(n));
        assert_eq!(tail(&mut live), (7 + 2 * n).to_string());
    }
    for to in [PATCHES - 1, PATCHES - 30] {
        roll_back(&live, &to.to_string());
        assert_eq!(tail(&mut live), (7 + 2 * to).to_string());
    }
    let refused = livepatch(&live.project, &["rollback", "--to", "2"]);
    assert!(!refused.status.success());
    assert!(String::from_utf8_lossy(&refused.stderr).contains("too far back"));
    roll_back(&live, "0");
    assert_eq!(tail(&mut live), "7");
    for n in [PATCHES - 1, 1] {
        live.patch(&code(n));
        assert_eq!(tail(&mut live), (7 + 2 * n).to_string());
    }
    roll_back(&live, "0");
    let asked = PATCHES + 5;
    assert_eq!(live.ask("hey"), base(asked, "hey"));
}
