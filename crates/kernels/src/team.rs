//! [`Team`]: threads that stay, and hand disjoint parts of a job to ranks.
//!
//! - [`Team::run`] gives part i to rank `i % threads`, as `&mut`; the caller is rank 0. It returns when every part is done.
//! - A rank that has not begun when the caller is through with its own parts loses them to the caller: a thread that sleeps, or that the system
//!   has taken off its core, holds nobody up. Which thread computes a part changes no bit.
//! - A panic of any rank reaches the caller after all ranks have finished; the team stays usable.
//! - Workers spin for [`SPIN`] after a job, because the next is usually microseconds away, then park: on few cores a spinning worker steals
//!   from everybody else. Who waits longer yields the processor now and then, so more threads than cores still make progress.
//! - A team of one runs inline, starts no thread and reads no clock: that is the team on wasm.
//!
//! The protocol: rank 0 writes `job`, then raises `epoch`. Whoever raises a worker's `claimed` to that epoch, the worker or rank 0, runs its parts and
//! then raises `done` too; rank 0 waits for that. Each worker's state has a cache line of its own. `job` is written only while nobody
//! is between claimed and done, and read only by who is.
//!
//! Absent: work stealing beyond that (a rank keeps its rows for cache and page locality), nesting, pinning.

use core::any::Any;
use core::cell::UnsafeCell;
use core::ops::Range;
use core::panic::AssertUnwindSafe;
use core::sync::atomic::{AtomicBool, AtomicPtr, AtomicU64, Ordering};
use core::time::Duration;
use std::panic::{catch_unwind, resume_unwind};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle, Thread};
use std::time::Instant;

/// How long a worker looks for the next job before it parks: a few barriers of a layer, far below a scheduler's slice.
const SPIN: Duration = Duration::from_micros(50);
/// Looks between two looks at the clock.
const LOOKS: u32 = 64;
/// Most ranks a team may have.
const RANKS_MAX: usize = 256;

/// Splits `len` items into `parts` ranges of whole multiples of `unit`, as even as that allows; the last takes what is over.
pub fn split_even(len: usize, parts: usize, unit: usize) -> Vec<Range<usize>> {
    let (parts, unit) = (parts.max(1), unit.max(1));
    let units = len.div_ceil(unit);
    let edge = |part: usize| (units * part / parts * unit).min(len);
    (0..parts).map(|part| edge(part)..edge(part + 1)).collect()
}

/// A rank's job: called with the rank.
type Job<'a> = dyn Fn(usize) + Sync + 'a;

#[repr(align(128))]
struct Worker {
    /// The last epoch whose parts somebody has begun.
    claimed: AtomicU64,
    /// The last epoch whose parts are done.
    done: AtomicU64,
    /// Set by the worker before it parks, taken by whoever wakes it.
    parked: AtomicBool,
}

impl Worker {
    /// Takes the worker's parts of `epoch`, if nobody has.
    fn claim(&self, epoch: u64) -> bool {
        self.claimed
            .compare_exchange(epoch - 1, epoch, Ordering::AcqRel, Ordering::Relaxed)
            .is_ok()
    }
}

struct Shared {
    epoch: AtomicU64,
    stop: AtomicBool,
    /// Valid for who has claimed the current epoch, until done.
    job: UnsafeCell<Option<*const Job<'static>>>,
    workers: Vec<Worker>, // [ranks - 1]
    /// First panic among the workers.
    panic: Mutex<Option<Box<dyn Any + Send>>>,
}

// SAFETY: `job` is written only by the thread that owns the Team, while no worker is between claimed and done (module docs), and read only in between.
unsafe impl Sync for Shared {}
// SAFETY: the pointer in `job` is to a `Sync` closure and is not used outside `run`.
unsafe impl Send for Shared {}

/// A set of threads for fork-join work.
pub struct Team {
    shared: Arc<Shared>,
    threads: Vec<(Thread, Option<JoinHandle<()>>)>,
}

