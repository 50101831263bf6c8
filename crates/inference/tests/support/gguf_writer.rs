//! Writes GGUF files for tests: a plain writer that can also write nonsense, and tiny models with random weights.
//!
//! - [`Gguf`] writes what it is told, in order, checking nothing: hostile files are made by telling it lies or by
//!   patching the bytes it returns at the places it reports.
//! - [`TinyModel`] writes a complete llama, qwen2 or qwen3 model in any format we read; the same fields give the same
//!   bytes.
//!
//! Use: `#[path = "support/gguf_writer.rs"] mod gguf_writer;`

#![allow(dead_code, reason = "each test binary uses its own part")]

use spindle_kernels::Format;

/// A metadata value.
#[derive(Debug, Clone)]
pub enum Value {
    U8(u8),
    U32(u32),
    I32(i32),
    F32(f32),
    U64(u64),
    F64(f64),
    Bool(bool),
    Text(String),
    Texts(Vec<String>),
    F32s(Vec<f32>),
    I32s(Vec<i32>),
    I8s(Vec<i8>),
    /// Type and bytes as they are to be in the file.
    Raw(u32, Vec<u8>),
}

/// A tensor info and its data.
#[derive(Debug, Clone)]
pub struct Tensor {
    pub name: String,
    /// Innermost first, as in the file.
    pub dims: Vec<u64>,
    /// GGUF's number.
    pub format: u32,
    pub bytes: Vec<u8>,
    /// Where it says its data lies; where the data is written if none.
    pub offset: Option<u64>,
}

/// A GGUF file to be written.
#[derive(Debug, Clone)]
pub struct Gguf {
    pub magic: [u8; 4],
    pub version: u32,
    pub entries: Vec<(String, Value)>,
    pub tensors: Vec<Tensor>,
    /// What the header says instead of the real counts.
    pub stated_entries: Option<u64>,
    pub stated_tensors: Option<u64>,
    /// Alignment of the data as written, whatever the metadata say.
    pub alignment: usize,
}

impl Default for Gguf {
    fn default() -> Self {
        Gguf {
            magic: *b"GGUF",
            version: 3,
            entries: Vec::new(),
            tensors: Vec::new(),
            stated_entries: None,
            stated_tensors: None,
            alignment: 32,
        }
    }
}

impl Gguf {
    /// Sets a key, in place if it is there.
    pub fn set(&mut self, key: &str, value: Value) -> &mut Self {
        match self.entries.iter_mut().find(|(known, _)| known == key) {
            Some(entry) => entry.1 = value,
            None => self.entries.push((key.to_owned(), value)),
        }
        self
    }

    pub fn remove(&mut self, key: &str) -> &mut Self {
        self.entries.retain(|(known, _)| known != key);
        self
    }

    /// Adds a tensor of `dims`, innermost first.
    pub fn tensor(
        &mut self,
        name: &str,
        dims: &[u64],
        format: Format,
        bytes: Vec<u8>,
    ) -> &mut Self {
        let tensor = Tensor {
            name: name.to_owned(),
            dims: dims.to_vec(),
            format: format_number(format),
            bytes,
            offset: None,
        };
        self.tensors.push(tensor);
        self
    }

    /// The tensor of this name, to be lied about.
    pub fn tensor_mut(&mut self, name: &str) -> &mut Tensor {
        self.tensors
            .iter_mut()
            .find(|tensor| tensor.name == name)
            .expect("no such tensor")
    }

    /// Header and data.
    pub fn bytes(&self) -> Vec<u8> {
        let mut out = self.header();
        if self.tensors.is_empty() {
            return out;
        }
        for tensor in &self.tensors {
            pad(&mut out, self.alignment);
            out.extend_from_slice(&tensor.bytes);
        }
        out
    }

