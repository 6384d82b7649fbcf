//! Masked equals shrunk on random graphs and random choices of groups, on both engines.

use proptest::prelude::*;
use proptest::test_runner::{Config, FileFailurePersistence, TestCaseError, TestRunner};
use safe_onnx::deps::{Exactness, Groups, analyze};
use safe_onnx::engine::LoadOptions;
use safe_onnx::ir::{DeclaredDim, Graph, Model, NodeSpec, ValueId};
use safe_onnx::shrink::{mask, prepare, shrink};
use safe_onnx::tensor::{DType, Random, Tensor};
use safe_onnx::trace::{InputShapes, trace};

use crate::support::{engines, onnx_runtime, relative_error, run};

/// One piece of a network, applied to what the pieces before it made.
#[derive(Debug, Clone)]
enum Piece {
    Convolution {
        channels: usize,
        kernel: usize,
        stride: usize,
        bias: bool,
    },
    Grouped {
        groups: usize,
    },
    Depthwise,
    Transposed {
        channels: usize,
    },
    Normalization,
    Activation(usize),
    Residual {
        projected: bool,
    },
    Dense {
        growth: usize,
    },
    SplitHalf,
    Shuffle {
        groups: usize,
    },
    SqueezeExcite,
    Pool(usize),
    Attention {
        heads: usize,
    },
    Scale,
    /// One weight for two convolutions.
    Shared,
    /// Channels become places and, by a stride, channels again.
    PixelShuffle,
    /// Channels by the root of the mean of their squares.
    RootMeanSquare,
    /// A gate made of the mean over the channels.
    MeanGate,
    /// Two projections, one the gate of the other, and one back.
    Gated {
        hidden: usize,
    },
    /// A run of the channels.
    Slice {
        first: usize,
    },
    /// The channels in another order, some twice.
    Gather {
        seed: u64,
    },
    /// A product with the channels in the last place.
    ChannelsLast {
        channels: usize,
    },
    /// Statistics over groups of channels, spelled out.
    GroupNormalization {
        groups: usize,
    },
    /// A convolution whose weights are stored as integers, with a scale for every channel.
    Quantized {
        channels: usize,
    },
    /// Attention within windows of two by two.
    Windows,
    Resize,
}

fn pieces() -> impl Strategy<Value = Vec<Piece>> {
    let piece = prop_oneof![
        4 => (1..5_usize, prop_oneof![Just(1_usize), Just(3)], 1..3_usize, any::<bool>())
            .prop_map(|(width, kernel, stride, bias)| Piece::Convolution { channels: 4 * width, kernel, stride, bias }),
        1 => prop_oneof![Just(2_usize), Just(4)].prop_map(|groups| Piece::Grouped { groups }),
        1 => Just(Piece::Depthwise),
        1 => (1..4_usize).prop_map(|width| Piece::Transposed { channels: 4 * width }),
        2 => Just(Piece::Normalization),
        2 => (0..6_usize).prop_map(Piece::Activation),
        2 => any::<bool>().prop_map(|projected| Piece::Residual { projected }),
        1 => (1..3_usize).prop_map(|growth| Piece::Dense { growth: 4 * growth }),
        1 => Just(Piece::SplitHalf),
        1 => prop_oneof![Just(2_usize), Just(4)].prop_map(|groups| Piece::Shuffle { groups }),
        1 => Just(Piece::SqueezeExcite),
        1 => (0..3_usize).prop_map(Piece::Pool),
        1 => prop_oneof![Just(1_usize), Just(2), Just(4)].prop_map(|heads| Piece::Attention { heads }),
        1 => Just(Piece::Scale),
        1 => Just(Piece::Shared),
        1 => Just(Piece::PixelShuffle),
        1 => Just(Piece::RootMeanSquare),
        1 => Just(Piece::MeanGate),
        1 => (1..4_usize).prop_map(|width| Piece::Gated { hidden: 4 * width }),
        1 => (0..4_usize).prop_map(|first| Piece::Slice { first }),
        1 => any::<u64>().prop_map(|seed| Piece::Gather { seed }),
        1 => (1..4_usize).prop_map(|width| Piece::ChannelsLast { channels: 4 * width }),
        1 => prop_oneof![Just(2_usize), Just(4)].prop_map(|groups| Piece::GroupNormalization { groups }),
        1 => (1..4_usize).prop_map(|width| Piece::Quantized { channels: 4 * width }),
        1 => Just(Piece::Windows),
        1 => Just(Piece::Resize),
    ];
    prop::collection::vec(piece, 1..9)
}

