//! The accept loop, from the first connection to the last answer.
//!
//! Draining: `/readyz` says 503 at once, nothing new is accepted, requests in progress are
//! finished as long as the time allows, then their connections are closed.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rustix::net::sockopt;
use tokio::net::{TcpListener, TcpStream};
use tokio::time::{Instant, sleep, timeout_at};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::connection;
use crate::request::Requests;

/// Connections of all clients.
const CONNECTIONS_MAX: usize = 16 << 10;
/// Connections of one address that is neither ours nor a trusted proxy's.
const CONNECTIONS_PER_ADDRESS_MAX: usize = 1024;
/// What the kernel buffers for a client that reads slowly; it doubles this. Larger ones let a
/// generation run far ahead of its reader.
const SEND_BUFFER_BYTES: usize = 64 << 10;
/// A dead client is noticed after idle time plus three probes, even if it never said goodbye.
const KEEPALIVE_IDLE: Duration = Duration::from_secs(30);
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(10);
/// Pause after a failed accept: out of file descriptors, most likely, and retrying at once only burns.
const ACCEPT_RETRY: Duration = Duration::from_millis(50);
/// For the last bytes to leave after the last answer.
const FLUSH_MAX: Duration = Duration::from_secs(1);

/// How the server treats connections.
#[derive(Clone, Debug)]
pub struct ServerSettings {
    /// How long requests in progress may take after the shutdown began.
    pub drain: Duration,
    /// Addresses without a limit of connections.
    pub trusted_proxies: Vec<IpAddr>,
}

/// Serves until `shutdown` is ready and requests in progress are done.
pub async fn run(
    listener: TcpListener,
    requests: Arc<Requests>,
    settings: ServerSettings,
    shutdown: impl Future<Output = ()>,
) {
    let closing = CancellationToken::new();
    let connections = TaskTracker::new();
    let addresses = Addresses::new(settings.trusted_proxies);
    let mut shutdown = std::pin::pin!(shutdown);
    loop {
        let accepted = tokio::select! {
            biased;
            () = shutdown.as_mut() => break,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((stream, peer)) => {
                if connections.len() >= CONNECTIONS_MAX {
                    continue;
                }
                let Some(counted) = addresses.count(peer.ip()) else {
                    continue;
                };
                tune(&stream);
                let served = connection::serve(stream, peer, requests.clone(), closing.clone());
                connections.spawn(async move {
                    served.await;
                    drop(counted);
                });
            }
            Err(error) => {
                tracing::warn!(%error, "accept failed");
                sleep(ACCEPT_RETRY).await;
            }
        }
    }
    let deadline = Instant::now() + settings.drain;
    requests.health.drain();
    drop(listener);
    requests.tracker.close();
    let in_time = timeout_at(deadline, requests.tracker.wait()).await.is_ok();
    if !in_time {
        tracing::warn!(cut = requests.tracker.len(), "drain time is over");
    }
    closing.cancel();
    connections.close();
    // Connections without a request close at once, the others have had their time.
    let _ = tokio::time::timeout(FLUSH_MAX, connections.wait()).await;
}

fn tune(stream: &TcpStream) {
    // A socket that takes no option still works.
    let _ = stream.set_nodelay(true);
    let _ = sockopt::set_socket_send_buffer_size(stream, SEND_BUFFER_BYTES);
    let _ = sockopt::set_socket_keepalive(stream, true);
    let _ = sockopt::set_tcp_keepidle(stream, KEEPALIVE_IDLE);
    let _ = sockopt::set_tcp_keepintvl(stream, KEEPALIVE_INTERVAL);
    let _ = sockopt::set_tcp_keepcnt(stream, 3);
}

/// Connections by address.
#[derive(Clone)]
struct Addresses {
    trusted: Arc<[IpAddr]>,
    counts: Arc<Mutex<HashMap<IpAddr, usize>>>,
}

struct Counted {
    addresses: Addresses,
    address: IpAddr,
}

impl Addresses {
    fn new(trusted: Vec<IpAddr>) -> Self {
        Self {
            trusted: trusted.into(),
            counts: Arc::default(),
        }
    }

    /// None if the address has as many as it may.
    fn count(&self, address: IpAddr) -> Option<Counted> {
        let address = address.to_canonical();
        let mut counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        let count = counts.entry(address).or_insert(0);
        let unlimited = address.is_loopback() || self.trusted.contains(&address);
        if *count >= CONNECTIONS_PER_ADDRESS_MAX && !unlimited {
            return None;
        }
        *count += 1;
        Some(Counted {
            addresses: self.clone(),
            address,
        })
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        let mut counts = self
            .addresses
            .counts
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = counts.get_mut(&self.address) {
            *count -= 1;
            if *count == 0 {
                counts.remove(&self.address);
            }
        }
    }
}

/// Lets the process hold as many connections as the system allows it.
pub fn raise_file_limit() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let limit = getrlimit(Resource::Nofile);
    // Refused means that the old limit stays, and that is what the accept loop then meets.
    let _ = setrlimit(
        Resource::Nofile,
        Rlimit {
            current: limit.maximum,
            maximum: limit.maximum,
        },
    );
}

/// Binds the address, and says what is wrong if it cannot.
pub async fn bind(address: SocketAddr) -> Result<TcpListener, crate::Error> {
    TcpListener::bind(address)
        .await
        .map_err(|source| crate::Error::Bind { address, source })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_has_a_limit_unless_it_is_ours_or_trusted() {
        let far: IpAddr = "192.0.2.1".parse().unwrap();
        let proxy: IpAddr = "192.0.2.2".parse().unwrap();
        let mapped: IpAddr = "::ffff:192.0.2.1".parse().unwrap();
        let addresses = Addresses::new(vec![proxy]);
        let mut held: Vec<_> = (0..CONNECTIONS_PER_ADDRESS_MAX)
            .map(|_| addresses.count(far).unwrap())
            .collect();
        assert!(addresses.count(far).is_none());
        assert!(addresses.count(mapped).is_none());
        for unlimited in [proxy, "127.0.0.1".parse().unwrap(), "::1".parse().unwrap()] {
            let many: Vec<_> = (0..=CONNECTIONS_PER_ADDRESS_MAX)
                .map(|_| addresses.count(unlimited))
                .collect();
            assert!(many.iter().all(Option::is_some));
        }
        held.pop();
        assert!(addresses.count(far).is_some());
    }
}
