//! Which request heads have two lengths, read off the bytes as they come by.
//!
//! The HTTP library drops `content-length` silently where there is a `transfer-encoding`, and
//! proxies disagree on which of them counts: a request with both is refused, so somebody has to
//! see both.
//!
//! - No byte is kept but the beginning of a line, and none is judged but these two fields: what
//!   else is wrong with a head is the library's to find.
//! - Where a body's length is not plain to see (chunks), or is no number, nothing is said of what
//!   follows it. The library closes such a connection if the head had two lengths, so nothing that
//!   is hidden in there is ever served.

const CONTENT_LENGTH: &[u8] = b"content-length:";
const TRANSFER_ENCODING: &[u8] = b"transfer-encoding:";

/// Follows one connection's bytes.
#[derive(Default)]
pub struct Heads {
    place: Place,
    head: Head,
    line: Line,
}

/// Where the next byte belongs.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
enum Place {
    #[default]
    Head,
    /// So many bytes of a body are to come.
    Body(u64),
    /// In a body whose end is not known here.
    Unknown,
}

/// What is known of the current head.
#[derive(Default)]
struct Head {
    /// A line has come that is not empty; empty lines before a request are ignored.
    begun: bool,
    content_length: Option<u64>,
    transfer_encoding: bool,
    /// `content-length` is no number.
    unclear: bool,
}

/// What is known of the current line.
#[derive(Default)]
struct Line {
    /// Its beginning in small letters, as long as that may become one of the names.
    name: Vec<u8>,
    kind: Kind,
}

#[derive(Clone, Copy, Default, PartialEq, Eq)]
enum Kind {
    #[default]
    Name,
    Length,
    /// Of no interest from here on.
    Other,
}

impl Heads {
    /// The last request is done, and whatever comes now begins the next.
    pub fn between_requests(&mut self) {
        if self.place == Place::Unknown {
            *self = Self::default();
        }
    }

    /// Takes bytes in, and says for each head that ends in them whether it has two lengths.
    pub fn feed(&mut self, mut bytes: &[u8], mut head_ended: impl FnMut(bool)) {
        while let Some((&byte, rest)) = bytes.split_first() {
            match self.place {
                Place::Unknown => return,
                Place::Body(left) => {
                    let skipped = left.min(bytes.len() as u64);
                    bytes = &bytes[skipped as usize..];
                    self.place = if skipped == left {
                        Place::Head
                    } else {
                        Place::Body(left - skipped)
                    };
                }
                Place::Head => {
                    bytes = rest;
                    if self.head_byte(byte) {
                        let head = std::mem::take(&mut self.head);
                        self.place = head.followed_by();
                        head_ended(
                            head.transfer_encoding
                                && (head.content_length.is_some() || head.unclear),
                        );
                    }
                }
            }
        }
    }

    /// True at the head's end.
    fn head_byte(&mut self, byte: u8) -> bool {
        match (self.line.kind, byte) {
            (_, b'\r') => {}
            (kind, b'\n') => {
                let empty = kind == Kind::Name && self.line.name.is_empty();
                self.line.kind = Kind::Name;
                self.line.name.clear();
                let ended = empty && self.head.begun;
                self.head.begun |= !empty;
                return ended;
            }
            (Kind::Other, _) | (Kind::Length, b' ' | b'\t') => {}
            (Kind::Length, _) => self.head.length_digit(byte),
            (Kind::Name, _) => self.name_byte(byte),
        }
        false
    }

    fn name_byte(&mut self, byte: u8) {
        let Self {
            head,
            line: Line { name, kind },
            ..
        } = self;
        name.push(byte.to_ascii_lowercase());
        if name == CONTENT_LENGTH {
            // Of two lengths the library wants that they are equal.
            head.content_length = Some(0);
            *kind = Kind::Length;
        } else if name == TRANSFER_ENCODING {
            head.transfer_encoding = true;
            *kind = Kind::Other;
        } else if !CONTENT_LENGTH.starts_with(name) && !TRANSFER_ENCODING.starts_with(name) {
            *kind = Kind::Other;
        }
    }
}

impl Head {
    fn length_digit(&mut self, byte: u8) {
        let digit = char::from(byte).to_digit(10).map(u64::from);
        let longer = digit
            .zip(self.content_length)
            .and_then(|(digit, length)| length.checked_mul(10)?.checked_add(digit));
        self.unclear |= longer.is_none();
        self.content_length = longer;
    }

    fn followed_by(&self) -> Place {
        match self.content_length {
            _ if self.unclear || self.transfer_encoding => Place::Unknown,
            None | Some(0) => Place::Head,
            Some(length) => Place::Body(length),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// In pieces of every size, for a network cuts where it likes.
    fn check(bytes: &str, expected: &[bool]) {
        for size in 1..=bytes.len() {
            let mut heads = Heads::default();
            let mut found = Vec::new();
            for piece in bytes.as_bytes().chunks(size) {
                heads.feed(piece, |ambiguous| found.push(ambiguous));
            }
            assert_eq!(found, expected, "{bytes:?} in pieces of {size}");
        }
    }

    const BOTH: &str = "POST / HTTP/1.1\r\nContent-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n";

    #[test]
    fn both_lengths_in_one_head_are_seen() {
        check(BOTH, &[true]);
        check(
            "POST / HTTP/1.1\r\nTRANSFER-ENCODING:chunked\r\nHost: a\r\ncontent-length:1\r\n\r\n",
            &[true],
        );
        check(
            "POST / HTTP/1.1\nTransfer-Encoding: chunked\nContent-Length: 1\n\n",
            &[true],
        );
        check(
            "POST / HTTP/1.1\r\nContent-Length: +1\r\nTransfer-Encoding: chunked\r\n\r\n",
            &[true],
        );
    }

    #[test]
    fn one_length_is_none_too_many() {
        for head in [
            "GET / HTTP/1.1\r\n\r\n",
            "POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n",
            "POST / HTTP/1.1\r\nX-Content-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n",
            "POST / HTTP/1.1\r\nContent-Length-X: 1\r\nTransfer-Encoding: chunked\r\n\r\n",
            "GET /content-length: HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n",
        ] {
            check(head, &[false]);
        }
    }

    #[test]
    fn a_head_is_found_behind_empty_lines_requests_and_bodies() {
        check(&format!("\r\n\r\n{BOTH}"), &[true]);
        check(&format!("GET / HTTP/1.1\r\n\r\n{BOTH}"), &[false, true]);
        check(
            &format!("POST / HTTP/1.1\r\nContent-Length: 2\r\nHost: a\r\n\r\n{{}}{BOTH}"),
            &[false, true],
        );
    }

    #[test]
    fn a_body_is_no_head() {
        let body = format!(
            "POST / HTTP/1.1\r\nContent-Length: {}\r\n\r\n{BOTH}",
            BOTH.len()
        );
        check(&format!("{body}GET / HTTP/1.1\r\n\r\n"), &[false, false]);
        check(
            &format!("POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n{BOTH}"),
            &[false],
        );
        check(
            &format!("POST / HTTP/1.1\r\nContent-Length: 99999999999999999999\r\n\r\n{BOTH}"),
            &[false],
        );
    }

    #[test]
    fn behind_an_unknown_end_it_begins_anew_with_the_next_request() {
        let mut heads = Heads::default();
        let mut found = Vec::new();
        heads.feed(
            b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
            |ambiguous| found.push(ambiguous),
        );
        heads.between_requests();
        heads.feed(BOTH.as_bytes(), |ambiguous| found.push(ambiguous));
        assert_eq!(found, [false, true]);
    }
}
