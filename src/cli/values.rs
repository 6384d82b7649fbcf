//! Values of options, read or refused with a reason.

use clap::ValueEnum;
use regex::Regex;
use safe_onnx::compress::{Quantity, Target};
use safe_onnx::data::Augment;
use safe_onnx::engine::Device;
use safe_onnx::trace::parse_shape;

use super::args::LossArg;

/// Where to run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum DeviceChoice {
    /// The best one that this build can use.
    Auto,
    /// This one.
    Named(Device),
}

fn number(text: &str) -> Result<f64, String> {
    text.trim().parse().map_err(|_| "it is no number".to_owned())
}

fn number_where(text: &str, holds: impl Fn(f64) -> bool, rule: &str) -> Result<f64, String> {
    number(text).and_then(|value| if holds(value) { Ok(value) } else { Err(format!("it must be {rule}")) })
}

pub(super) fn open_share(text: &str) -> Result<f64, String> {
    number_where(text, |value| value > 0.0 && value < 1.0, "above 0 and below 1")
}

pub(super) fn above_zero(text: &str) -> Result<f64, String> {
    number_where(text, |value| value > 0.0 && value.is_finite(), "a finite number above 0")
}

pub(super) fn not_negative(text: &str) -> Result<f64, String> {
    number_where(text, |value| value >= 0.0 && value.is_finite(), "a finite number, 0 or above")
}

pub(super) fn below_one(text: &str) -> Result<f64, String> {
    number_where(text, |value| (0.0..1.0).contains(&value), "from 0 to below 1")
}

pub(super) fn finite(text: &str) -> Result<f32, String> {
    number_where(text, f64::is_finite, "a finite number").map(|value| value as f32)
}

pub(super) fn deviation(text: &str) -> Result<f32, String> {
    above_zero(text).map(|value| value as f32)
}

pub(super) fn positive(text: &str) -> Result<usize, String> {
    let value = text.trim().parse().ok().filter(|&value| value > 0);
    value.ok_or_else(|| "it must be a whole number, 1 or above".to_owned())
}

/// `2GB`, `800MB`, `1.5 GiB` or a number of bytes.
pub(super) fn memory(text: &str) -> Result<u64, String> {
    let form = || "write a size with its unit, as in 2GB or 800MB".to_owned();
    let text = text.trim();
    let digits = text.find(|c: char| !(c.is_ascii_digit() || c == '.')).unwrap_or(text.len());
    let (count, unit) = text.split_at(digits);
    let factor = match unit.trim().to_ascii_lowercase().as_str() {
        "" | "b" => 1.0,
        "kb" | "k" => 1e3,
        "mb" | "m" => 1e6,
        "gb" | "g" => 1e9,
        "tb" | "t" => 1e12,
        "kib" => 1024.0,
        "mib" => 1_048_576.0,
        "gib" => 1_073_741_824.0,
        _ => return Err(form()),
    };
    let bytes = number(count).map_err(|_| form())? * factor;
    if bytes >= 1.0 && bytes.is_finite() { Ok(bytes as u64) } else { Err(form()) }
}

/// `HxW`.
pub(super) fn size(text: &str) -> Result<[usize; 2], String> {
    let sides = text.split_once('x').map(|(height, width)| (positive(height), positive(width)));
    match sides {
        Some((Ok(height), Ok(width))) => Ok([height, width]),
        _ => Err("write height and width in pixels, as in 224x224".to_owned()),
    }
}

/// `macs=0.5`.
pub(super) fn target(text: &str) -> Result<Target, String> {
    let form =
        || "write macs=X, params=X or channels=X with the share X that is kept, as in macs=0.5".to_owned();
    let (name, share) = text.split_once('=').ok_or_else(form)?;
    let quantities = [Quantity::Macs, Quantity::Params, Quantity::Channels];
    let quantity = quantities.into_iter().find(|quantity| quantity.name() == name.trim()).ok_or_else(form)?;
    let rule = "above 0 and at most 1; it is the share that is kept";
    let share = number_where(share, |value| value > 0.0 && value <= 1.0, rule)?;
    Ok(Target { quantity, share })
}

/// `distill` or `distill:0.3`.
pub(super) fn loss(text: &str) -> Result<(LossArg, f64), String> {
    let (name, weight) = text.split_once(':').unwrap_or((text, "1"));
    let part = LossArg::from_str(name.trim(), false).map_err(|_| {
        let names = LossArg::value_variants()
            .iter()
            .filter_map(|part| Some(part.to_possible_value()?.get_name().to_owned()));
        format!("there is no loss `{name}`; write one of {}", names.collect::<Vec<_>>().join(", "))
    })?;
    Ok((part, above_zero(weight)?))
}

pub(super) fn regex(text: &str) -> Result<Regex, String> {
    Regex::new(text).map_err(|error| error.to_string())
}

/// `REGEX=X` with a share X; the last equals sign divides.
pub(super) fn regex_share(text: &str) -> Result<(Regex, f64), String> {
    let form = || "write REGEX=X with the share X that is kept, as in ^head=0.8".to_owned();
    let (pattern, share) = text.rsplit_once('=').ok_or_else(form)?;
    let rule = "between 0 and 1; it is the share that is kept";
    let share = number_where(share, |value| (0.0..=1.0).contains(&value), rule)?;
    Ok((regex(pattern)?, share))
}

pub(super) fn augment(text: &str) -> Result<Augment, String> {
    text.parse::<Augment>().map_err(|error| error.to_string())
}

pub(super) fn shape(text: &str) -> Result<(String, Vec<usize>), String> {
    parse_shape(text).map_err(|error| error.to_string())
}

/// `auto`, `cpu`, `cuda` or `cuda:N`.
pub(super) fn device(text: &str) -> Result<DeviceChoice, String> {
    match text.split_once(':').unwrap_or((text, "")) {
        ("auto", "") => Ok(DeviceChoice::Auto),
        ("cpu", "") => Ok(DeviceChoice::Named(Device::Cpu)),
        ("cuda", "") if !text.ends_with(':') => Ok(DeviceChoice::Named(Device::Cuda(0))),
        ("cuda", ordinal) if ordinal.parse::<u32>().is_ok() => {
            Ok(DeviceChoice::Named(Device::Cuda(ordinal.parse().unwrap_or_default())))
        }
        _ => Err("write auto, cpu, cuda, or cuda:N with the number of the device".to_owned()),
    }
}
