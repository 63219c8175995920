//! The classes of a patch.

use super::compare::{Comparison, full_name};
use super::findings::{Finding, Reason};
use super::fix_of;
use super::program::Program;
use super::transform::{Needs, Transform, cast_object, helper_ref};
use crate::dex::{Class, Code, FieldRef, Method, MethodRef, Text};
use crate::flags::STATIC;
use crate::patch::{annotation, opens};
use std::collections::{BTreeMap, BTreeSet};

/// `public final synthetic`
const ACCESS: u32 = 0x1 | 0x10 | 0x1000;
/// `public static synthetic`
const HELPER: u32 = 0x1 | 0x8 | 0x1000;

/// The classes that are new, and one for each that has methods that changed.
pub(super) fn classes(
    old: &Program<'_>,
    new: &Program<'_>,
    comparison: &Comparison<'_>,
) -> Result<Vec<Class>, Vec<Finding>> {
    let mut made =
        Made { old, new, comparison, fixes: BTreeMap::new(), refused: Vec::new(), needs: Needs::default() };
    for (class, methods) in &comparison.changed {
        methods.iter().for_each(|method| made.replacement(class, method));
    }
    let added = comparison.added.iter().map(|class| made.added(class)).collect::<Vec<_>>();
    made.helpers();
    made.opens();
    match made.refused.is_empty() {
        true => Ok(added.into_iter().chain(made.fixes.into_values()).collect()),
        false => Err(made.refused),
    }
}

struct Made<'p, 'a> {
    old: &'p Program<'a>,
    new: &'p Program<'a>,
    comparison: &'p Comparison<'a>,
    /// By the classes whose methods they replace.
    fixes: BTreeMap<Text, Class>,
    refused: Vec<Finding>,
    needs: Needs,
}

impl Made<'_, '_> {
    /// The class of a patch for a class of the program.
    fn fix(&mut self, class: &Text) -> &mut Class {
        let name = fix_of(class);
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
        let (old, new, comparison) = (self.old, self.new, self.comparison);
        let transform = Transform { old, new, comparison, class, moves };
        if let Err(reason) = transform.references(&mut code, &name, &mut self.needs) {
            self.refused.push(Finding { place: name, reason });
        }
        Some(code)
    }

    /// A method that replaces one.
    fn replacement(&mut self, class: &Text, method: &Method) {
        let mut made = method.clone();
        made.code = self.body(class, method, true);
        let name = full_name(class, method);
        if method.access & STATIC == 0
            && let Some(code) = &mut made.code
            && let Err(reason) = cast_object(code, class, &name)
        {
            self.refused.push(Finding { place: name, reason });
        }
        let of = Class::new(class.clone(), 0, None).name();
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
            let reference = helper_ref(&helper, is_static);
            let made = Method {
                name: reference.name,
                prototype: reference.prototype,
                access: HELPER,
                code: self.body(&helper.class, method, true),
                annotations: Vec::new(),
                parameter_annotations: Vec::new(),
            };
            add(self.fix(&helper.class), made);
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

fn add(class: &mut Class, method: Method) {
    match method.is_direct() {
        true => class.direct_methods.push(method),
        false => class.virtual_methods.push(method),
    }
}
