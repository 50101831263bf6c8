//! Who holds pages: admission, growth, and who gives way when the pages run dry.
//!
//! - A sequence is admitted with pages for all tokens it has, so that its prompt cannot be stuck half way; beside
//!   others it also leaves each of them one page to grow into.
//! - Who gives way loses all pages and waits for admission again: the batch lane before the interactive one, the
//!   paused of a lane before its running ones, the youngest first. So the oldest interactive sequence always advances.
//! - An interactive sequence that waits may take pages from batch work and from paused sequences, never from a
//!   running interactive one; a batch sequence that waits takes pages from paused batch work only.

use std::time::Duration;

use super::plan::batch_places;
use super::run::Scheduler;
use super::sequence::Sequence;
use super::settings::SequenceId;
use crate::kv::PAGE_LEN;
use crate::request::{Event, Lane};

impl Scheduler {
    /// Admits whoever has a place and pages, oldest first; the batch lane in turns among tenants.
    pub(super) fn admit(&mut self, now: Duration, events: &mut Vec<(SequenceId, Event)>) {
        let mut pages_lack = false;
        while self.running(Lane::Interactive) < self.settings.sequences_max
            && let Some(id) = self
                .sequences
                .values()
                .find(|s| waits(s, Lane::Interactive))
                .map(|s| s.id)
        {
            if !self.reserve(id) {
                pages_lack = true;
                break;
            }
            self.enter(id, now, events);
        }
        // Pages that come free are for the interactive sequence that waits for them.
        while !pages_lack
            && self.running(Lane::Batch)
                < batch_places(self.settings.sequences_max, self.running(Lane::Interactive))
            && let Some(id) = self.next_batch()
        {
            if !self.reserve(id) {
                break;
            }
            self.last_tenant.clone_from(&self.sequences[&id].tenant);
            self.enter(id, now, events);
        }
    }

    /// Sees to it that `id` has pages for its next `rows`; false where it had to give way itself.
    pub(super) fn grow(&mut self, id: SequenceId, rows: usize) -> bool {
        loop {
            let Some(sequence) = self.sequences.get_mut(&id).filter(|s| s.admitted) else {
                return false;
            };
            let wanted = (sequence.computed + rows).div_ceil(PAGE_LEN);
            let Some(lacking) = wanted.checked_sub(sequence.pages.len()).filter(|&n| n > 0) else {
                return true;
            };
            if self.cache.claim(lacking, &mut sequence.pages) {
                return true;
            }
            self.give_way(|_| true);
        }
    }

    fn enter(&mut self, id: SequenceId, now: Duration, events: &mut Vec<(SequenceId, Event)>) {
        let sequence = self.sequences.get_mut(&id).expect("admission found it");
        sequence.admitted = true;
        if !sequence.admit(&self.model, now, &mut |event| events.push((id, event))) {
            self.totals.finished += 1;
            self.cancel(id);
        }
    }

    /// Claims the pages a waiting sequence needs, from others if it may; false, and nothing taken, where there are not enough.
    fn reserve(&mut self, id: SequenceId) -> bool {
        let sequence = &self.sequences[&id];
        let lane = sequence.lane;
        let yields = |s: &Sequence| {
            s.lane == Lane::Batch && (s.paused || lane == Lane::Interactive)
                || s.paused && lane == Lane::Interactive
        };
        let needed = sequence.tokens.len().div_ceil(PAGE_LEN);
        let (mut running, mut yielding) = (0, 0);
        for other in self.sequences.values().filter(|s| s.admitted) {
            if yields(other) {
                yielding += other.pages.len();
            } else {
                running += 1;
            }
        }
        let wanted = (needed + running).min(self.cache.pages_total());
        if self.cache.pages_free() + yielding < wanted {
            return false;
        }
        while self.cache.pages_free() < wanted {
            self.give_way(yields);
        }
        let sequence = self.sequences.get_mut(&id).expect("it waits");
        self.cache.claim(needed, &mut sequence.pages)
    }

    /// Takes the pages of the first that gives way among those that `may`.
    fn give_way(&mut self, may: impl Fn(&Sequence) -> bool) {
        let first = self
            .sequences
            .values_mut()
            .filter(|s| s.admitted && may(s))
            .max_by_key(|s| (s.lane, s.paused, s.id));
        let sequence = first.expect("pages that are not free are held by somebody");
        sequence.admitted = false;
        sequence.computed = 0;
        self.cache.release(std::mem::take(&mut sequence.pages));
        self.totals.preemptions += 1;
    }

    /// Admitted and not paused.
    pub(super) fn running(&self, lane: Lane) -> usize {
        self.sequences
            .values()
            .filter(|s| s.lane == lane && s.admitted && !s.paused)
            .count()
    }

    /// The oldest waiting batch sequence of the tenant whose turn it is: the next one by name after the last.
    fn next_batch(&self) -> Option<SequenceId> {
        let waiting = || self.sequences.values().filter(|s| waits(s, Lane::Batch));
        let after = waiting()
            .filter(|s| s.tenant > self.last_tenant)
            .min_by(|a, b| (&a.tenant, a.id).cmp(&(&b.tenant, b.id)));
        after
            .or_else(|| waiting().min_by(|a, b| (&a.tenant, a.id).cmp(&(&b.tenant, b.id))))
            .map(|s| s.id)
    }
}

fn waits(sequence: &Sequence, lane: Lane) -> bool {
    sequence.lane == lane && !sequence.admitted && !sequence.paused
}
