//! Arrays of an `.npz` file and the words of a `spec.json`.

use std::collections::BTreeMap;
use std::fs::File;
use std::path::{Path, PathBuf};

use ndarray::{ArrayD, Axis};
use ndarray_npy::NpzReader;

/// All arrays of an `.npz` file, as `f64` whatever their type.
pub(crate) struct Archive(BTreeMap<String, ArrayD<f64>>);

pub(crate) fn fixture(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/safe").join(path)
}

pub(crate) fn spec(case: &str) -> serde_json::Value {
    serde_json::from_reader(File::open(fixture(case).join("spec.json")).unwrap()).unwrap()
}

impl Archive {
    pub(crate) fn open(path: &str) -> Self {
        let mut reader = NpzReader::new(File::open(fixture(path)).unwrap()).unwrap();
        let names = reader.names().unwrap();
        let mut read = |name: &str| -> ArrayD<f64> {
            if let Ok(array) = reader.by_name(name) {
                return array;
            }
            if let Ok(array) = reader.by_name(name) {
                let array: ArrayD<f32> = array;
                return array.mapv(f64::from);
            }
            if let Ok(array) = reader.by_name(name) {
                let array: ArrayD<u8> = array;
                return array.mapv(f64::from);
            }
            let array: ArrayD<i64> = reader.by_name(name).unwrap();
            array.mapv(|value| value as f64)
        };
        Self(names.iter().map(|name| (name.clone(), read(name))).collect())
    }

    pub(crate) fn find(&self, name: &str) -> Option<&ArrayD<f64>> {
        self.0.get(name)
    }

    pub(crate) fn get(&self, name: &str) -> &ArrayD<f64> {
        self.find(name).unwrap_or_else(|| panic!("the archive has no {name}"))
    }

    pub(crate) fn f64(&self, name: &str) -> Vec<f64> {
        self.get(name).iter().copied().collect()
    }

    /// The values at `index` of the first axis.
    pub(crate) fn row(&self, name: &str, index: usize) -> Vec<f64> {
        self.get(name).index_axis(Axis(0), index).iter().copied().collect()
    }
}
