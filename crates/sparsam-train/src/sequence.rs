//! Sequences with targets.

/// What the targets of a task are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TargetKind {
    /// Each output is a bit: binary cross-entropy; wrong bits are counted.
    Bits,
    /// The outputs are the logits of classes, one of which is right: softmax cross-entropy; wrong classes are counted.
    Classes,
}

impl TargetKind {
    /// What is counted when it is wrong.
    pub fn unit(self) -> &'static str {
        match self {
            Self::Bits => "bits",
            Self::Classes => "classes",
        }
    }

    /// What guessing one of them, each as likely as the others, costs in bits: one for a bit, log₂ of their number for a
    /// class. `output_size` is the numbers of an output.
    pub fn guessing(self, output_size: usize) -> f64 {
        match self {
            Self::Bits => 1.0,
            Self::Classes => (output_size.max(1) as f64).log2(),
        }
    }
}

/// Targets, time step after time step (in a batch: in each step row after row).
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Targets {
    /// O bits for each output, and for each output whether they count.
    Bits { values: Vec<f32>, mask: Vec<bool> },
    /// The class of each output, if it has one.
    Classes(Vec<Option<usize>>),
}

impl Targets {
    pub fn new(kind: TargetKind) -> Self {
        match kind {
            TargetKind::Bits => Self::Bits { values: Vec::new(), mask: Vec::new() },
            TargetKind::Classes => Self::Classes(Vec::new()),
        }
    }

    /// How many bits (a logit above 0 says 1) of an output are wrong, or whether its class (the largest logit) is; none
    /// if it has no target.
    pub fn wrong(&self, place: usize, output: &[f32]) -> Option<u64> {
        match self {
            Self::Bits { values, mask } => mask[place].then(|| {
                let bits = &values[place * output.len()..(place + 1) * output.len()];
                output.iter().zip(bits).filter(|(output, bit)| (**output > 0.0) != (**bit > 0.5)).count() as u64
            }),
            Self::Classes(classes) => classes[place].map(|class| {
                let right = output[class];
                let wins = output.iter().enumerate().all(|(other, output)| other == class || *output < right);
                u64::from(!wins)
            }),
        }
    }

    /// Room for `outputs` outputs of `width` numbers, without targets.
    pub fn clear(&mut self, outputs: usize, width: usize) {
        match self {
            Self::Bits { values, mask } => {
                values.clear();
                values.resize(outputs * width, 0.0);
                mask.clear();
                mask.resize(outputs, false);
            }
            Self::Classes(classes) => {
                classes.clear();
                classes.resize(outputs, None);
            }
        }
    }
}

/// One sequence: inputs, and targets for some of its time steps. A task fills it step by step.
#[derive(Clone, Debug, PartialEq)]
pub struct Sequence {
    input_size: usize,
    output_size: usize,
    steps: usize,
    inputs: Vec<f32>,
    targets: Targets,
    /// Of each step: the category of its answer, and whether the answer began at a step before.
    answers: Vec<(u32, bool)>,
}

impl Sequence {
    /// An empty sequence of steps of `input_size` and `output_size` numbers.
    pub fn new(input_size: usize, output_size: usize, kind: TargetKind) -> Self {
        let (inputs, targets, answers) = (Vec::new(), Targets::new(kind), Vec::new());
        Self { input_size, output_size, steps: 0, inputs, targets, answers }
    }

    /// Forgets every time step and keeps the room.
    pub fn clear(&mut self) {
        self.steps = 0;
        self.inputs.clear();
        self.targets.clear(0, self.output_size);
        self.answers.clear();
    }

    /// Time steps.
    pub fn steps(&self) -> usize {
        self.steps
    }

    /// The input at a time step.
    pub fn input(&self, step: usize) -> &[f32] {
        &self.inputs[step * self.input_size..(step + 1) * self.input_size]
    }

    /// The bits wanted at a time step; none if it has no target or the targets are classes.
    pub fn bits(&self, step: usize) -> Option<&[f32]> {
        match &self.targets {
            Targets::Bits { values, mask } if mask[step] => {
                Some(&values[step * self.output_size..(step + 1) * self.output_size])
            }
            _ => None,
        }
    }

    /// The class wanted at a time step; none if it has no target or the targets are bits.
    pub fn class(&self, step: usize) -> Option<usize> {
        match &self.targets {
            Targets::Bits { .. } => None,
            Targets::Classes(classes) => classes[step],
        }
    }

    /// Appends a time step without a target; gives its input, all zero, to be filled.
    pub fn step(&mut self) -> &mut [f32] {
        let start = self.inputs.len();
        self.steps += 1;
        self.inputs.resize(start + self.input_size, 0.0);
        self.answers.push((0, false));
        match &mut self.targets {
            Targets::Bits { values, mask } => {
                values.resize(self.steps * self.output_size, 0.0);
                mask.push(false);
            }
            Targets::Classes(classes) => classes.push(None),
        }
        &mut self.inputs[start..]
    }

    /// Appends a time step whose output is to be these bits; gives its input, all zero, to be filled.
    ///
    /// # Panics
    /// If there are not as many bits as outputs, or the targets are classes.
    pub fn step_with_bits(&mut self, bits: &[f32]) -> &mut [f32] {
        self.step();
        let Targets::Bits { values, mask } = &mut self.targets else {
            panic!("the targets of this sequence are classes");
        };
        let last = mask.len() - 1;
        mask[last] = true;
        values[last * self.output_size..].copy_from_slice(bits);
        &mut self.inputs[last * self.input_size..]
    }

    /// Appends a time step whose output is to be this class; gives its input, all zero, to be filled.
    ///
    /// # Panics
    /// If there are not that many outputs, or the targets are bits.
    pub fn step_with_class(&mut self, class: usize) -> &mut [f32] {
        assert!(class < self.output_size, "class {class} of {} classes", self.output_size);
        self.step();
        let Targets::Classes(classes) = &mut self.targets else {
            panic!("the targets of this sequence are bits");
        };
        let last = classes.len() - 1;
        classes[last] = Some(class);
        &mut self.inputs[last * self.input_size..]
    }
}

impl Sequence {
    /// Says of which [category](crate::Categories) the target of the last time step is, and whether it goes on with the
    /// answer of the target before it: an answer is right if all of its targets are. Otherwise every target is an answer
    /// of its own, of category 0.
    pub fn set_answer(&mut self, category: usize, goes_on: bool) {
        if let Some(last) = self.answers.last_mut() {
            *last = (category as u32, goes_on);
        }
    }

    /// How an output does at a time step: how many bits or classes are wrong, the category of the answer, and whether the
    /// answer goes on with the one before; none if the step has no target.
    pub(crate) fn score(&self, step: usize, output: &[f32]) -> Option<(u64, usize, bool)> {
        let (category, goes_on) = self.answers[step];
        self.targets.wrong(step, output).map(|wrong| (wrong, category as usize, goes_on))
    }
}
