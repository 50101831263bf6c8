//! From a file's bytes to a [`ModelFile`].

use super::header::Header;
use super::hyperparameters;
use super::metadata::Metadata;
use crate::formats::limits::CHAT_TEMPLATE_BYTES_MAX;
use crate::formats::model_file::model_name;
use crate::formats::{Bytes, LoadError, ModelFile, architecture, check};
use crate::tokenizer::{Tokenizer, from_gguf};

/// Reads a model.
pub fn read(file: Bytes) -> Result<ModelFile, LoadError> {
    let bytes = (*file).as_ref();
    let Header { metadata, tensors } = Header::read(bytes)?;
    refuse_split(&metadata)?;
    let key = "general.architecture";
    let spec = architecture::by_gguf_name(
        metadata
            .string(key)?
            .ok_or_else(|| LoadError::missing(key))?,
    )?;
    let tokenizer = from_gguf(&metadata, &file)?;
    let mut config = hyperparameters::read(&metadata, spec, tokenizer.vocab_len())?;
    let tensors = check::check(spec, &mut config, tensors)?;
    let chat_template = chat_template(&metadata)?;
    let name = metadata.string("general.name")?.and_then(model_name);
    Ok(ModelFile {
        config,
        tokenizer,
        chat_template,
        name,
        tensors,
        shards: vec![file.clone()],
    })
}

/// Reads the tokenizer alone, of a file that need not have tensors or an architecture we run.
pub fn read_tokenizer(file: Bytes) -> Result<Tokenizer, LoadError> {
    let header = Header::read((*file).as_ref())?;
    from_gguf(&header.metadata, &file)
}

fn refuse_split(metadata: &Metadata) -> Result<(), LoadError> {
    let key = "split.count";
    match metadata.uint(key)? {
        None | Some(0 | 1) => Ok(()),
        Some(parts) => {
            let way_out = "a single file is (merge the parts with llama-gguf-split --merge)";
            Err(LoadError::unsupported(
                key,
                format!("a model in {parts} files"),
                way_out,
            ))
        }
    }
}

fn chat_template(metadata: &Metadata) -> Result<Option<String>, LoadError> {
    match metadata.string("tokenizer.chat_template")? {
        Some(template) if template.len() > CHAT_TEMPLATE_BYTES_MAX => Err(LoadError::too_many(
            "bytes of the chat template",
            template.len(),
            CHAT_TEMPLATE_BYTES_MAX,
        )),
        template => Ok(template.map(str::to_owned)),
    }
}
