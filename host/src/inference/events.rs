//! The events of one generation, from the inference thread to whoever reads them.
//!
//! - At most [`EVENTS_MAX`] events wait, plus what one step tells at once. Then the sequence is
//!   paused, neither dropped nor buffered further, until half of them are read.
//! - A reader that takes nothing for [`STALL_MAX`] loses its generation and hears so.
//! - A reader that is dropped cancels its generation.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering::SeqCst};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use futures_util::Stream;
use spindle_inference::request::{ErrorCode, Event};
use tokio::sync::mpsc;

use super::convert;
use super::thread::{Command, Mail, SequenceKey};

/// Events that may wait for a reader.
const EVENTS_MAX: usize = 64;
/// A paused sequence goes on when no more than these wait.
const EVENTS_RESUME: usize = EVENTS_MAX / 2;
/// How long a full queue may go without a read.
const STALL_MAX: Duration = Duration::from_secs(30);

/// What both ends know.
#[derive(Default)]
struct Flow {
    waiting: AtomicUsize,
    reads: AtomicU64,
    paused: AtomicBool,
}

impl Flow {
    /// Claims the right to let the sequence go on. True for one caller only.
    fn resume(&self) -> bool {
        self.waiting.load(SeqCst) <= EVENTS_RESUME
            && self.paused.load(SeqCst)
            && self.paused.swap(false, SeqCst)
    }
}

/// The inference thread's end.
pub struct EventSender {
    events: mpsc::UnboundedSender<Event>,
    flow: Arc<Flow>,
    /// Reads seen, and when the last of them was.
    seen: Option<(u64, Duration)>,
}

/// What became of an event that was sent.
#[derive(Debug, PartialEq, Eq)]
pub enum Sent {
    /// There is room for more.
    Room,
    /// The reader is behind: pause the sequence.
    Full,
    /// Nobody reads any more.
    Gone,
}

/// The two ends of a queue for a sequence.
pub fn queue(mail: Mail, key: SequenceKey) -> (EventSender, EventReader) {
    let (sender, events) = mpsc::unbounded_channel();
    let flow = Arc::new(Flow::default());
    (
        EventSender {
            events: sender,
            flow: flow.clone(),
            seen: None,
        },
        EventReader {
            events,
            flow,
            mail,
            key,
            ended: false,
        },
    )
}

impl EventSender {
    /// Sends an event. [`Sent::Full`] is said once for each pause.
    pub fn send(&mut self, event: Event, now: Duration) -> Sent {
        let waiting = self.flow.waiting.fetch_add(1, SeqCst) + 1;
        if self.events.send(event).is_err() {
            return Sent::Gone;
        }
        if waiting < EVENTS_MAX || self.flow.paused.swap(true, SeqCst) {
            return Sent::Room;
        }
        self.seen = Some((self.flow.reads.load(SeqCst), now));
        // The reader may have caught up before it could see the flag.
        if self.flow.resume() {
            Sent::Room
        } else {
            Sent::Full
        }
    }

    /// Whether the sequence is paused and its reader has taken nothing for too long.
    pub fn is_stalled(&mut self, now: Duration) -> bool {
        if !self.flow.paused.load(SeqCst) {
            return false;
        }
        let reads = self.flow.reads.load(SeqCst);
        match self.seen {
            Some((seen, since)) if seen == reads => now.saturating_sub(since) >= STALL_MAX,
            _ => {
                self.seen = Some((reads, now));
                false
            }
        }
    }

    /// The last event, for a reader that has lost its generation.
    pub fn fail(self, cause: ErrorCode) {
        self.flow.waiting.fetch_add(1, SeqCst);
        // Nobody to tell is fine.
        let _ = self.events.send(Event::Failed(cause));
    }
}

/// The reader's end.
pub struct EventReader {
    events: mpsc::UnboundedReceiver<Event>,
    flow: Arc<Flow>,
    mail: Mail,
    key: SequenceKey,
    ended: bool,
}

impl Stream for EventReader {
    type Item = spindle_runtime::generation::Event;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let Some(event) = ready!(self.events.poll_recv(cx)) else {
            self.ended = true;
            return Poll::Ready(None);
        };
        self.flow.waiting.fetch_sub(1, SeqCst);
        self.flow.reads.fetch_add(1, SeqCst);
        if self.flow.resume() {
            self.mail.send(Command::Resume(self.key));
        }
        self.ended |= matches!(event, Event::Finished(_) | Event::Failed(_));
        Poll::Ready(Some(convert::event(event)))
    }
}

impl Drop for EventReader {
    fn drop(&mut self) {
        if !self.ended {
            self.mail.send(Command::Cancel(self.key));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::task::Waker;

    use spindle_inference::request::PromptReport;

    use super::*;

    fn event() -> Event {
        Event::Prompt(PromptReport {
            prompt_tokens: 1,
            cached_tokens: 0,
            tokens: Vec::new(),
        })
    }

    fn read(reader: &mut EventReader) {
        let mut cx = Context::from_waker(Waker::noop());
        assert!(Pin::new(reader).poll_next(&mut cx).is_ready());
    }

    #[test]
    fn a_reader_behind_pauses_its_sequence_once_and_half_read_resumes_it() {
        let (mail, commands) = Mail::new();
        let key = SequenceKey::of_test(7);
        let (mut sender, mut reader) = queue(mail, key);
        let now = Duration::ZERO;
        let sent: Vec<_> = (0..70).map(|_| sender.send(event(), now)).collect();
        assert_eq!(sent.iter().filter(|sent| **sent == Sent::Full).count(), 1);
        assert_eq!(sent[EVENTS_MAX - 1], Sent::Full);
        for _ in 0..70 - EVENTS_RESUME - 1 {
            read(&mut reader);
        }
        assert!(commands.try_recv().is_err());
        read(&mut reader);
        assert!(matches!(commands.try_recv(), Ok(Command::Resume(resumed)) if resumed == key));
    }

    #[test]
    fn only_a_full_queue_without_a_read_stalls() {
        let (mail, _commands) = Mail::new();
        let (mut sender, mut reader) = queue(mail, SequenceKey::of_test(0));
        let at = Duration::from_secs;
        sender.send(event(), at(0));
        assert!(!sender.is_stalled(at(100)));
        for _ in 1..EVENTS_MAX {
            sender.send(event(), at(100));
        }
        assert!(!sender.is_stalled(at(129)));
        read(&mut reader);
        assert!(!sender.is_stalled(at(131)));
        assert!(!sender.is_stalled(at(160)));
        assert!(sender.is_stalled(at(161)));
    }

    #[test]
    fn a_dropped_reader_cancels_unless_the_end_was_read() {
        let (mail, commands) = Mail::new();
        let key = SequenceKey::of_test(3);
        let (sender, reader) = queue(mail.clone(), key);
        drop(reader);
        assert!(matches!(commands.try_recv(), Ok(Command::Cancel(cancelled)) if cancelled == key));
        drop(sender);

        let (sender, mut reader) = queue(mail, key);
        sender.fail(ErrorCode::ReaderStalled);
        read(&mut reader);
        drop(reader);
        assert!(commands.try_recv().is_err());
    }
}
