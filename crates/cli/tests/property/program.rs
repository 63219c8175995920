//! A program as data: what edits change, and what is written as Rust.

/// A crate or module that items are in.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) enum Home {
    /// The library crate `base`, which knows nothing of the program.
    Base,
    /// `crate::code::a`.
    A,
    /// `crate::code::b`.
    B,
}

impl Home {
    pub(crate) const ALL: [Self; 3] = [Self::Base, Self::A, Self::B];

    /// The path of its items, from another one.
    pub(crate) fn path(self, from: Self) -> &'static str {
        match self {
            Self::Base if from == Self::Base => "crate",
            Self::Base => "base",
            Self::A => "crate::code::a",
            Self::B => "crate::code::b",
        }
    }

    /// Whether code there can name what is in `other`.
    pub(crate) fn sees(self, other: Self) -> bool {
        self != Self::Base || other == Self::Base
    }
}

/// An expression of type `u64`.
#[derive(Clone, PartialEq, Debug)]
pub(crate) enum Expr {
    Number(u64),
    /// A parameter, a field (`self.f0`) or a closure's parameter.
    Variable(String),
    Constant(usize),
    /// An element of a read-only static.
    Element(usize, Box<Expr>),
    /// A static's or thread-local's value.
    Read(usize),
    /// Adds to it, and is what it was.
    Add(usize, Box<Expr>),
    Call(usize, Vec<Expr>),
    /// A generic function, with its first argument as a number of so many bits.
    Generic(usize, u32, Box<Expr>, Box<Expr>),
    /// A method of a value that is made here: directly, or through a trait object.
    Method {
        object: usize,
        fields: Vec<Expr>,
        argument: Box<Expr>,
        dynamic: bool,
    },
    /// One of [`OPERATIONS`].
    Operation(usize, Box<Expr>, Box<Expr>),
    If(Box<Expr>, Box<Expr>, Box<Expr>),
    Match(Box<Expr>, Vec<Expr>),
    /// A fold over a small range, with a closure of two parameters.
    Fold {
        count: Box<Expr>,
        from: Box<Expr>,
        names: [String; 2],
        body: Box<Expr>,
    },
    /// A sum of what a closure makes of three numbers.
    Map {
        of: [Box<Expr>; 3],
        name: String,
        body: Box<Expr>,
    },
}

/// Operations of two numbers, none of which can panic.
pub(crate) const OPERATIONS: [&str; 14] = [
    "{a}.wrapping_add({b})",
    "{a}.wrapping_sub({b})",
    "{a}.wrapping_mul({b})",
    "({a} ^ {b})",
    "({a} % ({b} | 1))",
    "{a}.rotate_left(({b} % 64) as u32)",
    "((({a} as u128) * ({b} as u128)) >> 17) as u64",
    "((({a} as u32 as f64) * 1.25 - ({b} as u16 as f64)).abs() as u64)",
    "(format!(\"{:x}-{}\", {a}, {b} as u8).bytes().map(u64::from).sum::<u64>())",
    "{a}.checked_div({b} % 3).unwrap_or(77)",
    "[{a}, {b}].into_iter().max().unwrap_or_default()",
    "({a}.min({b}) as u32 as i32).saturating_mul(-7) as u64",
    "u64::from(({a} as u8).leading_zeros()).wrapping_add({b})",
    "(std::collections::BTreeMap::from([({a} % 7, {b}), (3, 9)]).into_values().fold(0u64, u64::wrapping_add))",
];

#[derive(Clone, PartialEq, Debug)]
pub(crate) struct Function {
    pub(crate) name: String,
    pub(crate) home: Home,
    /// It calls functions of lower levels only.
    pub(crate) level: u32,
    pub(crate) parameters: Vec<String>,
    pub(crate) body: Expr,
    /// `#[inline]`, `#[inline(never)]`, … or nothing.
    pub(crate) attribute: &'static str,
    /// Somebody holds its address: its name, place and signature stay.
    pub(crate) held: bool,
}

