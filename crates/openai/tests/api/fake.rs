//! An inference that does what a script says, and an executor for one thread without a clock.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::future::Future;
use std::pin::pin;
use std::rc::Rc;
use std::task::{Context as TaskContext, Poll, Waker};

use serde_json::Value;
use spindle_openai::inference::{
    Candidate, Event, FinishReason, Finished, GenerationRequest, InferenceError, Lane, ModelInfo,
    PromptReport, PromptToken, SamplingDefaults, TokenEvent, TokenId, TokenLogprobs,
};
use spindle_openai::{Body, Context, Endpoint, EventStream, Inference, Response, endpoint};

/// What happens at one look at a generation.
#[derive(Clone)]
pub enum Step {
    /// These events are there.
    Ready(Vec<Event>),
    /// Nothing is there yet.
    Wait,
}

/// One generation: why it is refused, or what it does.
pub type Script = Result<Vec<Step>, InferenceError>;

/// Scripted models.
pub struct Fake {
    pub models: Vec<ModelInfo>,
    scripts: RefCell<VecDeque<Script>>,
    pub requests: RefCell<Vec<GenerationRequest>>,
    /// Generations that were begun and neither ended nor dropped.
    pub running: Rc<Cell<usize>>,
}

pub struct FakeEvents {
    steps: VecDeque<Step>,
    running: Rc<Cell<usize>>,
}

impl Fake {
    pub fn new(scripts: impl IntoIterator<Item = Script>) -> Self {
        Self {
            models: vec![model()],
            scripts: RefCell::new(scripts.into_iter().collect()),
            requests: RefCell::default(),
            running: Rc::default(),
        }
    }

    /// Answers any number of requests with `ok` and an end.
    pub fn willing() -> Self {
        Self::new([])
    }

    /// Runs a request to the end of its answer.
    pub fn run(&self, endpoint: Endpoint, body: &str) -> Answer {
        let response = self.respond(endpoint, body);
        Answer {
            status: response.status,
            headers: response.headers.clone(),
            body: block_on(drain(response.body)),
        }
    }

    /// Runs a request to the beginning of its answer.
    pub fn respond(&self, endpoint: Endpoint, body: &str) -> Response {
        block_on(endpoint::run(endpoint, body.as_bytes(), &context(), self))
    }

    pub fn request(&self) -> GenerationRequest {
        let requests = self.requests.borrow();
        assert_eq!(requests.len(), 1, "one request to inference");
        requests[0].clone()
    }
}

impl Inference for Fake {
    type Events = FakeEvents;

    fn models(&self) -> Vec<ModelInfo> {
        self.models.clone()
    }

    fn model(&self, id: &str) -> Option<ModelInfo> {
        self.models.iter().find(|model| model.id == id).cloned()
    }

    async fn encode(&self, _: &str, text: &str, _: bool) -> Result<Vec<TokenId>, InferenceError> {
        Ok(text.bytes().map(TokenId::from).collect())
    }

    async fn decode(&self, _: &str, tokens: &[TokenId]) -> Result<Vec<u8>, InferenceError> {
        Ok(tokens.iter().map(|id| *id as u8).collect())
    }

    async fn generate(&self, request: GenerationRequest) -> Result<FakeEvents, InferenceError> {
        self.requests.borrow_mut().push(request);
        let steps = match self.scripts.borrow_mut().pop_front() {
            Some(script) => script?,
            None => vec![Step::Ready(vec![
                prompt(1),
                token(7, b"ok"),
                finished(FinishReason::Stop, 1, 1),
            ])],
        };
        self.running.set(self.running.get() + 1);
        Ok(FakeEvents {
            steps: steps.into(),
            running: self.running.clone(),
        })
    }
}

impl EventStream for FakeEvents {
    async fn next(&mut self) -> Option<Vec<Event>> {
        std::future::poll_fn(|task| match self.steps.pop_front() {
            Some(Step::Ready(events)) => Poll::Ready(Some(events)),
            Some(Step::Wait) => {
                task.waker().wake_by_ref();
                Poll::Pending
            }
            None => Poll::Ready(None),
        })
        .await
    }
}

impl Drop for FakeEvents {
    fn drop(&mut self) {
        self.running.set(self.running.get() - 1);
    }
}

/// A whole answer.
pub struct Answer {
    pub status: u16,
    pub headers: Vec<(&'static str, String)>,
    pub body: Vec<u8>,
}

impl Answer {
    pub fn text(&self) -> &str {
        std::str::from_utf8(&self.body).expect("answers are text")
    }

