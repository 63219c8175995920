//! The classes of a patch.

use super::compare::{Comparison, full_name};
use super::findings::{Finding, Reason};
use super::program::Program;
use super::transform::{Needs, Transform, cast_object, check_object, fix_of, helper_ref};
use crate::dex::{Class, Code, FieldRef, Method, MethodRef, Text, class_name};
use crate::flags::{NATIVE, STATIC};
use crate::patch::{Original, annotation, opens, stands_for};
use crate::smali;
use std::collections::{BTreeMap, BTreeSet};

/// `public final synthetic`
const ACCESS: u32 = 0x1 | 0x10 | 0x1000;
/// `public static synthetic`
const HELPER: u32 = 0x1 | 0x8 | 0x1000;

/// The classes of a patch.
pub(super) struct Made {
    /// Those that are new.
    pub(super) added: Vec<Class>,
    /// One for each that has methods that changed.
    pub(super) fixes: Vec<Class>,
}

impl Made {
    /// All of them: what fixes call comes first.
    pub(super) fn all(self) -> Vec<Class> {
        self.added.into_iter().chain(self.fixes).collect()
    }
}

/// Makes them. Classes that fix others are called as those, with the suffix.
pub(super) fn classes(
    old: &Program<'_>,
    new: &Program<'_>,
    comparison: &Comparison<'_>,
    suffix: &str,
) -> Result<Made, Vec<Finding>> {
    let (fixes, refused, needs) = (BTreeMap::new(), Vec::new(), Needs::default());
    let mut made = Making { old, new, comparison, suffix, fixes, refused, needs };
    for (class, methods) in &comparison.changed {
        methods.iter().for_each(|method| made.replacement(class, method));
    }
    let added = comparison.added.iter().map(|class| made.added(class)).collect::<Vec<_>>();
    made.helpers();
    made.interfaces();
    made.opens();
    match made.refused.is_empty() {
        true => Ok(Made { added, fixes: made.fixes.into_values().collect() }),
        false => Err(made.refused),
    }
}

struct Making<'p, 'a> {
    old: &'p Program<'a>,
    new: &'p Program<'a>,
    comparison: &'p Comparison<'a>,
    suffix: &'p str,
    /// By the classes whose methods they replace.
    fixes: BTreeMap<Text, Class>,
    refused: Vec<Finding>,
    needs: Needs,
}

impl Making<'_, '_> {
    /// The class of a patch for a class of the program.
    fn fix(&mut self, class: &Text) -> &mut Class {
        let name = fix_of(class, self.suffix);
        if self.old.classes.contains_key(&name) || self.new.classes.contains_key(&name) {
            let taken = Finding { place: name.to_string(), reason: Reason::NameTaken };
            if !self.refused.contains(&taken) {
                self.refused.push(taken);
            }
        }
        let of_program = self.new.classes.get(class);
        self.fixes.entry(class.clone()).or_insert_with(|| {
            let parent = of_program.and_then(|class| class.superclass.clone());
            let mut made = Class::new(name, ACCESS, parent);
            made.source = of_program.and_then(|class| class.source.clone());
            made
        })
    }

    fn body(&mut self, class: &Text, method: &Method, moves: bool) -> Option<Code> {
        let mut code = method.code.clone()?;
        let name = full_name(class, method);
        let (old, new, comparison, suffix) = (self.old, self.new, self.comparison, self.suffix);
        let transform = Transform { old, new, comparison, suffix, class, moves };
        if let Err(reason) = transform.references(&mut code, &name, &mut self.needs) {
            self.refused.push(Finding { place: name, reason });
        }
        Some(code)
    }

    /// A method that replaces one.
    fn replacement(&mut self, class: &Text, method: &Method) {
        let mut made = method.clone();
        made.code = self.body(class, method, true);
        if method.access & STATIC == 0
            && let Some(code) = &mut made.code
        {
            cast_object(code, class);
        }
        let of = class_name(class);
        made.annotations = vec![annotation(&of, &method.name.to_text())];
        made.parameter_annotations = Vec::new();
        add(self.fix(class), made);
    }

    /// A class that is new, whose bodies may call what is new in others.
    fn added(&mut self, class: &Class) -> Class {
        let mut made = class.clone();
        let descriptor = class.descriptor.clone();
        for method in made.methods_mut() {
            method.code = self.body(&descriptor, method, false);
        }
        made
    }

