//! Sequences with targets.

use sparsam::Error;
use sparsam::nn::loss::{self, BITS};

/// What the targets of a task are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TargetKind {
    /// Each output is a bit: binary cross-entropy, in bits; wrong bits are counted.
    Bits,
    /// The outputs are the logits of classes, one of which is right: softmax cross-entropy, in bits; wrong classes are counted.
    Classes,
    /// Each output is a number: squared error, in the squared unit of the targets. None is right or wrong.
    Numbers,
}

impl TargetKind {
    /// All kinds.
    pub const ALL: [Self; 3] = [Self::Bits, Self::Classes, Self::Numbers];

    /// What a target consists of: "bits", "classes" or "numbers".
    pub fn unit(self) -> &'static str {
        match self {
            Self::Bits => "bits",
            Self::Classes => "classes",
            Self::Numbers => "numbers",
        }
    }

    /// The kind whose targets consist of this.
    pub fn by_unit(unit: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.unit() == unit)
    }

    /// Whether outputs are right or wrong.
    pub fn has_wrong(self) -> bool {
        self != Self::Numbers
    }

    /// What losses are means over where a task says nothing else.
    pub(crate) fn per(self) -> Per {
        match self {
            Self::Bits | Self::Classes => Per::Sequence,
            Self::Numbers => Per::Target("number"),
        }
    }

    /// What a loss as [`loss`](sparsam::nn::loss) gives it is multiplied by to be told: cross-entropies are told in bits.
    pub fn scale(self) -> f64 {
        match self {
            Self::Bits | Self::Classes => BITS,
            Self::Numbers => 1.0,
        }
    }

    /// The loss, as it is told, of guessing so many bits or classes, each value as likely as the others.
    pub(crate) fn evenly(self, wanted: u64, output_size: usize) -> f64 {
        match self {
            Self::Classes => wanted as f64 * (output_size.max(1) as f64).log2(),
            Self::Bits | Self::Numbers => wanted as f64,
        }
    }

    /// Bits or numbers in a target, or its one class, where an output has `output_size` numbers.
    fn parts(self, output_size: usize) -> u64 {
        match self {
            Self::Bits | Self::Numbers => output_size as u64,
            Self::Classes => 1,
        }
    }
}

/// What a loss is the mean over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Per {
    /// Sequences: the losses of all targets of a sequence are summed.
    Sequence,
    /// Targets, one of which is called this: "character", "number".
    Target(&'static str),
}

/// What is put out where nothing is known of a sequence: the loss of this is the yardstick for all others.
#[derive(Clone, Debug, Default, PartialEq)]
pub enum Guess {
    /// Each value is as likely as the others: one bit for a bit, log₂ of their number for a class.
    #[default]
    Evenly,
    /// Each class by its frequency: so many bits for it.
    Frequencies(Vec<f64>),
    /// These numbers, such as the means of those trained on; without them 0.
    Numbers(Vec<f32>),
}

impl Guess {
    /// Whether each value of targets of this kind is as likely as the others.
    pub(crate) fn is_even(&self, kind: TargetKind) -> bool {
        match kind {
            TargetKind::Bits => true,
            TargetKind::Classes => !matches!(self, Self::Frequencies(_)),
            TargetKind::Numbers => false,
        }
    }
}

/// What is wanted of an output.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Target<'a> {
    /// These bits, one for each number of the output.
    Bits(&'a [f32]),
    /// This class.
    Class(usize),
    /// These numbers.
    Numbers(&'a [f32]),
}

/// Targets, time step after time step (in a batch: in each step row after row). All that depends on their kind is here.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Targets {
    /// O bits or numbers for each output, and for each output whether they count.
    Vectors { kind: TargetKind, values: Vec<f32>, mask: Vec<bool> },
    /// The class of each output, if it has one.
    Classes(Vec<Option<usize>>),
}

impl Targets {
    pub fn new(kind: TargetKind) -> Self {
        match kind {
            TargetKind::Bits | TargetKind::Numbers => Self::Vectors { kind, values: Vec::new(), mask: Vec::new() },
            TargetKind::Classes => Self::Classes(Vec::new()),
        }
    }

    pub fn kind(&self) -> TargetKind {
        match self {
            Self::Vectors { kind, .. } => *kind,
            Self::Classes(_) => TargetKind::Classes,
        }
    }

    /// Appends a place without a target.
    fn push(&mut self, width: usize) {
        match self {
            Self::Vectors { values, mask, .. } => {
                mask.push(false);
                values.resize(mask.len() * width, 0.0);
            }
            Self::Classes(classes) => classes.push(None),
        }
    }

