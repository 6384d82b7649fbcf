//! The table in `fields.json`.

use std::collections::BTreeMap;
use std::error::Error;

use serde_json::Value;

use crate::wire;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Int32,
    Int64,
    Uint64,
    Float,
    Double,
    Text,
    Bytes,
    Enum,
    Message,
}

impl Kind {
    fn parse(name: &str) -> Option<Self> {
        Some(match name {
            "int32" => Self::Int32,
            "int64" => Self::Int64,
            "uint64" => Self::Uint64,
            "float" => Self::Float,
            "double" => Self::Double,
            "string" => Self::Text,
            "bytes" => Self::Bytes,
            "enum" => Self::Enum,
            "message" => Self::Message,
            _ => return None,
        })
    }

    /// How one value is written.
    pub(crate) fn wire_type(self) -> u32 {
        match self {
            Self::Int32 | Self::Int64 | Self::Uint64 | Self::Enum => wire::VARINT,
            Self::Float => wire::FOUR_BYTES,
            Self::Double => wire::EIGHT_BYTES,
            Self::Text | Self::Bytes | Self::Message => wire::DELIMITED,
        }
    }
}

#[derive(Debug)]
pub(crate) struct Field {
    pub(crate) number: u32,
    pub(crate) name: String,
    pub(crate) kind: Kind,
    pub(crate) repeated: bool,
    pub(crate) packed: bool,
    /// The message or enum that the field holds; empty for others.
    pub(crate) of: String,
    pub(crate) oneof: Option<String>,
}

#[derive(Debug)]
pub(crate) struct Table {
    pub(crate) ir_version: i64,
    /// The fields of each message, by number.
    pub(crate) messages: BTreeMap<String, Vec<Field>>,
    /// The value names of each enum.
    pub(crate) enums: BTreeMap<String, BTreeMap<i32, String>>,
}

impl Table {
    pub(crate) fn read() -> Result<Self, Box<dyn Error>> {
        let root: Value = serde_json::from_str(include_str!("../fields.json"))?;
        let mut messages = BTreeMap::new();
        for (name, rows) in root["messages"].as_object().ok_or("no messages")? {
            let rows = rows.as_array().ok_or("no fields")?;
            let fields = rows.iter().map(|row| field(row).ok_or_else(|| format!("{name}: {row}")));
            messages.insert(name.clone(), fields.collect::<Result<_, _>>()?);
        }
        let mut enums = BTreeMap::new();
        for (name, values) in root["enums"].as_object().ok_or("no enums")? {
            let mut names = BTreeMap::new();
            for (value_name, number) in values.as_object().ok_or("no values")? {
                let number = number.as_i64().ok_or("no number")?;
                names.insert(i32::try_from(number)?, value_name.clone());
            }
            enums.insert(name.clone(), names);
        }
        let ir_version = root["ir_version"].as_i64().ok_or("no version")?;
        Ok(Self { ir_version, messages, enums })
    }
}

fn field(row: &Value) -> Option<Field> {
    Some(Field {
        number: u32::try_from(row["number"].as_u64()?).ok()?,
        name: row["name"].as_str()?.to_owned(),
        kind: Kind::parse(row["type"].as_str()?)?,
        repeated: match row["label"].as_str()? {
            "optional" => false,
            "repeated" => true,
            _ => return None,
        },
        packed: row["packed"].as_bool()?,
        of: row["of"].as_str().unwrap_or_default().to_owned(),
        oneof: row["oneof"].as_str().map(str::to_owned),
    })
}