    /// Methods that are called and that the live class does not have, or keeps to itself; and what they call.
    fn helpers(&mut self) {
        let mut done: BTreeSet<MethodRef> = BTreeSet::new();
        while let Some(helper) = self.needs.helpers.iter().find(|helper| !done.contains(helper)).cloned() {
            done.insert(helper.clone());
            let Some(method) = self.new.declared(&helper) else { continue };
            let is_static = method.access & STATIC != 0;
            let reference = helper_ref(&helper, is_static, self.suffix);
            let original = Original {
                class: class_name(&helper.class),
                method: helper.name.to_string(),
                signature: helper.prototype.to_string(),
                is_static,
            };
            let mut code = match method.access & NATIVE {
                0 => self.body(&helper.class, method, true),
                _ => no_body(&reference),
            };
            let is_there = self.old.declared(&helper).is_some();
            // Callers of a method of objects rely on being told if there is none, and so may its body.
            if let Some(code) = code.as_mut().filter(|_| !is_there && !is_static) {
                check_object(code);
            }
            let mut stand_in = self::helper(&reference, code);
            // What is there already may be replaced by other patches: the engine leads its stand-in to it, and the object
            // is checked before.
            if is_there && !is_static {
                stand_in.name = Text::from(format!("{}$live", helper.name).as_str());
                let callee = MethodRef { name: stand_in.name.clone(), ..reference.clone() };
                add(self.fix(&helper.class), self::helper(&reference, checked_call(&callee)));
            }
            stand_in.annotations = vec![stands_for(&original)];
            add(self.fix(&helper.class), stand_in);
        }
    }

    /// Has classes implement what those that they fix do, where bodies call default methods with `super`.
    fn interfaces(&mut self) {
        for class in &self.needs.interfaces {
            if let (Some(fix), Some(of_program)) = (self.fixes.get_mut(class), self.new.classes.get(class)) {
                fix.interfaces = of_program.interfaces.clone();
            }
        }
    }

    /// Notes which private fields have to be accessible, with one of the classes.
    fn opens(&mut self) {
        let fields: Vec<FieldRef> = self.needs.fields.iter().cloned().collect();
        if let Some(class) = self.fixes.values_mut().next().filter(|_| !fields.is_empty()) {
            class.annotations.push(opens(&fields));
        }
    }
}

fn helper(reference: &MethodRef, code: Option<Code>) -> Method {
    Method {
        name: reference.name.clone(),
        prototype: reference.prototype.clone(),
        access: HELPER,
        code,
        annotations: Vec::new(),
        parameter_annotations: Vec::new(),
    }
}

/// A body of what stands for a native method: nobody gets there, because the engine leads callers to that one.
fn no_body(reference: &MethodRef) -> Option<Code> {
    let error = "Ljava/lang/UnsatisfiedLinkError;";
    let (new, made) =
        (format!("new-instance v0, {error}"), format!("invoke-direct {{v0}}, {error}-><init>()V"));
    smali::body(&[".locals 1", &new, &made, "throw v0"], &reference.prototype, true).ok()
}

/// A body that calls a static method with what it was given, after it has made sure that the first is an object.
fn checked_call(callee: &MethodRef) -> Option<Code> {
    let wide = |kind: &Text| matches!(kind.mutf8(), b"J" | b"D");
    let registers: usize = callee.prototype.parameters.iter().map(|kind| 1 + usize::from(wide(kind))).sum();
    let (result, returns) = match callee.prototype.returns.mutf8() {
        b"V" => (None, "return-void"),
        b"J" | b"D" => (Some("move-result-wide v0"), "return-wide v0"),
        [b'L' | b'[', ..] => (Some("move-result-object v0"), "return-object v0"),
        _ => (Some("move-result v0"), "return v0"),
    };
    let call = format!("invoke-static/range {{p0 .. p{}}}, {callee}", registers.checked_sub(1)?);
    let lines: Vec<&str> = [".locals 2", &call].into_iter().chain(result).chain([returns]).collect();
    let mut code = smali::body(&lines, &callee.prototype, true).ok()?;
    check_object(&mut code);
    Some(code)
}

fn add(class: &mut Class, method: Method) {
    match method.is_direct() {
        true => class.direct_methods.push(method),
        false => class.virtual_methods.push(method),
    }
}
