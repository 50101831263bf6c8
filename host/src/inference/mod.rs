//! The model as the components see it: checks what they ask, sends it to the inference thread.
//!
//! - Until the model is loaded there is none: the list is empty and every call is refused.
//! - Text is turned into tokens before the inference thread hears of it, and off the async threads
//!   where it is long.

mod convert;
mod events;
mod thread;

use std::sync::{Arc, OnceLock};
use std::thread::Builder;

use spindle_inference::Model;
use spindle_inference::request::{ErrorCode as EngineError, Prompt};
use spindle_runtime::generation::Request;
use spindle_runtime::models::ModelInfo;
use spindle_runtime::types::{ErrorCode, InvalidArgument};
use spindle_runtime::{Answer, EventStream, Inference};
use tokio::sync::oneshot;
use tokio::task::spawn_blocking;

use crate::Error;
use crate::health::Health;
use crate::model::LoadedModel;
use thread::{Command, InferenceThread, Mail};

/// Text, or tokens, that is worked on at once; more of it goes to a thread that may take its time.
const INLINE_MAX: usize = 4 << 10;

/// Answers the components' calls.
#[derive(Default)]
pub struct Engine {
    serving: OnceLock<Serving>,
}

/// What a started model turned out to be.
pub struct Started {
    /// Tokens prompt and answer may have together.
    pub context_len: u32,
    /// Most bytes for keys and values.
    pub kv_bytes: u64,
    /// Hears why the inference thread gave up, if it ever does.
    pub gave_up: oneshot::Receiver<String>,
}

struct Serving {
    model: Arc<Model>,
    info: ModelInfo,
    fingerprint: Arc<OnceLock<String>>,
    mail: Mail,
}

impl Engine {
    /// Starts to serve a model.
    ///
    /// # Panics
    /// When a model is served already.
    pub fn start(&self, loaded: LoadedModel, health: &Health) -> Result<Started, Error> {
        let LoadedModel {
            model,
            settings,
            mut info,
            fingerprint,
            ..
        } = loaded;
        let (thread, mail) = InferenceThread::new(model.clone(), settings, health.clone());
        let context_len = u32::try_from(thread.context_len()).unwrap_or(u32::MAX);
        info.context_len = context_len;
        let kv_bytes = thread.kv_bytes();
        let (giving_up, gave_up) = oneshot::channel();
        Builder::new().name("inference".into()).spawn(move || {
            // Nobody listens only when the program ends anyway.
            let _ = giving_up.send(thread.run());
        })?;
        let first = self
            .serving
            .set(Serving {
                model,
                info,
                fingerprint,
                mail,
            })
            .is_ok();
        assert!(first, "one model is served");
        health.loaded();
        Ok(Started {
            context_len,
            kv_bytes,
            gave_up,
        })
    }

    fn serving(&self, model: &str) -> Result<&Serving, ErrorCode> {
        let serving = self
            .serving
            .get()
            .filter(|serving| serving.info.id == model);
        serving.ok_or_else(|| ErrorCode::ModelNotFound(model.to_owned()))
    }
}

impl Inference for Engine {
    fn models(&self) -> Vec<ModelInfo> {
        let info = |serving: &Serving| ModelInfo {
            fingerprint: serving.fingerprint.get().cloned(),
            ..serving.info.clone()
        };
        self.serving.get().map(info).into_iter().collect()
    }

    fn encode(&self, model: String, text: String, parse_special: bool) -> Answer<'_, Vec<u32>> {
        Box::pin(async move {
            let model = self.serving(&model)?.model.clone();
            let tokens = worked(text.len(), move || model.encode(&text, parse_special)).await?;
            let tokens = tokens.map_err(|error| invalid("text", error.to_string()))?;
            Ok(tokens.into_iter().map(|token| token.0).collect())
        })
    }

    fn decode(&self, model: String, tokens: Vec<u32>) -> Answer<'_, Vec<u8>> {
        Box::pin(async move {
            let Serving { model, info, .. } = self.serving(&model)?;
            if let Some(token) = tokens.iter().find(|token| **token >= info.vocab_len) {
                return Err(invalid(
                    "tokens",
                    format!(
                        "token {token} is not in the vocabulary of {}",
                        info.vocab_len
                    ),
                ));
            }
            let model = model.clone();
            worked(tokens.len(), move || {
                model.decode(&convert::token_ids(tokens))
            })
            .await
        })
    }

    fn generate(&self, request: Request) -> Answer<'_, EventStream> {
        Box::pin(async move {
            let Serving {
                model, info, mail, ..
            } = self.serving(&request.model)?;
            let mut request = Box::new(convert::request(request));
            if let Prompt::Text(text) = &request.prompt {
                let (len, model, context_len) =
                    (text.len(), model.clone(), info.context_len as usize);
                request = worked(len, move || {
                    model
                        .encode_prompt(&mut request, context_len)
                        .map(|()| request)
                })
                .await?
                .map_err(convert::error)?;
            }
            let (reply, submitted) = oneshot::channel();
            mail.send(Command::Submit(request, reply));
            // The thread is gone, or broke while it had the request in hand.
            let submitted = submitted
                .await
                .unwrap_or_else(|_| Err(EngineError::Internal("the engine broke".into())));
            submitted
                .map(|events| Box::pin(events) as EventStream)
                .map_err(convert::error)
        })
    }
}

