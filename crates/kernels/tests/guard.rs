//! No kernel reads a byte before or behind its weights: both ends lie against pages that cannot be touched.
#![cfg(target_os = "linux")]

mod support;

use core::ffi::{c_int, c_long, c_void};
use spindle_kernels::*;
use support::{Random, random_weights};

unsafe extern "C" {
    fn mmap(
        at: *mut c_void,
        len: usize,
        protection: c_int,
        flags: c_int,
        file: c_int,
        offset: c_long,
    ) -> *mut c_void;
    fn mprotect(at: *mut c_void, len: usize, protection: c_int) -> c_int;
}

/// As large as any page of a Linux this runs on.
const GUARD: usize = 64 << 10;
const ROOM: usize = 1 << 20;

/// Room between two guards; lives as long as the test.
struct Guarded(*mut u8);

impl Guarded {
    fn new() -> Self {
        const READ_WRITE: c_int = 3;
        const PRIVATE_ANONYMOUS: c_int = 0x22;
        // SAFETY: a fresh anonymous mapping, wherever the system likes, of which both ends are then closed.
        unsafe {
            let base = mmap(
                core::ptr::null_mut(),
                GUARD + ROOM + GUARD,
                READ_WRITE,
                PRIVATE_ANONYMOUS,
                -1,
                0,
            );
            assert!(base as isize != -1, "mmap failed");
            let base = base.cast::<u8>();
            assert_eq!(mprotect(base.cast(), GUARD, 0), 0);
            assert_eq!(mprotect(base.add(GUARD + ROOM).cast(), GUARD, 0), 0);
            Self(base.add(GUARD))
        }
    }

    /// A copy of `bytes` against the front or the back guard.
    fn place(&mut self, bytes: &[u8], front: bool) -> &[u8] {
        assert!(bytes.len() <= ROOM);
        // SAFETY: the room is readable, writable and ours; `bytes` fits at either end.
        unsafe {
            let at = if front {
                self.0
            } else {
                self.0.add(ROOM - bytes.len())
            };
            core::slice::from_raw_parts_mut(at, bytes.len()).copy_from_slice(bytes);
            core::slice::from_raw_parts(at, bytes.len())
        }
    }
}

#[test]
fn no_kernel_reads_beyond_its_weights() {
    let mut random = Random(12);
    let mut guarded = Guarded::new();
    let mut out = vec![0.0; 20 * 33];
    for format in Format::ALL {
        for cols in [format.block_len(), 2 * format.block_len(), 512] {
            for rows in [1, 7, 8, 9, 15, 16, 17, 33] {
                let bytes = random_weights(&mut random, format, rows, cols);
                for front in [false, true] {
                    let weights =
                        Weights::new(format, rows, cols, guarded.place(&bytes, front)).unwrap();
                    for (isa, tokens) in Isa::available()
                        .into_iter()
                        .flat_map(|isa| [1, 2, 5, 17].map(|tokens| (isa, tokens)))
                    {
                        let mut input = Activations::new();
                        input.reset(
                            tokens,
                            cols,
                            Forms::default().with(format.activation_form()),
                        );
                        for token in 0..tokens {
                            input.set(isa, token, &random.floats(cols));
                        }
                        let mut out = ColumnsMut::new(&mut out[..tokens * rows], rows);
                        matmul(isa, &weights, 0..rows, &input, 0..tokens, &mut out);
                        let mut row = vec![0.0; cols];
                        dequantize_row(isa, &weights, rows - 1, &mut row);
                    }
                }
            }
        }
    }
}