    /// Everything before the data section.
    pub fn header(&self) -> Vec<u8> {
        let mut out = Vec::new();
        out.extend(self.magic);
        out.extend(self.version.to_le_bytes());
        out.extend(
            self.stated_tensors
                .unwrap_or(self.tensors.len() as u64)
                .to_le_bytes(),
        );
        out.extend(
            self.stated_entries
                .unwrap_or(self.entries.len() as u64)
                .to_le_bytes(),
        );
        for (key, value) in &self.entries {
            put_text(&mut out, key.as_bytes());
            put_value(&mut out, value);
        }
        let mut offset = 0;
        for tensor in &self.tensors {
            put_text(&mut out, tensor.name.as_bytes());
            out.extend((tensor.dims.len() as u32).to_le_bytes());
            for dimension in &tensor.dims {
                out.extend(dimension.to_le_bytes());
            }
            out.extend(tensor.format.to_le_bytes());
            out.extend(tensor.offset.unwrap_or(offset).to_le_bytes());
            offset += (tensor.bytes.len().next_multiple_of(self.alignment)) as u64;
        }
        out
    }
}

fn pad(out: &mut Vec<u8>, alignment: usize) {
    out.resize(out.len().next_multiple_of(alignment), 0);
}

pub fn put_text(out: &mut Vec<u8>, text: &[u8]) {
    out.extend((text.len() as u64).to_le_bytes());
    out.extend_from_slice(text);
}

fn put_value(out: &mut Vec<u8>, value: &Value) {
    let mut put = |number: u32, bytes: &[u8]| {
        out.extend(number.to_le_bytes());
        out.extend_from_slice(bytes);
    };
    match value {
        Value::U8(value) => put(0, &[*value]),
        Value::U32(value) => put(4, &value.to_le_bytes()),
        Value::I32(value) => put(5, &value.to_le_bytes()),
        Value::F32(value) => put(6, &value.to_le_bytes()),
        Value::Bool(value) => put(7, &[u8::from(*value)]),
        Value::U64(value) => put(10, &value.to_le_bytes()),
        Value::F64(value) => put(12, &value.to_le_bytes()),
        Value::Raw(number, bytes) => put(*number, bytes),
        Value::Text(text) => {
            let mut bytes = Vec::new();
            put_text(&mut bytes, text.as_bytes());
            put(8, &bytes);
        }
        Value::Texts(texts) => {
            let mut items = Vec::new();
            texts
                .iter()
                .for_each(|text| put_text(&mut items, text.as_bytes()));
            put(9, &array(8, texts.len(), &items));
        }
        Value::F32s(items) => put(9, &array(6, items.len(), &le(items, f32::to_le_bytes))),
        Value::I32s(items) => put(9, &array(5, items.len(), &le(items, i32::to_le_bytes))),
        Value::I8s(items) => put(9, &array(1, items.len(), &le(items, i8::to_le_bytes))),
    }
}

fn le<T: Copy, const N: usize>(items: &[T], bytes: fn(T) -> [u8; N]) -> Vec<u8> {
    items.iter().flat_map(|item| bytes(*item)).collect()
}

/// An array's item type, stated length and items, as they are in the file behind the type number 9.
pub fn array(item: u32, len: usize, items: &[u8]) -> Vec<u8> {
    let mut bytes = item.to_le_bytes().to_vec();
    bytes.extend((len as u64).to_le_bytes());
    bytes.extend_from_slice(items);
    bytes
}

/// GGUF's number of a format.
pub fn format_number(format: Format) -> u32 {
    match format {
        Format::F32 => 0,
        Format::F16 => 1,
        Format::Q4_0 => 2,
        Format::Q4_1 => 3,
        Format::Q5_0 => 6,
        Format::Q5_1 => 7,
        Format::Q8_0 => 8,
        Format::Q4K => 12,
        Format::Q5K => 13,
        Format::Q6K => 14,
        Format::BF16 => 30,
    }
}

