//! `GET /v1/models` and `GET /v1/models/{model}`.

use serde::Serialize;

use crate::error::ApiError;
use crate::inference::{Inference, ModelInfo};
use crate::response::Response;

#[derive(Serialize)]
struct List {
    object: &'static str,
    data: Vec<Model>,
}

/// OpenAI's model object, and the context's length under vLLM's name, which clients look for.
#[derive(Serialize)]
struct Model {
    id: String,
    object: &'static str,
    created: u64,
    owned_by: &'static str,
    max_model_len: u32,
}

/// Every loaded model.
pub(super) fn list(inference: &impl Inference) -> Response {
    let data = inference.models().into_iter().map(model).collect();
    Response::json(
        200,
        &List {
            object: "list",
            data,
        },
    )
}

/// One loaded model.
pub(super) fn get(id: &str, inference: &impl Inference) -> Result<Response, ApiError> {
    let info = inference.model(id).ok_or_else(|| ApiError::ModelNotFound {
        model: id.to_owned(),
    })?;
    Ok(Response::json(200, &model(info)))
}

fn model(info: ModelInfo) -> Model {
    let ModelInfo {
        id,
        created,
        context_len,
        ..
    } = info;
    Model {
        id,
        object: "model",
        created,
        owned_by: "spindle",
        max_model_len: context_len,
    }
}
