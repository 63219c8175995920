//! Bodies in the class of a patch: what they say about members that the live class does not have, or keeps to itself.

use super::compare::Comparison;
use super::findings::Reason;
use super::program::Program;
use crate::dex::instruction::{Kind, walk};
use crate::dex::opcode::Opcode;
use crate::dex::{Code, DebugStep, FieldRef, MethodRef, Prototype, Reference, Text};
use crate::flags::{CONSTRUCTOR, INTERFACE, PRIVATE, STATIC};
use std::collections::BTreeSet;
use std::sync::Arc;

/// What bodies need besides themselves.
#[derive(Default)]
pub(super) struct Needs {
    /// Methods that become static ones of the patch's class: new ones, and private ones that are called.
    pub(super) helpers: BTreeSet<MethodRef>,
    /// Private fields that have to be accessible.
    pub(super) fields: BTreeSet<FieldRef>,
    /// Classes whose interfaces the classes that fix them have to implement as well.
    pub(super) interfaces: BTreeSet<Text>,
}

/// Where a body is going to be.
pub(super) struct Transform<'p, 'a> {
    pub(super) old: &'p Program<'a>,
    pub(super) new: &'p Program<'a>,
    pub(super) comparison: &'p Comparison<'a>,
    /// What is behind the names of the patch's classes.
    pub(super) suffix: &'p str,
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
                    if self.moves && self.is_super_of_interface(method, code.units[at - 1]) {
                        needs.interfaces.insert(self.class.clone());
                    }
                    if let Some(helper) = self.helper(method, name)? {
                        let made = helper_ref(&helper, self.is_static(&helper), self.suffix);
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

    /// Whether an instruction calls a default method of an interface with `super`: the class that it is in has to
    /// implement that.
    fn is_super_of_interface(&self, method: &MethodRef, instruction: u16) -> bool {
        let opcode = Opcode::of_unit(instruction).map_or("", Opcode::name);
        let is_interface =
            |class: &Text| self.new.classes.get(class).is_some_and(|class| class.access & INTERFACE != 0);
        let own =
            || self.new.classes.get(self.class).is_some_and(|own| own.interfaces.contains(&method.class));
        opcode.starts_with("invoke-super") && (is_interface(&method.class) || own())
    }

    /// The method that has to become a helper for a call of it.
    fn helper(&self, method: &MethodRef, name: &str) -> Result<Option<MethodRef>, Reason> {
        // Compilers name the class that a method is looked for in, and not the one that has it.
        if let Some(class) = self.new.holder(method) {
            let found = MethodRef { class: class.clone(), ..method.clone() };
            if self.comparison.is_new(&found) {
                return Ok(Some(found));
            }
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
pub(super) fn helper_ref(method: &MethodRef, is_static: bool, suffix: &str) -> MethodRef {
    let mut parameters = method.prototype.parameters.clone();
    if !is_static {
        parameters.insert(0, method.class.clone());
    }
    let prototype = Prototype { returns: method.prototype.returns.clone(), parameters };
    // Other names than any that the source can have, so that it is no method's that replaces one; and two, because a
    // static method may take what one of objects has before its parameters here.
    let kind = if is_static { "static" } else { "helper" };
    let name = Text::from(format!("{}${kind}", method.name).as_str());
    MethodRef { class: fix_of(&method.class, suffix), name, prototype: Arc::new(prototype) }
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

/// The descriptor of the class that fixes another one.
pub(super) fn fix_of(class: &Text, suffix: &str) -> Text {
    let text = class.to_text();
    let inside = text.strip_suffix(';').unwrap_or(&text);
    Text::from(format!("{inside}{suffix};").as_str())
}

/// Has a body begin with `check-cast` of its object, as which the patch's class would not do.
pub(super) fn cast_object(code: &mut Code, class: &Text) {
    let register = code.registers - code.incoming;
    let cast = |register: u16| [u16::from(Opcode::CHECK_CAST.byte()) | register << 8, 0];
    // `check-cast` names one of 256 registers. If the object's is none of them, then the first one is not an argument's
    // and has nothing in it yet.
    let (units, reference) = match register {
        ..256 => (cast(register).to_vec(), 1),
        _ => {
            let to_first = [u16::from(Opcode::MOVE_OBJECT_FROM16.byte()), register];
            // And a `nop`.
            let back = [u16::from(Opcode::MOVE_OBJECT_16.byte()), register, 0, 0];
            ([&to_first[..], &cast(0), &back].concat(), 3)
        }
    };
    insert(code, units, (reference, Reference::Type(class.clone())));
}

/// Has the body of a static method begin by making sure that its first argument is an object, as its callers would if it was
/// the object's.
pub(super) fn check_object(code: &mut Code) {
    let get_class = MethodRef {
        class: Text::from("Ljava/lang/Object;"),
        name: Text::from("getClass"),
        prototype: Arc::new(Prototype { returns: Text::from("Ljava/lang/Class;"), parameters: Vec::new() }),
    };
    // Of one register, whichever that is. And a `nop`.
    let call = u16::from(Opcode::INVOKE_VIRTUAL_RANGE.byte()) | 1 << 8;
    code.outgoing = code.outgoing.max(1);
    insert(code, vec![call, 0, code.registers - code.incoming, 0], (1, Reference::Method(get_class)));
}

/// Puts instructions with one index before a body's: an even number of code units, so that what has to begin at an even one
/// still does. All jumps are relative.
fn insert(code: &mut Code, units: Vec<u16>, reference: (u32, Reference)) {
    let added = units.len() as u32;
    code.units.splice(0..0, units);
    code.references.iter_mut().for_each(|(at, _)| *at += added);
    code.references.insert(0, reference);
    for part in &mut code.tries {
        part.start += added;
        part.catches.iter_mut().for_each(|(_, target)| *target += added);
        part.catch_all.iter_mut().for_each(|target| *target += added);
    }
    if let Some(debug) = &mut code.debug {
        debug.program.insert(0, DebugStep::AdvancePc(added));
    }
    debug_assert!(
        walk(&code.units)
            .all(|placed| placed.is_ok_and(|placed| placed.kind != Kind::Payload || placed.at % 2 == 0))
    );
}