/// A small model with random weights.
#[derive(Debug, Clone)]
pub struct TinyModel {
    /// `llama`, `qwen2` or `qwen3`.
    pub architecture: &'static str,
    /// Of every matrix; vectors are F32.
    pub format: Format,
    pub layers: usize,
    /// A multiple of the format's block, as are `ffn_width` and `heads * head_dim`.
    pub width: usize,
    pub ffn_width: usize,
    pub heads: usize,
    pub kv_heads: usize,
    pub head_dim: usize,
    pub context_len: usize,
    pub tied_head: bool,
    pub seed: u64,
}

impl Default for TinyModel {
    /// Fits every format: widths are multiples of 256.
    fn default() -> Self {
        TinyModel {
            architecture: "llama",
            format: Format::F32,
            layers: 2,
            width: 256,
            ffn_width: 512,
            heads: 8,
            kv_heads: 2,
            head_dim: 32,
            context_len: 512,
            tied_head: true,
            seed: 1,
        }
    }
}

/// Text of [`TinyModel`]'s tokens that begin, end and structure a chat, in order of their ids.
pub const TINY_CONTROL_TOKENS: [&str; 3] = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"];

/// Tokens of [`TinyModel`]'s vocabulary: controls, the 256 bytes, and some merges.
pub const TINY_VOCAB_LEN: usize = TINY_CONTROL_TOKENS.len() + 256 + TINY_MERGES.len();

/// `(left, right)` in GPT-2's alphabet, where `Ġ` is the blank.
const TINY_MERGES: [(&str, &str); 13] = [
    ("Ġ", "t"),
    ("h", "e"),
    ("Ġt", "he"),
    ("i", "n"),
    ("e", "r"),
    ("a", "n"),
    ("o", "n"),
    ("l", "l"),
    ("he", "ll"),
    ("hell", "o"),
    ("Ġ", "Ġ"),
    ("ĠĠ", "ĠĠ"),
    ("an", "d"),
];

impl TinyModel {
    /// The whole file.
    pub fn bytes(&self) -> Vec<u8> {
        self.gguf().bytes()
    }

    /// The file before it is written, to be changed.
    pub fn gguf(&self) -> Gguf {
        let mut gguf = Gguf::default();
        self.put_metadata(&mut gguf);
        put_tiny_tokenizer(&mut gguf);
        let mut random = Random(self.seed);
        self.put_tensors(&mut gguf, &mut random);
        gguf
    }

    fn put_metadata(&self, gguf: &mut Gguf) {
        let architecture = self.architecture;
        gguf.set("general.architecture", Value::Text(architecture.to_owned()));
        gguf.set("general.name", Value::Text("Tiny".to_owned()));
        let mut count = |name: &str, value: usize| {
            gguf.set(&format!("{architecture}.{name}"), Value::U32(value as u32));
        };
        count("block_count", self.layers);
        count("context_length", self.context_len);
        count("embedding_length", self.width);
        count("feed_forward_length", self.ffn_width);
        count("attention.head_count", self.heads);
        count("attention.head_count_kv", self.kv_heads);
        count("attention.key_length", self.head_dim);
        count("attention.value_length", self.head_dim);
        count("rope.dimension_count", self.head_dim);
        gguf.set(
            &format!("{architecture}.rope.freq_base"),
            Value::F32(10_000.0),
        );
        gguf.set(
            &format!("{architecture}.attention.layer_norm_rms_epsilon"),
            Value::F32(1e-5),
        );
    }