struct Builder {
    model: Model,
    random: Random,
    /// The value at the end, of shape [N, C, H, W].
    at: ValueId,
    channels: usize,
    size: usize,
}

impl Builder {
    fn graph(&mut self) -> &mut Graph {
        &mut self.model.graph
    }

    fn weight(&mut self, dims: &[usize]) -> ValueId {
        let fan: usize = dims[1..].iter().product::<usize>().max(1);
        let scale = 1.0 / (fan as f64).sqrt();
        let count = dims.iter().product();
        let values: Vec<f32> = (0..count).map(|_| (self.random.normal() * scale) as f32).collect();
        let tensor = Tensor::new(dims.to_vec(), values).unwrap();
        self.graph().add_initializer("w", &tensor)
    }

    fn positive(&mut self, count: usize) -> ValueId {
        let values: Vec<f32> = (0..count).map(|_| 0.5 + self.random.unit() as f32).collect();
        self.graph().add_initializer("p", &Tensor::vector(values))
    }

    fn ints(&mut self, values: &[i64]) -> ValueId {
        self.graph().add_initializer("i", &Tensor::vector(values.to_vec()))
    }

    fn op(&mut self, op_type: &str, inputs: &[ValueId]) -> ValueId {
        self.graph().add(&op_type.to_lowercase(), NodeSpec::new(op_type, inputs))
    }

    fn conv(&mut self, x: ValueId, shape: [usize; 3], stride: usize, group: usize, bias: bool) -> ValueId {
        let [input, output, kernel] = shape;
        let mut inputs = vec![x, self.weight(&[output, input / group, kernel, kernel])];
        if bias {
            inputs.push(self.weight(&[output]));
        }
        let pad = (kernel / 2) as i64;
        let spec = NodeSpec::new("Conv", &inputs)
            .attribute("pads", vec![pad; 4])
            .attribute("strides", vec![stride as i64; 2])
            .attribute("group", group as i64);
        self.graph().add("conv", spec)
    }

    fn normalized(&mut self, x: ValueId, channels: usize) -> ValueId {
        let factors = [
            self.positive(channels),
            self.weight(&[channels]),
            self.weight(&[channels]),
            self.positive(channels),
        ];
        self.op("BatchNormalization", &[x, factors[0], factors[1], factors[2], factors[3]])
    }

    fn apply(&mut self, piece: &Piece) {
        let (x, channels) = (self.at, self.channels);
        match *piece {
            Piece::Convolution { channels: wide, kernel, stride, bias } => {
                let stride = if self.size > 3 { stride } else { 1 };
                self.at = self.conv(x, [channels, wide, kernel], stride, 1, bias);
                self.channels = wide;
                self.size = self.size.div_ceil(stride);
            }
            Piece::Grouped { groups } => self.at = self.conv(x, [channels, channels, 3], 1, groups, true),
            Piece::Depthwise => self.at = self.conv(x, [channels, channels, 3], 1, channels, false),
            Piece::Transposed { channels: wide } => {
                let weight = self.weight(&[channels, wide, 3, 3]);
                let spec = NodeSpec::new("ConvTranspose", &[x, weight]).attribute("pads", vec![1_i64; 4]);
                self.at = self.graph().add("transposed", spec);
                self.channels = wide;
            }
            Piece::Normalization => self.at = self.normalized(x, channels),
            Piece::Activation(which) => {
                let op_type = ["Relu", "Sigmoid", "HardSwish", "Tanh", "Elu", "Softplus"][which % 6];
                self.at = self.op(op_type, &[x]);
            }
            Piece::Residual { projected } => {
                let inner = self.conv(x, [channels, channels, 3], 1, 1, false);
                let inner = self.normalized(inner, channels);
                let skip = if projected { self.conv(x, [channels, channels, 1], 1, 1, true) } else { x };
                let sum = self.op("Add", &[inner, skip]);
                self.at = self.op("Relu", &[sum]);
            }
            Piece::Dense { growth } => {
                let fresh = self.conv(x, [channels, growth, 3], 1, 1, true);
                let fresh = self.op("Relu", &[fresh]);
                self.at =
                    self.graph().add("concat", NodeSpec::new("Concat", &[x, fresh]).attribute("axis", 1_i64));
                self.channels = channels + growth;
            }
            Piece::SplitHalf => {
                let half = channels / 2;
                let parts =
                    self.graph().add_node("half", NodeSpec::new("Split", &[x]).attribute("axis", 1_i64), 2);
                let changed = self.conv(parts[1], [half, half, 3], 1, 1, false);
                let joined = NodeSpec::new("Concat", &[parts[0], changed]).attribute("axis", 1_i64);
                self.at = self.graph().add("joined", joined);
            }
            Piece::Shuffle { groups } => {
                let (g, side) = (groups as i64, self.size as i64);
                let apart = self.ints(&[0, g, channels as i64 / g, side, side]);
                let together = self.ints(&[-1, channels as i64, side, side]);
                let five = self.op("Reshape", &[x, apart]);
                let spec = NodeSpec::new("Transpose", &[five]).attribute("perm", vec![0_i64, 2, 1, 3, 4]);
                let turned = self.graph().add("turned", spec);
                self.at = self.op("Reshape", &[turned, together]);
            }
            Piece::SqueezeExcite => {
                let mean = self.op("GlobalAveragePool", &[x]);
                let inner = self.conv(mean, [channels, 4, 1], 1, 1, true);
                let inner = self.op("Relu", &[inner]);
                let gate = self.conv(inner, [4, channels, 1], 1, 1, true);
                let gate = self.op("Sigmoid", &[gate]);
                self.at = self.op("Mul", &[x, gate]);
            }
            Piece::Pool(which) => {
                let op_type = ["MaxPool", "AveragePool", "MaxPool"][which % 3];
                if self.size >= 2 {
                    let spec = NodeSpec::new(op_type, &[x])
                        .attribute("kernel_shape", vec![2_i64, 2])
                        .attribute("strides", vec![2_i64, 2]);
                    self.at = self.graph().add("pool", spec);
                    self.size /= 2;
                }
            }
            Piece::Attention { heads } => self.attention(heads),
            Piece::Scale => {
                let factor = self.weight(&[channels, 1, 1]);
                self.at = self.op("Mul", &[x, factor]);
            }
            Piece::Shared
            | Piece::RootMeanSquare
            | Piece::MeanGate
            | Piece::Gated { .. }
            | Piece::GroupNormalization { .. } => self.at = self.same_shape(piece),
            _ => self.another_shape(piece),
        }
    }

