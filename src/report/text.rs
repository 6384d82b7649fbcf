//! Reports of the smaller commands as text.

use std::collections::BTreeMap;
use std::fmt::{self, Display, Formatter};

use super::table::Table;
use super::units::{bytes, count, percent, seconds};
use super::{
    DifferentiateReport, DoctorFigures, EvalReport, FamilyFigures, InspectReport, PinnedAxis, Verified,
    VerifyReport,
};

impl Display for EvalReport {
    fn fmt(&self, formatter: &mut Formatter<'_>) -> fmt::Result {
        writeln!(formatter, "{} on {}", self.model, self.engine)?;
        writeln!(formatter, "data      {}", self.data)?;
        writeln!(formatter, "samples   {}", self.samples)?;
        if let Some(loss) = self.loss {
            writeln!(formatter, "loss      {loss:.4}")?;
        }
        if let Some(accuracy) = self.accuracy {
            writeln!(formatter, "accuracy  {}", percent(accuracy))?;
        }
        writeln!(formatter, "time      {}", seconds(self.seconds))
    }
}

impl Display for Verified {
    fn fmt(&self, formatter: &mut Formatter<'_>) -> fmt::Result {
        let data = if self.real_data { "real data" } else { "random inputs" };
        write!(
            formatter,
            "largest difference {:.2e} of the output's largest value ({:.2e} allowed), {} samples of {data}, {}",
            self.max_rel_error, self.tolerance, self.samples, self.engine
        )?;
        if self.decisions > 0 {
            write!(formatter, ", given the same {} decisions (rounding errors tipped some)", self.decisions)?;
        }
        if self.unrounded > 0 {
            write!(formatter, ", without rounding at {} pairs of Q and DQ", self.unrounded)?;
        }
        if self.single_precision {
            write!(formatter, ", 16-bit floats in single precision")?;
        }
        if self.approximate_groups > 0 {
            write!(formatter, ", {} groups only approximately right", self.approximate_groups)?;
        }
        Ok(())
    }
}

impl Display for VerifyReport {
    fn fmt(&self, formatter: &mut Formatter<'_>) -> fmt::Result {
        let verdict = if self.holds { "equal" } else { "DIFFERENT" };
        writeln!(formatter, "{verdict}: {} and {}", self.dense, self.small)?;
        writeln!(formatter, "{}", self.verified)?;
        writeln!(formatter)?;
        let mut table = Table::new(1, &["output", "max|a-b|", "max|a|", "ratio"]);
        for output in &self.verified.outputs {
            let numbers = [output.max_abs_error, output.max_abs_value, output.rel_error];
            let numbers = numbers.iter().map(|number| format!("{number:.2e}"));
            table.row([output.name.clone()].into_iter().chain(numbers).collect());
        }
        write!(formatter, "{table}")
    }
}

impl Display for DifferentiateReport {
    fn fmt(&self, formatter: &mut Formatter<'_>) -> fmt::Result {
        writeln!(formatter, "{} -> {} ({})", self.model, self.output, bytes(self.bytes))?;
        writeln!(formatter, "targets   {}", self.targets.join(", "))?;
        writeln!(formatter, "loss      {}", self.loss)?;
        writeln!(formatter)?;
        let mut table = Table::new(2, &["input and initializer", "output"]);
        for (from, to) in self.gradients.iter().chain(&self.statistics) {
            table.row(vec![from.clone(), to.clone()]);
        }
        write!(formatter, "{table}")
    }
}

impl Display for DoctorFigures {
    fn fmt(&self, formatter: &mut Formatter<'_>) -> fmt::Result {
        writeln!(formatter, "safe-onnx     {}", self.version)?;
        match (&self.engine, &self.problem) {
            (Some(engine), _) => writeln!(formatter, "engine        {engine}")?,
            (None, problem) => {
                writeln!(formatter, "engine        none: {}", problem.as_deref().unwrap_or("unknown"))?;
            }
        }
        let ort = self.ort_version.as_deref().unwrap_or("not found");
        writeln!(formatter, "ONNX Runtime  {ort}")?;
        if let Some(path) = &self.ort_path {
            writeln!(formatter, "  library     {path}")?;
            writeln!(formatter, "  providers   {}", self.execution_providers.join(", "))?;
        }
        writeln!(formatter, "tract         {} (compiled in)", self.tract_version)?;
        match &self.cuda_problem {
            Some(problem) => writeln!(formatter, "CUDA          {problem}")?,
            None => writeln!(
                formatter,
                "CUDA          {} device(s); this build cannot use them yet",
                self.cuda.len()
            )?,
        }
        for device in &self.cuda {
            writeln!(
                formatter,
                "  cuda:{}      {}, {}",
                device.number,
                device.name,
                bytes(device.memory as u64)
            )?;
        }
        writeln!(formatter, "threads       {}", self.threads)?;
        writeln!(formatter)?;
        writeln!(formatter, "Libraries, in the order in which they are tried:")?;
        let mut table = Table::new(3, &["named by", "path", "result"]);
        for library in &self.libraries {
            let path = library.path.clone().unwrap_or_else(|| "-".to_owned());
            table.row(vec![library.origin.clone(), path, library.verdict.clone()]);
        }
        write!(formatter, "{table}")?;
        match &self.note {
            Some(note) => writeln!(formatter, "\nnote: {note}"),
            None => Ok(()),
        }
    }
}