/// `fn g<T: Into<u64> + Copy>(x: T, y: u64) -> u64`.
#[derive(Clone, PartialEq, Debug)]
pub(crate) struct Generic {
    pub(crate) home: Home,
    pub(crate) body: Expr,
}

/// A struct that implements the trait `Act`.
#[derive(Clone, PartialEq, Debug)]
pub(crate) struct Object {
    pub(crate) name: String,
    /// Names and bits.
    pub(crate) fields: Vec<(String, u32)>,
    pub(crate) act: Expr,
    /// The trait has a default.
    pub(crate) twice: Option<Expr>,
}

#[derive(Clone, PartialEq, Debug)]
pub(crate) struct Static {
    pub(crate) name: String,
    pub(crate) home: Home,
    pub(crate) kind: Kind,
    pub(crate) value: u64,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Kind {
    Atomic,
    /// A thread-local that is made at the start, or at its first use.
    Local {
        lazy: bool,
    },
    /// In a structure behind a lock.
    Locked,
}

#[derive(Clone, PartialEq, Debug)]
pub(crate) struct Table {
    pub(crate) home: Home,
    pub(crate) values: Vec<u64>,
}

/// All of it. Items refer to each other by index; a function that is gone leaves a hole.
#[derive(Clone, PartialEq, Debug)]
pub(crate) struct Program {
    pub(crate) functions: Vec<Option<Function>>,
    pub(crate) generics: Vec<Generic>,
    pub(crate) objects: Vec<Object>,
    /// The trait's default method.
    pub(crate) twice: Expr,
    pub(crate) statics: Vec<Static>,
    pub(crate) constants: Vec<(Home, u64)>,
    pub(crate) tables: Vec<Table>,
    /// Bodies of closures that are kept: of what they capture, `a`, and their argument, `x`.
    pub(crate) closures: Vec<Expr>,
    /// What `run` combines, of `x`.
    pub(crate) run: Vec<Expr>,
    /// Lines of comment in front of the items.
    pub(crate) remarks: usize,
    /// Whether closures have written references in their arguments. Such a closure, when it is the first one,
    /// changes the function's name, which can be seen through with debug information only.
    pub(crate) references: bool,
}

impl Expr {
    /// Does something with this expression and all in it, the innermost first.
    pub(crate) fn walk(&mut self, act: &mut impl FnMut(&mut Expr)) {
        match self {
            Self::Number(_) | Self::Variable(_) | Self::Constant(_) | Self::Read(_) => {}
            Self::Element(_, a) | Self::Add(_, a) => a.walk(act),
            Self::Generic(_, _, a, b) | Self::Operation(_, a, b) => {
                a.walk(act);
                b.walk(act);
            }
            Self::Call(_, all) => all.iter_mut().for_each(|one| one.walk(act)),
            Self::Method { fields, argument, .. } => {
                fields.iter_mut().for_each(|one| one.walk(act));
                argument.walk(act);
            }
            Self::If(a, b, c) => [a, b, c].into_iter().for_each(|one| one.walk(act)),
            Self::Match(of, arms) => {
                of.walk(act);
                arms.iter_mut().for_each(|one| one.walk(act));
            }
            Self::Fold { count, from, body, .. } => {
                [count, from, body].into_iter().for_each(|one| one.walk(act));
            }
            Self::Map { of, body, .. } => {
                of.iter_mut().for_each(|one| one.walk(act));
                body.walk(act);
            }
        }
        act(self);
    }
}

impl Program {
    /// Does something with every expression.
    pub(crate) fn walk(&mut self, act: &mut impl FnMut(&mut Expr)) {
        self.functions.iter_mut().flatten().for_each(|function| function.body.walk(act));
        self.generics.iter_mut().for_each(|generic| generic.body.walk(act));
        for object in &mut self.objects {
            object.act.walk(act);
            object.twice.iter_mut().for_each(|body| body.walk(act));
        }
        self.twice.walk(act);
        self.closures.iter_mut().for_each(|body| body.walk(act));
        self.run.iter_mut().for_each(|part| part.walk(act));
    }
}