    /// Pieces whose output has the shape of their input.
    fn same_shape(&mut self, piece: &Piece) -> ValueId {
        let (x, channels) = (self.at, self.channels);
        match *piece {
            Piece::Shared => {
                let weight = self.weight(&[channels, channels, 1, 1]);
                let first = self.op("Conv", &[x, weight]);
                let first = self.op("Relu", &[first]);
                let second = self.op("Conv", &[first, weight]);
                self.op("Add", &[x, second])
            }
            Piece::RootMeanSquare => {
                let square = self.op("Mul", &[x, x]);
                let spec = NodeSpec::new("ReduceMean", &[square]).attribute("axes", vec![1_i64]);
                let mean = self.graph().add("mean", spec);
                let tiny = self.graph().add_initializer("tiny", &Tensor::scalar(0.1_f32));
                let safe = self.op("Add", &[mean, tiny]);
                let root = self.op("Sqrt", &[safe]);
                let even = self.op("Div", &[x, root]);
                let factor = self.weight(&[channels, 1, 1]);
                self.op("Mul", &[even, factor])
            }
            Piece::MeanGate => {
                let spec = NodeSpec::new("ReduceMean", &[x]).attribute("axes", vec![1_i64]);
                let mean = self.graph().add("mean", spec);
                let gate = self.op("Sigmoid", &[mean]);
                self.op("Mul", &[x, gate])
            }
            Piece::Gated { hidden } => {
                let gate = self.conv(x, [channels, hidden, 1], 1, 1, false);
                let slope = self.op("Sigmoid", &[gate]);
                let gate = self.op("Mul", &[gate, slope]);
                let up = self.conv(x, [channels, hidden, 1], 1, 1, true);
                let product = self.op("Mul", &[gate, up]);
                let down = self.conv(product, [hidden, channels, 1], 1, 1, false);
                self.op("Add", &[x, down])
            }
            Piece::GroupNormalization { groups } => {
                let (g, side) = (groups as i64, self.size as i64);
                let apart = self.ints(&[0, g, -1]);
                let together = self.ints(&[0, channels as i64, side, side]);
                let rows = self.op("Reshape", &[x, apart]);
                let one = self.graph().add_initializer("one", &Tensor::vector(vec![1.0_f32; groups]));
                let zero = self.graph().add_initializer("zero", &Tensor::vector(vec![0.0_f32; groups]));
                let even = self.op("InstanceNormalization", &[rows, one, zero]);
                let even = self.op("Reshape", &[even, together]);
                let factor = self.weight(&[channels, 1, 1]);
                let scaled = self.op("Mul", &[even, factor]);
                let shift = self.weight(&[channels, 1, 1]);
                self.op("Add", &[scaled, shift])
            }
            _ => x,
        }
    }

