//! A decoder-only transformer as an exporter writes it, of any size, its weights in a file beside it.

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::Path;

use onnx_proto::{
    AttributeProto, AttributeType, Bytes, DataType, Dimension, DimensionValue, GraphProto, Message as _,
    ModelProto, NodeProto, OperatorSetIdProto, StringStringEntryProto, TensorProto, TensorShapeProto,
    TensorType, TypeProto, TypeValue, ValueInfoProto,
};

/// Sizes of a transformer.
#[derive(Debug, Clone, Copy)]
pub(super) struct Sizes {
    pub(super) layers: usize,
    pub(super) width: usize,
    pub(super) heads: usize,
    pub(super) vocabulary: usize,
    pub(super) context: usize,
}

/// Alignment of a tensor in the data file, in bytes.
const PAGE: u64 = 4096;
const EXTERNAL: i32 = 1;

struct Writer<'a> {
    graph: GraphProto,
    data: BufWriter<File>,
    end: u64,
    location: &'a str,
    state: u64,
    values: usize,
}

/// Writes the model to `path` and its weights to `path.data`; returns the number of weights.
pub(super) fn write(path: &Path, sizes: Sizes) -> io::Result<usize> {
    let location = format!("{}.data", path.file_name().unwrap_or_default().to_string_lossy());
    let data = BufWriter::with_capacity(1 << 20, File::create(path.with_file_name(&location))?);
    let graph = GraphProto { name: Some("transformer".to_owned()), ..GraphProto::default() };
    let mut writer = Writer { graph, data, end: 0, location: &location, state: 0x9e37_79b9, values: 0 };
    writer.model(sizes)?;
    writer.data.flush()?;
    let values = writer.values;
    let model = ModelProto {
        ir_version: Some(8),
        opset_import: vec![OperatorSetIdProto { domain: Some(String::new()), version: Some(17) }],
        graph: Some(writer.graph),
        ..ModelProto::default()
    };
    std::fs::write(path, model.encode_to_vec())?;
    Ok(values)
}

