//! The members of a `.npz` file: a ZIP archive of `.npy` files, stored or deflated, with 64-bit sizes where needed
//! (<https://pkware.cachefly.net/webdocs/casestudies/APPNOTE.TXT>).

use std::{
    fs::File,
    io::{BufReader, Read, Seek, SeekFrom},
    path::{Path, PathBuf},
};

use flate2::{CrcReader, bufread::DeflateDecoder};

use super::{DataError, bytes::inflated_limit, npy};
use crate::tensor::{DType, Tensor};

const END: &[u8] = b"PK\x05\x06";
const END_64: &[u8] = b"PK\x06\x06";
const LOCATOR_64: &[u8] = b"PK\x06\x07";
const ENTRY: &[u8] = b"PK\x01\x02";
const LOCAL: &[u8] = b"PK\x03\x04";

/// An archive whose directory has been read.
#[derive(Debug)]
pub(super) struct Archive {
    path: PathBuf,
    members: Vec<Member>,
}

#[derive(Debug, Clone, PartialEq)]
struct Member {
    name: String,
    encrypted: bool,
    method: u16,
    crc: u32,
    compressed: u64,
    size: u64,
    offset: u64,
}

/// The little-endian number of up to 8 bytes at `offset`.
fn number(bytes: &[u8], offset: usize, width: usize) -> Option<u64> {
    let bytes = bytes.get(offset..offset.checked_add(width)?)?;
    Some(bytes.iter().rev().fold(0, |number, &byte| number << 8 | u64::from(byte)))
}

impl Archive {
    /// Reads the directory of the archive at `path`.
    pub(super) fn open(path: &Path) -> Result<Self, DataError> {
        let name = path.display().to_string();
        let mut file = File::open(path).map_err(DataError::io(path))?;
        let size = file.metadata().map_err(DataError::io(path))?.len();
        let tail = read_at(&mut file, size.saturating_sub(65_557 + 20), 65_557 + 20)
            .map_err(|error| DataError::content(&name, error))?;
        let damaged = || DataError::damaged(&name, "it has no directory of members; it may be cut off");
        let (length, offset) = locate(&mut file, &tail).ok_or_else(damaged)?;
        if offset.checked_add(length).is_none_or(|end| end > size) {
            return Err(damaged());
        }
        let directory =
            read_at(&mut file, offset, length).map_err(|error| DataError::content(&name, error))?;
        let members = entries(&directory)
            .ok_or_else(|| DataError::damaged(&name, "its directory of members is not understood"))?;
        Ok(Self { path: path.to_owned(), members })
    }

    /// Names of the arrays in file order, without `.npy`.
    pub(super) fn names(&self) -> Vec<String> {
        self.members.iter().map(|member| member.name.clone()).collect()
    }

    /// Reads the array `name`. `label` is its name in messages.
    pub(super) fn read(&self, name: &str, label: &str) -> Result<Tensor, DataError> {
        let (stream, member, limit) = self.member(name, label)?;
        array(stream, member, limit, label)
    }

    /// Dimensions and element type of the array `name`. `label` is its name in messages.
    pub(super) fn form(&self, name: &str, label: &str) -> Result<(Vec<usize>, DType), DataError> {
        npy::read_form(&mut self.member(name, label)?.0, label)
    }

    /// The bytes of the member `name`, what the directory says of it, and the most bytes that it can hold.
    fn member(&self, name: &str, label: &str) -> Result<(Box<dyn Read>, &Member, u64), DataError> {
        let fail = |error| DataError::content(label, error);
        let member = self.members.iter().find(|member| member.name == name);
        let member = member.ok_or_else(|| DataError::damaged(label, "the archive has no such member"))?;
        let mut file = File::open(&self.path).map_err(DataError::io(&self.path))?;
        let local = read_at(&mut file, member.offset, 30).map_err(fail)?;
        let (Some(name), Some(extra), true) =
            (number(&local, 26, 2), number(&local, 28, 2), local.starts_with(LOCAL))
        else {
            return Err(DataError::damaged(label, "the directory points to no member"));
        };
        file.seek(SeekFrom::Start(member.offset.saturating_add(30 + name + extra))).map_err(fail)?;
        let stream = BufReader::with_capacity(1 << 16, file.take(member.compressed));
        if member.encrypted {
            return Err(unsupported(label, "an encrypted member"));
        }
        match member.method {
            0 => Ok((Box::new(stream), member, member.size.min(member.compressed))),
            8 => {
                let limit = member.size.min(inflated_limit(member.compressed));
                Ok((Box::new(DeflateDecoder::new(stream)), member, limit))
            }
            method => Err(unsupported(label, &format!("compression method {method}"))),
        }
    }
}

fn array(stream: impl Read, member: &Member, limit: u64, label: &str) -> Result<Tensor, DataError> {
    let mut stream = CrcReader::new(stream);
    let tensor = npy::read(&mut stream, limit, label)?;
    std::io::copy(&mut stream.by_ref().take(limit), &mut std::io::sink())
        .map_err(|error| DataError::content(label, error))?;
    if stream.crc().sum() != member.crc {
        return Err(DataError::damaged(label, "its checksum does not match its content"));
    }
    Ok(tensor)
}

fn unsupported(label: &str, what: &str) -> DataError {
    DataError::Unsupported {
        file: label.to_owned(),
        what: what.to_owned(),
        instead: "write the file with numpy.savez or numpy.savez_compressed",
    }
}

/// Up to `length` bytes from `offset` on.
fn read_at(file: &mut File, offset: u64, length: u64) -> std::io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    file.seek(SeekFrom::Start(offset))?;
    file.take(length).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// Length and offset of the directory, found from the last bytes of the file.