    /// Pieces that change the number of channels or places.
    fn another_shape(&mut self, piece: &Piece) {
        let (x, channels, side) = (self.at, self.channels, self.size as i64);
        match *piece {
            Piece::PixelShuffle => {
                let wide = self.conv(x, [channels, 16, 1], 1, 1, true);
                let spec = NodeSpec::new("DepthToSpace", &[wide]).attribute("blocksize", 2_i64);
                let large = self.graph().add("large", spec);
                let large = self.op("Relu", &[large]);
                let spec = NodeSpec::new("SpaceToDepth", &[large]).attribute("blocksize", 2_i64);
                self.at = self.graph().add("small", spec);
                self.channels = 16;
            }
            Piece::Slice { first } => {
                let first = first.min(channels - 4);
                let last = (first + 4).max(channels - 2).min(channels);
                let ends = [first as i64, last as i64, 1].map(|value| self.ints(&[value]));
                self.at = self.op("Slice", &[x, ends[0], ends[1], ends[2]]);
                // As many as all that follows can be split into.
                self.at = self.conv(self.at, [last - first, 8, 1], 1, 1, false);
                self.channels = 8;
            }
            Piece::Gather { seed } => {
                let mut random = Random::new(seed);
                let picked: Vec<i64> = (0..8).map(|_| random.below(channels) as i64).collect();
                let picked = self.ints(&picked);
                let spec = NodeSpec::new("Gather", &[x, picked]).attribute("axis", 1_i64);
                self.at = self.graph().add("picked", spec);
                self.channels = 8;
            }
            Piece::ChannelsLast { channels: wide } => {
                let turn = |perm: [i64; 4]| {
                    move |x: ValueId| NodeSpec::new("Transpose", &[x]).attribute("perm", perm.to_vec())
                };
                let last = self.graph().add("last", turn([0, 2, 3, 1])(x));
                let weight = self.weight(&[channels, wide]);
                let bias = self.weight(&[wide]);
                let product = self.op("MatMul", &[last, weight]);
                let sum = self.op("Add", &[product, bias]);
                let even = self.op("Softsign", &[sum]);
                self.at = self.graph().add("first", turn([0, 3, 1, 2])(even));
                self.channels = wide;
            }
            Piece::Quantized { channels: wide } => {
                let count = wide * channels;
                let values: Vec<i8> = (0..count).map(|_| (self.random.normal() * 40.0) as i8).collect();
                let stored = Tensor::new(vec![wide, channels, 1, 1], values).unwrap();
                let stored = self.graph().add_initializer("stored", &stored);
                let scales: Vec<f32> = (0..wide).map(|_| 0.005 + 0.01 * self.random.unit() as f32).collect();
                let scales = self.graph().add_initializer("scales", &Tensor::vector(scales));
                let spec = NodeSpec::new("DequantizeLinear", &[stored, scales]).attribute("axis", 0_i64);
                let weight = self.graph().add("weight", spec);
                self.at = self.op("Conv", &[x, weight]);
                self.channels = wide;
            }
            Piece::Windows if side % 2 == 0 => self.windows(),
            Piece::Resize => {
                let scales = Tensor::vector(vec![1.0_f32, 1.0, 2.0, 2.0]);
                let scales = self.graph().add_initializer("scales", &scales);
                let spec = NodeSpec::with_optional("Resize", &[Some(x), None, Some(scales)]);
                let large = self.graph().add("large", spec.attribute("mode", "nearest"));
                self.at = self.conv(large, [channels, channels, 3], 2, 1, false);
            }
            _ => {}
        }
    }

