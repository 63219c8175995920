//! Random edits of a program.

use crate::generate::{self as make, TOP, number};
use crate::program::{Expr, Home, OPERATIONS, Program};
use fastrand::Rng;

/// What was edited, and whether that may start the program anew.
#[derive(Clone, Default, Debug)]
pub(crate) struct Edit {
    pub(crate) what: Vec<String>,
    pub(crate) restarts: bool,
}

type Change = fn(&mut Rng, &mut Program) -> Option<String>;

/// Edits that must go live. Bodies change most often.
const LIVE: &[Change] = &[
    body_of_a_function,
    body_of_a_function,
    body_of_a_function,
    other_body,
    other_body,
    grown_body,
    grown_body,
    other_number,
    other_number,
    other_constant,
    other_table,
    other_initial_value,
    other_attribute,
    new_function,
    new_function,
    removed_function,
    renamed_function,
    moved_function,
    new_parameter,
    removed_parameter,
    swapped_parameters,
    new_static,
    new_constant,
    new_object,
    remark,
];

/// Edits of what live values are made of.
const LAYOUTS: &[Change] = &[new_field, removed_field, retyped_field];

/// Edits that the gate lets pass, though objects of before keep the other method:
/// `traits/override-added` of the patch fixtures. To be in [`LAYOUTS`].
const PENDING: &[Change] = &[method_of_its_own];

/// Edits a program in one to three places; of layouts, only if that is asked for.
pub(crate) fn edit(rng: &mut Rng, program: &mut Program, layouts: bool) -> Edit {
    let mut edit = Edit::default();
    if layouts && rng.u8(..8) == 0 {
        let all = if std::env::var_os("LIVEPATCH_PROPERTY_PENDING").is_some() { PENDING } else { LAYOUTS };
        edit.what.extend(all[rng.usize(..all.len())](rng, program));
        edit.restarts = !edit.what.is_empty();
    }
    let count = rng.usize(1..4);
    for _ in 0..40 {
        if edit.what.len() < count {
            edit.what.extend(LIVE[rng.usize(..LIVE.len())](rng, program));
        }
    }
    edit
}

/// Some function.
fn any(rng: &mut Rng, program: &Program) -> usize {
    let all: Vec<usize> =
        (0..program.functions.len()).filter(|&id| program.functions[id].is_some()).collect();
    all[rng.usize(..all.len())]
}

/// Some function whose address nobody holds.
fn free(rng: &mut Rng, program: &Program) -> Option<usize> {
    let is_free = |id: &usize| program.functions[*id].as_ref().is_some_and(|function| !function.held);
    let all: Vec<usize> = (0..program.functions.len()).filter(is_free).collect();
    (!all.is_empty()).then(|| all[rng.usize(..all.len())])
}

fn body_of_a_function(rng: &mut Rng, program: &mut Program) -> Option<String> {
    let id = any(rng, program);
    let function = program.functions[id].clone()?;
    let body = make::function_body(rng, program, function.home, function.level, function.parameters);
    program.functions[id].as_mut()?.body = body;
    Some(format!("body of {}", function.name))
}

fn other_body(rng: &mut Rng, program: &mut Program) -> Option<String> {
    let object = rng.usize(..program.objects.len());
    match rng.u8(..6) {
        0 => {
            let generic = rng.usize(..program.generics.len());
            let home = program.generics[generic].home;
            program.generics[generic].body = make::generic_body(rng, program, home);
            Some(format!("body of g{generic}"))
        }
        1 => {
            let fields = program.objects[object].fields.clone();
            program.objects[object].act = make::method_body(rng, program, &fields);
            Some(format!("method of {}", program.objects[object].name))
        }
        2 if program.objects[object].twice.is_some() => {
            let fields = program.objects[object].fields.clone();
            program.objects[object].twice = Some(make::method_body(rng, program, &fields));
            Some(format!("second method of {}", program.objects[object].name))
        }
        3 => {
            program.twice = make::default_body(rng, program);
            Some("the default method".to_owned())
        }
        4 => {
            let part = rng.usize(..program.run.len());
            program.run[part] = make::run_part(rng, program);
            Some(format!("part {part} of `run`"))
        }
        5 => {
            let closure = rng.usize(..program.closures.len());
            program.closures[closure] = make::closure_body(rng, program);
            Some(format!("closure {closure}"))
        }
        _ => None,
    }
}

/// Puts a function's body and something new into an operation.
fn grow(rng: &mut Rng, program: &mut Program, function: usize, with: Expr) -> Option<()> {
    let body = &mut program.functions[function].as_mut()?.body;
    let old = std::mem::replace(body, Expr::Number(0));
    let (a, b) = if rng.bool() { (old, with) } else { (with, old) };
    *body = Expr::Operation(rng.usize(..OPERATIONS.len()), Box::new(a), Box::new(b));
    Some(())
}

