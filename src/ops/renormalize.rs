//! Batch normalisation for the time of training, behind convolutions that have none.
//!
//! Exporters fold BatchNormalization into the convolution before it, which is right for inference. Training the folded
//! weights is ill-conditioned: the scale of every layer depends on all before it. With `scale = sqrt(var + epsilon)`
//! and `B = mean`, where `mean` and `var` are the statistics of the convolution's outputs, the operator changes
//! nothing when it is put back, and after training it is folded in again (`W * scale / sqrt(var + epsilon)` for every
//! output channel), so that the result has the form of the original.

use std::collections::BTreeSet;

use crate::ir::{Facts, Graph, IrError, NodeId, NodeSpec, ValueId, drop_unused};
use crate::tensor::{DType, Tensor};

/// `epsilon` of the operators put in.
const EPSILON: f64 = 1e-5;

/// A convolution that a normalisation can stand behind.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NormalizedLayer {
    node: NodeId,
    weight: ValueId,
    bias: ValueId,
    /// What the convolution computes, and what the normalisation does while it stands there.
    output: ValueId,
    channels: usize,
}

/// Mean and variance of every output channel of a layer.
#[derive(Debug, Clone)]
pub struct ChannelStatistics {
    /// Means.
    pub mean: Vec<f64>,
    /// Biased variances.
    pub variance: Vec<f64>,
}

/// The convolutions of a network that is made of convolutions and normalises nowhere; empty for others. A layer
/// counts if its weight and bias are single-precision constants that nobody else reads, it has several positions (the
/// gates of a squeeze-excite block have one), and another layer with weights reads what it computes: outputs are left
/// as they are.
pub fn normalizable_layers(graph: &Graph, facts: &Facts) -> Vec<NormalizedLayer> {
    if graph.nodes().any(|(_, node)| normalizes(&node.op_type)) {
        return Vec::new();
    }
    let consumers = graph.consumers();
    let weights_follow = values_before_weights(graph);
    let constant = |input: Option<&Option<ValueId>>| -> Option<ValueId> {
        let id = input.copied().flatten()?;
        let single = consumers[id.index()].len() == 1 && !graph.outputs().contains(&id);
        (single && graph.value(id).initializer()?.dtype() == Some(DType::F32)).then_some(id)
    };
    let mut others = 0;
    let mut layers = Vec::new();
    for (id, node) in graph.nodes().filter(|(_, node)| multiplies(&node.op_type)) {
        let layer = || {
            let (weight, bias) = (constant(node.inputs.get(1))?, constant(node.inputs.get(2))?);
            let output = node.outputs.first().copied().flatten()?;
            let seen = facts.get(output)?;
            let positions: usize = seen.dims.get(2..)?.iter().product();
            let fits = is_convolution(&node.op_type, &node.domain) && positions > 1;
            let inside = weights_follow.contains(&output) && !graph.outputs().contains(&output);
            let channels = *seen.dims.get(1)?;
            (fits && inside).then_some(NormalizedLayer { node: id, weight, bias, output, channels })
        };
        match layer() {
            Some(layer) => layers.push(layer),
            None => others += 1,
        }
    }
    // A transformer whose first layer is a convolution is no convolutional network.
    if layers.len() < 2 || others > 2 * layers.len() { Vec::new() } else { layers }
}

fn is_convolution(op_type: &str, domain: &str) -> bool {
    op_type == "Conv" && matches!(domain, "" | "ai.onnx")
}

fn multiplies(op_type: &str) -> bool {
    matches!(op_type, "Conv" | "ConvTranspose" | "Gemm" | "MatMul" | "Einsum")
}

/// Whether the operator normalises, or is what a normalisation is spelled out with.
fn normalizes(op_type: &str) -> bool {
    op_type.ends_with("Normalization") || op_type == "Sqrt"
}

/// The values that a layer with weights reads, directly or through other nodes.
fn values_before_weights(graph: &Graph) -> BTreeSet<ValueId> {
    let mut before: BTreeSet<ValueId> = BTreeSet::new();
    for (_, node) in graph.nodes().rev() {
        let reached = node.outputs.iter().flatten().any(|output| before.contains(output));
        if reached || multiplies(&node.op_type) {
            before.extend(node.inputs.iter().flatten().chain(&node.captured));
        }
    }
    before
}

