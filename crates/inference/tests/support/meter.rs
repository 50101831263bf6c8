//! Counts the memory one thread allocates and the time it computes, for tests that bound them.

#![allow(dead_code, reason = "each test binary uses its own part")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::time::Duration;

struct Meter;

#[global_allocator]
static METER: Meter = Meter;

thread_local! {
    static LIVE: Cell<isize> = const { Cell::new(0) };
    static PEAK: Cell<isize> = const { Cell::new(0) };
}

fn count(bytes: isize) {
    // The thread's last deallocations come after its locals are gone; nobody measures those.
    let _ = LIVE.try_with(|live| {
        live.set(live.get() + bytes);
        let _ = PEAK.try_with(|peak| peak.set(peak.get().max(live.get())));
    });
}

// SAFETY: every call goes to the system's allocator unchanged; counting allocates nothing.
unsafe impl GlobalAlloc for Meter {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(layout.size() as isize);
        // SAFETY: the caller's promises are those of `System`.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        count(-(layout.size() as isize));
        // SAFETY: as above.
        unsafe { System.dealloc(pointer, layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        // Old and new block may both be there while the content moves.
        count(size as isize);
        count(-(layout.size() as isize));
        // SAFETY: as above.
        unsafe { System.realloc(pointer, layout, size) }
    }
}

/// Time this thread has computed. Tests share their machine with each other and with builds, so the clock on the wall
/// says little.
fn computed() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}

/// The last result and the shortest time of so many runs.
pub fn fastest<T>(runs: usize, mut run: impl FnMut() -> T) -> (T, f64) {
    let mut timed = || {
        let (result, cost) = measure(&mut run);
        (result, cost.time.as_secs_f64())
    };
    let first = timed();
    (1..runs).fold(first, |(_, best), _| {
        let (result, seconds) = timed();
        (result, best.min(seconds))
    })
}

/// What a call cost.
pub struct Cost {
    /// Most bytes alive at once beyond those alive before.
    pub bytes: usize,
    /// Time spent computing.
    pub time: Duration,
}

/// Runs `f` on this thread.
pub fn measure<T>(f: impl FnOnce() -> T) -> (T, Cost) {
    let before = LIVE.get();
    PEAK.set(before);
    let start = computed();
    let result = f();
    let time = computed() - start;
    (
        result,
        Cost {
            bytes: usize::try_from(PEAK.get() - before).unwrap_or(0),
            time,
        },
    )
}

impl Cost {
    /// The rule for loading: at most 1.2 times the file and 16 MiB, of which the file's own bytes are the first 1.0;
    /// and at most two seconds.
    pub fn check(&self, what: &str, file_bytes: usize) {
        let allowed = file_bytes / 5 + (16 << 20);
        assert!(
            self.bytes <= allowed,
            "{what}: {} bytes for a file of {file_bytes}: {allowed} are allowed",
            self.bytes
        );
        assert!(
            self.time < Duration::from_secs(2),
            "{what}: {:?}",
            self.time
        );
    }
}