impl Team {
    /// A team of `threads` ranks, the caller included; at least one, and exactly one on wasm.
    ///
    /// # Panics
    /// If the system refuses a thread.
    pub fn new(threads: usize) -> Self {
        let ranks = if cfg!(target_family = "wasm") {
            1
        } else {
            threads.clamp(1, RANKS_MAX)
        };
        let workers = (1..ranks)
            .map(|_| Worker {
                claimed: AtomicU64::new(0),
                done: AtomicU64::new(0),
                parked: AtomicBool::new(false),
            })
            .collect();
        let shared = Arc::new(Shared {
            epoch: AtomicU64::new(0),
            stop: AtomicBool::new(false),
            job: UnsafeCell::new(None),
            workers,
            panic: Mutex::new(None),
        });
        let threads = (1..ranks)
            .map(|rank| {
                let shared = Arc::clone(&shared);
                let handle = thread::Builder::new()
                    .name(format!("kernel-{rank}"))
                    .spawn(move || work(&shared, rank))
                    .expect("a kernel thread starts");
                (handle.thread().clone(), Some(handle))
            })
            .collect();
        Self { shared, threads }
    }

    /// Ranks, the caller included.
    pub fn threads(&self) -> usize {
        self.threads.len() + 1
    }

    /// Calls `f(i, &mut parts[i])` for every part, part i on rank `i % threads` unless that rank sleeps, and returns when all are done.
    ///
    /// # Panics
    /// With the panic of a rank, if one panicked.
    pub fn run<P: Send>(&mut self, parts: &mut [P], f: impl Fn(usize, &mut P) + Sync) {
        let ranks = self.threads();
        if ranks == 1 || parts.len() <= 1 {
            for (i, part) in parts.iter_mut().enumerate() {
                f(i, part);
            }
            return;
        }
        let len = parts.len();
        let base = AtomicPtr::new(parts.as_mut_ptr());
        let job = |rank: usize| {
            let base = base.load(Ordering::Relaxed);
            for i in (rank..len).step_by(ranks) {
                // SAFETY: `i` is inside `parts`, which stays borrowed until all ranks are done; each index belongs to exactly one rank,
                // so the references are disjoint; P is Send.
                f(i, unsafe { &mut *base.add(i) });
            }
        };
        self.fork_join(&job);
    }

    fn fork_join(&mut self, job: &Job<'_>) {
        let shared = &*self.shared;
        // SAFETY: only the lifetime changes; the pointer is cleared below, before `job` can end, panic or not.
        let erased = unsafe { core::mem::transmute::<*const Job<'_>, *const Job<'static>>(job) };
        // SAFETY: every worker that claimed an epoch is done with it, and `&mut self` keeps other callers out.
        unsafe { *shared.job.get() = Some(erased) };
        let epoch = shared.epoch.load(Ordering::Relaxed) + 1;
        shared.epoch.store(epoch, Ordering::SeqCst);
        self.wake();
        let run = |rank: usize| catch_unwind(AssertUnwindSafe(|| job(rank))).err();
        let mut panic = run(0);
        for (i, worker) in shared.workers.iter().enumerate() {
            if worker.claim(epoch) {
                panic = panic.or(run(i + 1));
                worker.done.store(epoch, Ordering::Relaxed);
            }
        }
        for worker in &shared.workers {
            wait(|| worker.done.load(Ordering::Acquire) == epoch, None);
        }
        // SAFETY: every worker that claimed this epoch is done with it, and the rest cannot claim it any more.
        unsafe { *shared.job.get() = None };
        let theirs = shared
            .panic
            .lock()
            .unwrap_or_else(|e| e.into_inner())
            .take();
        if let Some(panic) = panic.or(theirs) {
            resume_unwind(panic);
        }
    }

    fn wake(&self) {
        for (worker, (thread, _)) in self.shared.workers.iter().zip(&self.threads) {
            // Ordered after the store of `epoch`: either the worker sees the epoch before it parks, or we see `parked`.
            if worker.parked.swap(false, Ordering::SeqCst) {
                thread.unpark();
            }
        }
    }
}

impl Drop for Team {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::SeqCst);
        self.shared.epoch.fetch_add(1, Ordering::SeqCst);
        self.wake();
        for (_, handle) in &mut self.threads {
            if let Some(handle) = handle.take() {
                // A worker catches every panic of a job; it cannot end with one.
                let _ = handle.join();
            }
        }
    }
}

impl core::fmt::Debug for Team {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("Team")
            .field("threads", &self.threads())
            .finish()
    }
}

