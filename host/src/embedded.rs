//! What the build put into this program: the `api` component and the demo model.

/// Alignment of the demo model's tensors, as in a mapped file.
#[allow(dead_code, reason = "a build without the demo model has no use for it")]
#[repr(C, align(64))]
struct Aligned<T: ?Sized>(T);

include!(concat!(env!("OUT_DIR"), "/embedded.rs"));
