//! Programs of elementwise operators, evaluated block by block, so that what lies between stays in the cache; and
//! sums and means of their results over some axes.

mod program;
mod steps;

pub use self::program::{Code, Instruction, Program};
use self::steps::{step, total};
use super::vector::{Loop, widest};
use super::{KernelError, Threads, expect_length, share};

/// The operator: inputs as the program numbers them, one output.
pub const OPERATOR: &str = "Elementwise";
/// Name of an attribute: the instructions, see [`Program::encode`].
pub const PROGRAM: &str = "program";
/// Name of an attribute: the axes to sum over, counted from the front; none where it is left out.
pub const AXES: &str = "axes";
/// Name of an attribute: whether summed axes stay with size 1.
pub const KEEP_DIMS: &str = "keepdims";
/// Name of an attribute: whether the mean is taken in place of the sum.
pub const MEAN: &str = "mean";

/// Elements of a block.
const BLOCK: usize = 512;
/// Elements of a task, a multiple of a block.
const TASK: usize = 64 * BLOCK;

/// A sum or mean over axes of the program's result.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reduction {
    /// The axes, counted from the front.
    pub axes: Vec<usize>,
    /// Whether they stay with size 1.
    pub keep_dims: bool,
    /// Whether the mean is taken.
    pub mean: bool,
}

/// An axis of the result: its size, the step in each input (0 where it is broadcast), and whether it is summed over.
#[derive(Debug, Clone, PartialEq)]
struct Axis {
    size: usize,
    steps: Vec<usize>,
    summed: bool,
}

/// A program on inputs of known dimensions.
#[derive(Debug)]
pub struct Plan<'a> {
    program: &'a Program,
    /// Neighbours that all inputs run through alike are one.
    axes: Vec<Axis>,
    input_lens: Vec<usize>,
    dims: Vec<usize>,
    full: usize,
    factor: f32,
}

impl<'a> Plan<'a> {
    /// The plan for inputs of these dimensions.
    ///
    /// # Errors
    /// When they do not broadcast, or there is no such axis.
    pub fn new(
        program: &'a Program,
        inputs: &[&[usize]],
        reduction: Option<&Reduction>,
    ) -> Result<Self, KernelError> {
        expect_length("the list of inputs", inputs.len(), program.inputs)?;
        let rank = inputs.iter().map(|dims| dims.len()).max().unwrap_or(0);
        let dim =
            |dims: &[usize], axis: usize| (axis + dims.len()).checked_sub(rank).map_or(1, |axis| dims[axis]);
        let mut axes: Vec<Axis> = Vec::with_capacity(rank);
        let mut steps: Vec<usize> = vec![1; inputs.len()];
        let mut full_dims = vec![1; rank];
        for axis in (0..rank).rev() {
            let size = inputs.iter().map(|dims| dim(dims, axis)).find(|&size| size != 1).unwrap_or(1);
            if inputs.iter().any(|dims| !matches!(dim(dims, axis), own if own == size || own == 1)) {
                return Err(KernelError::Attributes(format!("{inputs:?} do not broadcast")));
            }
            full_dims[axis] = size;
            let own: Vec<usize> = inputs
                .iter()
                .zip(&mut steps)
                .map(|(dims, step)| {
                    let here = *step;
                    *step *= dim(dims, axis);
                    if dim(dims, axis) == 1 { 0 } else { here }
                })
                .collect();
            let summed = reduction.is_some_and(|reduction| reduction.axes.contains(&axis));
            if size == 1 {
                continue;
            }
            match axes.last_mut() {
                Some(inner)
                    if inner.summed == summed
                        && inner
                            .steps
                            .iter()
                            .zip(&own)
                            .all(|(inner_step, step)| *step == inner_step * inner.size) =>
                {
                    inner.size *= size;
                }
                _ => axes.push(Axis { size, steps: own, summed }),
            }
        }
        axes.reverse();
        let (mut dims, mut factor) = (full_dims.clone(), 1.0);
        if let Some(reduction) = reduction {
            if reduction.axes.iter().any(|&axis| axis >= rank) {
                return Err(KernelError::Attributes(format!(
                    "{:?} are no axes of {full_dims:?}",
                    reduction.axes
                )));
            }
            let count: usize = reduction.axes.iter().map(|&axis| full_dims[axis]).product();
            factor = if reduction.mean { 1.0 / count as f32 } else { 1.0 };
            let kept = full_dims.iter().enumerate().filter(|(axis, _)| !reduction.axes.contains(axis));
            dims = if reduction.keep_dims {
                let size = |axis| if reduction.axes.contains(&axis) { 1 } else { full_dims[axis] };
                (0..rank).map(size).collect()
            } else {
                kept.map(|(_, &size)| size).collect()
            };
        }
        let input_lens = inputs.iter().map(|dims| dims.iter().product()).collect();
        Ok(Self { program, axes, input_lens, dims, full: full_dims.iter().product(), factor })
    }

