//! What one request needs and a pure crate cannot make: an id, the time, a random number.

use crate::inference::Lane;

/// Facts about one request that come from outside.
///
/// The same body and the same context give the same request to inference, which is what lets a batch line be
/// done again after a crash.
#[derive(Clone, Debug)]
pub struct Context {
    /// Unique and safe in a URL (hexadecimal, say): an answer's id is `chatcmpl-` or `cmpl-` and this.
    pub id: String,
    /// Seconds since 1970, for `created` and for chat templates that print the date.
    pub now: u64,
    /// The seed of a request that names none.
    pub seed: u64,
    /// Whose request this is.
    pub tenant: String,
    /// Which queue it waits in.
    pub lane: Lane,
}
