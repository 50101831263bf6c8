//! The one place where native code made elsewhere is trusted.
//!
//! A precompiled component is machine code: wasmtime checks its version and settings, not its
//! intent. Who may call [`Precompiled::embedded`] and [`Precompiled::from_file`] therefore
//! guarantees that the bytes come from the project's own precompiler.
#![allow(unsafe_code)]

use std::path::Path;

use wasmtime::Engine;
use wasmtime::component::Component;

/// Machine code of a component, made by `cargo xtask guests`.
pub struct Precompiled<'a>(Source<'a>);

enum Source<'a> {
    Bytes(&'a [u8]),
    File(&'a Path),
}

impl<'a> Precompiled<'a> {
    /// Bytes that the build put into this program.
    pub const fn embedded(bytes: &'static [u8]) -> Self {
        Self(Source::Bytes(bytes))
    }

    /// A file that the operator named. It runs with the rights of this process.
    pub fn from_file(path: &'a Path) -> Self {
        Self(Source::File(path))
    }

    pub(crate) fn load(&self, engine: &Engine) -> wasmtime::Result<Component> {
        match self.0 {
            // SAFETY: the bytes were put into this program by its own build, from the output of
            // the project's precompiler.
            Source::Bytes(bytes) => unsafe { Component::deserialize(engine, bytes) },
            // SAFETY: the operator named the file on the command line, as trusted as this
            // program itself; it is not changed while it is mapped.
            Source::File(path) => unsafe { Component::deserialize_file(engine, path) },
        }
    }
}
