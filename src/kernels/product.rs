//! Products of matrices, whose operands and result may lie in memory in any order of their axes.

use super::{KernelError, Threads, expect_length};

/// The operator: two inputs of at least two axes, one output.
pub const OPERATOR: &str = "Product";
/// Names of attributes: for each input and the output, the order in which its axes are taken, as `Transpose` of ONNX
/// counts them; as they are where it is left out.
pub const ORDERS: [&str; 3] = ["order_a", "order_b", "order_y"];
/// Name of an attribute: what the product is multiplied with; 1 where it is left out.
pub const FACTOR: &str = "factor";

/// Multiplications of a task, below which handing it to another thread costs more than it saves.
const TASK: usize = 1 << 18;
/// Rows or columns of a task, of which fewer would be computed in another order of additions.
const STRIP: usize = 128;
/// Rows or columns that the inner loops take at once.
const ALIGNED: usize = 48;

/// An axis over which products repeat: its size, and the step in the operands and the result.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Axis {
    size: usize,
    steps: [usize; 3],
}

/// `y = factor * a b` for operands of known dimensions.
#[derive(Debug, Clone, PartialEq)]
pub struct Plan {
    /// Outermost first.
    repeated: Vec<Axis>,
    /// Rows and columns of the result, and what is summed over.
    rows: usize,
    columns: usize,
    depth: usize,
    /// Steps from row to row and from column to column of a, b and y.
    steps: [[usize; 2]; 3],
    lens: [usize; 2],
    y_dims: Vec<usize>,
    factor: f32,
}

fn contiguous(dims: &[usize]) -> Vec<usize> {
    let mut steps = vec![1; dims.len()];
    for axis in (1..dims.len()).rev() {
        steps[axis - 1] = steps[axis] * dims[axis];
    }
    steps
}

/// `values` in this order; nothing when it is none of as many axes.
fn ordered(values: &[usize], order: Option<&[usize]>) -> Option<Vec<usize>> {
    let Some(order) = order else { return Some(values.to_vec()) };
    let mut sorted = order.to_vec();
    sorted.sort_unstable();
    let whole = sorted.iter().copied().eq(0..values.len());
    whole.then(|| order.iter().map(|&axis| values[axis]).collect())
}

impl Plan {
    /// The plan for inputs of these dimensions, whose axes, and those of the result, are taken in these `orders`. Axes
    /// before the last two are broadcast as those of `MatMul` of ONNX are.
    ///
    /// # Errors
    /// When they do not fit.
    pub fn new(
        a: &[usize],
        b: &[usize],
        orders: [Option<&[usize]>; 3],
        factor: f32,
    ) -> Result<Self, KernelError> {
        let misfit = || KernelError::Attributes(format!("{a:?} and {b:?} in the orders {orders:?}"));
        let view = |dims: &[usize], order| -> Option<(Vec<usize>, Vec<usize>)> {
            Some((ordered(dims, order)?, ordered(&contiguous(dims), order)?)).filter(|_| dims.len() > 1)
        };
        let (a_dims, a_steps) = view(a, orders[0]).ok_or_else(misfit)?;
        let (b_dims, b_steps) = view(b, orders[1]).ok_or_else(misfit)?;
        let rank = a_dims.len().max(b_dims.len());
        let (a_lead, b_lead) = (rank - a_dims.len(), rank - b_dims.len());
        let (rows, depth, columns) =
            (a_dims[rank - a_lead - 2], a_dims[rank - a_lead - 1], b_dims[rank - b_lead - 1]);
        if depth != b_dims[rank - b_lead - 2] {
            return Err(misfit());
        }
        let at = |values: &[usize], lead: usize, axis: usize, outside: usize| {
            axis.checked_sub(lead).map_or(outside, |axis| values[axis])
        };
        let (mut full, mut repeated) = (Vec::with_capacity(rank), Vec::new());
        for axis in 0..rank - 2 {
            let (left, right) = (at(&a_dims, a_lead, axis, 1), at(&b_dims, b_lead, axis, 1));
            let size = if left == 1 { right } else { left };
            if right != 1 && right != size {
                return Err(misfit());
            }
            let step =
                |size: usize, steps: &[usize], lead| if size == 1 { 0 } else { at(steps, lead, axis, 0) };
            repeated
                .push(Axis { size, steps: [step(left, &a_steps, a_lead), step(right, &b_steps, b_lead), 0] });
            full.push(size);
        }
        full.extend([rows, columns]);
        let y_dims = ordered(&full, orders[2]).ok_or_else(misfit)?;
        let mut y_steps = contiguous(&y_dims);
        if let Some(order) = orders[2] {
            for (step, &axis) in contiguous(&y_dims).iter().zip(order) {
                y_steps[axis] = *step;
            }
        }
        for (axis, step) in repeated.iter_mut().zip(&y_steps) {
            axis.steps[2] = *step;
        }
        let last = |steps: &[usize]| [steps[steps.len() - 2], steps[steps.len() - 1]];
        let mut plan = Self {
            repeated,
            rows,
            columns,
            depth,
            steps: [last(&a_steps), last(&b_steps), last(&y_steps)],
            lens: [a.iter().product(), b.iter().product()],
            y_dims,
            factor,
        };
        plan.merge();
        Ok(plan)
    }