fn grown_body(rng: &mut Rng, program: &mut Program) -> Option<String> {
    let id = any(rng, program);
    let function = program.functions[id].clone()?;
    let with = make::function_body(rng, program, function.home, function.level, function.parameters);
    grow(rng, program, id, with)?;
    Some(format!("more in {}", function.name))
}

/// One number somewhere.
fn other_number(rng: &mut Rng, program: &mut Program) -> Option<String> {
    let mut count = 0;
    program.walk(&mut |expr| count += usize::from(matches!(expr, Expr::Number(_))));
    let (chosen, new) = (rng.usize(..count.max(1)), number(rng));
    let mut at = 0;
    let mut text = None;
    program.walk(&mut |expr| {
        if let Expr::Number(value) = expr {
            if at == chosen {
                text = Some(format!("{value} → {new}"));
                *value = new;
            }
            at += 1;
        }
    });
    text
}

fn other_constant(rng: &mut Rng, program: &mut Program) -> Option<String> {
    let index = rng.usize(..program.constants.len());
    program.constants[index].1 = number(rng);
    Some(format!("constant C{index}"))
}

fn other_table(rng: &mut Rng, program: &mut Program) -> Option<String> {
    let index = rng.usize(..program.tables.len());
    let values = &mut program.tables[index].values;
    match rng.u8(..3) {
        0 => values.push(number(rng)),
        1 if values.len() > 1 => drop(values.pop()),
        _ => {
            let at = rng.usize(..values.len());
            values[at] = number(rng);
        }
    }
    Some(format!("table T{index}"))
}

fn other_initial_value(rng: &mut Rng, program: &mut Program) -> Option<String> {
    let index = rng.usize(..program.statics.len());
    program.statics[index].value = number(rng);
    Some(format!("initial value of {}", program.statics[index].name))
}

fn other_attribute(rng: &mut Rng, program: &mut Program) -> Option<String> {
    let id = any(rng, program);
    let function = program.functions[id].as_mut()?;
    function.attribute = ["", "#[inline(never)]", "#[inline]", "#[inline(always)]"][rng.usize(..4)];
    Some(format!("attribute of {}", function.name))
}

fn new_function(rng: &mut Rng, program: &mut Program) -> Option<String> {
    let level = rng.u32(..TOP - 1);
    let home = make::home(rng);
    let new = make::function(rng, program, home, level);
    let name = new.name.clone();
    let id = program.functions.len();
    program.functions.push(Some(new));
    let calls = |caller: &usize| {
        let caller = program.functions[*caller].as_ref();
        caller.is_some_and(|caller| caller.level > level && caller.home.sees(home))
    };
    let callers: Vec<usize> = (0..id).filter(calls).collect();
    if !callers.is_empty() {
        let caller = callers[rng.usize(..callers.len())];
        let function = program.functions[caller].clone()?;
        let mut scope = make::Scope {
            program,
            home: function.home,
            level: function.level,
            variables: function.parameters,
            methods: true,
        };
        let call = make::call_of(rng, &mut scope, id, 2);
        grow(rng, program, caller, call)?;
    }
    Some(format!("new function {name}"))
}

fn removed_function(rng: &mut Rng, program: &mut Program) -> Option<String> {
    let id = free(rng, program)?;
    let removed = program.functions[id].take()?;
    let value = number(rng);
    program.walk(&mut |expr| {
        if matches!(expr, Expr::Call(function, _) if *function == id) {
            *expr = Expr::Number(value);
        }
    });
    Some(format!("no {}", removed.name))
}

fn renamed_function(rng: &mut Rng, program: &mut Program) -> Option<String> {
    let id = free(rng, program)?;
    let name = make::name(rng, "f");
    let function = program.functions[id].as_mut()?;
    let text = format!("{} → {name}", function.name);
    function.name = name;
    Some(text)
}

/// Between the modules of the program, which see the same.
fn moved_function(rng: &mut Rng, program: &mut Program) -> Option<String> {
    let id = free(rng, program)?;
    let function = program.functions[id].as_mut()?;
    function.home = match function.home {
        Home::Base => return None,
        Home::A => Home::B,
        Home::B => Home::A,
    };
    Some(format!("{} is elsewhere", function.name))
}

/// Changes the arguments of all calls of a function.
fn arguments(program: &mut Program, id: usize, change: &mut impl FnMut(&mut Vec<Expr>)) {
    program.walk(&mut |expr| {
        if let Expr::Call(function, all) = expr
            && *function == id
        {
            change(all);
        }
    });
}

fn new_parameter(rng: &mut Rng, program: &mut Program) -> Option<String> {
    let id = free(rng, program)?;
    let function = program.functions[id].as_mut()?;
    if function.parameters.len() > 7 {
        return None;
    }
    let parameter = make::name(rng, "p");
    function.parameters.push(parameter.clone());
    let text = format!("{}: one more parameter", function.name);
    arguments(program, id, &mut |all| all.push(Expr::Number(number(rng))));
    grow(rng, program, id, Expr::Variable(parameter))?;
    Some(text)
}