    /// Windows of two by two pixels, in which keys and values are mixed by their likeness to the queries.
    fn windows(&mut self) {
        let (x, channels, half) = (self.at, self.channels as i64, self.size as i64 / 2);
        let inner = 8;
        let fused = self.conv(x, [self.channels, 3 * inner, 1], 1, 1, true);
        let shape = self.ints(&[0, 3, inner as i64, half, 2, half, 2]);
        let apart = self.op("Reshape", &[fused, shape]);
        let spec = NodeSpec::new("Transpose", &[apart]).attribute("perm", vec![1_i64, 0, 3, 5, 4, 6, 2]);
        let apart = self.graph().add("apart", spec);
        let shape = self.ints(&[3, -1, half * half, 4, inner as i64]);
        let apart = self.op("Reshape", &[apart, shape]);
        let parts =
            self.graph().add_node("part", NodeSpec::new("Split", &[apart]).attribute("axis", 0_i64), 3);
        let axis = self.ints(&[0]);
        let parts: Vec<ValueId> = parts.into_iter().map(|part| self.op("Squeeze", &[part, axis])).collect();
        let turned = NodeSpec::new("Transpose", &[parts[1]]).attribute("perm", vec![0_i64, 1, 3, 2]);
        let turned = self.graph().add("turned", turned);
        let scores = self.op("MatMul", &[parts[0], turned]);
        let weights =
            self.graph().add("softmax", NodeSpec::new("Softmax", &[scores]).attribute("axis", -1_i64));
        let mixed = self.op("MatMul", &[weights, parts[2]]);
        let shape = self.ints(&[-1, half, half, 2, 2, inner as i64]);
        let mixed = self.op("Reshape", &[mixed, shape]);
        let spec = NodeSpec::new("Transpose", &[mixed]).attribute("perm", vec![0_i64, 5, 1, 3, 2, 4]);
        let mixed = self.graph().add("mixed", spec);
        let shape = self.ints(&[0, inner as i64, 2 * half, 2 * half]);
        let mixed = self.op("Reshape", &[mixed, shape]);
        let out = self.conv(mixed, [inner, channels as usize, 1], 1, 1, true);
        self.at = self.op("Add", &[x, out]);
    }

    /// Pixels as tokens: fused projection, heads, softmax, output projection, back to an image, added to the input.
    fn attention(&mut self, heads: usize) {
        let (x, channels, side) = (self.at, self.channels, self.size);
        let (tokens, width) = ((side * side) as i64, 4);
        let (c, h) = (channels as i64, heads as i64);
        let flat = self.ints(&[0, c, tokens]);
        let flat = self.op("Reshape", &[x, flat]);
        let rows = self
            .graph()
            .add("rows", NodeSpec::new("Transpose", &[flat]).attribute("perm", vec![0_i64, 2, 1]));
        let inner = heads * width;
        let weight = self.weight(&[channels, 3 * inner]);
        let bias = self.weight(&[3 * inner]);
        let product = self.op("MatMul", &[rows, weight]);
        let fused = self.op("Add", &[product, bias]);
        let shape = self.ints(&[0, tokens, 3, h, width as i64]);
        let apart = self.op("Reshape", &[fused, shape]);
        let spec = NodeSpec::new("Transpose", &[apart]).attribute("perm", vec![2_i64, 0, 3, 1, 4]);
        let apart = self.graph().add("apart", spec);
        let mut pick = |index: i64| {
            let index = self.model.graph.add_initializer("index", &Tensor::scalar(index));
            self.model.graph.add("pick", NodeSpec::new("Gather", &[apart, index]).attribute("axis", 0_i64))
        };
        let (q, k, v) = (pick(0), pick(1), pick(2));
        let k = self
            .graph()
            .add("turned", NodeSpec::new("Transpose", &[k]).attribute("perm", vec![0_i64, 1, 3, 2]));
        let scores = self.op("MatMul", &[q, k]);
        let weights =
            self.graph().add("softmax", NodeSpec::new("Softmax", &[scores]).attribute("axis", -1_i64));
        let mixed = self.op("MatMul", &[weights, v]);
        let spec = NodeSpec::new("Transpose", &[mixed]).attribute("perm", vec![0_i64, 2, 1, 3]);
        let mixed = self.graph().add("mixed", spec);
        let shape = self.ints(&[0, tokens, inner as i64]);
        let mixed = self.op("Reshape", &[mixed, shape]);
        let weight = self.weight(&[inner, channels]);
        let out = self.op("MatMul", &[mixed, weight]);
        let back =
            self.graph().add("back", NodeSpec::new("Transpose", &[out]).attribute("perm", vec![0_i64, 2, 1]));
        let shape = self.ints(&[-1, c, side as i64, side as i64]);
        let image = self.op("Reshape", &[back, shape]);
        self.at = self.op("Add", &[x, image]);
    }
}

