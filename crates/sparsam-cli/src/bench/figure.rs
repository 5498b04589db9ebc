//! What a benchmark shows: a line for each variant over numbers of words, beside the paper's own figures.

use sparsam_train::plot::{Axis, Line, Mark, Panel, Picture, Size, Unit, draw};

use super::WORD_SIZE;
use crate::display::grouped;
use crate::models::is_linked;
use crate::table::ratio;

/// Words with which the paper compares DNC and SDNC.
const LINKED_WORDS: usize = 2048;

/// What the paper measured.
#[derive(Clone, Copy, Debug)]
pub(super) struct InPaper {
    /// The line that it belongs to.
    pub series: &'static str,
    pub words: usize,
    pub value: f64,
    /// How it is told.
    pub told: &'static str,
}

/// A measured point as it is drawn and compared.
#[derive(Clone, Copy, Debug)]
pub(super) struct Place<'a> {
    pub series: &'a str,
    pub model: &'a str,
    pub words: usize,
    /// Every word was stored before.
    pub full: bool,
    pub value: f64,
    /// The dense model's value over this one.
    pub of_dense: Option<f64>,
}

/// The picture of all models without temporal links, or that of those with them.
#[derive(Clone, Copy, Debug)]
pub(super) struct Subject {
    pub title: &'static str,
    pub label: &'static str,
}

/// What the places of a benchmark are and how they are told.
#[derive(Clone, Debug)]
pub(super) struct Figure {
    pub paper: &'static [InPaper],
    /// Without temporal links, and with them.
    pub subjects: [Subject; 2],
    pub subtitle: String,
    pub unit: Unit,
    pub tell: fn(f64) -> String,
    /// What the DNC takes more of than the SDNC, as in "takes 440 times as long as".
    pub more: &'static str,
    /// How much more in the paper.
    pub more_in_paper: f64,
}

impl Figure {
    /// What was measured beside what the paper measured, a line each.
    pub fn beside_the_paper(&self, places: &[Place<'_>]) -> Vec<String> {
        let mut lines = Vec::new();
        for InPaper { series, words, told, .. } in self.paper {
            if let Some(place) = places.iter().find(|place| place.series == *series && place.words == *words) {
                let (words, here) = (grouped(*words as u64), (self.tell)(place.value));
                lines.push(format!("{words} words: {series} {here} here; {told} in Rae et al. 2016"));
            }
        }
        let with_links = |place: &&Place<'_>| place.model == "sdnc" && place.full && place.words == LINKED_WORDS;
        for place in places.iter().filter(with_links) {
            if let Some(times) = place.of_dense {
                let (words, times, series) = (grouped(LINKED_WORDS as u64), ratio(times), place.series);
                let (more, in_paper) = (self.more, self.more_in_paper);
                lines.push(format!(
                    "{words} words: the DNC takes {times} times {more} {series} here; {in_paper} in Rae et al. 2016"
                ));
            }
        }
        if !lines.is_empty() {
            lines.insert(0, String::new());
        }
        lines
    }

    /// The pictures, each after the ending of its file's name.
    pub fn pictures(&self, places: &[Place<'_>]) -> Vec<(String, String)> {
        let all = [(".svg", self.picture(false, places)), ("-dnc.svg", self.picture(true, places))].into_iter();
        all.filter(|(_, picture)| picture.panels.iter().any(|panel| !panel.lines.is_empty()))
            .map(|(end, picture)| (end.into(), draw(&picture)))
            .collect()
    }

    fn picture(&self, linked: bool, places: &[Place<'_>]) -> Picture {
        let mut lines: Vec<Line> = Vec::new();
        for place in places.iter().filter(|place| is_linked(place.model) == linked) {
            let point = (place.words as f64, place.value);
            match lines.iter_mut().find(|line| line.name == place.series) {
                Some(line) => line.points.push(point),
                None => lines.push(Line { faint: !place.full, ..Line::new(place.series, vec![point]) }),
            }
        }
        let in_paper = self.paper.iter().filter(|of| lines.iter().any(|line| line.name == of.series));
        let marks = in_paper.map(|InPaper { series, words, value, told }| Mark {
            of: (*series).into(),
            text: format!("Rae et al. 2016: {told}"),
            point: (*words as f64, *value),
        });
        let marks = marks.collect();
        let in_paper = format!("; Rae et al. 2016: DNC ÷ SDNC = {} at 2k", self.more_in_paper);
        let Subject { title, label } = self.subjects[usize::from(linked)];
        Picture {
            title: title.into(),
            subtitle: format!("{}{}", self.subtitle, if linked { &in_paper } else { "" }),
            x: Axis::new(format!("words of {WORD_SIZE} numbers in memory"), Unit::Words),
            panels: vec![Panel { y: Axis::new(label, self.unit), lines, marks }],
            size: Size::Page,
        }
    }
}
