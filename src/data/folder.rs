//! Folders with one folder of PNG or JPEG images for each class, decoded when a batch needs them.

use std::path::{Path, PathBuf};

use image::{
    DynamicImage, ImageReader,
    imageops::{self, FilterType},
};

use super::{
    Crop, DataError, DataOptions, InputSpec,
    files::{Listing, name},
    pixels::{Geometry, Order},
    spec::show,
};
use crate::tensor::Random;

/// Pixels of the largest scaled image: a line of pixels must not become a sheet.
const MOST_PIXELS: u64 = 1 << 26;

/// The images of all classes, and how they are cut to size.
#[derive(Debug)]
pub(super) struct Images {
    pub(super) files: Vec<PathBuf>,
    /// Class of each file: the position of its folder's name.
    pub(super) labels: Vec<i64>,
    /// Names of the classes, sorted.
    pub(super) classes: Vec<String>,
    channels: usize,
    height: usize,
    width: usize,
    resize: Option<usize>,
}

impl Images {
    /// Lists the folders of `root`, whose images shall fill the model's `input`.
    pub(super) fn open(
        root: &Path,
        input: &InputSpec,
        options: &DataOptions,
    ) -> Result<(Self, Order), DataError> {
        let (order, [channels, height, width]) = input_size(root, input, options.crop)?;
        if options.resize.is_some_and(|side| side < height.max(width)) {
            let problem =
                format!("images resized to less than the crop of {height} x {width}; resize to more");
            return Err(DataError::Options { problem });
        }
        let mut images = Self {
            files: Vec::new(),
            labels: Vec::new(),
            classes: Vec::new(),
            channels,
            height,
            width,
            resize: options.resize,
        };
        for (class, folder) in Listing::read(root)?.folders.iter().enumerate() {
            let files = Listing::read(folder)?.with_extension(&["png", "jpg", "jpeg"]);
            if files.is_empty() {
                let found = "a class folder without a PNG or JPEG image in it".to_owned();
                return Err(DataError::Unrecognised { path: folder.clone(), found });
            }
            images.labels.extend(files.iter().map(|_| class as i64));
            images.files.extend(files);
            images.classes.push(name(folder));
        }
        Ok((images, order))
    }

    /// What [`Images::decode`] returns, to be laid out in `wanted` order.
    pub(super) fn geometry(&self, wanted: Order) -> Geometry {
        let (channels, height, width) = (self.channels, self.height, self.width);
        Geometry { channels, height, width, stored: Order::ChannelsLast, wanted, image: true }
    }

    /// Decodes one image to bytes `[H, W, C]`. The short side is scaled and the centre cut out; with `crop` a part
    /// drawn from `random` is scaled instead.
    pub(super) fn decode(
        &self,
        index: usize,
        crop: Option<Crop>,
        random: &mut Random,
    ) -> Result<Vec<u8>, DataError> {
        let path = &self.files[index];
        let image = ImageReader::open(path)
            .and_then(ImageReader::with_guessed_format)
            .map_err(DataError::io(path))?
            .decode()
            .map_err(|source| DataError::Image { file: path.clone(), source })?;
        let image = match self.channels {
            1 => DynamicImage::ImageLuma8(image.into_luma8()),
            _ => DynamicImage::ImageRgb8(image.into_rgb8()),
        };
        let (height, width) = (self.height as u32, self.width as u32);
        let cut = if crop == Some(Crop::Resized) {
            let [left, top, cut_width, cut_height] = random_part(image.width(), image.height(), random);
            scaled(image.crop_imm(left, top, cut_width, cut_height), width, height)
        } else {
            let [new_width, new_height] = self.scaled_size(image.width(), image.height());
            if u64::from(new_width) * u64::from(new_height) > MOST_PIXELS {
                return Err(DataError::Unsupported {
                    file: path.display().to_string(),
                    what: format!("an image of {} x {} pixels", image.width(), image.height()),
                    instead: "cut it to usual proportions",
                });
            }
            let image = scaled(image, new_width, new_height);
            image.crop_imm((new_width - width) / 2, (new_height - height) / 2, width, height)
        };
        Ok(cut.into_bytes())
    }

