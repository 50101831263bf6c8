mod support;
use core::ffi::c_void;
use spindle_kernels::*;
use support::*;
unsafe extern "C" {
    fn mmap(a: *mut c_void, l: usize, p: i32, f: i32, fd: i32, o: i64) -> *mut c_void;
    fn mprotect(a: *mut c_void, l: usize, p: i32) -> i32;
}
#[test]
fn guard() {
    let size = 1 << 20;
    let base = unsafe { mmap(core::ptr::null_mut(), size + 8192, 3, 0x22, -1, 0) } as *mut u8;
    assert!(unsafe { mprotect(base as *mut c_void, 4096, 0) } == 0);
    assert!(unsafe { mprotect(base.add(4096 + size) as *mut c_void, 4096, 0) } == 0);
    let mut r = Random(9);
    println!("{:?}", Isa::available());
    for format in Format::ALL {
        for cols in [256usize, 512] {
            for rows in [1, 2, 7, 8, 9, 15, 16, 17, 31, 33] {
                let w = random_weights(&mut r, format, rows, cols);
                for front in [false, true] {
                    let at = if front { 4096 } else { 4096 + size - w.len() };
                    let buf = unsafe { core::slice::from_raw_parts_mut(base.add(at), w.len()) };
                    buf.copy_from_slice(&w);
                    let weights = Weights::new(format, rows, cols, buf).unwrap();
                    for tokens in [1, 2, 3, 4, 5, 8, 9, 12, 17] {
                        let x = r.floats(tokens * cols);
                        let mut expected: Option<Vec<f32>> = None;
                        for isa in Isa::available() {
                            let mut input = Activations::new();
                            input.reset(
                                tokens,
                                cols,
                                Forms::default().with(format.activation_form()),
                            );
                            for (t, x) in x.chunks_exact(cols).enumerate() {
                                input.set(isa, t, x);
                            }
                            let mut out = vec![0.0; tokens * rows];
                            matmul(
                                isa,
                                &weights,
                                0..rows,
                                &input,
                                0..tokens,
                                &mut ColumnsMut::new(&mut out, rows),
                            );
                            let mut row = vec![0.0; cols];
                            dequantize_row(isa, &weights, rows - 1, &mut row);
                            if let Some(e) = &expected {
                                assert_same(&out, e, "x");
                            } else {
                                expected = Some(out);
                            }
                        }
                    }
                }
            }
        }
    }
}
