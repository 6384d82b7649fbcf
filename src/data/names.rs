//! What the names of arrays and folders say: part of the data set, input or target.

use std::path::Path;

use super::{DataError, InputSpec, Part};

const TARGETS: &[&str] = &[
    "y", "ys", "y_true", "label", "labels", "target", "targets", "class", "classes", "truth", "gt", "mask",
    "masks", "output", "outputs",
];

const INPUTS: &[&str] = &[
    "x",
    "xs",
    "image",
    "images",
    "img",
    "imgs",
    "data",
    "input",
    "inputs",
    "feature",
    "features",
    "sample",
    "samples",
    "token",
    "tokens",
    "input_ids",
    "pixel_values",
];

/// Words for each part, the preferred first.
const TRAIN: &[&str] = &["train", "training"];
const VAL: &[&str] = &["val", "valid", "validation", "dev"];
const TEST: &[&str] = &["test", "testing", "t10k"];

/// The word for a part that `name` consists of or contains.
fn words(part: Part) -> [&'static [&'static str]; 2] {
    match part {
        Part::Train => [TRAIN, &[]],
        Part::Val => [VAL, TEST],
    }
}

fn tokens(name: &str) -> Vec<String> {
    name.split(['_', '-', '.', ' ']).map(str::to_lowercase).filter(|token| !token.is_empty()).collect()
}

fn holds(name: &str, words: &[&str]) -> bool {
    tokens(name).iter().any(|token| words.contains(&token.as_str()))
}

/// The name in lower case without words for a part: `X_train` is `x`.
fn base(name: &str) -> String {
    let mut tokens = tokens(name);
    tokens.retain(|token| ![TRAIN, VAL, TEST].concat().contains(&token.as_str()));
    tokens.join("_")
}

/// Whether the names tell training data and validation data apart.
pub(super) fn tell_parts(names: &[String]) -> bool {
    let any = |words| names.iter().any(|name| holds(name, words));
    any(TRAIN) && (any(VAL) || any(TEST))
}

/// Of `names`, those that belong to `part`; all, when they do not tell parts apart.
pub(super) fn of_part(names: &[String], part: Part) -> Vec<String> {
    if !tell_parts(names) {
        return names.to_vec();
    }
    let chosen = words(part).into_iter().find(|words| names.iter().any(|name| holds(name, words)));
    let common = |name: &&String| !holds(name, &[TRAIN, VAL, TEST].concat());
    let wanted = |name: &&String| common(name) || chosen.is_some_and(|words| holds(name, words));
    names.iter().filter(wanted).cloned().collect()
}

/// Of files or folders, that whose whole name (without extension) is a word for `part`.
pub(super) fn path_of_part<P: AsRef<Path>>(paths: &[P], part: Part) -> Option<&P> {
    let named =
        |word: &&str| paths.iter().find(|path| super::files::stem(path.as_ref()).to_lowercase() == **word);
    words(part).into_iter().flatten().find_map(named)
}

/// Which array goes where, as positions in the list of names.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Assignment {
    /// One array for each model input, in the model's order.
    pub(super) inputs: Vec<usize>,
    pub(super) target: Option<usize>,
}

