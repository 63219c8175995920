//! Random programs and random expressions.

use crate::program::{Expr, Function, Generic, Home, Kind, OPERATIONS, Object, Program, Static, Table};
use fastrand::Rng;

const ATTRIBUTES: [&str; 5] = ["", "", "#[inline]", "#[inline(never)]", "#[inline(always)]"];
pub(crate) const WIDTHS: [u32; 4] = [8, 16, 32, 64];

/// What an expression can name.
pub(crate) struct Scope<'p> {
    pub(crate) program: &'p Program,
    pub(crate) home: Home,
    /// Functions of lower levels can be called.
    pub(crate) level: u32,
    pub(crate) variables: Vec<String>,
    /// Methods of objects can be called, which do not call any themselves.
    pub(crate) methods: bool,
}

/// The level of `run`: above all others.
pub(crate) const TOP: u32 = 4;

/// An expression, so many levels deep at the most.
pub(crate) fn expression(rng: &mut Rng, scope: &mut Scope<'_>, depth: u32) -> Expr {
    if depth == 0 || rng.u8(..8) == 0 {
        return leaf(rng, scope);
    }
    let mut sub = |rng: &mut Rng| Box::new(expression(rng, scope, depth - 1));
    match rng.u8(..13) {
        0..3 => Expr::Operation(rng.usize(..OPERATIONS.len()), sub(rng), sub(rng)),
        3 => Expr::If(sub(rng), sub(rng), sub(rng)),
        4 => Expr::Match(sub(rng), (0..rng.usize(2..7)).map(|_| *sub(rng)).collect()),
        5 => {
            let (count, from) = (sub(rng), sub(rng));
            let names = [fresh(scope), format!("{}b", fresh(scope))];
            let body = Box::new(inside(rng, scope, &names, depth));
            Expr::Fold { count, from, names, body }
        }
        6 => {
            let of = [sub(rng), sub(rng), sub(rng)];
            let name = fresh(scope);
            let body = Box::new(inside(rng, scope, std::slice::from_ref(&name), depth));
            Expr::Map { of, name, body }
        }
        7 => element(rng, scope, depth),
        8 => add(rng, scope, depth),
        9 => generic(rng, scope, depth),
        10 => method(rng, scope, depth),
        _ => call(rng, scope, depth),
    }
}

fn leaf(rng: &mut Rng, scope: &Scope<'_>) -> Expr {
    let program = scope.program;
    let constants = seen(scope, program.constants.iter().map(|constant| constant.0));
    let statics = seen(scope, program.statics.iter().map(|one| one.home));
    match rng.u8(..6) {
        0 if !constants.is_empty() => Expr::Constant(one_of(rng, &constants)),
        1 if !statics.is_empty() => Expr::Read(one_of(rng, &statics)),
        2 => Expr::Number(number(rng)),
        _ if scope.variables.is_empty() => Expr::Number(number(rng)),
        _ => Expr::Variable(scope.variables[rng.usize(..scope.variables.len())].clone()),
    }
}

/// A body of a closure: sees its parameters too.
fn inside(rng: &mut Rng, scope: &mut Scope<'_>, names: &[String], depth: u32) -> Expr {
    let (before, level) = (scope.variables.len(), scope.level);
    scope.variables.extend_from_slice(names);
    // It runs several times: what it calls is to be small.
    scope.level = level.saturating_sub(1);
    let body = expression(rng, scope, depth - 1);
    scope.variables.truncate(before);
    scope.level = level;
    body
}

/// A name that no variable in scope has.
fn fresh(scope: &Scope<'_>) -> String {
    format!("v{}", scope.variables.len())
}

fn element(rng: &mut Rng, scope: &mut Scope<'_>, depth: u32) -> Expr {
    let tables = seen(scope, scope.program.tables.iter().map(|table| table.home));
    if tables.is_empty() {
        return leaf(rng, scope);
    }
    Expr::Element(one_of(rng, &tables), Box::new(expression(rng, scope, depth - 1)))
}

