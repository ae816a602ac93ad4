//! Writes tiny ONNX files with a wanted signature, byte by byte, to stand in for networks that cannot be shipped; they
//! score each class by the mean of the channels, and know no anatomy.
//!
//! The format is protocol buffers (onnx.proto of ONNX 1.13, opset 13). Only what these graphs need is written.
#![allow(dead_code)]

/// What a network looks like from outside.
pub struct StandIn<'a> {
    /// `NCHW`, `NHWC`, `NCDHW` or `NDHWC`.
    pub layout: &'a str,
    pub input: &'a str,
    pub output: &'a str,
    pub channels: usize,
    /// Sides after N and C: depth (where the layout has it), height, width; `None` is free.
    pub sides: &'a [Option<usize>],
    /// The input holds bytes, not float32.
    pub bytes: bool,
    /// For each class, from background on: slope and offset of its score over the mean of the channels.
    pub classes: &'a [(f32, f32)],
    /// The output is one number of the best class (int64, without a channel axis) instead of scores.
    pub label_map: bool,
    /// Names and channels of further outputs: each channel is the mean of the input's channels, times its number from 1.
    pub images: &'a [(&'a str, usize)],
}

/// The bytes of the file.
pub fn onnx(network: &StandIn<'_>) -> Vec<u8> {
    let spatial = network.layout.len() - 2;
    let channels_last = network.layout.ends_with('C');
    let mut graph = Message::default();
    let mut at = network.input.to_owned();
    if network.bytes {
        graph.message(1, &node("Cast", &[&at], "floats", &[int("to", FLOAT)]));
        "floats".clone_into(&mut at);
    }
    if channels_last {
        let order = [0, spatial as i64 + 1].into_iter().chain(1..=spatial as i64).collect::<Vec<_>>();
        graph.message(1, &node("Transpose", &[&at], "first", &[ints("perm", &order)]));
        "first".clone_into(&mut at);
    }
    let scores = if network.label_map { "score_maps" } else { network.output };
    let scored = if channels_last && !network.label_map { "scored" } else { scores };
    let mean = 1.0 / network.channels as f32;
    let weights = |slopes: &[f32]| slopes.iter().flat_map(|s| vec![s * mean; network.channels]).collect::<Vec<f32>>();
    let dims = |outputs: usize| [outputs, network.channels].into_iter().chain(vec![1; spatial]).collect::<Vec<_>>();
    let slopes: Vec<f32> = network.classes.iter().map(|class| class.0).collect();
    let offsets: Vec<f32> = network.classes.iter().map(|class| class.1).collect();
    graph.message(5, &tensor("w", &dims(slopes.len()), &weights(&slopes)));
    graph.message(5, &tensor("b", &[offsets.len()], &offsets));
    graph.message(1, &node("Conv", &[&at, "w", "b"], scored, &[]));
    let back = [0].into_iter().chain(2..spatial as i64 + 2).chain([1]).collect::<Vec<_>>();
    if network.label_map {
        let best = [int("axis", 1), int("keepdims", 0)];
        graph.message(1, &node("ArgMax", &["score_maps"], network.output, &best));
    } else if channels_last {
        graph.message(1, &node("Transpose", &["scored"], network.output, &[ints("perm", &back)]));
    }
    for (index, (name, count)) in network.images.iter().enumerate() {
        let slopes: Vec<f32> = (1..=*count).map(|channel| channel as f32).collect();
        let (made, weight) = (format!("image{index}"), format!("v{index}"));
        graph.message(5, &tensor(&weight, &dims(*count), &weights(&slopes)));
        let made = if channels_last { made.as_str() } else { *name };
        graph.message(1, &node("Conv", &[&at, &weight], made, &[]));
        if channels_last {
            graph.message(1, &node("Transpose", &[made], name, &[ints("perm", &back)]));
        }
    }
    graph.text(2, "stand-in");
    let number = if network.bytes { UINT8 } else { FLOAT };
    graph.message(11, &value(network.input, number, &shape(network, Some(network.channels))));
    let (number, channels) = if network.label_map { (INT64, None) } else { (FLOAT, Some(slopes.len())) };
    graph.message(12, &value(network.output, number, &shape(network, channels)));
    for (name, count) in network.images {
        graph.message(12, &value(name, FLOAT, &shape(network, Some(*count))));
    }
    let mut opset = Message::default();
    opset.text(1, "").number(2, 13);
    let mut model = Message::default();
    model.number(1, 8).message(8, &opset).message(7, &graph);
    model.0
}

