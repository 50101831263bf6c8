//! `GET /v1/models` and `GET /v1/models/{model}`.

use serde_json::{Value, json};

use crate::error::ApiError;
use crate::inference::{Inference, ModelInfo};
use crate::response::Response;

/// Every loaded model.
pub(super) fn list(inference: &impl Inference) -> Response {
    let data: Vec<Value> = inference.models().iter().map(object).collect();
    Response::json(200, &json!({"object": "list", "data": data}))
}

/// One loaded model.
pub(super) fn get(id: &str, inference: &impl Inference) -> Result<Response, ApiError> {
    let model = inference.model(id).ok_or_else(|| ApiError::ModelNotFound {
        model: id.to_owned(),
    })?;
    Ok(Response::json(200, &object(&model)))
}

/// OpenAI's model object, and the context's length under vLLM's name, which clients look for.
fn object(model: &ModelInfo) -> Value {
    json!({
        "id": model.id,
        "object": "model",
        "created": model.created,
        "owned_by": "spindle",
        "max_model_len": model.context_len,
    })
}