    /// Dimensions of the result.
    pub fn dims(&self) -> &[usize] {
        &self.dims
    }

    /// Computes the result.
    ///
    /// # Errors
    /// When an operand has another length than the plan says.
    pub fn run(&self, inputs: &[&[f32]], y: &mut [f32], threads: &dyn Threads) -> Result<(), KernelError> {
        expect_length("the list of inputs", inputs.len(), self.input_lens.len())?;
        for (input, &len) in inputs.iter().zip(&self.input_lens) {
            expect_length("an input", input.len(), len)?;
        }
        expect_length("y", y.len(), self.dims.iter().product())?;
        let summed = self.axes.iter().any(|axis| axis.summed);
        if summed || self.full == 0 {
            y.fill(0.0);
        }
        if self.full == 0 {
            return Ok(());
        }
        let task = |from: usize, count: usize, y| Task { plan: self, inputs, from, count, y, y_from: 0 };
        if !summed {
            let tasks = y.chunks_mut(TASK).enumerate();
            let tasks = tasks.map(|(number, y)| task(number * TASK, y.len(), y)).collect();
            share(threads, tasks, widest::<Task<'_>>);
        } else if !self.axes[0].summed {
            // Each task has its own part of the result.
            let (rows, own) = (self.axes[0].size, y.len() / self.axes[0].size);
            let row = self.full / rows;
            let some = TASK.div_ceil(row);
            let tasks = y.chunks_mut(some * own).enumerate();
            let tasks = tasks
                .map(|(number, y)| {
                    let from = number * some * row;
                    Task { y_from: number * some * own, ..task(from, y.len() / own * row, y) }
                })
                .collect();
            share(threads, tasks, widest::<Task<'_>>);
        } else {
            let rows = self.axes[0].size;
            let row = self.full / rows;
            // Not so many that adding up their results costs as much as the sums.
            let some = TASK.max(8 * y.len()).div_ceil(row).max(rows.div_ceil(64));
            let mut parts = vec![0.0; rows.div_ceil(some) * y.len()];
            let tasks = parts.chunks_mut(y.len()).enumerate();
            let tasks = tasks
                .map(|(number, part)| task(number * some * row, some.min(rows - number * some) * row, part))
                .collect();
            share(threads, tasks, widest::<Task<'_>>);
            for part in parts.chunks(y.len()) {
                y.iter_mut().zip(part).for_each(|(y, part)| *y += part);
            }
        }
        if self.factor != 1.0 {
            for y in y {
                *y *= self.factor;
            }
        }
        Ok(())
    }
}

/// Elements `from..from + count` of the program's result, whose sums go to `y`, which starts at element `y_from`.
struct Task<'a> {
    plan: &'a Plan<'a>,
    inputs: &'a [&'a [f32]],
    from: usize,
    count: usize,
    y: &'a mut [f32],
    y_from: usize,
}

/// Where an element of the result is on each axis, with the offsets that follow from it but for the last axis.
struct Walk<'a> {
    axes: &'a [Axis],
    steps: Vec<usize>,
    places: Vec<usize>,
    offset: usize,
}

impl<'a> Walk<'a> {
    fn new(axes: &'a [Axis], steps: Vec<usize>, from: usize) -> Self {
        let (mut places, mut rest) = (vec![0; axes.len()], from);
        for (place, axis) in places.iter_mut().zip(axes).rev() {
            (*place, rest) = (rest % axis.size, rest / axis.size);
        }
        let offset = places.iter().zip(&steps).map(|(place, step)| place * step).sum();
        Self { axes, steps, places, offset }
    }