const FLOAT: i64 = 1;
const UINT8: i64 = 2;
const INT64: i64 = 7;

/// The axes in the order of the layout; N is free. Without channels that axis is left out.
fn shape(network: &StandIn<'_>, channels: Option<usize>) -> Vec<Option<usize>> {
    let sides = network.sides.iter().copied();
    match (channels, network.layout.ends_with('C')) {
        (None, _) => [None].into_iter().chain(sides).collect(),
        (channels, true) => [None].into_iter().chain(sides).chain([channels]).collect(),
        (channels, false) => [None, channels].into_iter().chain(sides).collect(),
    }
}

/// A protocol buffer message as it grows.
#[derive(Default)]
struct Message(Vec<u8>);

impl Message {
    fn varint(&mut self, mut value: u64) {
        while value >= 0x80 {
            self.0.push(value as u8 | 0x80);
            value >>= 7;
        }
        self.0.push(value as u8);
    }

    /// Field of wire type 0.
    fn number(&mut self, field: u64, value: i64) -> &mut Message {
        self.varint(field << 3);
        self.varint(value as u64);
        self
    }

    /// Field of wire type 2.
    fn bytes(&mut self, field: u64, bytes: &[u8]) -> &mut Message {
        self.varint(field << 3 | 2);
        self.varint(bytes.len() as u64);
        self.0.extend_from_slice(bytes);
        self
    }

    fn text(&mut self, field: u64, text: &str) -> &mut Message {
        self.bytes(field, text.as_bytes())
    }

    fn message(&mut self, field: u64, inner: &Message) -> &mut Message {
        self.bytes(field, &inner.0)
    }
}

/// NodeProto.
fn node(operator: &str, inputs: &[&str], output: &str, attributes: &[Message]) -> Message {
    let mut node = Message::default();
    inputs.iter().for_each(|input| {
        node.text(1, input);
    });
    node.text(2, output).text(4, operator);
    attributes.iter().for_each(|attribute| {
        node.message(5, attribute);
    });
    node
}

/// AttributeProto of one whole number.
fn int(name: &str, value: i64) -> Message {
    let mut attribute = Message::default();
    attribute.text(1, name).number(3, value).number(20, 2);
    attribute
}

/// AttributeProto of whole numbers.
fn ints(name: &str, values: &[i64]) -> Message {
    let mut attribute = Message::default();
    attribute.text(1, name);
    values.iter().for_each(|value| {
        attribute.number(8, *value);
    });
    attribute.number(20, 7);
    attribute
}

/// TensorProto of float32.
fn tensor(name: &str, dims: &[usize], values: &[f32]) -> Message {
    let mut tensor = Message::default();
    dims.iter().for_each(|side| {
        tensor.number(1, *side as i64);
    });
    let raw: Vec<u8> = values.iter().flat_map(|value| value.to_le_bytes()).collect();
    tensor.number(2, FLOAT).text(8, name).bytes(9, &raw);
    tensor
}

/// ValueInfoProto: name, type of numbers, sides.
fn value(name: &str, number: i64, sides: &[Option<usize>]) -> Message {
    let mut shape = Message::default();
    for (axis, side) in sides.iter().enumerate() {
        let mut dim = Message::default();
        match side {
            Some(side) => dim.number(1, *side as i64),
            None => dim.text(2, &format!("free{axis}")),
        };
        shape.message(1, &dim);
    }
    let mut tensor = Message::default();
    tensor.number(1, number).message(2, &shape);
    let mut kind = Message::default();
    kind.message(1, &tensor);
    let mut value = Message::default();
    value.text(1, name).message(2, &kind);
    value
}