    fn put_tensors(&self, gguf: &mut Gguf, random: &mut Random) {
        let [q_width, kv_width] = [self.heads * self.head_dim, self.kv_heads * self.head_dim];
        let [width, ffn_width] = [self.width, self.ffn_width];
        let matrix =
            |gguf: &mut Gguf, name: &str, rows: usize, cols: usize, random: &mut Random| {
                let bytes =
                    random_weights(self.format, rows * cols, 1.0 / (cols as f32).sqrt(), random);
                gguf.tensor(name, &[cols as u64, rows as u64], self.format, bytes);
            };
        let vector = |gguf: &mut Gguf, name: &str, len: usize, mean: f32, random: &mut Random| {
            let values: Vec<f32> = (0..len).map(|_| mean + 0.1 * random.normal()).collect();
            gguf.tensor(
                name,
                &[len as u64],
                Format::F32,
                le(&values, f32::to_le_bytes),
            );
        };
        matrix(gguf, "token_embd.weight", TINY_VOCAB_LEN, width, random);
        for layer in 0..self.layers {
            let name = |tensor: &str| format!("blk.{layer}.{tensor}");
            vector(gguf, &name("attn_norm.weight"), width, 1.0, random);
            matrix(gguf, &name("attn_q.weight"), q_width, width, random);
            matrix(gguf, &name("attn_k.weight"), kv_width, width, random);
            matrix(gguf, &name("attn_v.weight"), kv_width, width, random);
            matrix(gguf, &name("attn_output.weight"), width, q_width, random);
            if self.architecture == "qwen2" {
                vector(gguf, &name("attn_q.bias"), q_width, 0.0, random);
                vector(gguf, &name("attn_k.bias"), kv_width, 0.0, random);
                vector(gguf, &name("attn_v.bias"), kv_width, 0.0, random);
            }
            if self.architecture == "qwen3" {
                vector(
                    gguf,
                    &name("attn_q_norm.weight"),
                    self.head_dim,
                    1.0,
                    random,
                );
                vector(
                    gguf,
                    &name("attn_k_norm.weight"),
                    self.head_dim,
                    1.0,
                    random,
                );
            }
            vector(gguf, &name("ffn_norm.weight"), width, 1.0, random);
            matrix(gguf, &name("ffn_gate.weight"), ffn_width, width, random);
            matrix(gguf, &name("ffn_up.weight"), ffn_width, width, random);
            matrix(gguf, &name("ffn_down.weight"), width, ffn_width, random);
        }
        vector(gguf, "output_norm.weight", width, 1.0, random);
        if !self.tied_head {
            matrix(gguf, "output.weight", TINY_VOCAB_LEN, width, random);
        }
    }
}

/// A byte-level vocabulary of [`TINY_VOCAB_LEN`] tokens under the name `gpt-2`.
pub fn put_tiny_tokenizer(gguf: &mut Gguf) {
    let mut tokens: Vec<String> = TINY_CONTROL_TOKENS.map(str::to_owned).into();
    tokens.extend((0..=255).map(|byte| alphabet(byte).to_string()));
    tokens.extend(TINY_MERGES.map(|(left, right)| format!("{left}{right}")));
    let kinds = (0..tokens.len()).map(|id| if id < TINY_CONTROL_TOKENS.len() { 3 } else { 1 });
    gguf.set("tokenizer.ggml.model", Value::Text("gpt2".to_owned()));
    gguf.set("tokenizer.ggml.pre", Value::Text("gpt-2".to_owned()));
    gguf.set("tokenizer.ggml.token_type", Value::I32s(kinds.collect()));
    gguf.set("tokenizer.ggml.tokens", Value::Texts(tokens));
    let merges = TINY_MERGES.map(|(left, right)| format!("{left} {right}"));
    gguf.set("tokenizer.ggml.merges", Value::Texts(merges.into()));
    gguf.set("tokenizer.ggml.bos_token_id", Value::U32(0));
    gguf.set("tokenizer.ggml.eos_token_id", Value::U32(2));
    gguf.set("tokenizer.ggml.add_bos_token", Value::Bool(false));
}

/// A byte in GPT-2's alphabet.
pub fn alphabet(byte: u8) -> char {
    let printable = |byte: &u8| matches!(byte, b'!'..=b'~' | 0xa1..=0xac | 0xae..=0xff);
    if printable(&byte) {
        return char::from(byte);
    }
    let shifted = (0..byte).filter(|byte| !printable(byte)).count() as u32;
    char::from_u32(0x100 + shifted).expect("below U+0144")
}

