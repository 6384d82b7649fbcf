//! Programs as data.

use crate::kernels::KernelError;

/// What an instruction computes. Truth values are 0 and 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs, reason = "each is the ONNX operator of that name")]
pub enum Code {
    Add,
    Sub,
    Mul,
    Div,
    Max,
    Min,
    Greater,
    Less,
    Equal,
    Where,
    Identity,
    Neg,
    Abs,
    Sqrt,
    Reciprocal,
    Relu,
    Not,
    Exp,
    Tanh,
    Sigmoid,
    Erf,
}

impl Code {
    /// All codes by number, with the ONNX operator and the number of operands.
    pub const ALL: [(Self, &'static str, usize); 21] = [
        (Self::Add, "Add", 2),
        (Self::Sub, "Sub", 2),
        (Self::Mul, "Mul", 2),
        (Self::Div, "Div", 2),
        (Self::Max, "Max", 2),
        (Self::Min, "Min", 2),
        (Self::Greater, "Greater", 2),
        (Self::Less, "Less", 2),
        (Self::Equal, "Equal", 2),
        (Self::Where, "Where", 3),
        (Self::Identity, "Identity", 1),
        (Self::Neg, "Neg", 1),
        (Self::Abs, "Abs", 1),
        (Self::Sqrt, "Sqrt", 1),
        (Self::Reciprocal, "Reciprocal", 1),
        (Self::Relu, "Relu", 1),
        (Self::Not, "Not", 1),
        (Self::Exp, "Exp", 1),
        (Self::Tanh, "Tanh", 1),
        (Self::Sigmoid, "Sigmoid", 1),
        (Self::Erf, "Erf", 1),
    ];

    /// Whether the result is a truth value.
    pub fn is_test(self) -> bool {
        matches!(self, Self::Greater | Self::Less | Self::Equal | Self::Not)
    }
}

/// An instruction: operands below the number of inputs are inputs, those above results of earlier instructions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Instruction {
    /// What it computes.
    pub code: Code,
    /// Operands; those that the code does not take are 0.
    pub operands: [usize; 3],
}

/// Instructions over some inputs; the last gives the result. Without any, the result is the first input.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Program {
    pub(super) inputs: usize,
    pub(super) instructions: Vec<Instruction>,
}

impl Program {
    /// A program.
    ///
    /// # Errors
    /// When an instruction reads what is not there yet.
    pub fn new(inputs: usize, instructions: Vec<Instruction>) -> Result<Self, KernelError> {
        let fits = |(place, instruction): (usize, &Instruction)| {
            instruction.operands.iter().all(|&operand| operand < inputs + place)
        };
        if inputs == 0 || !instructions.iter().enumerate().all(fits) {
            return Err(KernelError::Attributes("an instruction reads what is not there yet".to_owned()));
        }
        Ok(Self { inputs, instructions })
    }

    /// The instructions as integers, four each: the code's place in [`Code::ALL`], then the operands.
    pub fn encode(&self) -> Vec<i64> {
        let number = |code: Code| Code::ALL.iter().position(|known| known.0 == code).unwrap_or(0);
        let ints = |one: &Instruction| [number(one.code), one.operands[0], one.operands[1], one.operands[2]];
        self.instructions.iter().flat_map(ints).map(|int| int as i64).collect()
    }

    /// The program of these integers.
    ///
    /// # Errors
    /// When they stand for none.
    pub fn decode(inputs: usize, ints: &[i64]) -> Result<Self, KernelError> {
        let misfit = || KernelError::Attributes(format!("{ints:?} is no program"));
        let instruction = |four: &[i64; 4]| {
            let [code, operands @ ..] = four.map(|int| usize::try_from(int).unwrap_or(usize::MAX));
            Some(Instruction { code: Code::ALL.get(code)?.0, operands })
        };
        let (fours, rest) = ints.as_chunks::<4>();
        let instructions = fours.iter().map(instruction).collect::<Option<_>>().ok_or_else(misfit)?;
        if rest.is_empty() { Self::new(inputs, instructions) } else { Err(misfit()) }
    }
}