    /// Takes repeated products with the same `b` for one with more rows, where the rows lie at equal steps.
    fn merge(&mut self) {
        while let Some(axis) = self.repeated.last().copied() {
            let joins = |place: usize| axis.steps[place] == self.steps[place][0] * self.rows;
            if axis.size != 1 && !(axis.steps[1] == 0 && joins(0) && joins(2)) {
                break;
            }
            self.rows *= axis.size;
            self.repeated.pop();
        }
        self.repeated.retain(|axis| axis.size != 1);
    }

    /// Dimensions of the result.
    pub fn y_dims(&self) -> &[usize] {
        &self.y_dims
    }

    /// Computes the result, shared among `parts` threads.
    ///
    /// # Errors
    /// When an operand has another length than the plan says.
    pub fn run(
        &self,
        a: &[f32],
        b: &[f32],
        y: &mut [f32],
        parts: usize,
        threads: &dyn Threads,
    ) -> Result<(), KernelError> {
        expect_length("a", a.len(), self.lens[0])?;
        expect_length("b", b.len(), self.lens[1])?;
        expect_length("y", y.len(), self.y_dims.iter().product())?;
        if y.is_empty() || self.depth == 0 {
            y.fill(0.0);
            return Ok(());
        }
        let count: usize = self.repeated.iter().map(|axis| axis.size).product();
        let work = self.rows * self.columns * self.depth;
        let by_columns = self.columns > self.rows;
        let long = if by_columns { self.columns } else { self.rows };
        let parts = parts.min((work * count).div_ceil(TASK));
        // Each product as a whole where there are enough of them.
        let strips = parts.div_ceil(count).min(long / STRIP).max(1);
        let strip = long.div_ceil(strips).next_multiple_of(ALIGNED);
        let strips = long.div_ceil(strip);
        let tasks = if strips > 1 { count } else { count.min(4 * parts) };
        let target = Target(y.as_mut_ptr());
        threads.each(tasks * strips, &|task| {
            let (group, from) = (task / strips, task % strips * strip);
            let len = strip.min(long - from);
            let (rows, columns) = if by_columns {
                (0..self.rows, from..from + len)
            } else {
                (from..from + len, 0..self.columns)
            };
            for number in group * count / tasks..(group + 1) * count / tasks {
                self.multiply(number, a, b, &target, rows.clone(), columns.clone());
            }
        });
        Ok(())
    }

    /// Computes some rows and columns of product `number`.
    fn multiply(
        &self,
        number: usize,
        a: &[f32],
        b: &[f32],
        y: &Target,
        rows: std::ops::Range<usize>,
        columns: std::ops::Range<usize>,
    ) {
        let (mut offsets, mut rest) = ([0; 3], number);
        for axis in self.repeated.iter().rev() {
            let place = rest % axis.size;
            rest /= axis.size;
            offsets.iter_mut().zip(axis.steps).for_each(|(offset, step)| *offset += place * step);
        }
        let [a_steps, b_steps, y_steps] = self.steps;
        offsets[0] += rows.start * a_steps[0];
        offsets[1] += columns.start * b_steps[1];
        offsets[2] += rows.start * y_steps[0] + columns.start * y_steps[1];
        let (a, b) = (&a[offsets[0]..], &b[offsets[1]..]);
        let signed = |steps: [usize; 2]| steps.map(usize::cast_signed);
        // The inner loops run along the columns of what they take for the result: rows of y, unless it is transposed.
        let left = (columns.len(), b.as_ptr(), [b_steps[1], b_steps[0]]);
        let right = (rows.len(), a.as_ptr(), [a_steps[1], a_steps[0]]);
        let turned = (rows.len(), a.as_ptr(), a_steps);
        let other = (columns.len(), b.as_ptr(), b_steps);
        let ((m, lhs, lhs_steps), (n, rhs, rhs_steps), result) = if y_steps[1] <= y_steps[0] {
            (left, right, [y_steps[1], y_steps[0]])
        } else {
            (turned, other, y_steps)
        };
        let ([lhs_rs, lhs_cs], [rhs_rs, rhs_cs]) = (signed(lhs_steps), signed(rhs_steps));
        let [y_rs, y_cs] = signed(result);
        let multiply = gemm_f32::gemm::f32::get_gemm_fn();
        #[allow(unsafe_code, reason = "the loops of the crate take pointers and steps")]
        // SAFETY: the dimensions were checked against each other and against the lengths of the slices, so that every
        // step of rows, columns and depth from the offsets stays inside; tasks write different elements of y, which
        // nobody else reads or writes until all are done.
        unsafe {
            multiply(
                m,
                n,
                self.depth,
                y.0.add(offsets[2]),
                y_cs,
                y_rs,
                false,
                lhs,
                lhs_cs,
                lhs_rs,
                rhs,
                rhs_cs,
                rhs_rs,
                0.0,
                self.factor,
                false,
                false,
                false,
                gemm_common::Parallelism::None,
            );
        }
    }
}

