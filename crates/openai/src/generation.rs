//! The choices of one answer, generated side by side and read as one stream of events.
//!
//! - Nothing is told to the client before every choice is admitted: a full queue is a 429, not a broken stream.
//! - Each choice ends with exactly one `Finished` or `Failed`, also where its events just stop.
//! - Dropping this ends every generation behind it.

use std::pin::Pin;
use std::task::{Context as TaskContext, Poll};

use futures_util::stream::{SelectAll, Stream, StreamExt, unfold};

use crate::error::ApiError;
use crate::inference::{Event, EventStream, GenerationRequest, Inference, InferenceError};

/// A number of running generations.
pub(crate) struct Choices {
    running: SelectAll<Pin<Box<dyn Stream<Item = Batch>>>>,
    /// Read before the answer began, to see whether it would begin with an error.
    early: std::vec::IntoIter<Batch>,
    prompt_param: &'static str,
}

/// Some events of one choice.
pub(crate) struct Batch {
    pub(crate) choice: usize,
    pub(crate) events: Vec<Event>,
}

impl Choices {
    /// Starts one generation a request, in order; the place of a request is the number of its choice.
    ///
    /// `prompt_param` is the field that an error about the prompt names.
    pub(crate) async fn start<I: Inference>(
        inference: &I,
        requests: impl Iterator<Item = GenerationRequest>,
        prompt_param: &'static str,
    ) -> Result<Self, ApiError> {
        let mut running: SelectAll<Pin<Box<dyn Stream<Item = Batch>>>> = SelectAll::new();
        for (choice, request) in requests.enumerate() {
            let events = inference.generate(request).await;
            let events = events.map_err(|error| ApiError::from_inference(error, prompt_param))?;
            running.push(Box::pin(batches(choice, events)));
        }
        let mut choices = Self {
            running,
            early: Vec::new().into_iter(),
            prompt_param,
        };
        choices.look_ahead().await?;
        Ok(choices)
    }

    /// The next events of any choice, none after the last choice has ended.
    pub(crate) fn poll_next(&mut self, task: &mut TaskContext<'_>) -> Poll<Option<Batch>> {
        match self.early.next() {
            Some(batch) => Poll::Ready(Some(batch)),
            None => self.running.poll_next_unpin(task),
        }
    }

    /// As [`Self::poll_next`].
    pub(crate) async fn next(&mut self) -> Option<Batch> {
        std::future::poll_fn(|task| self.poll_next(task)).await
    }

    /// An error of a running generation, as its client sees it.
    pub(crate) fn error(&self, error: InferenceError) -> ApiError {
        ApiError::from_inference(error, self.prompt_param)
    }

    /// Reads what is there without waiting: a generation that has failed already is an HTTP error.
    async fn look_ahead(&mut self) -> Result<(), ApiError> {
        let mut early = Vec::new();
        std::future::poll_fn(|task| {
            while let Poll::Ready(Some(batch)) = self.running.poll_next_unpin(task) {
                early.push(batch);
                if early.len() >= self.running.len() {
                    break;
                }
            }
            Poll::Ready(())
        })
        .await;
        for event in early.iter().flat_map(|batch| &batch.events) {
            if let Event::Failed(error) = event {
                return Err(self.error(error.clone()));
            }
        }
        self.early = early.into_iter();
        Ok(())
    }
}

/// The events of one choice up to and with the one that ends it.
fn batches(choice: usize, events: impl EventStream + 'static) -> impl Stream<Item = Batch> {
    unfold(Some(events), move |events| async move {
        let mut events = events?;
        let next = events.next().await.unwrap_or_else(|| {
            vec![Event::Failed(InferenceError::Internal(
                "the generation stopped without an end".to_owned(),
            ))]
        });
        let ended = next
            .iter()
            .any(|event| matches!(event, Event::Finished(_) | Event::Failed(_)));
        Some((
            Batch {
                choice,
                events: next,
            },
            (!ended).then_some(events),
        ))
    })
}
