//! What a request's head may say: its id, the type of its body, the methods of its path.

use spin_sdk::http::HeaderMap;
use spindle_openai::ApiError;

/// Longer ids of clients are replaced: they would only fill logs.
const REQUEST_ID_BYTES_MAX: usize = 128;

/// The client's own id of its request, if it is a plain one.
pub fn request_id(headers: &HeaderMap) -> Option<String> {
    let id = headers.get("x-request-id")?.to_str().ok()?;
    let plain = (1..=REQUEST_ID_BYTES_MAX).contains(&id.len())
        && id.bytes().all(|byte| byte.is_ascii_graphic());
    plain.then(|| id.to_owned())
}

/// Refuses a body that says it is something else than JSON. One that says nothing is tried.
///
/// What a web page may send to a foreign server without asking (forms, plain text) is among the refused.
pub fn check_content_type(headers: &HeaderMap) -> Result<(), ApiError> {
    let Some(value) = headers.get("content-type") else {
        return Ok(());
    };
    let content_type = String::from_utf8_lossy(value.as_bytes());
    let essence = content_type
        .split(';')
        .next()
        .unwrap_or_default()
        .trim()
        .to_ascii_lowercase();
    let json = essence == "application/json"
        || (essence.starts_with("application/") && essence.ends_with("+json"));
    if json {
        Ok(())
    } else {
        Err(ApiError::UnsupportedMediaType {
            content_type: content_type.into_owned(),
        })
    }
}

/// The methods that are answered here for every path that has `allow`.
pub fn all_methods(allow: &str) -> String {
    let head = if allow.split(", ").any(|method| method == "GET") {
        ", HEAD"
    } else {
        ""
    };
    format!("{allow}{head}, OPTIONS")
}

/// An error that names a path's methods, with those that are answered here.
pub fn with_all_methods(error: ApiError) -> ApiError {
    match error {
        ApiError::MethodNotAllowed {
            method,
            path,
            allow,
        } => ApiError::MethodNotAllowed {
            method,
            path,
            allow: all_methods(&allow),
        },
        error => error,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use spin_sdk::http::{HeaderName, HeaderValue};

    fn headers(name: &'static str, value: &[u8]) -> HeaderMap {
        HeaderMap::from_iter([(
            HeaderName::from_static(name),
            HeaderValue::from_bytes(value).unwrap(),
        )])
    }

    #[test]
    fn only_a_plain_request_id_is_kept() {
        let longest = "x".repeat(REQUEST_ID_BYTES_MAX);
        for (value, kept) in [
            ("abc-1", true),
            (&*longest, true),
            ("", false),
            ("a b", false),
            ("\u{fc}", false),
        ] {
            assert_eq!(
                request_id(&headers("x-request-id", value.as_bytes())).is_some(),
                kept,
                "{value:?}"
            );
        }
        assert_eq!(
            request_id(&headers("x-request-id", format!("{longest}x").as_bytes())),
            None
        );
        assert_eq!(request_id(&HeaderMap::new()), None);
    }

    #[test]
    fn a_body_is_json_or_says_nothing() {
        for (value, json) in [
            ("application/json", true),
            ("Application/JSON; charset=utf-8", true),
            ("application/vnd.api+json", true),
            ("text/plain", false),
            ("application/x-www-form-urlencoded", false),
            ("multipart/form-data; boundary=x", false),
            ("text/json+json", false),
            ("", false),
        ] {
            assert_eq!(
                check_content_type(&headers("content-type", value.as_bytes())).is_ok(),
                json,
                "{value:?}"
            );
        }
        check_content_type(&HeaderMap::new()).unwrap();
    }

    #[test]
    fn head_goes_with_get_and_options_with_everything() {
        assert_eq!(all_methods("GET"), "GET, HEAD, OPTIONS");
        assert_eq!(all_methods("POST"), "POST, OPTIONS");
        assert_eq!(all_methods("POST, GET"), "POST, GET, HEAD, OPTIONS");
    }
}
