//! Paths and methods.

use spindle_openai::{ApiError, Endpoint, endpoint};

#[test]
fn every_route_is_found_by_its_method() {
    let model = |id: &str| Endpoint::Model(id.to_owned());
    let cases = [
        (
            "POST",
            "/v1/chat/completions",
            Endpoint::ChatCompletions,
            "/v1/chat/completions",
        ),
        (
            "POST",
            "/v1/completions",
            Endpoint::Completions,
            "/v1/completions",
        ),
        ("GET", "/v1/models", Endpoint::Models, "/v1/models"),
        (
            "GET",
            "/v1/models/tiny",
            model("tiny"),
            "/v1/models/{model}",
        ),
        (
            "GET",
            "/v1/models/org/tiny",
            model("org/tiny"),
            "/v1/models/{model}",
        ),
        (
            "GET",
            "/v1/models/org%2Ftiny%20x",
            model("org/tiny x"),
            "/v1/models/{model}",
        ),
        (
            "GET",
            "/v1/models/%252e%",
            model("%2e%"),
            "/v1/models/{model}",
        ),
        (
            "GET",
            "/v1/models/%ff%0",
            model("\u{fffd}%0"),
            "/v1/models/{model}",
        ),
    ];
    for (method, path, expected, pattern) in cases {
        let (found, route) =
            Endpoint::find(method, path).unwrap_or_else(|error| panic!("{path}: {error:?}"));
        assert_eq!((found, route.pattern), (expected, pattern), "{path}");
    }
    assert_eq!(
        endpoint::ROUTES.len(),
        4,
        "a new route has a row in this test"
    );
}

#[test]
fn unknown_paths_and_wrong_methods_are_told_apart() {
    for path in [
        "/",
        "",
        "/v1",
        "/v1/chat/completions/",
        "/v1/models/",
        "//v1/models",
        "/V1/models",
        "/v1/chat%2Fcompletions",
    ] {
        assert!(
            matches!(
                Endpoint::find("GET", path),
                Err(ApiError::UnknownUrl { .. })
            ),
            "{path}"
        );
    }
    for (method, path, expected) in [
        ("GET", "/v1/chat/completions", "POST"),
        ("POST", "/v1/models", "GET"),
        ("get", "/v1/models/a/b", "GET"),
    ] {
        match Endpoint::find(method, path) {
            Err(ApiError::MethodNotAllowed { allow, .. }) => assert_eq!(allow, expected, "{path}"),
            other => panic!("{path}: {other:?}"),
        }
    }
}
