//! Bodies in the class of a patch: what they say about members that the live class does not have, or keeps to itself.

use super::compare::Comparison;
use super::findings::Reason;
use super::fix_of;
use super::program::Program;
use crate::dex::instruction::{Kind, walk};
use crate::dex::opcode::Opcode;
use crate::dex::{Code, DebugStep, FieldRef, MethodRef, Prototype, Reference, Text};
use crate::flags::{CONSTRUCTOR, PRIVATE, STATIC};
use std::collections::BTreeSet;
use std::sync::Arc;

/// What bodies need besides themselves.
#[derive(Default)]
pub(super) struct Needs {
    /// Methods that become static ones of the patch's class: new ones, and private ones that are called.
    pub(super) helpers: BTreeSet<MethodRef>,
    /// Private fields that have to be accessible.
    pub(super) fields: BTreeSet<FieldRef>,
}

/// Where a body is going to be.
pub(super) struct Transform<'p, 'a> {
    pub(super) old: &'p Program<'a>,
    pub(super) new: &'p Program<'a>,
    pub(super) comparison: &'p Comparison<'a>,
    /// The class that it comes from.
    pub(super) class: &'p Text,
    /// Whether it moves to another class: those that are new stay what they are.
    pub(super) moves: bool,
}

impl Transform<'_, '_> {
    /// Rewrites a body's references; says what they need.
    pub(super) fn references(&self, code: &mut Code, name: &str, needs: &mut Needs) -> Result<(), Reason> {
        for nth in 0..code.references.len() {
            let (at, reference) = &code.references[nth];
            let at = *at as usize;
            match reference {
                Reference::Method(method) => {
                    if let Some(helper) = self.helper(method, code.units[at - 1], name)? {
                        let made = helper_ref(&helper, self.is_static(&helper));
                        to_static(&mut code.units[at - 1]);
                        code.references[nth].1 = Reference::Method(made);
                        needs.helpers.insert(helper);
                    }
                }
                Reference::Field(field) if self.moves => {
                    if let Some((class, access)) = self.old.field(field)
                        && access & PRIVATE != 0
                    {
                        let field = FieldRef { class: class.clone(), ..field.clone() };
                        needs.fields.insert(field);
                    }
                }
                Reference::CallSite(_) | Reference::Handle(_) if self.moves => {
                    return Err(Reason::Handles(name.to_owned()));
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// The method that has to become a helper for a call of it.
    fn helper(&self, method: &MethodRef, instruction: u16, name: &str) -> Result<Option<MethodRef>, Reason> {
        let opcode = Opcode::of_unit(instruction).map_or("", Opcode::name);
        let is_super = opcode.starts_with("invoke-super");
        if is_super && self.moves {
            let is_interface =
                |class: &Text| self.new.classes.get(class).is_some_and(|class| class.access & 0x0200 != 0);
            let own = self.new.classes.get(self.class);
            if is_interface(&method.class) || own.is_some_and(|own| own.interfaces.contains(&method.class)) {
                return Err(Reason::SuperOfInterface(name.to_owned()));
            }
        }
        if self.comparison.is_new(method) {
            return Ok(Some(method.clone()));
        }
        if !self.moves || method.class != *self.class {
            return Ok(None);
        }
        match self.new.declared(method) {
            Some(found) if found.access & PRIVATE == 0 => Ok(None),
            Some(found) if found.access & CONSTRUCTOR != 0 => {
                Err(Reason::PrivateConstructor(name.to_owned()))
            }
            Some(_) => Ok(Some(method.clone())),
            None => Ok(None),
        }
    }

    fn is_static(&self, method: &MethodRef) -> bool {
        self.new.declared(method).is_some_and(|method| method.access & STATIC != 0)
    }
}

/// What a helper is called: in the class of the patch, static, with the object before all parameters.
pub(super) fn helper_ref(method: &MethodRef, is_static: bool) -> MethodRef {
    let mut parameters = method.prototype.parameters.clone();
    if !is_static {
        parameters.insert(0, method.class.clone());
    }
    let prototype = Prototype { returns: method.prototype.returns.clone(), parameters };
    // Another name than any that the source can have, so that it is no method's that replaces one.
    let name = Text::from(format!("{}$helper", method.name).as_str());
    MethodRef { class: fix_of(&method.class), name, prototype: Arc::new(prototype) }
}

/// A call becomes `invoke-static`, with the same registers.
fn to_static(unit: &mut u16) {
    let byte = match *unit & 0xff {
        0x6e..=0x72 => 0x71,
        0x74..=0x78 => 0x77,
        other => other,
    };
    *unit = *unit & 0xff00 | byte;
}

/// Has a body begin with `check-cast` of its object, as which the patch's class would not do.
pub(super) fn cast_object(code: &mut Code, class: &Text, name: &str) -> Result<(), Reason> {
    const UNITS: u32 = 2;
    let register = code.registers - code.incoming;
    let register = u8::try_from(register).map_err(|_| Reason::FarRegister(name.to_owned()))?;
    let cast = u16::from(Opcode::CHECK_CAST.byte()) | u16::from(register) << 8;
    // Two code units: what has to begin at an even one still does, and all jumps are relative.
    code.units.splice(0..0, [cast, 0]);
    code.references.iter_mut().for_each(|(at, _)| *at += UNITS);
    code.references.insert(0, (1, Reference::Type(class.clone())));
    for part in &mut code.tries {
        part.start += UNITS;
        part.catches.iter_mut().for_each(|(_, target)| *target += UNITS);
        part.catch_all.iter_mut().for_each(|target| *target += UNITS);
    }
    if let Some(debug) = &mut code.debug {
        debug.program.insert(0, DebugStep::AdvancePc(UNITS));
    }
    debug_assert!(
        walk(&code.units)
            .all(|placed| placed.is_ok_and(|placed| placed.kind != Kind::Payload || placed.at % 2 == 0))
    );
    Ok(())
}