/// Gives arrays to the model's inputs and the target: first by the very name of an input, then by names usual for
/// targets and inputs, then by order. Without `with_target` only a usual name makes a target.
pub(super) fn assign(
    names: &[String],
    inputs: &[InputSpec],
    with_target: bool,
    place: &Path,
) -> Result<Assignment, DataError> {
    let mut free: Vec<usize> = (0..names.len()).collect();
    let mut given = vec![None; inputs.len()];
    let mut take = |wanted: &dyn Fn(&str) -> bool| {
        let found = free.iter().position(|&array| wanted(&names[array]))?;
        Some(free.remove(found))
    };
    for exact in [true, false] {
        for (input, array) in inputs.iter().zip(&mut given).filter(|(_, array)| array.is_none()) {
            *array = take(&|name| {
                if exact { name == input.name } else { base(name) == input.name.to_lowercase() }
            });
        }
    }
    let mut target = take(&|name| TARGETS.contains(&base(name).as_str()));
    for array in given.iter_mut().filter(|array| array.is_none()) {
        *array = take(&|name| INPUTS.contains(&base(name).as_str()));
    }
    for array in given.iter_mut().filter(|array| array.is_none()) {
        *array = take(&|_| true);
    }
    if with_target && target.is_none() {
        target = take(&|_| true);
    }
    let found = || match names {
        [] => "no array".to_owned(),
        names => format!("'{}'", names.join("', '")),
    };
    let missing = |input: &InputSpec| DataError::MissingInput {
        input: input.name.clone(),
        place: place.to_owned(),
        found: found(),
    };
    let inputs: Vec<usize> = inputs
        .iter()
        .zip(given)
        .map(|(input, array)| array.ok_or_else(|| missing(input)))
        .collect::<Result<_, _>>()?;
    if with_target && target.is_none() {
        return Err(DataError::MissingTarget { place: place.to_owned(), found: found() });
    }
    Ok(Assignment { inputs, target })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tensor::DType;

    fn owned(names: &[&str]) -> Vec<String> {
        names.iter().map(|name| (*name).to_owned()).collect()
    }

    #[test]
    fn arrays_go_by_name_or_else_by_order() {
        type Case<'a> = (&'a [&'a str], &'a [&'a str], bool, &'a [usize], Option<usize>);
        let cases: &[Case] = &[
            (&["x", "y"], &["input"], true, &[0], Some(1)),
            (&["labels", "images"], &["input"], true, &[1], Some(0)),
            (&["Y_train", "X_train"], &["pixels"], true, &[1], Some(0)),
            (&["arr_0", "arr_1"], &["input"], true, &[0], Some(1)),
            (&["arr_0", "arr_1", "arr_2"], &["a", "b"], true, &[0, 1], Some(2)),
            (&["b", "a", "c"], &["a", "b"], true, &[1, 0], Some(2)),
            (&["id", "data", "target"], &["input"], true, &[1], Some(2)),
            (&["x", "y"], &["y"], true, &[1], Some(0)),
            (&["x"], &["input"], false, &[0], None),
            (&["arr_0", "arr_1"], &["input"], false, &[0], None),
            (&["x", "y"], &["input"], false, &[0], Some(1)),
        ];
        for (names, inputs, with_target, expected, target) in cases {
            let inputs: Vec<_> = inputs
                .iter()
                .map(|name| InputSpec {
                    name: (*name).to_owned(),
                    dtype: DType::F32,
                    dims: vec![None],
                    batched: true,
                })
                .collect();
            let found = assign(&owned(names), &inputs, *with_target, Path::new("d")).unwrap();
            assert_eq!(found, Assignment { inputs: expected.to_vec(), target: *target }, "{names:?}");
        }
    }

    #[test]
    fn missing_arrays_are_named() {
        let input = |name: &str| InputSpec {
            name: name.to_owned(),
            dtype: DType::F32,
            dims: vec![None],
            batched: true,
        };
        let error = assign(&owned(&["x"]), &[input("a"), input("b")], false, Path::new("d.npz")).unwrap_err();
        let message = error.to_string();
        assert!(message.contains("'b' in d.npz") && message.contains("holds 'x'"), "{message}");
        let error = assign(&owned(&["x"]), &[input("a")], true, Path::new("d.npz")).unwrap_err();
        assert!(matches!(error, DataError::MissingTarget { .. }), "{error}");
    }

    #[test]
    fn names_tell_parts_apart() {
        let keras = owned(&["x_test", "x_train", "y_test", "y_train"]);
        assert!(tell_parts(&keras));
        assert_eq!(of_part(&keras, Part::Train), ["x_train", "y_train"]);
        assert_eq!(of_part(&keras, Part::Val), ["x_test", "y_test"]);
        let three = owned(&["x_train", "x_val", "x_test"]);
        assert_eq!(of_part(&three, Part::Val), ["x_val"]);
        let plain = owned(&["x", "y"]);
        assert_eq!(of_part(&plain, Part::Val), ["x", "y"]);
        assert_eq!(path_of_part(&["a/train", "a/test"], Part::Val), Some(&"a/test"));
        assert_eq!(path_of_part(&["a/trainer"], Part::Train), None);
    }
}
