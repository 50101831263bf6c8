//! Cross-origin requests: what a browser must hear before it lets a page of another origin in.
//!
//! Without an origin in the operator's settings nothing is sent, and browsers keep pages of other origins out.

use spindle_openai::{ApiError, Body, Endpoint, Response};

use crate::answer::Answer;
use crate::head;

/// Seconds for which a browser need not ask again.
const MAX_AGE_SECONDS: &str = "86400";
/// What a page may read beside the body.
const EXPOSED: &str = "x-request-id, x-spindle-ignored, retry-after";

/// The operator's choice.
pub struct Cors {
    origin: Option<String>,
}

impl Cors {
    /// Allows pages of `origin` (`*` for all), or none.
    pub fn new(origin: Option<String>) -> Self {
        Self { origin }
    }

    /// The answer to `OPTIONS`: the path's methods, and leave to use them with the headers that a browser asks for.
    pub fn preflight(&self, path: &str, headers_asked: Option<&str>) -> Response {
        let methods = match Endpoint::find("OPTIONS", path) {
            Err(ApiError::MethodNotAllowed { allow, .. }) => head::all_methods(&allow),
            Err(error) => return error.response(),
            Ok((_, route)) => route.method.to_owned(),
        };
        let mut headers = vec![("allow", methods.clone())];
        if self.origin.is_some() {
            headers.push(("access-control-allow-methods", methods));
            headers.push(("access-control-max-age", MAX_AGE_SECONDS.to_owned()));
            // Clients send many headers of their own, and none of them does harm.
            if let Some(asked) = headers_asked {
                headers.push(("access-control-allow-headers", asked.to_owned()));
            }
        }
        Response {
            status: 204,
            headers,
            body: Body::Json(Vec::new()),
        }
    }

    /// Lets a page of the allowed origin read an answer.
    pub fn expose(&self, answer: &mut Answer) {
        let Some(origin) = &self.origin else { return };
        answer.header("access-control-allow-origin", origin.clone());
        answer.header("access-control-expose-headers", EXPOSED.to_owned());
        if origin != "*" {
            answer.header("vary", "origin".to_owned());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn preflight(origin: Option<&str>, path: &str) -> (u16, Vec<&'static str>) {
        let response = Cors::new(origin.map(str::to_owned)).preflight(path, Some("authorization"));
        (
            response.status,
            response.headers.iter().map(|(name, _)| *name).collect(),
        )
    }

    #[test]
    fn leave_is_given_only_where_the_operator_gives_it() {
        let allowed = [
            "allow",
            "access-control-allow-methods",
            "access-control-max-age",
            "access-control-allow-headers",
        ];
        assert_eq!(preflight(Some("*"), "/v1/models"), (204, allowed.to_vec()));
        assert_eq!(preflight(None, "/v1/models"), (204, vec!["allow"]));
    }

    #[test]
    fn an_unknown_path_has_no_options() {
        assert_eq!(preflight(Some("*"), "/nowhere").0, 404);
    }
}
