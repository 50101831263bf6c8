//! Bytes on a socket, for what no well-behaved client sends.

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};

use crate::wait::PATIENCE;

/// One connection under the test's full control.
pub struct Connection {
    socket: TcpStream,
    /// Bytes read beyond the responses returned so far.
    read: Vec<u8>,
}

/// One response as it stood on the wire.
#[derive(Debug)]
pub struct RawResponse {
    pub status: u16,
    /// Head without the status line, in lower case.
    pub headers: String,
    pub body: Vec<u8>,
}

/// What a connection gave after everything was sent: whole responses, then its close.
#[derive(Debug)]
pub struct Conversation {
    pub responses: Vec<RawResponse>,
    /// Bytes after the last whole response.
    pub rest: Vec<u8>,
}

/// The bytes of a well-formed request with a JSON body.
pub fn post(path: &str, body: &serde_json::Value) -> String {
    let body = body.to_string();
    let length = body.len();
    format!(
        "POST {path} HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: {length}\r\n\r\n{body}"
    )
}

impl Connection {
    pub fn open(address: SocketAddr) -> Self {
        let socket = TcpStream::connect(address).expect("a listening server");
        socket
            .set_read_timeout(Some(PATIENCE))
            .expect("a valid timeout");
        socket
            .set_write_timeout(Some(PATIENCE))
            .expect("a valid timeout");
        socket.set_nodelay(true).expect("a TCP socket");
        Connection {
            socket,
            read: Vec::new(),
        }
    }

    /// Sends bytes; false once the server has closed.
    pub fn send(&mut self, bytes: impl AsRef<[u8]>) -> bool {
        self.socket.write_all(bytes.as_ref()).is_ok()
    }

    /// Says that nothing more will be sent.
    pub fn finish_sending(&self) {
        // The server may have closed first.
        let _ = self.socket.shutdown(Shutdown::Write);
    }

    /// The next whole response; none when the server closes before it.
    ///
    /// # Panics
    /// When nothing comes for too long.
    pub fn response(&mut self) -> Option<RawResponse> {
        loop {
            if let Some((response, length)) = parse(&self.read) {
                self.read.drain(..length);
                return Some(response);
            }
            if !self.read_more() {
                return None;
            }
        }
    }

    /// Reads until these bytes have come, and keeps everything for [`response`](Self::response).
    ///
    /// # Panics
    /// When the server closes first.
    pub fn wait_for(&mut self, text: &str) {
        while find(&self.read, text.as_bytes()).is_none() {
            assert!(
                self.read_more(),
                "closed before {text:?}: {:?}",
                String::from_utf8_lossy(&self.read)
            );
        }
    }

    /// Whether the server has closed, without waiting for it.
    pub fn is_closed(&self) -> bool {
        match self.peek(&mut [0]) {
            Ok(count) => count == 0,
            Err(error) => error.kind() != ErrorKind::WouldBlock,
        }
    }

    /// Whether an answer that begins like this has come, without waiting for it.
    pub fn has_begun(&self, text: &str) -> bool {
        let mut bytes = vec![0; text.len()];
        self.peek(&mut bytes)
            .is_ok_and(|count| bytes[..count] == *text.as_bytes())
    }

    fn peek(&self, bytes: &mut [u8]) -> std::io::Result<usize> {
        self.socket.set_nonblocking(true).expect("a socket");
        let peeked = self.socket.peek(bytes);
        self.socket.set_nonblocking(false).expect("a socket");
        peeked
    }

    /// Reads until the server closes.
    pub fn conversation(mut self) -> Conversation {
        let mut responses = Vec::new();
        while let Some(response) = self.response() {
            responses.push(response);
        }
        Conversation {
            responses,
            rest: self.read,
        }
    }

    /// Reads once, blocking; false at the end of the connection.
    fn read_more(&mut self) -> bool {
        let mut buffer = [0; 16 * 1024];
        match self.socket.read(&mut buffer) {
            Ok(0) => false,
            Ok(count) => {
                self.read.extend_from_slice(&buffer[..count]);
                true
            }
            // A server that closes with unread bytes of ours resets the connection: closed all the same.
            Err(error)
                if matches!(
                    error.kind(),
                    ErrorKind::ConnectionReset | ErrorKind::BrokenPipe
                ) =>
            {
                false
            }
            Err(error) => panic!(
                "neither answer nor close: {error}; so far {:?}",
                String::from_utf8_lossy(&self.read)
            ),
        }
    }
}

/// The first whole response in `bytes` and its length.
fn parse(bytes: &[u8]) -> Option<(RawResponse, usize)> {
    let head_length = find(bytes, b"\r\n\r\n")? + 4;
    let head = String::from_utf8_lossy(&bytes[..head_length]).into_owned();
    let (status_line, headers) = head.split_once("\r\n").expect("found above");
    let mut words = status_line.split(' ');
    assert!(
        matches!(words.next(), Some("HTTP/1.1" | "HTTP/1.0")),
        "{status_line}"
    );
    let status = words
        .next()
        .and_then(|status| status.parse().ok())
        .unwrap_or_else(|| panic!("{status_line}"));
    let headers = headers.to_ascii_lowercase();
    let (body, body_length) = if let Some(length) = header(&headers, "content-length") {
        let length: usize = length.parse().expect("a length");
        (
            bytes.get(head_length..head_length + length)?.to_vec(),
            length,
        )
    } else if header(&headers, "transfer-encoding") == Some("chunked") {
        chunked(&bytes[head_length..])?
    } else {
        (Vec::new(), 0)
    };
    Some((
        RawResponse {
            status,
            headers,
            body,
        },
        head_length + body_length,
    ))
}

/// Body and length of a whole chunked body; none while it is not whole.
fn chunked(bytes: &[u8]) -> Option<(Vec<u8>, usize)> {
    let (mut body, mut at) = (Vec::new(), 0);
    loop {
        let size_end = at + find(&bytes[at..], b"\r\n")?;
        let size = std::str::from_utf8(&bytes[at..size_end]).expect("a chunk size");
        let size = usize::from_str_radix(size, 16).expect("a chunk size");
        let start = size_end + 2;
        body.extend_from_slice(bytes.get(start..start + size)?);
        at = start + size + 2;
        if bytes.len() < at {
            return None;
        }
        if size == 0 {
            return Some((body, at));
        }
    }
}

impl RawResponse {
    pub fn header(&self, name: &str) -> Option<&str> {
        header(&self.headers, name)
    }
}

fn header<'a>(headers: &'a str, name: &str) -> Option<&'a str> {
    headers
        .split("\r\n")
        .find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))
        .map(str::trim)
}

fn find(bytes: &[u8], needle: &[u8]) -> Option<usize> {
    bytes
        .windows(needle.len())
        .position(|window| window == needle)
}
