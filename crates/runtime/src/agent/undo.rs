//! An undo log: what was done is undone, last first, unless it is kept.

/// Something that was done and can be undone.
pub(crate) trait Undo {
    /// Undoes it. Cannot fail: there is nobody to tell.
    fn undo(self);
}

/// What was done so far.
pub(crate) struct UndoLog<U: Undo> {
    done: Vec<U>,
}

impl<U: Undo> UndoLog<U> {
    pub(crate) fn new() -> Self {
        Self { done: Vec::new() }
    }

    /// Notes that something was done.
    pub(crate) fn did(&mut self, step: U) {
        self.done.push(step);
    }

    /// Everything stays as it is from now on.
    pub(crate) fn keep(mut self) {
        self.done.clear();
    }
}

impl<U: Undo> Drop for UndoLog<U> {
    fn drop(&mut self) {
        while let Some(step) = self.done.pop() {
            step.undo();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::RefCell;

    struct Step<'a>(u32, &'a RefCell<Vec<u32>>);

    impl Undo for Step<'_> {
        fn undo(self) {
            self.1.borrow_mut().push(self.0);
        }
    }

    #[test]
    fn undoes_in_reverse_unless_kept() {
        let undone = RefCell::new(Vec::new());
        let log = || {
            let mut log = UndoLog::new();
            (1..=3).for_each(|n| log.did(Step(n, &undone)));
            log
        };
        log().keep();
        // Kept steps are dropped, not undone.
        assert_eq!(*undone.borrow(), []);
        drop(log());
        assert_eq!(*undone.borrow(), [3, 2, 1]);
    }

    #[test]
    fn undoes_when_a_later_step_panics() {
        let undone = RefCell::new(Vec::new());
        let panicked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            let mut log = UndoLog::new();
            log.did(Step(1, &undone));
            panic!("in the middle");
        }));
        assert!(panicked.is_err());
        assert_eq!(*undone.borrow(), [1]);
    }
}
