//! What tells one data set from another.

use sha2::{Digest, Sha256};

use super::{Dataset, input::Store};
use crate::tensor::{Tensor, Values};

/// Bytes as hexadecimal digits.
pub(crate) fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(2 * bytes.len()), |mut text, byte| {
        for digit in [byte >> 4, byte & 15] {
            text.extend(char::from_digit(digit.into(), 16));
        }
        text
    })
}

impl Dataset {
    /// SHA-256 of the samples and targets of this part, in hexadecimal digits. Of images in folders the names and
    /// sizes count, not every pixel.
    pub fn checksum(&self) -> String {
        let mut hash = Sha256::new();
        for input in &self.shared.inputs {
            match &input.store {
                Store::Memory(tensor) => add_tensor(&mut hash, tensor),
                Store::Images(images) => {
                    for file in &images.files {
                        let size = std::fs::metadata(file).map_or(0, |about| about.len());
                        let name = file.strip_prefix(&self.shared.place).unwrap_or(file);
                        add_text(&mut hash, &name.to_string_lossy());
                        hash.update(size.to_le_bytes());
                    }
                }
            }
        }
        if let Some(target) = &self.shared.target {
            add_tensor(&mut hash, &target.tensor);
        }
        hash.update((self.len() as u64).to_le_bytes());
        for position in 0..self.len() {
            hash.update((self.row(position) as u64).to_le_bytes());
        }
        hexadecimal(hash.finalize().as_slice())
    }
}

fn add_text(hash: &mut Sha256, text: &str) {
    hash.update((text.len() as u64).to_le_bytes());
    hash.update(text.as_bytes());
}

fn add_tensor(hash: &mut Sha256, tensor: &Tensor) {
    add_text(hash, &format!("{} {:?}", tensor.dtype(), tensor.dims()));
    match (tensor.values(), tensor.values().bytes()) {
        (_, Some(bytes)) => hash.update(bytes),
        (Values::String(texts), None) => texts.iter().for_each(|text| add_text(hash, text)),
        (_, None) => {}
    }
}