fn add(rng: &mut Rng, scope: &mut Scope<'_>, depth: u32) -> Expr {
    let statics = seen(scope, scope.program.statics.iter().map(|one| one.home));
    if statics.is_empty() {
        return leaf(rng, scope);
    }
    Expr::Add(one_of(rng, &statics), Box::new(expression(rng, scope, depth - 1)))
}

fn generic(rng: &mut Rng, scope: &mut Scope<'_>, depth: u32) -> Expr {
    let generics = seen(scope, scope.program.generics.iter().map(|generic| generic.home));
    // Their bodies call functions of the lowest level.
    if generics.is_empty() || scope.level < 2 {
        return leaf(rng, scope);
    }
    let mut sub = || Box::new(expression(rng, scope, depth - 1));
    let (a, b) = (sub(), sub());
    Expr::Generic(one_of(rng, &generics), WIDTHS[rng.usize(..4)], a, b)
}

fn method(rng: &mut Rng, scope: &mut Scope<'_>, depth: u32) -> Expr {
    if !scope.methods || scope.home == Home::Base || scope.level < 2 {
        return leaf(rng, scope);
    }
    let object = rng.usize(..scope.program.objects.len());
    let count = scope.program.objects[object].fields.len();
    let fields = (0..count).map(|_| expression(rng, scope, depth - 1)).collect();
    Expr::Method {
        object,
        fields,
        argument: Box::new(expression(rng, scope, depth - 1)),
        dynamic: rng.bool(),
    }
}

/// A call of a function; of that one, if it is given.
fn call(rng: &mut Rng, scope: &mut Scope<'_>, depth: u32) -> Expr {
    let callable = |function: &Function| function.level < scope.level && scope.home.sees(function.home);
    let functions = scope.program.functions.iter().enumerate();
    let all: Vec<usize> =
        functions.filter(|(_, f)| f.as_ref().is_some_and(callable)).map(|(id, _)| id).collect();
    if all.is_empty() {
        return leaf(rng, scope);
    }
    let function = one_of(rng, &all);
    call_of(rng, scope, function, depth)
}

/// A call of that function.
pub(crate) fn call_of(rng: &mut Rng, scope: &mut Scope<'_>, function: usize, depth: u32) -> Expr {
    let count = scope.program.functions[function].as_ref().map_or(0, |function| function.parameters.len());
    Expr::Call(function, (0..count).map(|_| expression(rng, scope, depth.saturating_sub(1))).collect())
}

/// Indices of what the scope sees.
fn seen(scope: &Scope<'_>, homes: impl Iterator<Item = Home>) -> Vec<usize> {
    homes.enumerate().filter(|(_, home)| scope.home.sees(*home)).map(|(index, _)| index).collect()
}

fn one_of(rng: &mut Rng, all: &[usize]) -> usize {
    all[rng.usize(..all.len())]
}

/// Some place.
pub(crate) fn home(rng: &mut Rng) -> Home {
    Home::ALL[rng.usize(..3)]
}

/// A name that nothing else has, nor has had.
pub(crate) fn name(rng: &mut Rng, of: &str) -> String {
    format!("{of}{:06x}", rng.u32(..1 << 24))
}

/// A number: small ones more often.
pub(crate) fn number(rng: &mut Rng) -> u64 {
    rng.u64(..) >> rng.u32(..64)
}

/// A function, with a body.
pub(crate) fn function(rng: &mut Rng, program: &Program, home: Home, level: u32) -> Function {
    let name = name(rng, "f");
    let parameters: Vec<String> = (0..rng.usize(1..4)).map(|n| format!("p{n}")).collect();
    let body = function_body(rng, program, home, level, parameters.clone());
    Function { name, home, level, parameters, body, attribute: ATTRIBUTES[rng.usize(..5)], held: false }
}