fn network(pieces: &[Piece], seed: u64) -> Model {
    let mut model = Model::empty("random", 17);
    let input = model.graph.add_value("input");
    let dims = [
        DeclaredDim::Named("batch".to_owned()),
        DeclaredDim::Fixed(3),
        DeclaredDim::Fixed(6),
        DeclaredDim::Fixed(6),
    ];
    model.graph.add_input(input, DType::F32, &dims);
    let mut builder = Builder { model, random: Random::new(seed), at: input, channels: 3, size: 6 };
    builder.apply(&Piece::Convolution { channels: 8, kernel: 3, stride: 1, bias: true });
    for piece in pieces {
        builder.apply(piece);
    }
    let (channels, size) = (builder.channels, builder.size);
    let flat = if seed.is_multiple_of(2) {
        let at = builder.at;
        let mean = builder.op("GlobalAveragePool", &[at]);
        (builder.op("Flatten", &[mean]), channels)
    } else {
        let at = builder.at;
        (builder.op("Flatten", &[at]), channels * size * size)
    };
    let weight = builder.weight(&[5, flat.1]);
    let bias = builder.weight(&[5]);
    let spec = NodeSpec::new("Gemm", &[flat.0, weight, bias]).attribute("transB", 1_i64);
    let output = builder.graph().add("output", spec);
    builder.graph().add_output(output);
    builder.model
}

fn check(pieces: &[Piece], seed: u64) -> Result<(), String> {
    let engine = onnx_runtime();
    let options = LoadOptions { threads: Some(1), ..LoadOptions::default() };
    let prepared = prepare(network(pieces, seed));
    let model = &prepared.model;
    let traced =
        trace(model, &*engine, &options, &InputShapes::default()).map_err(|error| error.to_string())?;
    let mut analysis = analyze(model, &traced.facts);
    if !analysis.unknown().is_empty() {
        return Err(format!("not understood: {:?}", analysis.unknown()));
    }
    let groups = Groups::collect(&model.graph, &mut analysis);
    if groups.is_empty() {
        return Err("nothing can be pruned".to_owned());
    }
    let mut random = Random::fork(seed, "cut");
    let mut removed = vec![false; groups.len()];
    for family in groups.families().iter().filter(|family| family.exactness == Exactness::Exact) {
        let mut members = family.groups.clone();
        random.shuffle(&mut members);
        let leaving = random.below(members.len());
        members[..leaving].iter().for_each(|&group| removed[group] = true);
    }
    groups.keep_axes(&mut removed, |group| group);
    let survivors = groups.survivors(&analysis, &removed);
    if survivors.empties_an_axis() {
        return Err("an axis is empty although every family keeps a group".to_owned());
    }
    let small = shrink(&prepared, &traced.facts, &survivors).map_err(|error| error.to_string())?;
    let masked = mask(&prepared, &survivors).map_err(|error| error.to_string())?;
    let bytes = small.to_bytes().map_err(|error| error.to_string())?;
    let again = Model::from_bytes(bytes.clone()).map_err(|error| error.to_string())?;
    if again.to_bytes().map_err(|error| error.to_string())? != bytes {
        return Err("the small model reads back otherwise".to_owned());
    }
    // Another batch size than the traced one: free dimensions must have stayed free.
    let count = 5 * 3 * 6 * 6;
    let values: Vec<f32> = (0..count).map(|_| random.normal() as f32).collect();
    let input = Tensor::new(vec![5, 3, 6, 6], values).unwrap();
    for engine in engines() {
        let place = |error: String| format!("{}: {error}", engine.name());
        let a = run(&*engine, &masked, &[("input", &input)]).map_err(place)?;
        let b = run(&*engine, &small, &[("input", &input)]).map_err(place)?;
        let error = relative_error(&a[0], &b[0]);
        if error > 1e-4 {
            return Err(place(format!("masked and shrunk differ by {error:.2e}\n{}", small.graph)));
        }
    }
    Ok(())
}

#[test]
fn masked_equals_shrunk_on_random_graphs() {
    // What has failed once is tried first from then on.
    let kept = FileFailurePersistence::Direct("tests/suite/random_graphs.regressions");
    let config = Config {
        cases: 2000,
        max_shrink_iters: 200,
        failure_persistence: Some(Box::new(kept)),
        ..Config::default()
    };
    let mut runner = TestRunner::new_with_rng(
        config,
        proptest::test_runner::TestRng::deterministic_rng(proptest::test_runner::RngAlgorithm::ChaCha),
    );
    let result = runner.run(&(pieces(), 0..1_000_000_u64), |(pieces, seed)| {
        check(&pieces, seed).map_err(TestCaseError::fail)
    });
    if let Err(error) = result {
        panic!("{error}");
    }
}
