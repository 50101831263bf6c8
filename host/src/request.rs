//! A request's path through the host: framing, the host's own routes, the key, a place, a component.
//!
//! - The order is the promise: probes are answered whatever else happens, nothing costs an
//!   instance before it has a place, and a key is compared before an instance exists.
//! - Every answer carries `x-request-id`: the client's, if it is a plain one, else ours.

use std::sync::Arc;

use bytes::Bytes;
use http::{
    HeaderMap, HeaderName, HeaderValue, Method, Request, Response, Uri, Version, header, uri,
};
use http_body::Body;
use spindle_runtime::types::Lane;
use spindle_runtime::{Caller, Failure, Guest};
use tokio::sync::Semaphore;
use tokio_util::task::TaskTracker;
use tokio_util::task::task_tracker::TaskTrackerToken;

use crate::answers::{self, Refusal};
use crate::connection::{Answer, fixed};
use crate::health::{Health, Phase};
use crate::keys::KeyRing;

const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
/// Longer ids of clients are replaced: they would only fill logs.
const REQUEST_ID_BYTES_MAX: usize = 128;

/// Everything a request needs on its way.
pub struct Requests {
    /// The component behind every path that is not the host's.
    pub api: Guest,
    /// Further components by path prefix, for the isolation tests.
    pub mounts: Vec<(String, Guest)>,
    /// Who may use the server.
    pub keys: KeyRing,
    /// Places for instances.
    pub places: Arc<Semaphore>,
    /// See [`Health`].
    pub health: Health,
    /// Value of `access-control-allow-origin` on the host's own answers.
    pub cors_origin: Option<HeaderValue>,
    /// Counts requests in progress.
    pub tracker: TaskTracker,
}

impl Requests {
    /// Held by a request until its answer is written.
    pub fn in_flight(&self) -> TaskTrackerToken {
        self.tracker.token()
    }

    /// Answers one request. `ambiguous` says that its head has two lengths.
    pub async fn answer<B>(&self, mut request: Request<B>, ambiguous: bool) -> Response<Answer>
    where
        B: Body<Data = Bytes> + Send + 'static,
    {
        let id = request_id(request.headers());
        request.headers_mut().insert(REQUEST_ID, id.clone());
        let mut response = match self.route(request, ambiguous, &id).await {
            Ok(response) => response,
            Err(refusal) => self.own(refusal.response()),
        };
        let headers = response.headers_mut();
        headers.entry(REQUEST_ID).or_insert(id);
        if self.health.phase() == Phase::Draining {
            headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
        }
        response
    }

    async fn route<B>(
        &self,
        request: Request<B>,
        ambiguous: bool,
        id: &HeaderValue,
    ) -> Result<Response<Answer>, Refusal>
    where
        B: Body<Data = Bytes> + Send + 'static,
    {
        if ambiguous || has_both_lengths(request.headers()) {
            return Err(Refusal::AmbiguousFraming);
        }
        let request = with_authority(request)?;
        if let Some(response) = self.probe(request.method(), request.uri().path()) {
            return Ok(self.own(response));
        }
        match self.health.phase() {
            Phase::Loading => return Err(Refusal::Loading),
            Phase::Draining => return Err(Refusal::ShuttingDown),
            // A thread that is stuck may come back; whoever waits can decide how long.
            Phase::Ready | Phase::Stuck => {}
        }
        let place = self
            .places
            .clone()
            .try_acquire_owned()
            .map_err(|_| Refusal::TooManyStreams)?;
        let authorization = request.headers().get(header::AUTHORIZATION);
        let caller = Caller {
            tenant: self
                .keys
                .authenticate(authorization.map(HeaderValue::as_bytes)),
            lane: Lane::Interactive,
            request_id: id.to_str().unwrap_or_default().to_owned(),
            slot: Box::new(place),
        };
        match self
            .guest(request.uri().path())
            .handle(caller, request)
            .await
        {
            Ok(response) => Ok(response.map(Answer::Guest)),
            Err(failure) => Err(refusal(&failure, id)),
        }
    }