/// Adds, beside what `graph` computes, a normalisation for each of `layers`: nodes of which
/// [`use_batch_statistics`](super::use_batch_statistics) makes the statistics of the layers' outputs, in that order.
pub fn observe_layers(graph: &mut Graph, layers: &[NormalizedLayer]) {
    for layer in layers {
        let unit = ChannelStatistics { mean: vec![0.0; layer.channels], variance: vec![1.0; layer.channels] };
        let node = normalization(graph, layer, layer.output, &unit);
        let base = format!("{}.observed", graph.value(layer.output).name());
        graph.add(&base, node);
    }
}

/// Puts a normalisation behind each of `layers` that changes nothing where the outputs have the given statistics as
/// running ones.
pub fn insert_normalization(graph: &mut Graph, layers: &[NormalizedLayer], statistics: &[ChannelStatistics]) {
    for (layer, statistics) in layers.iter().zip(statistics) {
        let raw = graph.add_value(&format!("{}.raw", graph.value(layer.output).name()));
        graph.node_mut(layer.node).outputs = vec![Some(raw)];
        let base = format!("{}.normalized", graph.value(layer.output).name());
        let spec = normalization(graph, layer, raw, statistics);
        let made = graph.insert_after(layer.node, &base, spec);
        graph.rename_produced(made, layer.output);
    }
}

fn normalization(
    graph: &mut Graph,
    layer: &NormalizedLayer,
    x: ValueId,
    statistics: &ChannelStatistics,
) -> NodeSpec {
    let base = graph.value(layer.weight).name().to_owned();
    let deviation: Vec<f64> =
        statistics.variance.iter().map(|variance| (variance + EPSILON).sqrt()).collect();
    let mut inputs = vec![x];
    let parts = [
        ("scale", &deviation),
        ("B", &statistics.mean),
        ("mean", &statistics.mean),
        ("var", &statistics.variance),
    ];
    for (name, values) in parts {
        let values: Vec<f32> = values.iter().map(|&value| value as f32).collect();
        inputs.push(graph.add_initializer(&format!("{base}.{name}"), &Tensor::vector(values)));
    }
    NodeSpec::new("BatchNormalization", &inputs).attribute("epsilon", EPSILON as f32)
}

/// Folds the normalisations behind `layers` into their weights and biases, in a graph into which
/// [`insert_normalization`] put them and whose axes may have been cut since.
///
/// # Errors
/// When a constant cannot be read.
pub fn fold_normalization(graph: &mut Graph, layers: &[NormalizedLayer]) -> Result<(), IrError> {
    let producers = graph.producers();
    let mut folded: BTreeSet<NodeId> = BTreeSet::new();
    for layer in layers {
        let Some((normalization, _)) = producers[layer.output.index()] else { continue };
        let inputs: Vec<ValueId> = graph.node(normalization).inputs.iter().flatten().copied().collect();
        let &[raw, scale, shift, mean, variance] = inputs.as_slice() else { continue };
        let Some((convolution, _)) = producers[raw.index()] else { continue };
        let read = |id: ValueId| -> Result<Vec<f32>, IrError> {
            let tensor = graph.value(id).initializer().map(crate::ir::Initializer::tensor).transpose()?;
            Ok(tensor.and_then(|tensor| tensor.to_f32().ok()).unwrap_or_default())
        };
        let [scale, shift, mean, variance, bias] =
            [read(scale)?, read(shift)?, read(mean)?, read(variance)?, read(layer.bias)?];
        let factors: Vec<f64> = scale
            .iter()
            .zip(&variance)
            .map(|(&scale, &variance)| f64::from(scale) / (f64::from(variance) + EPSILON).sqrt())
            .collect();
        let bias: Vec<f32> = (0..factors.len())
            .map(|channel| {
                let centred = f64::from(bias[channel]) - f64::from(mean[channel]);
                (centred * factors[channel] + f64::from(shift[channel])) as f32
            })
            .collect();
        let Some(weight) = graph.value(layer.weight).initializer() else { continue };
        let mut weight = weight.tensor()?;
        let row = weight.len() / factors.len().max(1);
        if let Ok(values) = weight.as_mut_slice::<f32>() {
            for (row, factor) in values.chunks_mut(row.max(1)).zip(&factors) {
                for value in row {
                    *value = (f64::from(*value) * factor) as f32;
                }
            }
        }
        graph.set_initializer(layer.weight, &weight);
        graph.set_initializer(layer.bias, &Tensor::vector(bias));
        graph.node_mut(convolution).outputs = vec![Some(layer.output)];
        folded.insert(normalization);
    }
    graph.retain_nodes(|id, _| !folded.contains(&id));
    drop_unused(graph);
    Ok(())
}
