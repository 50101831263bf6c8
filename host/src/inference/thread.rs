//! The thread that owns the scheduler: commands in, events out.
//!
//! - Nobody else touches the scheduler; nobody waits for this thread but through a channel.
//! - It beats at least every [`BEAT`], also in the middle of a step.
//! - A panic in a step fails the generations in progress, each with an event, and starts a new
//!   scheduler over the same weights. After [`RESTARTS_MAX`] of them without one good step between,
//!   the thread gives up and the process ends, for its supervisor to start it again.

use std::any::Any;
use std::collections::{HashMap, VecDeque};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, mpsc};
use std::time::{Duration, Instant};

use spindle_inference::Model;
use spindle_inference::kv::KvCache;
use spindle_inference::request::{ErrorCode, Event, Lane, Request};
use spindle_inference::scheduler::{
    Interrupt, Scheduler, SchedulerSettings, SequenceId, StepOutcome, Watch,
};
use tokio::sync::oneshot;

use super::events::{self, EventReader, EventSender, Sent};
use crate::health::{Health, Load};

/// Longest time without a heartbeat while there is nothing to do.
const BEAT: Duration = Duration::from_millis(500);
/// Restarts in a row.
const RESTARTS_MAX: u32 = 3;

/// One sequence of one scheduler: ids begin anew when the scheduler does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct SequenceKey {
    scheduler: u32,
    id: SequenceId,
}

#[cfg(test)]
impl SequenceKey {
    pub fn of_test(id: u64) -> Self {
        Self {
            scheduler: 0,
            id: SequenceId(id),
        }
    }
}

/// What the thread is told.
pub enum Command {
    /// Begin a generation. Its prompt is tokens already.
    Submit(
        Box<Request>,
        oneshot::Sender<Result<EventReader, ErrorCode>>,
    ),
    /// Forget a generation.
    Cancel(SequenceKey),
    /// A reader has caught up.
    Resume(SequenceKey),
    /// Break.
    #[cfg(test)]
    Panic,
}

/// Where commands are sent.
#[derive(Clone)]
pub struct Mail(mpsc::Sender<Command>);

impl Mail {
    pub fn new() -> (Self, mpsc::Receiver<Command>) {
        let (sender, receiver) = mpsc::channel();
        (Self(sender), receiver)
    }

    /// A thread that is gone has forgotten all sequences, so nothing is lost with a command to it.
    pub fn send(&self, command: Command) {
        let _ = self.0.send(command);
    }
}

/// See the module.
pub struct InferenceThread {
    model: Arc<Model>,
    settings: SchedulerSettings,
    scheduler: Scheduler,
    /// Counts schedulers; part of every key.
    generation: u32,
    restarts: u32,
    mail: Mail,
    outside: Outside,
    /// Of the last step; kept for its memory.
    told: Vec<(SequenceId, Event)>,
}

/// What a step sees of the world.
struct Outside {
    start: Instant,
    generation: u32,
    commands: mpsc::Receiver<Command>,
    /// Read in the middle of a step, done after it.
    later: VecDeque<Command>,
    senders: HashMap<SequenceId, EventSender>,
    health: Health,
}

impl InferenceThread {
    pub fn new(model: Arc<Model>, settings: SchedulerSettings, health: Health) -> (Self, Mail) {
        let (mail, commands) = Mail::new();
        let scheduler = Scheduler::new(model.clone(), settings.clone());
        let outside = Outside {
            start: Instant::now(),
            generation: 0,
            commands,
            later: VecDeque::new(),
            senders: HashMap::new(),
            health,
        };
        let thread = Self {
            model,
            settings,
            scheduler,
            generation: 0,
            restarts: 0,
            mail: mail.clone(),
            outside,
            told: Vec::new(),
        };
        (thread, mail)
    }

    /// Tokens prompt and answer may have together.
    pub fn context_len(&self) -> usize {
        self.scheduler.context_len()
    }

    /// Bytes that keys and values may take.
    pub fn kv_bytes(&self) -> u64 {
        let page = KvCache::page_bytes(self.model.config(), self.settings.kv_type);
        self.scheduler.counters().kv_pages_total as u64 * page
    }

    /// Runs until it must give up, and says why.
    pub fn run(mut self) -> String {
        loop {
            if let Err(panic) = catch_unwind(AssertUnwindSafe(|| self.turn())) {
                let cause = message(&*panic);
                self.restarts += 1;
                tracing::error!(%cause, restarts = self.restarts, "inference broke");
                for (_, sender) in self.outside.senders.drain() {
                    sender.fail(ErrorCode::Internal(
                        "the engine broke and was started again".into(),
                    ));
                }
                if self.restarts > RESTARTS_MAX {
                    return cause;
                }
                self.restart();
            }
        }
    }