    /// Calls `each` with the place in the block, the offset and the length of every part of the next `count` elements
    /// along which the last axis runs.
    #[inline(always)]
    fn parts(&mut self, count: usize, mut each: impl FnMut(usize, usize, usize)) {
        let Some(last) = self.axes.len().checked_sub(1) else {
            return each(0, 0, count);
        };
        let mut done = 0;
        while done < count {
            let len = (self.axes[last].size - self.places[last]).min(count - done);
            each(done, self.offset, len);
            done += len;
            self.places[last] += len;
            self.offset += len * self.steps[last];
            let mut axis = last;
            while self.places[axis] == self.axes[axis].size {
                self.offset -= self.places[axis] * self.steps[axis];
                self.places[axis] = 0;
                let Some(outer) = axis.checked_sub(1) else { break };
                axis = outer;
                self.places[axis] += 1;
                self.offset += self.steps[axis];
            }
        }
    }
}

/// How an input gets into a block.
enum Feed<'a> {
    /// As it lies there.
    Whole,
    /// One number, written once.
    Scalar,
    Parts(Walk<'a>),
}

impl Loop for Task<'_> {
    const STRAIGHT: bool = true;

    #[inline(always)]
    fn run<const FUSED: bool>(self) {
        let Self { plan, inputs, from, count, y, y_from } = self;
        let (axes, given) = (&plan.axes, inputs.len());
        let last = axes.len().saturating_sub(1);
        let mut room = vec![0.0_f32; (given + plan.program.instructions.len()) * BLOCK];
        let mut feeds: Vec<Feed<'_>> = Vec::with_capacity(given);
        for (number, input) in inputs.iter().enumerate() {
            feeds.push(if input.len() == plan.full {
                Feed::Whole
            } else if input.len() == 1 {
                room[number * BLOCK..][..BLOCK].fill(input[0]);
                Feed::Scalar
            } else {
                let steps = axes.iter().map(|axis| axis.steps[number]).collect();
                Feed::Parts(Walk::new(axes, steps, from))
            });
        }
        let mut sums = axes.iter().any(|axis| axis.summed).then(|| {
            let mut steps = vec![0; axes.len()];
            let mut step = 1;
            for (target, axis) in steps.iter_mut().zip(axes).rev().filter(|(_, axis)| !axis.summed) {
                *target = step;
                step *= axis.size;
            }
            Walk::new(axes, steps, from)
        });
        let mut done = 0;
        while done < count {
            let len = BLOCK.min(count - done);
            for (number, (input, feed)) in inputs.iter().zip(&mut feeds).enumerate() {
                let Feed::Parts(walk) = feed else { continue };
                let target = &mut room[number * BLOCK..][..BLOCK];
                let steps_on = walk.steps[last] != 0;
                walk.parts(len, |place, offset, len| {
                    let target = &mut target[place..place + len];
                    if steps_on {
                        target.copy_from_slice(&input[offset..offset + len]);
                    } else {
                        target.fill(input[offset]);
                    }
                });
            }
            for (place, instruction) in plan.program.instructions.iter().enumerate() {
                let (before, behind) = room.split_at_mut((given + place) * BLOCK);
                let target = &mut behind[..len];
                let operand = |index: usize| {
                    let number = instruction.operands[index];
                    match feeds.get(number) {
                        Some(Feed::Whole) => &inputs[number][from + done..][..len],
                        _ => &before[number * BLOCK..][..len],
                    }
                };
                step::<FUSED>(instruction.code, operand, target);
            }
            let result = match plan.program.instructions.len() {
                0 if matches!(feeds[0], Feed::Whole) => &inputs[0][from + done..][..len],
                0 => &room[..len],
                count => &room[(given + count - 1) * BLOCK..][..len],
            };
            match &mut sums {
                None => y[done..done + len].copy_from_slice(result),
                Some(walk) => {
                    let steps_on = walk.steps[last] != 0;
                    walk.parts(len, |place, offset, len| {
                        let part = &result[place..place + len];
                        if steps_on {
                            let y = &mut y[offset - y_from..][..len];
                            y.iter_mut().zip(part).for_each(|(y, value)| *y += value);
                        } else {
                            y[offset - y_from] += total(part);
                        }
                    });
                }
            }
            done += len;
        }
    }
}

#[cfg(test)]
mod tests;
