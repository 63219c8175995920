//! What would go wrong at run time, found before anything is changed.
//!
//! These rules need nothing but what both methods say about themselves. What only bodies tell is found where the
//! patch is made.

use crate::flags::{ABSTRACT, CONSTRUCTOR, NATIVE, PRIVATE, SKIP_ACCESS_CHECKS, STATIC, is_intrinsic};
use crate::record::Way;
use crate::release::Release;
use thiserror::Error;

/// A method, as its record and its class describe it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Described {
    /// The name of its class, with dots.
    pub class: String,
    /// Its name.
    pub name: String,
    /// What it takes and returns: `(I)V`.
    pub signature: String,
    /// The flags in its record.
    pub flags: u32,
}

impl Described {
    /// Its name with its class.
    pub fn full_name(&self) -> String {
        format!("{}.{}{}", self.class, self.name, self.signature)
    }

    fn has(&self, flag: u32) -> bool {
        self.flags & flag != 0
    }
}

/// Why a method cannot be replaced by another one.
#[derive(Clone, PartialEq, Eq, Debug, Error)]
pub enum Refusal {
    /// Of objects, and of the class.
    #[error("one of them is static: callers would pass an object too many, or one too few")]
    Static,
    /// One is found through a vtable, the other is not.
    #[error("one of them is private, and is called directly; the other is looked up in a vtable")]
    Direct,
    /// It would be found by another name.
    #[error("the fix is called `{0}`: who looks the method up by its name would not find it any more")]
    Name(String),
    /// Its callers are asked whether they may.
    #[error(
        "its class could not be verified wholly, so calls are checked as they run, and a private method of the fix's \
         class may not be called"
    )]
    Checked,
    /// They take or return other things.
    #[error("they take or return different things: `{target}` and `{fix}`")]
    Signature {
        /// What the target does.
        target: String,
        /// What the fix does.
        fix: String,
    },
    /// Objects are made by more than this one body.
    #[error(
        "it is a constructor: fields' initial values are a part of it, and subclasses call it by its name"
    )]
    Constructor,
    /// It has run.
    #[error("it initialises its class, which has happened already")]
    ClassInitialiser,
    /// A native function is bound to the record.
    #[error("it is native: what is in its record is a function, and not a body")]
    Native,
    /// Nobody calls its body.
    #[error("it is abstract: what is called are the methods that implement it")]
    Abstract,
    /// Classes have copies of it.
    #[error("it is a default method of an interface: classes that implement it have copies of its record")]
    DefaultMethod,
    /// The runtime does not call its body.
    #[error("the runtime has code of its own for it, and would not call a body")]
    Intrinsic,
    /// One and the same, or one that leads there.
    #[error("it would be replaced by itself, or by a method that leads back to it")]
    Itself,
}

/// Whether a method of a class or (`in_interface`) of an interface can be replaced by another one, in this way.
pub fn check(
    target: &Described,
    fix: &Described,
    in_interface: bool,
    release: Release,
    way: Way,
) -> Result<(), Refusal> {
    for method in [target, fix] {
        if method.name == "<clinit>" {
            return Err(Refusal::ClassInitialiser);
        }
        if method.has(CONSTRUCTOR) || method.name == "<init>" {
            return Err(Refusal::Constructor);
        }
        if method.has(NATIVE) {
            return Err(Refusal::Native);
        }
        if method.has(ABSTRACT) {
            return Err(Refusal::Abstract);
        }
    }
    if target.has(STATIC) != fix.has(STATIC) {
        return Err(Refusal::Static);
    }
    if in_interface && !target.has(PRIVATE | STATIC) {
        return Err(Refusal::DefaultMethod);
    }
    if is_intrinsic(target.flags, release) {
        return Err(Refusal::Intrinsic);
    }
    if way != Way::Entry {
        of_copies(target, fix)?;
    }
    match target.signature == fix.signature {
        true => Ok(()),
        false => Err(Refusal::Signature { target: target.signature.clone(), fix: fix.signature.clone() }),
    }
}

/// What goes wrong if the target's record says what the fix's does: its class, its index, its kind.
fn of_copies(target: &Described, fix: &Described) -> Result<(), Refusal> {
    if target.has(PRIVATE | STATIC) != fix.has(PRIVATE | STATIC) {
        return Err(Refusal::Direct);
    }
    if target.has(PRIVATE) && !target.has(SKIP_ACCESS_CHECKS) {
        return Err(Refusal::Checked);
    }
    match target.name == fix.name {
        true => Ok(()),
        false => Err(Refusal::Name(fix.name.clone())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn method(name: &str, flags: u32) -> Described {
        let (class, name, signature) = ("App".to_owned(), name.to_owned(), "()V".to_owned());
        Described { class, name, signature, flags }
    }

    #[test]
    fn each_rule_has_a_reason_of_its_own() {
        let release = Release::LAST;
        let check = |target: &Described, fix: &Described| check(target, fix, false, release, Way::Fields);
        let plain = method("f", 1);
        assert_eq!(check(&plain, &plain), Ok(()));
        assert_eq!(check(&plain, &method("f", STATIC)), Err(Refusal::Static));
        assert_eq!(check(&method("f", PRIVATE), &plain), Err(Refusal::Direct));
        let verified = PRIVATE | STATIC | SKIP_ACCESS_CHECKS;
        assert_eq!(check(&method("f", verified), &method("f", STATIC)), Ok(()));
        assert_eq!(check(&method("f", PRIVATE | STATIC), &method("f", STATIC)), Err(Refusal::Checked));
        assert_eq!(check(&method("<init>", CONSTRUCTOR), &plain), Err(Refusal::Constructor));
        assert_eq!(check(&plain, &method("<clinit>", CONSTRUCTOR | STATIC)), Err(Refusal::ClassInitialiser));
        assert_eq!(check(&method("f", NATIVE), &plain), Err(Refusal::Native));
        assert_eq!(check(&plain, &method("f", ABSTRACT)), Err(Refusal::Abstract));
        assert_eq!(check(&method("f", 0x8000_0000), &plain), Err(Refusal::Intrinsic));
        let other = Described { signature: "()I".to_owned(), ..plain.clone() };
        assert!(matches!(check(&plain, &other), Err(Refusal::Signature { .. })));
        assert_eq!(check(&plain, &method("g", 1)), Err(Refusal::Name("g".to_owned())));
        assert_eq!(super::check(&plain, &plain, true, release, Way::Entry), Err(Refusal::DefaultMethod));
        // Where the record goes on to say what it said, these are nobody's business.
        for fix in [method("g", 1), method("f", PRIVATE)] {
            assert_eq!(super::check(&plain, &fix, false, release, Way::Entry), Ok(()));
        }
    }
}
