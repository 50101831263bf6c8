//! The Rust face of `wit/`: the only `bindgen!` in the host.
//!
//! A WIT `async func` becomes a function that may wait without holding the store;
//! everything else answers at once.

wasmtime::component::bindgen!({
    path: "../../wit",
    world: "spindle:app/api",
    imports: {
        "spindle:inference/tokenizer": async | store | trappable,
        "spindle:inference/generation": async | store | trappable,
        default: trappable,
    },
});