impl Display for InspectReport {
    fn fmt(&self, formatter: &mut Formatter<'_>) -> fmt::Result {
        writeln!(formatter, "{}: operator set {}, {} nodes", self.model, self.opset, self.nodes)?;
        writeln!(formatter, "traced on   {}", self.inputs.join(", "))?;
        writeln!(formatter, "MACs        {} a sample", count(self.macs))?;
        writeln!(formatter, "parameters  {}", count(self.params))?;
        writeln!(formatter, "file        {}", bytes(self.bytes))?;
        writeln!(formatter, "groups      {}", self.groups_in_words())?;
        writeln!(formatter, "\nLayers")?;
        let mut table = Table::new(3, &["name", "operator", "output", "MACs", "parameters"]);
        for layer in &self.layers {
            let output = format!("{:?}", layer.output);
            let cells =
                [layer.name.clone(), layer.operator.clone(), output, count(layer.macs), count(layer.params)];
            table.row(cells.to_vec());
        }
        write!(formatter, "{table}")?;
        self.families(formatter)?;
        if !self.pinned.is_empty() {
            self.pinned_axes(formatter)?;
        }
        if !self.unknown.is_empty() {
            writeln!(formatter, "\nNodes that are not understood (their axes stay)")?;
            let mut table = Table::new(2, &["node", "because"]);
            for (place, reason) in &self.unknown {
                table.row(vec![place.clone(), reason.clone()]);
            }
            write!(formatter, "{table}")?;
        }
        Ok(())
    }
}

impl InspectReport {
    fn pinned_axes(&self, formatter: &mut Formatter<'_>) -> fmt::Result {
        writeln!(
            formatter,
            "\nWeight axes that stay, and the MACs that would go if each could shrink to one index"
        )?;
        let mut table = Table::new(5, &["weight", "axes", "sizes", "MACs", "because"]);
        let same = |a: &PinnedAxis, b: &PinnedAxis| {
            (&a.tensor, &a.place, &a.reason) == (&b.tensor, &b.place, &b.reason)
        };
        for axes in self.pinned.chunk_by(same) {
            let list =
                |number: fn(&PinnedAxis) -> String| axes.iter().map(number).collect::<Vec<_>>().join(", ");
            table.row(vec![
                axes[0].tensor.clone(),
                list(|axis| axis.axis.to_string()),
                list(|axis| axis.size.to_string()),
                list(|axis| count(axis.macs)),
                format!("{}: {}", axes[0].place, axes[0].reason),
            ]);
        }
        write!(formatter, "{table}")?;
        let mut reasons: BTreeMap<&str, (usize, u64)> = BTreeMap::new();
        for axis in &self.pinned {
            let (axes, macs) = reasons.entry(&axis.reason).or_default();
            *axes += 1;
            *macs += axis.macs;
        }
        let mut reasons: Vec<(&str, (usize, u64))> = reasons.into_iter().collect();
        reasons.sort_by_key(|(_, (_, macs))| std::cmp::Reverse(*macs));
        writeln!(formatter, "\nThe same by reason")?;
        let mut table = Table::new(1, &["because", "axes", "MACs"]);
        for (reason, (axes, macs)) in reasons {
            table.row(vec![reason.to_owned(), axes.to_string(), count(macs)]);
        }
        write!(formatter, "{table}")
    }

    fn groups_in_words(&self) -> String {
        let exact: usize =
            self.families.iter().filter(|family| family.exact).map(|family| family.groups).sum();
        format!(
            "{} in {} families, {exact} of them exact; the exact ones reach {} of the MACs",
            self.groups,
            self.families.len(),
            percent(self.smallest_macs_share)
        )
    }

    /// What stands below the headline of the picture.
    pub fn summary(&self) -> Vec<String> {
        vec![
            format!(
                "operator set {}, {} nodes, traced on {}",
                self.opset,
                self.nodes,
                self.inputs.join(", ")
            ),
            format!(
                "{} MACs a sample, {} parameters, {}",
                count(self.macs),
                count(self.params),
                bytes(self.bytes)
            ),
            format!("groups: {}", self.groups_in_words()),
        ]
    }

    fn families(&self, formatter: &mut Formatter<'_>) -> fmt::Result {
        writeln!(formatter, "\nFamilies of groups (all groups but one may leave)")?;
        for (number, family) in self.families.iter().enumerate() {
            let FamilyFigures { groups, macs_per_group, params_per_group, .. } = family;
            writeln!(
                formatter,
                "  {number}: {groups} groups of {} MACs and {} parameters{}",
                count(*macs_per_group),
                count(*params_per_group),
                if family.exact { "" } else { ", approximate" }
            )?;
            if let Some(reason) = &family.reason {
                writeln!(formatter, "     because {reason}")?;
            }
            for member in &family.members {
                writeln!(formatter, "     {} {} axis {}", member.role, member.tensor, member.axis)?;
            }
        }
        Ok(())
    }
}