    fn probe(&self, method: &Method, path: &str) -> Option<Response<answers::FixedBody>> {
        let answer = match path {
            "/livez" => answers::live(),
            "/readyz" | "/health" => answers::health(self.health.phase(), self.health.load()),
            _ => return None,
        };
        Some(if matches!(*method, Method::GET | Method::HEAD) {
            answer
        } else {
            answers::method_not_allowed()
        })
    }

    fn guest(&self, path: &str) -> &Guest {
        let mounted = self
            .mounts
            .iter()
            .find(|(prefix, _)| path.starts_with(prefix));
        mounted.map_or(&self.api, |(_, guest)| guest)
    }

    /// An answer of the host's, which pages of the allowed origin may read like a component's.
    fn own(&self, response: Response<answers::FixedBody>) -> Response<Answer> {
        let mut response = fixed(response);
        if let Some(origin) = &self.cors_origin {
            response
                .headers_mut()
                .insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin.clone());
        }
        response
    }
}

fn refusal(failure: &Failure, id: &HeaderValue) -> Refusal {
    match failure {
        Failure::Guest => Refusal::GuestFailed,
        Failure::BodyStalled => Refusal::RequestTimeout,
        Failure::Unavailable(cause) => {
            tracing::error!(request_id = ?id, %cause, "no instance");
            Refusal::TooManyStreams
        }
    }
}

fn has_both_lengths(headers: &HeaderMap) -> bool {
    headers.contains_key(header::TRANSFER_ENCODING) && headers.contains_key(header::CONTENT_LENGTH)
}

/// Puts the `host` field into the address: a guest sees the address, and not the field.
fn with_authority<B>(mut request: Request<B>) -> Result<Request<B>, Refusal> {
    let mut hosts = request.headers().get_all(header::HOST).iter();
    let host = match (hosts.next(), hosts.next()) {
        (Some(host), None) => Some(host),
        // HTTP/1.0 knew no such field.
        (None, None) if request.version() == Version::HTTP_10 => None,
        _ => return Err(Refusal::BadHost),
    };
    let Some(host) = host else { return Ok(request) };
    let authority = uri::Authority::try_from(host.as_bytes()).map_err(|_| Refusal::BadHost)?;
    let mut parts = std::mem::take(request.uri_mut()).into_parts();
    parts.scheme = Some(uri::Scheme::HTTP);
    parts.authority = Some(authority);
    parts
        .path_and_query
        .get_or_insert_with(|| uri::PathAndQuery::from_static("/"));
    *request.uri_mut() = Uri::from_parts(parts).map_err(|_| Refusal::BadHost)?;
    Ok(request)
}

fn request_id(headers: &HeaderMap) -> HeaderValue {
    let plain = |id: &&HeaderValue| {
        !id.is_empty()
            && id.len() <= REQUEST_ID_BYTES_MAX
            && id.as_bytes().iter().all(u8::is_ascii_graphic)
    };
    headers
        .get(REQUEST_ID)
        .filter(plain)
        .cloned()
        .unwrap_or_else(|| {
            let id = format!("req_{}", uuid::Uuid::new_v4().simple());
            HeaderValue::try_from(id).expect("hex digits are a header value")
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_request_ids_are_kept_and_others_replaced() {
        let long = "x".repeat(129);
        for (given, kept) in [("abc-1", true), ("", false), ("a b", false), (&long, false)] {
            let headers =
                HeaderMap::from_iter([(REQUEST_ID, HeaderValue::from_str(given).unwrap())]);
            assert_eq!(request_id(&headers) == given, kept, "{given:?}");
        }
        assert!(
            request_id(&HeaderMap::new())
                .to_str()
                .unwrap()
                .starts_with("req_")
        );
    }
}