/// `values` random weights of about this deviation, in whole blocks.
pub fn random_weights(
    format: Format,
    values: usize,
    deviation: f32,
    random: &mut Random,
) -> Vec<u8> {
    let blocks = values / format.block_len();
    let mut bytes = Vec::with_capacity(blocks * format.block_bytes());
    for _ in 0..blocks {
        put_random_block(format, deviation, random, &mut bytes);
    }
    bytes
}

/// Random codes under scales that bring them near the deviation. Spreads of the codes: four bits 4.6 (eight per
/// quarter), five bits 9.2, six bits 18.5, eight bits 74; K-quants multiply by six-bit or eight-bit scales as well.
fn put_random_block(format: Format, deviation: f32, random: &mut Random, out: &mut Vec<u8>) {
    let scale = |spread: f32, random: &mut Random, out: &mut Vec<u8>| {
        let jitter = 0.75 + 0.5 * random.unit();
        out.extend(f16(deviation / spread * jitter).to_le_bytes());
    };
    let [half_range_4, half_range_5] = [7.5 / 4.6, 15.5 / 9.2];
    match format {
        Format::F32 => out.extend((deviation * random.normal()).to_le_bytes()),
        Format::F16 => out.extend(f16(deviation * random.normal()).to_le_bytes()),
        Format::BF16 => {
            out.extend(((deviation * random.normal()).to_bits() >> 16).to_le_bytes()[..2].iter())
        }
        Format::Q4_0 => {
            scale(4.6, random, out);
            random.put(16, out);
        }
        Format::Q4_1 => {
            scale(4.6, random, out);
            out.extend(f16(-deviation * half_range_4).to_le_bytes());
            random.put(16, out);
        }
        Format::Q5_0 => {
            scale(9.2, random, out);
            random.put(4 + 16, out);
        }
        Format::Q5_1 => {
            scale(9.2, random, out);
            out.extend(f16(-deviation * half_range_5).to_le_bytes());
            random.put(4 + 16, out);
        }
        Format::Q8_0 => {
            scale(74.0, random, out);
            random.put(32, out);
        }
        // The minimum's factor is 7.5 (15.5) times the scale's, so that codes centre on zero where both six-bit
        // factors agree.
        Format::Q4K => {
            scale(4.6 * 32.0, random, out);
            out.extend(f16(deviation / (4.6 * 32.0) * 7.5).to_le_bytes());
            random.put(12 + 128, out);
        }
        Format::Q5K => {
            scale(9.2 * 32.0, random, out);
            out.extend(f16(deviation / (9.2 * 32.0) * 15.5).to_le_bytes());
            random.put(12 + 32 + 128, out);
        }
        Format::Q6K => {
            random.put(128 + 64 + 16, out);
            scale(18.5 * 74.0, random, out);
        }
    }
}

/// An f32 as f16 bits, truncated; normal numbers only, which is all that scales need.
pub fn f16(value: f32) -> u16 {
    let bits = value.to_bits();
    let sign = (bits >> 16 & 0x8000) as u16;
    let exponent = (bits >> 23 & 0xff) as i32 - 127 + 15;
    if exponent <= 0 {
        return sign;
    }
    sign | (exponent.min(30) as u16) << 10 | (bits >> 13 & 0x3ff) as u16
}

/// SplitMix64: small, and the same everywhere.
#[derive(Debug, Clone)]
pub struct Random(pub u64);

impl Random {
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ z >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ z >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ z >> 31
    }

    /// Below `bound`, which is not 0.
    pub fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }

    /// 0 to 1.
    pub fn unit(&mut self) -> f32 {
        (self.next() >> 40) as f32 / (1 << 24) as f32
    }

    /// Mean 0, deviation 1, near enough: the sum of twelve uniform numbers.
    pub fn normal(&mut self) -> f32 {
        (0..12).map(|_| self.unit()).sum::<f32>() - 6.0
    }

    pub fn put(&mut self, len: usize, out: &mut Vec<u8>) {
        out.extend((0..len).map(|_| (self.next() >> 56) as u8));
    }
}
