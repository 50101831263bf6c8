//! What the forward pass hears between layers.

use std::time::Duration;

use super::settings::{Interrupt, SequenceId, Watch};
use crate::model::Observer;

/// Passes a step's moments on to the watch, and its interrupts back.
pub(super) struct StepObserver<'a> {
    pub watch: &'a mut dyn Watch,
    /// It ends where an interactive request arrives.
    pub yields: bool,
    pub taking_part: &'a [(SequenceId, usize)],
    pub cancelled: Vec<SequenceId>,
}

impl Observer for StepObserver<'_> {
    fn now(&mut self) -> Duration {
        self.watch.now()
    }

    fn goes_on(&mut self) -> bool {
        loop {
            match self.watch.between_layers() {
                Interrupt::None => return true,
                Interrupt::InteractiveArrived if self.yields => return false,
                Interrupt::InteractiveArrived => return true,
                Interrupt::Stop => return false,
                Interrupt::Cancelled(id) => {
                    self.cancelled.push(id);
                    if self
                        .taking_part
                        .iter()
                        .all(|(id, _)| self.cancelled.contains(id))
                    {
                        return false;
                    }
                }
            }
        }
    }
}