    pub fn json(&self) -> Value {
        serde_json::from_str(self.text()).unwrap_or_else(|error| panic!("{error}: {}", self.text()))
    }

    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers
            .iter()
            .find(|(found, _)| *found == name)
            .map(|(_, value)| value.as_str())
    }

    /// The `data` of every frame, `[DONE]` checked and left out.
    pub fn chunks(&self) -> Vec<Value> {
        let frames = self
            .text()
            .strip_suffix("data: [DONE]\n\n")
            .expect("the end of a stream");
        let frames = frames.split_terminator("\n\n");
        frames
            .map(|frame| {
                serde_json::from_str(frame.strip_prefix("data: ").expect("a frame")).expect("JSON")
            })
            .collect()
    }
}

async fn drain(body: Body) -> Vec<u8> {
    match body {
        Body::Json(bytes) => bytes,
        Body::Stream(mut frames) => {
            let mut bytes = Vec::new();
            while let Some(next) = frames.next().await {
                assert!(next.ends_with(b"\n\n"), "frames are whole");
                bytes.extend(next);
            }
            bytes
        }
    }
}

/// Polls until it is done. A script that waits wakes at once, so a future that never ends is a mistake of ours.
pub fn block_on<T>(future: impl Future<Output = T>) -> T {
    let mut future = pin!(future);
    for _ in 0..100_000 {
        if let Poll::Ready(value) = poll_once(future.as_mut()) {
            return value;
        }
    }
    panic!("nothing wakes this future");
}

/// One poll.
pub fn poll_once<F: Future>(future: std::pin::Pin<&mut F>) -> Poll<F::Output> {
    future.poll(&mut TaskContext::from_waker(Waker::noop()))
}

pub fn context() -> Context {
    Context {
        id: "0123456789abcdef".to_owned(),
        now: 1_700_000_000,
        seed: 42,
        tenant: "default".to_owned(),
        lane: Lane::Interactive,
    }
}

pub fn model() -> ModelInfo {
    ModelInfo {
        id: "tiny".to_owned(),
        created: 1_600_000_000,
        context_len: 2048,
        vocab_len: 1000,
        chat_template: None,
        bos_token: None,
        eos_token: None,
        fingerprint: Some("f00d".to_owned()),
        defaults: SamplingDefaults::default(),
    }
}

/// One look at which everything is there.
pub fn at_once(events: impl IntoIterator<Item = Event>) -> Script {
    Ok(vec![Step::Ready(events.into_iter().collect())])
}

/// One look an event.
pub fn one_by_one(events: impl IntoIterator<Item = Event>) -> Script {
    Ok(events
        .into_iter()
        .flat_map(|event| [Step::Wait, Step::Ready(vec![event])])
        .collect())
}

pub fn prompt(tokens: u32) -> Event {
    Event::Prompt(PromptReport {
        prompt_tokens: tokens,
        ..PromptReport::default()
    })
}

/// A prompt with its tokens, of which the first has no log-probabilities and none has any if `scored` is not set.
pub fn prompt_of(tokens: &[(TokenId, &[u8])], scored: bool) -> Event {
    let tokens: Vec<PromptToken> = tokens
        .iter()
        .enumerate()
        .map(|(index, (id, bytes))| PromptToken {
            id: *id,
            bytes: bytes.to_vec(),
            logprobs: (scored && index > 0).then(|| logprobs(*id, bytes)),
        })
        .collect();
    Event::Prompt(PromptReport {
        prompt_tokens: tokens.len() as u32,
        cached_tokens: 0,
        tokens,
    })
}

pub fn token(id: TokenId, bytes: &[u8]) -> Event {
    Event::Token(TokenEvent {
        id,
        bytes: bytes.to_vec(),
        logprobs: None,
    })
}

/// A token with log-probabilities, one alternative that is likelier than it.
pub fn scored(id: TokenId, bytes: &[u8]) -> Event {
    Event::Token(TokenEvent {
        id,
        bytes: bytes.to_vec(),
        logprobs: Some(logprobs(id, bytes)),
    })
}

fn logprobs(id: TokenId, bytes: &[u8]) -> TokenLogprobs {
    let chosen = Candidate {
        id,
        logprob: -1.5,
        bytes: bytes.to_vec(),
    };
    let likelier = Candidate {
        id: id + 1,
        logprob: -0.25,
        bytes: b"!".to_vec(),
    };
    TokenLogprobs {
        chosen,
        top: vec![likelier],
    }
}

pub fn finished(reason: FinishReason, prompt_tokens: u32, completion_tokens: u32) -> Event {
    Event::Finished(Finished {
        reason,
        prompt_tokens,
        cached_tokens: prompt_tokens / 2,
        completion_tokens,
        queue_us: 1,
        prefill_us: 2,
        decode_us: 3,
    })
}
