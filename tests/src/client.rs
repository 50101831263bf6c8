//! A plain HTTP client: JSON in, JSON or events out, statuses as values.
//!
//! A connection whose body was not read to its end is closed when the reply is dropped: that is how tests hang up.

use std::net::SocketAddr;
use std::time::Duration;

use serde_json::Value;
use ureq::{Agent, Body, http};

use crate::{sse::Events, wait::PATIENCE};

/// Talks to one server, on as many connections as there are requests at a time.
#[derive(Clone)]
pub struct Client {
    agent: Agent,
    base: String,
    api_key: Option<String>,
}

/// A whole answer.
pub struct Reply {
    pub status: u16,
    pub headers: http::HeaderMap,
    pub body: Vec<u8>,
}

impl Client {
    pub fn new(address: SocketAddr) -> Self {
        Self::with_patience(address, PATIENCE)
    }

    /// A client that gives up on a request after `patience`.
    pub fn with_patience(address: SocketAddr, patience: Duration) -> Self {
        let config = Agent::config_builder()
            .http_status_as_error(false)
            .timeout_global(Some(patience))
            .max_idle_connections_per_host(64)
            .max_redirects(0)
            .build();
        Client {
            agent: config.into(),
            base: format!("http://{address}"),
            api_key: None,
        }
    }

    /// The same client with a key in its `authorization` header.
    pub fn with_key(&self, key: &str) -> Self {
        Client {
            api_key: Some(key.to_owned()),
            ..self.clone()
        }
    }

    pub fn get(&self, path: &str) -> Reply {
        self.send("GET", path, &[], b"").expect("an answer")
    }

    pub fn post(&self, path: &str, body: &Value) -> Reply {
        self.try_post(path, body).expect("an answer")
    }

    /// As [`post`](Self::post), where the connection itself may fail.
    pub fn try_post(&self, path: &str, body: &Value) -> Result<Reply, ureq::Error> {
        self.send("POST", path, &[JSON], body.to_string().as_bytes())
    }

    /// Posts and returns the answer's JSON.
    ///
    /// # Panics
    /// When the status is not 200.
    pub fn ask(&self, path: &str, body: &Value) -> Value {
        let reply = self.post(path, body);
        assert_eq!(reply.status, 200, "POST {path} {body}: {}", reply.text());
        reply.json()
    }

    /// Posts with `stream: true` and returns the events as they come.
    ///
    /// # Panics
    /// When the status is not 200 or the body is no event stream.
    pub fn stream(&self, path: &str, body: &Value) -> Events<impl std::io::Read + use<>> {
        let mut body = body.clone();
        body["stream"] = Value::Bool(true);
        let response = self
            .open("POST", path, &[JSON], body.to_string().as_bytes())
            .expect("an answer");
        let status = response.status().as_u16();
        if status != 200 {
            panic!(
                "POST {path} {body}: {status} {}",
                collect(response).expect("a body").text()
            );
        }
        let content_type = response
            .headers()
            .get("content-type")
            .map(|value| value.as_bytes());
        assert!(
            content_type.is_some_and(|value| value.starts_with(b"text/event-stream")),
            "{content_type:?}"
        );
        Events::new(response.into_body().into_reader())
    }

    /// Any request, read to its end.
    pub fn send(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: &[u8],
    ) -> Result<Reply, ureq::Error> {
        collect(self.open(method, path, headers, body)?)
    }

    fn open(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: &[u8],
    ) -> Result<http::Response<Body>, ureq::Error> {
        let mut request = http::Request::builder()
            .method(method)
            .uri(format!("{}{path}", self.base));
        if let Some(key) = &self.api_key {
            request = request.header("authorization", format!("Bearer {key}"));
        }
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        if body.is_empty() {
            self.agent.run(request.body(()).expect("a valid request"))
        } else {
            self.agent.run(request.body(body).expect("a valid request"))
        }
    }
}

const JSON: (&str, &str) = ("content-type", "application/json");

fn collect(response: http::Response<Body>) -> Result<Reply, ureq::Error> {
    let (head, mut body) = response.into_parts();
    let body = body.with_config().limit(64 << 20).read_to_vec()?;
    Ok(Reply {
        status: head.status.as_u16(),
        headers: head.headers,
        body,
    })
}

impl Reply {
    /// # Panics
    /// When the body is not JSON.
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body)
            .unwrap_or_else(|error| panic!("{error}: {}", self.text()))
    }

    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers
            .get(name)
            .map(|value| value.to_str().expect("a readable header"))
    }

    /// Asserts an error in the API's four keys and returns its message. `param` and `code` may be null.
    pub fn assert_error(
        &self,
        status: u16,
        kind: &str,
        param: Option<&str>,
        code: Option<&str>,
    ) -> String {
        let context = format!("{} {}", self.status, self.text());
        assert_eq!(self.status, status, "{context}");
        assert_eq!(
            self.header("content-type"),
            Some("application/json"),
            "{context}"
        );
        let body = self.json();
        let error = body["error"]
            .as_object()
            .unwrap_or_else(|| panic!("no error object: {context}"));
        let mut keys: Vec<&str> = error.keys().map(String::as_str).collect();
        keys.sort_unstable();
        assert_eq!(keys, ["code", "message", "param", "type"], "{context}");
        assert_eq!(error["type"], kind, "{context}");
        assert_eq!(error["param"].as_str(), param, "{context}");
        assert_eq!(error["code"].as_str(), code, "{context}");
        error["message"]
            .as_str()
            .filter(|text| !text.is_empty())
            .expect("a message")
            .to_owned()
    }
}
