//! The edits of the soak, and what the program must answer with them: worked out here, not looked at there.

/// What the program's source says: the number of the last edit of each of its pieces.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(super) struct Pieces {
    /// A function's body, in one of three forms.
    pub(super) body: u64,
    /// A function under a new name.
    pub(super) added: u64,
    /// A static under a new name.
    pub(super) count: u64,
    /// A closure that captures something else than the one before.
    pub(super) closure: u64,
    /// A future that keeps something else than the one before.
    pub(super) work: u64,
}

/// What the bodies' callers pass.
const X: u64 = 7;

impl Pieces {
    /// The text of `src/code.rs`.
    pub(super) fn source(&self) -> String {
        let texts = [
            ("{{body}}", body(self.body)),
            ("{{added}}", self.added.to_string()),
            ("{{count}}", self.count.to_string()),
            ("{{closure}}", closure(self.closure)),
            ("{{work}}", work(self.work)),
        ];
        let template = include_str!("../../fixtures/soak/code.rs").to_owned();
        texts.iter().fold(template, |text, (mark, with)| text.replace(mark, with))
    }

    /// What comes after the number of questions asked.
    pub(super) fn body_answer(&self) -> String {
        let n = self.body;
        match n % 3 {
            0 => format!("body {n}: {}", X * n),
            1 => format!("body {n}: {}", 5 * X + n),
            _ => format!("body {n}: {}={n},{}={n}", X, X + 1),
        }
    }

    pub(super) fn added_answer(&self) -> u64 {
        1 + self.added
    }

    /// What a closure that is made now answers, for ever.
    pub(super) fn closure_answer(&self) -> u64 {
        let n = self.closure;
        match n % 3 {
            0 => 2 * n,
            1 => 3 * n + 1,
            _ => 4 * n,
        }
    }

    /// What a future gives that this code began with an argument below ten.
    pub(super) fn work_answer(&self, x: u64) -> u64 {
        let n = self.work;
        if n.is_multiple_of(2) { 2 * x + n } else { x + 1 + n }
    }
}

fn body(n: u64) -> String {
    match n % 3 {
        0 => format!("format!(\"body {n}: {{}}\", x * {n})"),
        1 => format!(
            "let all = black_box([x; 5]);\n    if all[0] > 100 {{\n        panic!(\"{n}\");\n    }}\n    \
             format!(\"body {n}: {{}}\", all.iter().sum::<u64>() + {n})"
        ),
        // Generic code with closures inside.
        _ => format!(
            "let map: BTreeMap<u64, u64> = [x + 1, x].into_iter().map(|key| (key, {n})).collect();\n    \
             let all: Vec<String> = map.iter().map(|(key, value)| format!(\"{{key}}={{value}}\")).collect();\n    \
             format!(\"body {n}: {{}}\", all.join(\",\"))"
        ),
    }
}

fn closure(n: u64) -> String {
    match n % 3 {
        0 => format!("let a = black_box({n}u64);\n    Box::new(move || a * 2)"),
        1 => format!("let (a, b) = black_box(({n}u64, 1u64));\n    Box::new(move || a * 3 + b)"),
        _ => format!("let all = black_box(vec![{n}u64; 4]);\n    Box::new(move || all.iter().sum())"),
    }
}

fn work(n: u64) -> String {
    if n.is_multiple_of(2) {
        format!("let all = [x; 2];\n    Pause(false).await;\n    all[0] + all[1] + {n}")
    } else {
        format!(
            "let (a, text) = (x, x.to_string());\n    Pause(false).await;\n    a + text.len() as u64 + {n}"
        )
    }
}