    /// Width and height to which an image is scaled before its centre is cut out.
    fn scaled_size(&self, width: u32, height: u32) -> [u32; 2] {
        let (width, height) = (f64::from(width), f64::from(height));
        let scale = match self.resize {
            Some(side) => side as f64 / width.min(height),
            None => (self.width as f64 / width).max(self.height as f64 / height),
        };
        let least = |length: f64, least: usize| ((length * scale).round() as u32).max(least as u32);
        [least(width, self.width), least(height, self.height)]
    }
}

fn scaled(image: DynamicImage, width: u32, height: u32) -> DynamicImage {
    if (image.width(), image.height()) == (width, height) {
        return image;
    }
    match image {
        DynamicImage::ImageLuma8(image) => {
            imageops::resize(&image, width, height, FilterType::Triangle).into()
        }
        image => imageops::resize(&image.into_rgb8(), width, height, FilterType::Triangle).into(),
    }
}

/// Left, top, width and height of a random part: 8 to 100 per cent of the area, with sides as 3:4 to 4:3. The
/// whole image when ten draws do not fit.
fn random_part(width: u32, height: u32, random: &mut Random) -> [u32; 4] {
    let area = f64::from(width) * f64::from(height);
    for _ in 0..10 {
        let part = area * (0.08 + 0.92 * random.unit());
        let ratio = ((2.0 * random.unit() - 1.0) * (4.0_f64 / 3.0).ln()).exp();
        let (cut_width, cut_height) =
            ((part * ratio).sqrt().round() as u32, (part / ratio).sqrt().round() as u32);
        if (1..=width).contains(&cut_width) && (1..=height).contains(&cut_height) {
            let left = random.below((width - cut_width + 1) as usize) as u32;
            let top = random.below((height - cut_height + 1) as usize) as u32;
            return [left, top, cut_width, cut_height];
        }
    }
    [0, 0, width, height]
}

/// Order and sizes (channels, height, width) of the images that `input` takes.
pub(super) fn input_size(
    root: &Path,
    input: &InputSpec,
    crop: Option<[usize; 2]>,
) -> Result<(Order, [usize; 3]), DataError> {
    let colours = |dim: Option<usize>| matches!(dim, Some(1 | 3));
    let dims = input.sample_dims();
    let (order, [channels, height, width]) = match *dims {
        [channels, height, width] if colours(channels) => (Order::ChannelsFirst, [channels, height, width]),
        [height, width, channels] if colours(channels) => (Order::ChannelsLast, [channels, height, width]),
        [None, height, width] => (Order::ChannelsFirst, [Some(3), height, width]),
        _ => {
            return Err(DataError::Shape {
                array: root.display().to_string(),
                found: "of an image".to_owned(),
                wanted_by: format!("the model input '{}'", input.name),
                wanted: show(dims),
                hint: "folders of images need an input [N, C, H, W] or [N, H, W, C] with 1 or 3 channels",
            });
        }
    };
    let fixed = |dim: Option<usize>, crop: Option<usize>| match (dim, crop) {
        (Some(dim), Some(crop)) if dim != crop => Err(DataError::Options {
            problem: format!(
                "a crop of {crop} pixels does not fit the model's input size {}; leave it out",
                show(dims)
            ),
        }),
        (None, None) => Err(DataError::Options {
            problem: format!(
                "the model leaves its input size free ({}); give the size of the crop",
                show(dims)
            ),
        }),
        (Some(0), _) | (None, Some(0)) => {
            Err(DataError::Options { problem: "images of no pixels; give a crop of at least 1".to_owned() })
        }
        (Some(dim), _) | (None, Some(dim)) => Ok(dim),
    };
    let sizes = [
        channels.unwrap_or(3),
        fixed(height, crop.map(|crop| crop[0]))?,
        fixed(width, crop.map(|crop| crop[1]))?,
    ];
    Ok((order, sizes))
}