fn removed_parameter(rng: &mut Rng, program: &mut Program) -> Option<String> {
    let id = free(rng, program)?;
    let function = program.functions[id].as_mut()?;
    if function.parameters.len() < 2 {
        return None;
    }
    let at = rng.usize(..function.parameters.len());
    let parameter = function.parameters.remove(at);
    let text = format!("{}: no {parameter}", function.name);
    function.body.walk(&mut |expr| {
        if matches!(expr, Expr::Variable(name) if *name == parameter) {
            *expr = Expr::Number(7);
        }
    });
    arguments(program, id, &mut |all| drop(all.remove(at)));
    Some(text)
}

fn swapped_parameters(rng: &mut Rng, program: &mut Program) -> Option<String> {
    let id = free(rng, program)?;
    let function = program.functions[id].as_mut()?;
    if function.parameters.len() < 2 {
        return None;
    }
    function.parameters.swap(0, 1);
    let text = format!("{}: parameters swapped", function.name);
    arguments(program, id, &mut |all| all.swap(0, 1));
    Some(text)
}

fn new_static(rng: &mut Rng, program: &mut Program) -> Option<String> {
    let new = make::static_(rng);
    let (name, home) = (new.name.clone(), new.home);
    program.statics.push(new);
    let id = any(rng, program);
    if program.functions[id].as_ref()?.home.sees(home) {
        let with = Expr::Add(program.statics.len() - 1, Box::new(Expr::Number(number(rng))));
        grow(rng, program, id, with)?;
    }
    Some(format!("new static {name}"))
}

fn new_constant(rng: &mut Rng, program: &mut Program) -> Option<String> {
    let home = make::home(rng);
    program.constants.push((home, number(rng)));
    let id = any(rng, program);
    if program.functions[id].as_ref()?.home.sees(home) {
        grow(rng, program, id, Expr::Constant(program.constants.len() - 1))?;
    }
    Some("new constant".to_owned())
}

fn new_object(rng: &mut Rng, program: &mut Program) -> Option<String> {
    let new = make::object(rng, program);
    let name = new.name.clone();
    program.objects.push(new);
    Some(format!("new type {name}"))
}

fn remark(_: &mut Rng, program: &mut Program) -> Option<String> {
    program.remarks += 1;
    Some("a line of comment".to_owned())
}

/// Gives every place that makes an object of that type its fields anew.
fn fields_of(program: &mut Program, id: usize, change: &mut impl FnMut(&mut Vec<Expr>)) {
    program.walk(&mut |expr| {
        if let Expr::Method { object, fields, .. } = expr
            && *object == id
        {
            change(fields);
        }
    });
}

fn new_field(rng: &mut Rng, program: &mut Program) -> Option<String> {
    let id = rng.usize(..program.objects.len());
    let (field, at) = (make::name(rng, "m"), rng.usize(..=program.objects[id].fields.len()));
    let bits = make::WIDTHS[rng.usize(..4)];
    program.objects[id].fields.insert(at, (field, bits));
    let value = number(rng);
    fields_of(program, id, &mut |fields| fields.insert(at, Expr::Number(value)));
    Some(format!("{}: new field", program.objects[id].name))
}

fn removed_field(rng: &mut Rng, program: &mut Program) -> Option<String> {
    let id = rng.usize(..program.objects.len());
    let object = &mut program.objects[id];
    if object.fields.len() < 2 {
        return None;
    }
    let at = rng.usize(..object.fields.len());
    let gone = format!("u64::from(self.{})", object.fields.remove(at).0);
    let text = format!("{}: no {gone}", object.name);
    for body in [Some(&mut object.act), object.twice.as_mut()].into_iter().flatten() {
        body.walk(&mut |expr| {
            if matches!(expr, Expr::Variable(name) if *name == gone) {
                *expr = Expr::Number(5);
            }
        });
    }
    fields_of(program, id, &mut |fields| drop(fields.remove(at)));
    Some(text)
}

fn retyped_field(rng: &mut Rng, program: &mut Program) -> Option<String> {
    let object = rng.usize(..program.objects.len());
    let object = &mut program.objects[object];
    let field = rng.usize(..object.fields.len());
    object.fields[field].1 = make::WIDTHS[rng.usize(..4)];
    Some(format!("{}: type of {}", object.name, object.fields[field].0))
}

/// An object gets its own method instead of the default, or goes back to that.
fn method_of_its_own(rng: &mut Rng, program: &mut Program) -> Option<String> {
    let id = rng.usize(..program.objects.len());
    let fields = program.objects[id].fields.clone();
    let own = make::method_body(rng, program, &fields);
    let object = &mut program.objects[id];
    object.twice = if object.twice.is_some() { None } else { Some(own) };
    Some(format!("{}: method of its own, or not", object.name))
}
