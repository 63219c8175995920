//! What is found, in words.

use crate::preflight::Refusal;
use std::fmt;
use thiserror::Error;

/// Something about a class or one of its members.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Finding {
    /// The class, with its member if it is about one.
    pub place: String,
    /// What is found.
    pub reason: Reason,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.place, self.reason)
    }
}

/// What can be found.
#[derive(Clone, PartialEq, Eq, Debug, Error)]
pub enum Reason {
    /// Objects are laid out for the superclass they had.
    #[error("it extends or implements something else: classes that are loaded stay what they are")]
    Parents,
    /// Flags of a class or a member that callers rely on.
    #[error("its access or its kind changed, which callers have been checked against")]
    Access,
    /// Objects have no room for it.
    #[error("the field is new or has another type: objects that are there have no room for it")]
    FieldAdded,
    /// A class has no room for it.
    #[error("the static field is new or has another type: the class that is loaded has no room for it")]
    StaticFieldAdded,
    /// The class has been initialised.
    #[error("its initial value changed, and the class has been initialised already")]
    InitialValue,
    /// What the engine would refuse.
    #[error("{0}")]
    Refused(#[from] Refusal),
    /// A vtable cannot grow.
    #[error(
        "the new method overrides or implements one, or may: vtables of loaded classes have no room for it"
    )]
    Overrides,
    /// Nor can they lose anything.
    #[error(
        "it is gone, and what it overrode or hid, or may have, is to be called: the loaded class still has it"
    )]
    OverrideRemoved,
    /// A class cannot get a constructor.
    #[error("the constructor is new: it would have to be in the class that is loaded")]
    ConstructorAdded,
    /// Interfaces cannot grow.
    #[error("the method of an interface is new: classes that implement it do not have it")]
    InterfaceMethodAdded,
    /// Only the class itself may call it.
    #[error("`{0}` calls a private constructor, which only the class itself can")]
    PrivateConstructor(String),
    /// Checks of access cannot be led around.
    #[error("`{0}` uses method handles, whose targets are checked against the class they are in")]
    Handles(String),
    /// The patch's class has a name that is taken.
    #[error("a class of the name that the patch needs is there already")]
    NameTaken,
    /// Nobody calls it any more.
    #[error("it is gone; the program keeps it, and nothing new calls it")]
    Removed,
}