fn locate(file: &mut File, tail: &[u8]) -> Option<(u64, u64)> {
    let end = tail.windows(END.len()).rposition(|window| window == END)?;
    let (length, offset) = (number(tail, end + 12, 4)?, number(tail, end + 16, 4)?);
    let comment = number(tail, end + 20, 2)? as usize;
    (tail.len() >= end + 22 + comment).then_some(())?;
    let short = number(tail, end + 10, 2)? != 0xffff && length != 0xffff_ffff && offset != 0xffff_ffff;
    let locator = end.checked_sub(20).filter(|&start| tail[start..].starts_with(LOCATOR_64));
    match locator {
        Some(locator) if !short => {
            let end = read_at(file, number(tail, locator + 8, 8)?, 56).ok()?;
            end.starts_with(END_64).then_some(())?;
            Some((number(&end, 40, 8)?, number(&end, 48, 8)?))
        }
        _ => Some((length, offset)),
    }
}

fn entries(mut directory: &[u8]) -> Option<Vec<Member>> {
    let mut members = Vec::new();
    while !directory.is_empty() {
        directory.starts_with(ENTRY).then_some(())?;
        let field = |offset, width| number(directory, offset, width);
        let [name, extra, comment] =
            [28, 30, 32].map(|offset| field(offset, 2).map(|length| length as usize));
        let (name, extra, comment) = (46 + name?, extra?, comment?);
        let mut wide = wide_fields(directory.get(name..name + extra)?).into_iter();
        // The 64-bit fields stand in this order, each only where its 32-bit field is full.
        let mut sized = |offset| match field(offset, 4)? {
            0xffff_ffff => wide.next(),
            value => Some(value),
        };
        let (size, compressed, offset) = (sized(24)?, sized(20)?, sized(42)?);
        let path = String::from_utf8_lossy(directory.get(46..name)?).into_owned();
        if let Some(array) = path.strip_suffix(".npy") {
            members.push(Member {
                name: array.to_owned(),
                encrypted: field(8, 2)? & 1 == 1,
                method: field(10, 2)? as u16,
                crc: field(16, 4)? as u32,
                compressed,
                size,
                offset,
            });
        }
        directory = directory.get(name + extra + comment..)?;
    }
    Some(members)
}

/// The numbers of the extra field for 64-bit sizes.
fn wide_fields(mut extra: &[u8]) -> Vec<u64> {
    while let (Some(id), Some(length)) = (number(extra, 0, 2), number(extra, 2, 2)) {
        let Some(content) = extra.get(4..4 + length as usize) else { break };
        if id == 1 {
            return (0..content.len() / 8).filter_map(|index| number(content, 8 * index, 8)).collect();
        }
        extra = &extra[4 + length as usize..];
    }
    Vec::new()
}

#[cfg(test)]
mod tests {
    use std::fs;

    use ndarray::arr1;
    use ndarray_npy::NpzWriter;

    use super::*;

    fn write(path: &Path, compressed: bool) {
        let file = File::create(path).unwrap();
        let mut writer = if compressed { NpzWriter::new_compressed(file) } else { NpzWriter::new(file) };
        writer.add_array("x", &arr1(&[1.5_f32; 1000])).unwrap();
        writer.add_array("y", &arr1(&[7_i64, -7])).unwrap();
        writer.finish().unwrap();
    }

    #[test]
    fn stored_and_deflated_members_are_read() {
        let folder = tempfile::tempdir().unwrap();
        for compressed in [false, true] {
            let path = folder.path().join("a.npz");
            write(&path, compressed);
            let archive = Archive::open(&path).unwrap();
            assert_eq!(archive.names(), ["x", "y"]);
            assert_eq!(archive.read("x", "x").unwrap(), Tensor::vector(vec![1.5_f32; 1000]));
            assert_eq!(archive.read("y", "y").unwrap(), Tensor::vector(vec![7_i64, -7]));
        }
    }

    #[test]
    fn sizes_of_64_bits_are_read_from_the_extra_field() {
        let mut entry = ENTRY.to_vec();
        entry.extend([0; 42]);
        (entry[10], entry[28], entry[30]) = (8, 5, 4 + 2 + 4 + 16);
        entry[20..28].fill(0xff);
        entry[42] = 77;
        entry.extend(b"x.npy");
        entry.extend([9, 0, 2, 0, 0, 0]);
        entry.extend([1, 0, 16, 0]);
        entry.extend((1_u64 << 33).to_le_bytes());
        entry.extend((1_u64 << 32).to_le_bytes());
        let members = entries(&entry).unwrap();
        assert_eq!((members[0].size, members[0].compressed, members[0].offset), (1 << 33, 1 << 32, 77));
        assert_eq!((members[0].name.as_str(), members[0].method), ("x", 8));
    }

    #[test]
    fn damage_anywhere_is_an_error_and_never_a_panic() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.npz");
        let read_all = || -> Result<Vec<Tensor>, DataError> {
            let archive = Archive::open(&path)?;
            archive.names().iter().map(|name| archive.read(name, name)).collect()
        };
        for compressed in [false, true] {
            write(&path, compressed);
            let good = fs::read(&path).unwrap();
            let expected = read_all().unwrap();
            for length in (0..good.len()).step_by(13) {
                fs::write(&path, &good[..length]).unwrap();
                assert!(read_all().is_err(), "cut to {length} bytes");
            }
            for place in (0..good.len()).step_by(if compressed { 2 } else { 11 }) {
                let mut bad = good.clone();
                bad[place] ^= 0x55;
                fs::write(&path, &bad).unwrap();
                // Bytes that carry nothing (dates, versions) may change; an array may lose its name, never its values.
                if let Ok(tensors) = read_all() {
                    assert!(tensors.iter().all(|tensor| expected.contains(tensor)), "byte {place}");
                }
            }
        }
    }
}
