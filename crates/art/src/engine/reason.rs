//! Why nothing was replaced.

use crate::jni::Thrown;
use crate::layout::Mismatch;
use crate::preflight::Refusal;
use crate::release::Release;
use thiserror::Error;

/// Why nothing was replaced.
#[derive(Debug, Error)]
pub enum EngineError {
    /// The runtime's records are none that are known.
    #[error("this runtime is not as its release says")]
    Mismatch(#[from] Mismatch),
    /// Records that are objects on the heap are not written to.
    #[error("on Android {0} records are objects on the heap, which is not supported")]
    HeapObjects(Release),
    /// A method's record could not be found.
    #[error("the record of {0} could not be found")]
    NoRecord(String),
    /// The class or the method is not there, or something was thrown by its initialiser.
    #[error("{what}: the runtime threw {thrown}")]
    Thrown {
        /// What was asked for.
        what: String,
        /// What was thrown.
        thrown: Thrown,
    },
    /// It would go wrong.
    #[error("{method} cannot be replaced: {refusal}")]
    Refused {
        /// The method.
        method: String,
        /// Why.
        refusal: Refusal,
    },
    /// Another class's method would be replaced for all.
    #[error("{0} is inherited: the class that is loaded does not have it itself")]
    Inherited(String),
    /// There is no room for the code that leads to a fix.
    #[error("there is no memory for code")]
    NoMemory(#[source] std::io::Error),
    /// What its entry was is gone when it is to be taken back.
    #[error("{0} was compiled while the program ran, and what could be its entry afterwards is not known")]
    NoWayBack(String),
    /// Methods are replaced in another way, or cannot be in this one.
    #[error("methods are replaced already, and in another way, or this runtime has no such way")]
    AnotherWay,
    /// Every method of a class would be replaced.
    #[error("{0} would have no method that is as it was, and the way back needs one")]
    NoAnchor(String),
    /// The same method is there twice.
    #[error("{0} is there twice in one patch")]
    Twice(String),
    /// A body that runs finds what it refers to through the record.
    #[error("{0} is running, and a body that runs must keep its record")]
    Running(String),
    /// It cannot be told whether one of the methods is running.
    #[error(
        "a thread is busy with native code, or an emulator's, and it cannot be told which methods it has called that from"
    )]
    Busy,
    /// Other threads would see half a record.
    #[error("this runtime does not say how other threads are held, and they would see half a record")]
    NoSuspension,
    /// A class loader has one class of a name for good.
    #[error("an earlier patch has brought another class {0}: make the patch from the version that runs now")]
    ClassTaken(String),
    /// It is in a class of an earlier patch, and not where it says.
    #[error(
        "an earlier patch has added {0}, which the class that is loaded does not have: make the patch from the version \
         before that one"
    )]
    AddedBefore(String),
    /// There is no such patch.
    #[error("there is no patch {0}")]
    NoPatch(u32),
}