    fn restart(&mut self) {
        self.generation += 1;
        self.outside.generation = self.generation;
        self.told.clear();
        self.scheduler = Scheduler::new(self.model.clone(), self.settings.clone());
    }

    /// Reads the mail, computes a step, hands out what it told.
    fn turn(&mut self) {
        while let Some(command) = self.outside.next_command() {
            self.obey(command);
        }
        self.end_stalled();
        self.note_load();
        let outcome = self.scheduler.step(&mut self.outside, &mut self.told);
        self.hand_out();
        self.note_load();
        match outcome {
            StepOutcome::Idle => self.outside.wait(),
            StepOutcome::Ran => self.restarts = 0,
            StepOutcome::Abandoned => {}
        }
    }

    fn obey(&mut self, command: Command) {
        match command {
            Command::Submit(request, reply) => {
                if reply.is_closed() {
                    return;
                }
                let submitted = self
                    .scheduler
                    .submit(*request, self.outside.now())
                    .map(|id| {
                        let key = SequenceKey {
                            scheduler: self.generation,
                            id,
                        };
                        let (sender, reader) = events::queue(self.mail.clone(), key);
                        self.outside.senders.insert(id, sender);
                        reader
                    });
                // If nobody waits any more, the reader comes back and cancels by being dropped.
                let _ = reply.send(submitted);
            }
            Command::Cancel(key) if key.scheduler == self.generation => {
                self.outside.senders.remove(&key.id);
                self.scheduler.cancel(key.id);
            }
            Command::Resume(key) if key.scheduler == self.generation => {
                self.scheduler.resume(key.id)
            }
            #[cfg(test)]
            Command::Panic => panic!("asked to"),
            // Of a scheduler that is gone.
            Command::Cancel(_) | Command::Resume(_) => {}
        }
    }

    fn hand_out(&mut self) {
        let now = self.outside.now();
        for (id, event) in self.told.drain(..) {
            let Some(sender) = self.outside.senders.get_mut(&id) else {
                continue;
            };
            let last = matches!(event, Event::Finished(_) | Event::Failed(_));
            match sender.send(event, now) {
                Sent::Gone => {
                    self.scheduler.cancel(id);
                    self.outside.senders.remove(&id);
                }
                Sent::Full if !last => self.scheduler.pause(id),
                Sent::Full | Sent::Room => {}
            }
            if last {
                self.outside.senders.remove(&id);
            }
        }
    }

    fn end_stalled(&mut self) {
        let now = self.outside.now();
        let stalled: Vec<_> = self
            .outside
            .senders
            .iter_mut()
            .filter_map(|(id, sender)| sender.is_stalled(now).then_some(*id))
            .collect();
        for id in stalled {
            self.scheduler.cancel(id);
            if let Some(sender) = self.outside.senders.remove(&id) {
                sender.fail(ErrorCode::ReaderStalled);
            }
        }
    }

    fn note_load(&self) {
        let counters = self.scheduler.counters();
        let lanes = [counters.interactive, counters.batch];
        self.outside.health.hold(Load {
            running: lanes.iter().map(|lane| lane.running as u64).sum(),
            waiting: lanes.iter().map(|lane| lane.waiting as u64).sum(),
        });
    }
}

impl Outside {
    fn next_command(&mut self) -> Option<Command> {
        self.health.beat();
        self.later
            .pop_front()
            .or_else(|| self.commands.try_recv().ok())
    }

    /// Until something is in the mail, or it is time for a beat.
    fn wait(&mut self) {
        if let Ok(command) = self.commands.recv_timeout(BEAT) {
            self.later.push_back(command);
        }
    }

    fn now(&self) -> Duration {
        self.start.elapsed()
    }
}

impl Watch for Outside {
    fn now(&mut self) -> Duration {
        Self::now(self)
    }

    fn between_layers(&mut self) -> Interrupt {
        self.health.beat();
        while let Ok(command) = self.commands.try_recv() {
            match command {
                Command::Cancel(key) if key.scheduler == self.generation => {
                    self.senders.remove(&key.id);
                    return Interrupt::Cancelled(key.id);
                }
                Command::Submit(request, reply) => {
                    let interactive = request.lane == Lane::Interactive;
                    self.later.push_back(Command::Submit(request, reply));
                    if interactive {
                        return Interrupt::InteractiveArrived;
                    }
                }
                other => self.later.push_back(other),
            }
        }
        Interrupt::None
    }
}

fn message(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
    text.or_else(|| panic.downcast_ref::<String>().cloned())
        .unwrap_or_else(|| "a panic without words".to_owned())
}