fn int(name: &str, value: i64) -> AttributeProto {
    let kind = Some(AttributeType::Int as i32);
    AttributeProto { name: Some(name.to_owned()), r#type: kind, i: Some(value), ..AttributeProto::default() }
}

fn ints(name: &str, values: &[i64]) -> AttributeProto {
    let kind = Some(AttributeType::Ints as i32);
    let ints = values.to_vec();
    AttributeProto { name: Some(name.to_owned()), r#type: kind, ints, ..AttributeProto::default() }
}

fn port(name: &str, kind: DataType, dims: &[Result<usize, &str>]) -> ValueInfoProto {
    let dim = |dim: &Result<usize, &str>| {
        let value = match dim {
            Ok(size) => DimensionValue::DimValue(*size as i64),
            Err(name) => DimensionValue::DimParam((*name).to_owned()),
        };
        Dimension { value: Some(value), ..Dimension::default() }
    };
    let shape = TensorShapeProto { dim: dims.iter().map(dim).collect() };
    let tensor = TensorType { elem_type: Some(kind as i32), shape: Some(shape) };
    let kind = TypeProto { value: Some(TypeValue::Tensor(tensor)), ..TypeProto::default() };
    ValueInfoProto { name: Some(name.to_owned()), r#type: Some(kind), ..ValueInfoProto::default() }
}

impl Writer<'_> {
    fn node(
        &mut self,
        op_type: &str,
        inputs: &[&str],
        output: &str,
        attribute: Vec<AttributeProto>,
    ) -> String {
        self.nodes(op_type, inputs, &[output], attribute);
        output.to_owned()
    }

    fn nodes(&mut self, op_type: &str, inputs: &[&str], outputs: &[&str], attribute: Vec<AttributeProto>) {
        self.graph.node.push(NodeProto {
            name: Some(format!("/{}", outputs[0])),
            op_type: Some(op_type.to_owned()),
            input: inputs.iter().map(|&name| name.to_owned()).collect(),
            output: outputs.iter().map(|&name| name.to_owned()).collect(),
            attribute,
            ..NodeProto::default()
        });
    }

    fn indices(&mut self, name: &str, dims: &[usize], values: &[i64]) {
        self.graph.initializer.push(TensorProto {
            name: Some(name.to_owned()),
            dims: dims.iter().map(|&dim| dim as i64).collect(),
            data_type: Some(DataType::Int64 as i32),
            raw_data: Some(values.iter().flat_map(|value| value.to_le_bytes()).collect::<Vec<u8>>().into()),
            ..TensorProto::default()
        });
    }

    fn scalar(&mut self, name: &str, value: f32) {
        self.graph.initializer.push(TensorProto {
            name: Some(name.to_owned()),
            data_type: Some(DataType::Float as i32),
            raw_data: Some(Bytes::copy_from_slice(&value.to_le_bytes())),
            ..TensorProto::default()
        });
    }

    /// A weight of evenly spread values around `mean`.
    fn weight(&mut self, name: &str, dims: &[usize], mean: f32, spread: f32) -> io::Result<()> {
        let count: usize = dims.iter().product();
        let start = self.end.next_multiple_of(PAGE);
        self.data.write_all(&vec![0; (start - self.end) as usize])?;
        for _ in 0..count {
            // Marsaglia's xorshift: fast, and good enough for weights that nobody reads anything from.
            self.state ^= self.state << 13;
            self.state ^= self.state >> 7;
            self.state ^= self.state << 17;
            let unit = (self.state >> 40) as f32 / (1 << 23) as f32 - 1.0;
            self.data.write_all(&(mean + spread * unit).to_le_bytes())?;
        }
        self.end = start + 4 * count as u64;
        self.values += count;
        let entry = |key: &str, value: String| StringStringEntryProto {
            key: Some(key.to_owned()),
            value: Some(value),
        };
        self.graph.initializer.push(TensorProto {
            name: Some(name.to_owned()),
            dims: dims.iter().map(|&dim| dim as i64).collect(),
            data_type: Some(DataType::Float as i32),
            data_location: Some(EXTERNAL),
            external_data: vec![
                entry("location", self.location.to_owned()),
                entry("offset", start.to_string()),
                entry("length", (4 * count).to_string()),
            ],
            ..TensorProto::default()
        });
        Ok(())
    }

    fn linear(&mut self, name: &str, input: &str, from: usize, to: usize) -> io::Result<String> {
        self.weight(&format!("{name}.weight"), &[from, to], 0.0, (3.0 / from as f32).sqrt())?;
        self.weight(&format!("{name}.bias"), &[to], 0.0, 0.02)?;
        let product =
            self.node("MatMul", &[input, &format!("{name}.weight")], &format!("{name}/MatMul"), Vec::new());
        Ok(self.node("Add", &[&format!("{name}.bias"), &product], &format!("{name}/Add"), Vec::new()))
    }

    fn norm(&mut self, name: &str, input: &str, width: usize) -> io::Result<String> {
        let (scale, bias) = (format!("{name}.weight"), format!("{name}.bias"));
        self.weight(&scale, &[width], 1.0, 0.1)?;
        self.weight(&bias, &[width], 0.0, 0.1)?;
        Ok(self.node(
            "LayerNormalization",
            &[input, &scale, &bias],
            &format!("{name}/norm"),
            vec![int("axis", -1)],
        ))
    }

    fn model(&mut self, sizes: Sizes) -> io::Result<()> {
        let Sizes { layers, width, heads, vocabulary, context } = sizes;
        self.graph.input = vec![port("input_ids", DataType::Int64, &[Err("batch"), Err("sequence")])];
        self.graph.output =
            vec![port("logits", DataType::Float, &[Err("batch"), Err("sequence"), Ok(vocabulary)])];
        for (name, value) in [("zero", 0), ("one", 1)] {
            self.indices(name, &[], &[value]);
            self.indices(&format!("{name}s"), &[1], &[value]);
        }
        self.indices("heads", &[1], &[heads as i64]);
        self.indices("head_width", &[1], &[(width / heads) as i64]);
        self.indices("width", &[1], &[width as i64]);
        self.indices("sequence_axis", &[1], &[2]);
        self.indices("key_axis", &[1], &[3]);
        self.scalar("scale", ((width / heads) as f32).sqrt());
        self.scalar("hidden", f32::MIN);
        let earlier = |at: usize| i64::from(at % context <= at / context);
        let mask: Vec<i64> = (0..context * context).map(earlier).collect();
        self.indices("mask", &[1, 1, context, context], &mask);
        self.weight("wte", &[vocabulary, width], 0.0, 0.03)?;
        self.weight("wpe", &[context, width], 0.0, 0.03)?;
        self.node("Shape", &["input_ids"], "shape", Vec::new());
        self.node("Gather", &["shape", "zeros"], "batch", Vec::new());
        self.node("Gather", &["shape", "ones"], "length", Vec::new());
        self.node("Squeeze", &["length"], "length0", Vec::new());
        self.node("Range", &["zero", "length0", "one"], "positions", Vec::new());
        self.node("Gather", &["wte", "input_ids"], "tokens", Vec::new());
        self.node("Gather", &["wpe", "positions"], "places", Vec::new());
        self.nodes("Concat", &["batch", "length", "heads", "head_width"], &["split"], vec![int("axis", 0)]);
        self.nodes("Concat", &["batch", "length", "width"], &["merged"], vec![int("axis", 0)]);
        self.node("Slice", &["mask", "zeros", "length", "sequence_axis"], "mask_rows", Vec::new());
        self.node("Slice", &["mask_rows", "zeros", "length", "key_axis"], "mask_square", Vec::new());
        self.node("Cast", &["mask_square"], "seen", vec![int("to", DataType::Bool as i64)]);
        let mut x = self.node("Add", &["tokens", "places"], "embedded", Vec::new());
        for layer in 0..layers {
            x = self.layer(&format!("h.{layer}"), &x, width)?;
        }
        let x = self.norm("ln_f", &x, width)?;
        // The table of tokens is used twice, as is usual.
        let table = self.node("Transpose", &["wte"], "wte_t", vec![ints("perm", &[1, 0])]);
        self.node("MatMul", &[&x, &table], "logits", Vec::new());
        Ok(())
    }

    fn layer(&mut self, name: &str, x: &str, width: usize) -> io::Result<String> {
        let own = |part: &str| format!("{name}/{part}");
        let normal = self.norm(&own("ln_1"), x, width)?;
        let all = self.linear(&own("attn"), &normal, width, 3 * width)?;
        let parts = ["q", "k", "v"].map(own);
        self.nodes("Split", &[&all], &[&parts[0], &parts[1], &parts[2]], vec![int("axis", 2)]);
        for (part, perm) in parts.iter().zip([[0, 2, 1, 3], [0, 2, 3, 1], [0, 2, 1, 3]]) {
            let split = self.node("Reshape", &[part, "split"], &format!("{part}/split"), Vec::new());
            self.node("Transpose", &[&split], &format!("{part}/heads"), vec![ints("perm", &perm)]);
        }
        let [q, k, v] = parts.map(|part| format!("{part}/heads"));
        let scores = self.node("MatMul", &[&q, &k], &own("scores"), Vec::new());
        let scaled = self.node("Div", &[&scores, "scale"], &own("scaled"), Vec::new());
        let masked = self.node("Where", &["seen", &scaled, "hidden"], &own("masked"), Vec::new());
        let shares = self.node("Softmax", &[&masked], &own("shares"), vec![int("axis", -1)]);
        let mixed = self.node("MatMul", &[&shares, &v], &own("mixed"), Vec::new());
        let rows = self.node("Transpose", &[&mixed], &own("rows"), vec![ints("perm", &[0, 2, 1, 3])]);
        let merged = self.node("Reshape", &[&rows, "merged"], &own("merged"), Vec::new());
        let out = self.linear(&own("proj"), &merged, width, width)?;
        let x = self.node("Add", &[x, &out], &own("attended"), Vec::new());
        let normal = self.norm(&own("ln_2"), &x, width)?;
        let up = self.linear(&own("fc"), &normal, width, 4 * width)?;
        let sigmoid = self.node("Sigmoid", &[&up], &own("sigmoid"), Vec::new());
        let silu = self.node("Mul", &[&up, &sigmoid], &own("silu"), Vec::new());
        let down = self.linear(&own("fc2"), &silu, 4 * width, width)?;
        Ok(self.node("Add", &[&x, &down], &own("out"), Vec::new()))
    }
}