    /// Room for `outputs` outputs of `width` numbers, without targets.
    pub fn clear(&mut self, outputs: usize, width: usize) {
        match self {
            Self::Vectors { values, mask, .. } => {
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

    /// Puts a target at a place.
    ///
    /// # Panics
    /// If it is of another kind than those beside it, or does not fit outputs of `width` numbers.
    pub fn set(&mut self, place: usize, target: Target<'_>, width: usize) {
        match (self, target) {
            (Self::Vectors { kind: TargetKind::Bits, values, mask }, Target::Bits(vector))
            | (Self::Vectors { kind: TargetKind::Numbers, values, mask }, Target::Numbers(vector)) => {
                assert!(vector.len() == width, "a target has {} numbers, and an output {width}", vector.len());
                values[place * width..(place + 1) * width].copy_from_slice(vector);
                mask[place] = true;
            }
            (Self::Classes(classes), Target::Class(class)) => {
                assert!(class < width, "class {class} of {width} classes");
                classes[place] = Some(class);
            }
            _ => panic!("a target is of another kind than those beside it"),
        }
    }

    /// Puts a target of others, of the same kind, at a place.
    pub fn copy(&mut self, place: usize, others: &Self, other: usize, width: usize) {
        match (self, others) {
            (Self::Vectors { values, mask, .. }, Self::Vectors { values: other_values, mask: other_mask, .. }) => {
                let from = other * width..(other + 1) * width;
                values[place * width..(place + 1) * width].copy_from_slice(&other_values[from]);
                mask[place] = other_mask[other];
            }
            (Self::Classes(classes), Self::Classes(others)) => classes[place] = others[other],
            _ => panic!("the targets of a sequence are of another kind than those of its batch"),
        }
    }

    /// The target at a place; none if it has none.
    pub fn at(&self, place: usize, width: usize) -> Option<Target<'_>> {
        match self {
            Self::Vectors { kind, values, mask } => mask[place].then(|| {
                let vector = &values[place * width..(place + 1) * width];
                if *kind == TargetKind::Bits { Target::Bits(vector) } else { Target::Numbers(vector) }
            }),
            Self::Classes(classes) => classes[place].map(Target::Class),
        }
    }

    /// Bits, classes or numbers wanted.
    pub fn wanted(&self, width: usize) -> u64 {
        let count = match self {
            Self::Vectors { mask, .. } => mask.iter().filter(|used| **used).count(),
            Self::Classes(classes) => classes.iter().flatten().count(),
        };
        count as u64 * self.kind().parts(width)
    }

    /// Bits, classes or numbers wanted at a place.
    pub fn wanted_at(&self, place: usize, width: usize) -> u64 {
        let there = match self {
            Self::Vectors { mask, .. } => mask[place],
            Self::Classes(classes) => classes[place].is_some(),
        };
        if there { self.kind().parts(width) } else { 0 }
    }

    /// How many bits (a logit above 0 says 1) of an output are wrong, or whether its class (the largest logit) is; 0 of
    /// numbers; none if it has no target.
    pub fn wrong(&self, place: usize, output: &[f32]) -> Option<u64> {
        match self {
            Self::Vectors { kind, values, mask } => mask[place].then(|| {
                let bits = &values[place * output.len()..(place + 1) * output.len()];
                let wrong = output.iter().zip(bits).filter(|(output, bit)| (**output > 0.0) != (**bit > 0.5));
                if kind.has_wrong() { wrong.count() as u64 } else { 0 }
            }),
            Self::Classes(classes) => classes[place].map(|class| {
                let right = output[class];
                let wins = output.iter().enumerate().all(|(other, output)| other == class || *output < right);
                u64::from(!wins)
            }),
        }
    }

    /// The loss of outputs, one after the other from a place on: their sum as [`loss`](sparsam::nn::loss) gives it, and
    /// `scale` × its gradient.
    pub fn loss(
        &self,
        from: usize,
        outputs: &[f32],
        width: usize,
        scale: f32,
        gradient: &mut [f32],
    ) -> Result<f64, Error> {
        let places = from..from + outputs.len() / width;
        match self {
            Self::Vectors { kind, values, mask } => {
                let (values, mask) = (&values[places.start * width..places.end * width], &mask[places]);
                let of = if *kind == TargetKind::Bits { loss::binary_cross_entropy } else { loss::squared_error };
                of(outputs, values, mask, width, scale, gradient)
            }
            Self::Classes(classes) => loss::softmax_cross_entropy(outputs, &classes[places], width, scale, gradient),
        }
    }

    /// The loss of guessing at a place, as it is told; 0 if it has no target.
    fn guessed_at(&self, place: usize, width: usize, guess: &Guess) -> f64 {
        match (self, guess) {
            (Self::Classes(classes), Guess::Frequencies(bits)) => {
                classes[place].map_or(0.0, |class| bits.get(class).copied().unwrap_or(f64::INFINITY))
            }
            (Self::Vectors { kind: TargetKind::Numbers, values, mask }, Guess::Numbers(guessed)) if mask[place] => {
                let numbers = &values[place * width..(place + 1) * width];
                numbers.iter().zip(guessed).map(|(number, guessed)| f64::from(number - guessed).powi(2)).sum()
            }
            (Self::Vectors { kind: TargetKind::Numbers, values, mask }, _) if mask[place] => {
                values[place * width..(place + 1) * width].iter().map(|number| f64::from(*number).powi(2)).sum()
            }
            _ => 0.0,
        }
    }

    /// The loss of guessing all that is wanted at these places, as it is told.
    pub fn guessed(&self, width: usize, guess: &Guess) -> f64 {
        let places = match self {
            Self::Vectors { mask, .. } => mask.len(),
            Self::Classes(classes) => classes.len(),
        };
        if guess.is_even(self.kind()) {
            return self.kind().evenly(self.wanted(width), width);
        }
        (0..places).map(|place| self.guessed_at(place, width, guess)).sum()
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
    /// The steps that only ask or tell nothing, in their order.
    questions: Vec<usize>,
}

impl Sequence {
    /// An empty sequence of steps of `input_size` and `output_size` numbers.
    pub fn new(input_size: usize, output_size: usize, kind: TargetKind) -> Self {
        let (inputs, targets) = (Vec::new(), Targets::new(kind));
        Self { input_size, output_size, steps: 0, inputs, targets, answers: Vec::new(), questions: Vec::new() }
    }

    /// Forgets every time step and keeps the room.
    pub fn clear(&mut self) {
        self.steps = 0;
        self.inputs.clear();
        self.targets.clear(0, self.output_size);
        self.answers.clear();
        self.questions.clear();
    }

    /// Time steps.
    pub fn steps(&self) -> usize {
        self.steps
    }

    /// The input at a time step.
    pub fn input(&self, step: usize) -> &[f32] {
        &self.inputs[step * self.input_size..(step + 1) * self.input_size]
    }

    /// The bits wanted at a time step; none if it has no target or the targets are others.
    pub fn bits(&self, step: usize) -> Option<&[f32]> {
        if let Some(Target::Bits(bits)) = self.target(step) { Some(bits) } else { None }
    }

    /// The numbers wanted at a time step; none if it has no target or the targets are others.
    pub fn numbers(&self, step: usize) -> Option<&[f32]> {
        if let Some(Target::Numbers(numbers)) = self.target(step) { Some(numbers) } else { None }
    }

    /// The class wanted at a time step; none if it has no target or the targets are others.
    pub fn class(&self, step: usize) -> Option<usize> {
        if let Some(Target::Class(class)) = self.target(step) { Some(class) } else { None }
    }

    /// What is wanted at a time step; none if it has no target.
    pub fn target(&self, step: usize) -> Option<Target<'_>> {
        self.targets.at(step, self.output_size)
    }

    /// What is wanted, step after step.
    pub(crate) fn targets(&self) -> &Targets {
        &self.targets
    }

    /// Appends a time step without a target; gives its input, all zero, to be filled.
    pub fn step(&mut self) -> &mut [f32] {
        let start = self.inputs.len();
        self.steps += 1;
        self.inputs.resize(start + self.input_size, 0.0);
        self.answers.push((0, false));
        self.targets.push(self.output_size);
        &mut self.inputs[start..]
    }

    /// Appends a time step whose output is to be these bits; gives its input, all zero, to be filled.
    ///
    /// # Panics
    /// If there are not as many bits as outputs, or the targets are others.
    pub fn step_with_bits(&mut self, bits: &[f32]) -> &mut [f32] {
        self.step_with_vector(bits, TargetKind::Bits)
    }

    /// Appends a time step whose output is to be these numbers; gives its input, all zero, to be filled.
    ///
    /// # Panics
    /// If there are not as many numbers as outputs, or the targets are others.
    pub fn step_with_numbers(&mut self, numbers: &[f32]) -> &mut [f32] {
        self.step_with_vector(numbers, TargetKind::Numbers)
    }

    fn step_with_vector(&mut self, vector: &[f32], wanted: TargetKind) -> &mut [f32] {
        self.step();
        let Targets::Vectors { kind, values, mask } = &mut self.targets else {
            panic!("the targets of this sequence are classes");
        };
        assert!(*kind == wanted, "the targets of this sequence are {}", kind.unit());
        let last = mask.len() - 1;
        mask[last] = true;
        values[last * self.output_size..].copy_from_slice(vector);
        &mut self.inputs[last * self.input_size..]
    }

    /// Appends a time step whose output is to be this class; gives its input, all zero, to be filled.
    ///
    /// # Panics
    /// If there are not that many outputs, or the targets are others.
    pub fn step_with_class(&mut self, class: usize) -> &mut [f32] {
        assert!(class < self.output_size, "class {class} of {} classes", self.output_size);
        self.step();
        let Targets::Classes(classes) = &mut self.targets else {
            panic!("the targets of this sequence are no classes");
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

    /// Says that the last time step only asks, or tells nothing that is asked for: its input is not among those to be
    /// [reproduced](crate::Task::reproduced).
    pub fn set_question(&mut self) {
        self.questions.extend(self.steps.checked_sub(1));
    }

    /// Whether a time step only asks, or tells nothing that is asked for.
    pub(crate) fn is_question(&self, step: usize) -> bool {
        self.questions.binary_search(&step).is_ok()
    }

    /// How an output does at a time step: how many bits or classes are wrong, the category of the answer, and whether the
    /// answer goes on with the one before; none if the step has no target.
    pub(crate) fn score(&self, step: usize, output: &[f32]) -> Option<(u64, usize, bool)> {
        let (category, goes_on) = self.answers[step];
        self.targets.wrong(step, output).map(|wrong| (wrong, category as usize, goes_on))
    }
}