/// A worker's life.
fn work(shared: &Shared, rank: usize) {
    let own = &shared.workers[rank - 1];
    let mut seen = 0;
    loop {
        let arrived = || shared.epoch.load(Ordering::SeqCst) != seen;
        while !wait(arrived, Some(SPIN)) {
            own.parked.store(true, Ordering::SeqCst);
            if arrived() {
                own.parked.store(false, Ordering::SeqCst);
            } else {
                thread::park();
            }
        }
        seen = shared.epoch.load(Ordering::SeqCst);
        if shared.stop.load(Ordering::SeqCst) {
            return;
        }
        if !own.claim(seen) {
            continue;
        }
        // SAFETY: between claimed and done, rank 0 does not write `job`, and the closure outlives `fork_join`, which waits for `done`.
        let job = unsafe { &*(*shared.job.get()).expect("an epoch has a job") };
        if let Err(panic) = catch_unwind(AssertUnwindSafe(|| job(rank))) {
            shared
                .panic
                .lock()
                .unwrap_or_else(|e| e.into_inner())
                .get_or_insert(panic);
        }
        own.done.store(seen, Ordering::Release);
    }
}

/// Spins until `ready`, at most for `limit`; says whether it is. Yields after a while, in case the one waited for needs this very core.
fn wait(ready: impl Fn() -> bool, limit: Option<Duration>) -> bool {
    let mut start = None;
    loop {
        for _ in 0..LOOKS {
            if ready() {
                return true;
            }
            core::hint::spin_loop();
        }
        let elapsed = start.get_or_insert_with(Instant::now).elapsed();
        match limit {
            Some(limit) if elapsed > limit => return false,
            _ if elapsed > SPIN / 2 => thread::yield_now(),
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_part_runs_once_whatever_the_team() {
        for threads in [1, 2, 3, 7] {
            let mut team = Team::new(threads);
            for count in [0, 1, 2, 5, 16] {
                let mut parts = vec![0; count];
                team.run(&mut parts, |i, part| *part += i + 1);
                assert_eq!(parts, (1..=count).collect::<Vec<_>>());
            }
        }
    }

    #[test]
    fn many_tiny_jobs_finish_with_more_threads_than_cores() {
        let mut team = Team::new(5);
        let mut parts = [0u64; 5];
        for _ in 0..2_000 {
            team.run(&mut parts, |_, part| *part += 1);
        }
        assert_eq!(parts, [2_000; 5]);
    }

    #[test]
    fn a_parked_team_wakes_up() {
        let mut team = Team::new(2);
        for _ in 0..20 {
            let worker = &team.shared.workers[0];
            while !worker.parked.load(Ordering::SeqCst) {
                thread::yield_now();
            }
            let mut parts = [0, 0];
            team.run(&mut parts, |i, part| *part = i + 1);
            assert_eq!(parts, [1, 2]);
        }
    }

    #[test]
    fn a_panic_reaches_the_caller_and_the_team_survives() {
        let mut team = Team::new(3);
        for culprit in 0..3 {
            let mut parts = [0; 3];
            let result = catch_unwind(AssertUnwindSafe(|| {
                team.run(&mut parts, |i, part| {
                    assert!(i != culprit, "rank {i} gave up");
                    *part = 1;
                });
            }));
            let message = *result.unwrap_err().downcast::<String>().unwrap();
            assert_eq!(message, format!("rank {culprit} gave up"));
            assert_eq!(parts.iter().sum::<i32>(), 2, "the others finished");
            team.run(&mut parts, |_, part| *part = 2);
            assert_eq!(parts, [2; 3]);
        }
    }

    #[test]
    fn even_splits_cover_everything_in_order() {
        for (len, parts, unit) in [
            (0, 2, 8),
            (1, 2, 8),
            (576, 2, 16),
            (49_152, 3, 32),
            (7, 4, 1),
            (40, 3, 16),
        ] {
            let ranges = split_even(len, parts, unit);
            assert_eq!(
                (ranges.len(), ranges[0].start, ranges[parts - 1].end),
                (parts, 0, len)
            );
            assert!(ranges.windows(2).all(
                |w| w[0].end == w[1].start && w[0].end.is_multiple_of(unit) | (w[0].end == len)
            ));
        }
    }
}