pub(crate) fn function_body(
    rng: &mut Rng,
    program: &Program,
    home: Home,
    level: u32,
    variables: Vec<String>,
) -> Expr {
    expression(rng, &mut Scope { program, home, level, variables, methods: true }, 4)
}

/// A body of a generic function, of `x` and `y`.
pub(crate) fn generic_body(rng: &mut Rng, program: &Program, home: Home) -> Expr {
    body(rng, program, home, vec!["x".into(), "y".into()])
}

/// A body that calls functions of the lowest level only.
fn body(rng: &mut Rng, program: &Program, home: Home, variables: Vec<String>) -> Expr {
    expression(rng, &mut Scope { program, home, level: 1, variables, methods: false }, 3)
}

/// A body of an object's method.
pub(crate) fn method_body(rng: &mut Rng, program: &Program, fields: &[(String, u32)]) -> Expr {
    let fields = fields.iter().map(|(name, _)| format!("u64::from(self.{name})"));
    body(rng, program, Home::A, fields.chain(["x".to_owned()]).collect())
}

/// A body of the trait's default method.
pub(crate) fn default_body(rng: &mut Rng, program: &Program) -> Expr {
    body(rng, program, Home::A, vec!["x".into(), "self.act(x)".into()])
}

/// A body of a closure that is kept.
pub(crate) fn closure_body(rng: &mut Rng, program: &Program) -> Expr {
    let variables = vec!["a".into(), "x".into()];
    expression(rng, &mut Scope { program, home: Home::B, level: 3, variables, methods: true }, 3)
}

/// A struct, with methods.
pub(crate) fn object(rng: &mut Rng, program: &Program) -> Object {
    let fields: Vec<_> = (0..rng.usize(1..4)).map(|n| (format!("m{n}"), WIDTHS[rng.usize(..4)])).collect();
    let act = method_body(rng, program, &fields);
    let twice = rng.bool().then(|| method_body(rng, program, &fields));
    Object { name: name(rng, "Object"), fields, act, twice }
}

pub(crate) fn static_(rng: &mut Rng) -> Static {
    let kind = match rng.u8(..4) {
        0 => Kind::Local { lazy: rng.bool() },
        1 => Kind::Locked,
        _ => Kind::Atomic,
    };
    Static { name: name(rng, "S"), home: home(rng), kind, value: number(rng) }
}

/// A part of what `run` combines.
pub(crate) fn run_part(rng: &mut Rng, program: &Program) -> Expr {
    let variables = vec!["x".into()];
    call(rng, &mut Scope { program, home: Home::B, level: TOP, variables, methods: true }, 2)
}

/// A program to start with.
pub(crate) fn program(rng: &mut Rng) -> Program {
    let mut program = Program {
        references: true,
        functions: Vec::new(),
        generics: Vec::new(),
        objects: Vec::new(),
        twice: Expr::Number(0),
        statics: (0..rng.usize(2..6)).map(|_| static_(rng)).collect(),
        constants: (0..rng.usize(1..4)).map(|_| (home(rng), number(rng))).collect(),
        tables: Vec::new(),
        closures: Vec::new(),
        run: Vec::new(),
        remarks: 0,
    };
    for _ in 0..rng.usize(1..3) {
        let values = (0..rng.usize(1..6)).map(|_| number(rng)).collect();
        program.tables.push(Table { home: home(rng), values });
    }
    for level in 0..TOP {
        for _ in 0..rng.usize(1..4) {
            let home = home(rng);
            let mut new = function(rng, &program, home, level);
            new.held = new.parameters.len() == 1;
            program.functions.push(Some(new));
        }
        if level == 0 {
            for _ in 0..2 {
                let home = home(rng);
                let body = generic_body(rng, &program, home);
                program.generics.push(Generic { home, body });
                let object = object(rng, &program);
                program.objects.push(object);
            }
            program.twice = default_body(rng, &program);
        }
    }
    program.closures = (0..2).map(|_| closure_body(rng, &program)).collect();
    program.run = (0..3).map(|_| run_part(rng, &program)).collect();
    program
}
