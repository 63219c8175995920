//! What a case is.

/// How a case went, if it did not fail.
pub(crate) enum Outcome {
    Passed,
    /// Something is not there that it takes.
    Skipped(String),
}

/// One case.
#[derive(Clone, Copy)]
pub(crate) struct Case {
    pub(crate) name: &'static str,
    pub(crate) run: fn() -> Outcome,
}

/// Lists functions of a module as cases. They return nothing, or an [`Outcome`].
macro_rules! cases {
    ($($module:ident::$name:ident),* $(,)?) => {
        &[$(crate::cases::Case {
            name: concat!(stringify!($module), "::", stringify!($name)),
            run: || crate::cases::Into::outcome($name()),
        }),*]
    };
}
pub(crate) use cases;

/// What case functions return.
pub(crate) trait Into {
    fn outcome(self) -> Outcome;
}

impl Into for () {
    fn outcome(self) -> Outcome {
        Outcome::Passed
    }
}

impl Into for Outcome {
    fn outcome(self) -> Outcome {
        self
    }
}
