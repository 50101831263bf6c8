//! A chat with the `api` component in this process: the one place of the host that writes a request of the API.
//!
//! What answers here is what answers a client, so a chat that works here works there.

use bytes::Bytes;
use http::{Request, Response, header};
use http_body_util::{BodyExt, Full, Limited};
use serde_json::{Value, json};
use spindle_runtime::types::Lane;
use spindle_runtime::{Caller, Guest, GuestBody};

use crate::Error;

/// Of an error's body: enough for its message.
const ERROR_BYTES_MAX: usize = 64 << 10;

/// Body of a question whose answer is streamed.
pub fn streamed(model: &str, system: Option<&str>, prompt: &str) -> Value {
    let system = system.map(|text| json!({"role": "system", "content": text}));
    let messages: Vec<_> = system
        .into_iter()
        .chain([json!({"role": "user", "content": prompt})])
        .collect();
    json!({"model": model, "messages": messages, "stream": true})
}

/// Body of the smallest chat there is: its template is rendered and one token follows.
pub fn smallest(model: &str) -> Value {
    json!({"model": model, "messages": [{"role": "user", "content": "Hi"}], "max_tokens": 1})
}

/// Sends a chat on behalf of the operator.
pub async fn ask(
    api: &Guest,
    request_id: &str,
    body: &Value,
) -> Result<Response<GuestBody>, Error> {
    let caller = Caller {
        tenant: Ok("default".into()),
        lane: Lane::Interactive,
        request_id: request_id.into(),
        slot: Box::new(()),
    };
    let request = Request::post("http://localhost/v1/chat/completions")
        .header(header::CONTENT_TYPE, "application/json")
        .body(Full::new(Bytes::from(body.to_string())))
        .expect("constant parts");
    let response = api.handle(caller, request).await;
    response.map_err(|failure| Error::Generation(failure.to_string()))
}

/// What a response that is an error says.
pub async fn refusal(response: Response<GuestBody>) -> String {
    let status = response.status();
    let body = Limited::new(response.into_body(), ERROR_BYTES_MAX)
        .collect()
        .await;
    let body = body.map(|body| body.to_bytes()).unwrap_or_default();
    let value: Value = serde_json::from_slice(&body).unwrap_or_default();
    value["error"]["message"]
        .as_str()
        .map_or_else(|| format!("the component answered {status}"), str::to_owned)
}