/// The start of the result.
struct Target(*mut f32);

#[allow(unsafe_code, reason = "tasks on several threads write to the same result")]
// SAFETY: every task writes elements of its own.
unsafe impl Sync for Target {}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernels::OneThread;

    fn values(count: usize, seed: usize) -> Vec<f32> {
        (0..count).map(|place| ((place * 7919 + seed * 104_729) % 2003) as f32 / 1000.0 - 1.0).collect()
    }

    /// The element of a tensor at `places` of its axes in this order; axes of size 1 and missing ones are broadcast.
    fn at(values: &[f32], dims: &[usize], order: &[usize], places: &[usize]) -> f64 {
        let steps = contiguous(dims);
        let lead = places.len() - order.len();
        let offset =
            |(&axis, &place): (&usize, &usize)| if dims[axis] == 1 { 0 } else { place * steps[axis] };
        f64::from(values[order.iter().zip(&places[lead..]).map(offset).sum::<usize>()])
    }

    #[test]
    fn products_in_all_orders_are_sums_over_the_depth() {
        type Case<'a> = (&'a [usize], &'a [usize], &'a [usize], &'a [usize], &'a [usize]);
        let cases: [Case<'_>; 10] = [
            (&[5, 7], &[7, 3], &[0, 1], &[0, 1], &[0, 1]),
            (&[7, 5], &[3, 7], &[1, 0], &[1, 0], &[1, 0]),
            (&[4, 6, 8], &[8, 5], &[0, 1, 2], &[0, 1], &[0, 1, 2]),
            (&[2, 9, 3, 4], &[2, 11, 3, 4], &[0, 2, 1, 3], &[0, 2, 3, 1], &[0, 2, 1, 3]),
            (&[2, 1, 5, 4], &[3, 4, 6], &[0, 1, 2, 3], &[0, 1, 2], &[1, 0, 2, 3]),
            (&[1, 600], &[600, 70], &[0, 1], &[0, 1], &[0, 1]),
            (&[300, 700], &[700, 130], &[0, 1], &[0, 1], &[0, 1]),
            (&[700, 130], &[700, 400], &[1, 0], &[0, 1], &[0, 1]),
            (&[3, 2], &[2, 1], &[0, 1], &[0, 1], &[0, 1]),
            (&[130, 2, 65], &[65, 40], &[1, 0, 2], &[0, 1], &[1, 0, 2]),
        ];
        for (a_dims, b_dims, a_order, b_order, y_order) in cases {
            let (a, b) = (values(a_dims.iter().product(), 1), values(b_dims.iter().product(), 2));
            let plan = Plan::new(a_dims, b_dims, [Some(a_order), Some(b_order), Some(y_order)], 0.5).unwrap();
            let y_dims = plan.y_dims().to_vec();
            let mut y = vec![f32::NAN; y_dims.iter().product()];
            plan.run(&a, &b, &mut y, 1, &OneThread).unwrap();
            let mut shared = vec![f32::NAN; y.len()];
            plan.run(&a, &b, &mut shared, 4, &OneThread).unwrap();
            assert_eq!(y, shared, "{a_dims:?} {b_dims:?}");
            let depth = a_dims[a_order[a_order.len() - 1]];
            for (place, &found) in y.iter().enumerate() {
                let (mut places, mut rest) = (vec![0; y_dims.len()], place);
                for axis in (0..y_dims.len()).rev() {
                    places[y_order[axis]] = rest % y_dims[axis];
                    rest /= y_dims[axis];
                }
                let last = places.len() - 1;
                let term = |inner: usize| {
                    let (mut left, mut right) = (places.clone(), places.clone());
                    (left[last], right[last - 1]) = (inner, inner);
                    at(&a, a_dims, a_order, &left) * at(&b, b_dims, b_order, &right)
                };
                let expected = 0.5 * (0..depth).map(term).sum::<f64>();
                assert!(
                    (f64::from(found) - expected).abs() < 1e-4,
                    "{a_dims:?} {b_dims:?}: {found} {expected}"
                );
            }
        }
    }

    #[test]
    fn empty_products_and_operands_that_do_not_fit() {
        let whole = [None; 3];
        let plan = Plan::new(&[2, 0], &[0, 3], whole, 1.0).unwrap();
        let mut y = vec![1.0; 6];
        plan.run(&[], &[], &mut y, 2, &OneThread).unwrap();
        assert_eq!(y, [0.0; 6]);
        for (a, b) in [(&[2, 3][..], &[2, 3][..]), (&[3], &[3, 2]), (&[2, 2, 3], &[3, 3, 2])] {
            assert!(Plan::new(a, b, whole, 1.0).is_err(), "{a:?} {b:?}");
        }
        assert!(Plan::new(&[2, 3], &[3, 2], [Some(&[0, 0]), None, None], 1.0).is_err());
        let plan = Plan::new(&[2, 3], &[3, 2], whole, 1.0).unwrap();
        assert!(plan.run(&[0.0; 5], &[0.0; 6], &mut [0.0; 4], 1, &OneThread).is_err());
    }
}