/// Does a piece of work whose cost grows with `len`, away from the async threads if that is much.
async fn worked<T: Send + 'static>(
    len: usize,
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, ErrorCode> {
    if len <= INLINE_MAX {
        return Ok(work());
    }
    spawn_blocking(work)
        .await
        .map_err(|_| ErrorCode::Internal("the tokenizer broke".into()))
}

fn invalid(param: &str, message: String) -> ErrorCode {
    ErrorCode::InvalidArgument(InvalidArgument {
        param: param.to_owned(),
        message,
    })
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use futures_util::StreamExt;
    use spindle_runtime::generation::{Event, Prompt, PromptDetail, Sampling};
    use spindle_runtime::types::Lane;

    use super::*;
    use crate::cli::ServeFlags;
    use crate::health::Load;
    use crate::{model, settings};

    /// On a machine that does other things too.
    const PATIENCE: Duration = Duration::from_secs(30);

    async fn demo() -> (Engine, Health) {
        let settings = settings::serve(&ServeFlags::default()).unwrap().model;
        let (engine, health) = (Engine::default(), Health::default());
        let loaded = model::load_aside(settings).await.expect("the demo model");
        let _started = engine.start(loaded, &health).unwrap();
        (engine, health)
    }

    fn request(max_tokens: u32) -> Request {
        Request {
            model: "spindle-demo".into(),
            prompt: Prompt::Text("Once upon a time".into()),
            max_tokens: Some(max_tokens),
            clip_to_context: false,
            min_tokens: 0,
            ignore_eos: true,
            stop: Vec::new(),
            sampling: Sampling {
                temperature: 0.0,
                top_k: 0,
                top_p: 1.0,
                min_p: 0.0,
                typical_p: 1.0,
                repeat_penalty: 1.0,
                frequency_penalty: 0.0,
                presence_penalty: 0.0,
                logit_bias: Vec::new(),
                seed: 0,
                choice_index: 0,
            },
            logprobs: None,
            prompt_detail: PromptDetail::Count,
            lane: Lane::Interactive,
            tenant: "default".into(),
        }
    }

    async fn idle(health: &Health) {
        let start = Instant::now();
        while health.load() != Load::default() {
            assert!(start.elapsed() < PATIENCE, "{:?}", health.load());
            tokio::task::yield_now().await;
        }
    }

    #[tokio::test]
    async fn a_generation_tells_its_prompt_then_its_tokens_then_its_end() {
        let (engine, health) = demo().await;
        let events: Vec<_> = engine.generate(request(5)).await.unwrap().collect().await;
        let kinds: String = events
            .iter()
            .map(|event| match event {
                Event::Prompt(_) => 'p',
                Event::Token(_) => 't',
                Event::Finished(_) => 'f',
                Event::Failed(_) => 'x',
            })
            .collect();
        assert_eq!(kinds, "ptttttf");
        idle(&health).await;
    }

    #[tokio::test]
    async fn a_dropped_generation_frees_its_place() {
        let (engine, health) = demo().await;
        let mut events = engine.generate(request(1000)).await.unwrap();
        assert!(matches!(events.next().await, Some(Event::Prompt(_))));
        drop(events);
        idle(&health).await;
    }

    #[tokio::test]
    async fn a_panic_fails_what_runs_and_the_next_is_served() {
        let (engine, health) = demo().await;
        let whole = || async {
            let events: Vec<_> = engine.generate(request(5)).await.unwrap().collect().await;
            format!("{events:?}")
                .split("Finished")
                .next()
                .unwrap()
                .to_owned()
        };
        let before = whole().await;
        let mut running = engine.generate(request(1000)).await.unwrap();
        assert!(matches!(running.next().await, Some(Event::Prompt(_))));
        engine.serving.get().unwrap().mail.send(Command::Panic);
        let last = running.fold(None, async |_, event| Some(event)).await;
        assert!(
            matches!(last, Some(Event::Failed(ErrorCode::Internal(_)))),
            "{last:?}"
        );
        idle(&health).await;
        assert_eq!(whole().await, before);
    }

    #[tokio::test]
    async fn what_a_guest_asks_is_checked() {
        let (engine, _health) = demo().await;
        let other = Request {
            model: "other".into(),
            ..request(5)
        };
        assert!(matches!(
            engine.generate(other).await.err(),
            Some(ErrorCode::ModelNotFound(_))
        ));
        let tokens = Request {
            prompt: Prompt::Tokens(vec![u32::MAX]),
            ..request(5)
        };
        assert!(matches!(
            engine.generate(tokens).await.err(),
            Some(ErrorCode::InvalidArgument(_))
        ));
        let long = Request {
            prompt: Prompt::Text("word ".repeat(100_000)),
            ..request(5)
        };
        assert!(matches!(
            engine.generate(long).await.err(),
            Some(ErrorCode::ContextExceeded(_))
        ));
        let id = || "spindle-demo".to_owned();
        assert!(matches!(
            engine.decode(id(), vec![u32::MAX]).await,
            Err(ErrorCode::InvalidArgument(_))
        ));
        let tokens = engine
            .encode(id(), "Once upon a time".into(), false)
            .await
            .unwrap();
        assert_eq!(
            engine.decode(id(), tokens).await.unwrap(),
            b"Once upon a time"
        );
    }

    #[tokio::test]
    async fn without_a_model_there_is_none() {
        let engine = Engine::default();
        assert!(engine.models().is_empty());
        assert!(matches!(
            engine.generate(request(1)).await.err(),
            Some(ErrorCode::ModelNotFound(_))
        ));
    }
}
