use std::collections::BTreeMap;
use std::io::Cursor;
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use sparsam::option::Declared;

use super::{Categories, Channels, Draw, Given, Options, Source, Task, check_option};
use crate::data::archive::{self, Limits};
use crate::data::sums::ContentSum;
use crate::sequence::TargetKind;
use crate::{Error, Random, Stream};

sparsam::options! {
    /// One-shot classification of handwritten characters (Lake et al. 2015, as a sequence: Santoro et al. 2016).
    ///
    /// An episode takes some characters and gives each a random label for as long as it lasts. Each comes ten times, in random
    /// order, as any of its drawings; a step's input is a drawing, scaled to 20×20, and behind it the label of the drawing
    /// before, one channel for each label. The output is to be the drawing's own label, one class for each. A level is the
    /// number of characters.
    ///
    /// The labels of an episode are drawn from the first few, as many as the number of characters rounded up to a power of two
    /// (ours): a network has to learn to write and to read each label by itself, and with five characters does so in 50,000
    /// episodes if they share eight labels, and has learnt nothing after as many if there are a hundred.
    ///
    /// For the episode every character is turned and stretched: by a quarter turn or several, which count as characters of their
    /// own, as in Santoro et al.; and, the same for all of its drawings, by up to π/16 and up to a tenth in width and height
    /// (the paper leaves the sizes open). Santoro et al. also move drawings, which [`translation`](Self::translation) does.
    ///
    /// Alphabets are never shared: of the background set every fifth, in the order of their names, is held out from training.
    /// Networks are evaluated on the evaluation set, if it is there, else on what is held out.
    #[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
    #[serde(default, deny_unknown_fields)]
    pub struct Omniglot {
        /// The folder of the official archives.
        ///
        /// The folder of the official zips, or of the folders that they unpack to.
        pub data: String = "data".into();
        /// Labels that there are.
        ///
        /// And so the most characters in an episode.
        pub labels: usize = 500, in 1..=1 << 16;
        /// Characters in the shortest episode.
        pub min_characters: usize = 1, in 1..=1 << 16;
        /// Characters in the longest episode.
        pub max_characters: usize = 5, in 1..=1 << 16;
        /// In training, move every drawing by up to so many of its 105 pixels each way (Santoro et al. 2016, section 4.1).
        ///
        /// Each drawing by itself, by its own random numbers of rows and of columns, before it is turned and stretched. Ink that
        /// leaves the 105×105 pixels is lost, which begins at about 10. What it is worth was not measured.
        pub translation: usize = 0, in 0..=52;
    }
}

/// The name of the archive that is trained on.
pub const BACKGROUND: &str = "images_background.zip";

/// The name of the archive that is evaluated on.
pub const EVALUATION: &str = "images_evaluation.zip";

/// Times that a character comes in an episode.
const PRESENTATIONS: usize = 10;

/// Pixels of a side as the network sees it.
const SIDE: usize = 20;

/// Pixels of a side of the official drawings.
const DRAWN_SIDE: usize = 105;

/// One alphabet of five is held out.
const HELD_OUT: usize = 5;

/// The largest turn beside the quarter turns.
const LARGEST_TURN: f64 = std::f64::consts::PI / 16.0;

/// The largest stretch.
const LARGEST_STRETCH: f64 = 0.1;

/// The official archives hold 20,000 files of a few hundred bytes each.
const LIMITS: Limits = Limits { entries: 100_000, file_bytes: 1 << 20, bytes: 1 << 28 };

impl Options for Omniglot {
    fn batches(&self) -> u64 {
        100_000
    }

    // Nobody can know the label of a character's first instance: a tenth of 6 bits for each, with 64 labels. Who guesses
    // among the labels seen before loses 1.4 bits with up to four characters, and more with more.
    fn threshold(&self) -> f64 {
        1.0
    }

    fn reads_files(&self) -> bool {
        true
    }

    fn reproduces_nothing(&self) -> Option<&'static str> {
        Some("an output is a label and an input a picture; leave it at 0")
    }

    fn check(&self) -> Result<(), Error> {
        self.check_options()?;
        check_option("max_characters", self.max_characters, 1..=self.labels)?;
        check_option("min_characters", self.min_characters, 1..=self.max_characters)
    }

    fn build(&self, given: Given<'_>) -> Result<Box<dyn Task>, Error> {
        self.check()?;
        let mut sets = Sets {
            options: self.clone(),
            training: Vec::new(),
            held_out: Vec::new(),
            evaluation: Vec::new(),
            sum: String::new(),
        };
        let mut sum = ContentSum::default();
        if let Some(path) = given.evaluation_files {
            let path = place_of(path, EVALUATION).unwrap_or_else(|| path.to_owned());
            sets.evaluation = characters(read(&path, &mut sum)?);
            sets.check(&path, "to evaluate on", &sets.evaluation)?;
            sets.sum = sum.finish();
            return Ok(Box::new(sets));
        }
        let data = &given.place_of_data(&self.data)?;
        let Some(background) = place_of(data, BACKGROUND) else {
            let reason = format!("it holds no {BACKGROUND}, nor what that unpacks to; get it with sparsam data fetch");
            return Err(Error::data(data.display(), reason));
        };
        let alphabets = read(&background, &mut sum)?;
        sets.sum = sum.finish();
        let (held_out, training): (Vec<_>, Vec<_>) =
            alphabets.into_iter().enumerate().partition(|(number, _)| number % HELD_OUT == HELD_OUT - 1);
        sets.training = characters(training.into_iter().map(|(_, alphabet)| alphabet));
        sets.held_out = characters(held_out.into_iter().map(|(_, alphabet)| alphabet));
        sets.check(&background, "to train on", &sets.training)?;
        sets.check(&background, "held out", &sets.held_out)?;
        if let Some(evaluation) = place_of(data, EVALUATION) {
            // It may come later: nothing is trained on it.
            sets.evaluation = characters(read(&evaluation, &mut ContentSum::default())?);
            sets.check(&evaluation, "to evaluate on", &sets.evaluation)?;
        }
        Ok(Box::new(sets))
    }
}

/// Where the archives may lie in a folder of data: in it, in the folder that torchvision keeps them in, and in those of the
/// authors' repository, `omniglot/python`.
const FOLDERS: [&str; 5] = ["", "omniglot-py", "python", "omniglot/python", "omniglot"];

/// The archive of that name in a folder of data, or the folder that it unpacks to. Either may be named itself.
pub fn place_of(data: &Path, archive: &str) -> Option<PathBuf> {
    let unpacked = archive.trim_end_matches(".zip");
    if data.file_name().is_some_and(|name| name == archive || name == unpacked) && data.exists() {
        return Some(data.to_owned());
    }
    FOLDERS.iter().find_map(|folder| {
        let (zip, unpacked) = (data.join(folder).join(archive), data.join(folder).join(unpacked));
        // What is there under the archive's name and is no file is named when it is opened.
        if zip.exists() && !zip.is_dir() { Some(zip) } else { unpacked.is_dir().then_some(unpacked) }
    })
}

/// Says what an archive holds.
pub fn contents(path: &Path) -> Result<String, Error> {
    let alphabets = read(path, &mut ContentSum::default())?;
    let count = alphabets.len();
    let characters = characters(alphabets);
    let drawings: usize = characters.iter().map(Vec::len).sum();
    Ok(format!("{drawings} drawings of {} characters of {count} alphabets", characters.len()))
}

/// The drawings of a character.
type Character = Vec<Drawing>;

/// The characters of an alphabet, by name.
type Alphabet = BTreeMap<String, Character>;

fn characters(alphabets: impl IntoIterator<Item = Alphabet>) -> Vec<Character> {
    alphabets.into_iter().flat_map(BTreeMap::into_values).collect()
}

/// Reads the alphabets of an archive or folder, in the order of their names.
fn read(path: &Path, sum: &mut ContentSum) -> Result<Vec<Alphabet>, Error> {
    let wanted = |name: &str| name.ends_with(".png") && name.matches('/').count() >= 2;
    let mut alphabets: BTreeMap<String, Alphabet> = BTreeMap::new();
    for entry in archive::read(path, LIMITS, &wanted)? {
        let mut parts = entry.name.rsplit('/').skip(1);
        let (Some(character), Some(alphabet)) = (parts.next(), parts.next()) else { continue };
        [alphabet.as_bytes(), character.as_bytes(), &entry.bytes].into_iter().for_each(|part| sum.add(part));
        let drawing = Drawing::decode(&entry.bytes).map_err(|reason| Error::data(&entry.place, reason))?;
        let characters = alphabets.entry(alphabet.to_owned()).or_default();
        characters.entry(character.to_owned()).or_default().push(drawing);
    }
    if alphabets.is_empty() {
        let reason = "it holds no drawings; files such as Greek/character01/0394_01.png were expected";
        return Err(Error::data(path.display(), reason));
    }
    Ok(alphabets.into_values().collect())
}

/// A drawing: which of its 105×105 pixels are ink, row after row.
#[derive(Clone, Debug, PartialEq)]
struct Drawing(Vec<u64>);

impl Drawing {
    fn decode(bytes: &[u8]) -> Result<Self, String> {
        let wrong = |error: png::DecodingError| format!("it is no PNG picture ({error}); get the archive again");
        let mut decoder = png::Decoder::new_with_limits(Cursor::new(bytes), png::Limits { bytes: 1 << 20 });
        decoder.set_transformations(png::Transformations::normalize_to_color8());
        let mut reader = decoder.read_info().map_err(wrong)?;
        let (width, height) = (reader.info().width, reader.info().height);
        if (width as usize, height as usize) != (DRAWN_SIDE, DRAWN_SIDE) {
            return Err(format!("a picture of {DRAWN_SIDE}×{DRAWN_SIDE} pixels was expected, not {width}×{height}"));
        }
        let mut pixels = vec![0; reader.output_buffer_size().unwrap_or(0)];
        let frame = reader.next_frame(&mut pixels).map_err(wrong)?;
        let samples = frame.color_type.samples();
        let mut ink = vec![0; (DRAWN_SIDE * DRAWN_SIDE).div_ceil(64)];
        let mut inked = 0;
        for row in 0..DRAWN_SIDE {
            for column in 0..DRAWN_SIDE {
                let place = row * frame.line_size + column * samples;
                if pixels.get(place..place + samples).is_some_and(is_ink) {
                    let place = row * DRAWN_SIDE + column;
                    ink[place / 64] |= 1 << (place % 64);
                    inked += 1;
                }
            }
        }
        // Drawings that are all alike would be learnt from without a word.
        if inked == 0 || inked == DRAWN_SIDE * DRAWN_SIDE {
            let all = if inked == 0 { "light" } else { "dark" };
            return Err(format!(
                "nothing is to be seen on it: all of it is {all}, where dark ink on light ground was expected"
            ));
        }
        Ok(Self(ink))
    }

    /// Writes 20×20 pixels, row after row: the share of ink in each of the drawing moved by `down` rows and `right` columns,
    /// turned and stretched.
    fn draw(&self, pose: &Pose, [down, right]: [isize; 2], pixels: &mut [f32]) {
        let mut ink = [0u16; PIXELS + 1];
        for (number, word) in self.0.iter().enumerate() {
            let mut left = *word;
            while left != 0 {
                let mut place = number * 64 + left.trailing_zeros() as usize;
                left &= left - 1;
                if (down, right) != (0, 0) {
                    let moved = |from: usize, by: isize| from.checked_add_signed(by).filter(|to| *to < DRAWN_SIDE);
                    let (row, column) = (moved(place / DRAWN_SIDE, down), moved(place % DRAWN_SIDE, right));
                    let (Some(row), Some(column)) = (row, column) else { continue };
                    place = row * DRAWN_SIDE + column;
                }
                ink[usize::from(pose.seen_in[place])] += 1;
            }
        }
        for ((pixel, ink), drawn) in pixels.iter_mut().zip(&ink[..PIXELS]).zip(&pose.drawn) {
            *pixel = f32::from(*ink) / f32::from((*drawn).max(1));
        }
    }
}

/// Whether a pixel looks dark on white paper: of grey or of red, green and blue, and how opaque it is behind them.
fn is_ink(pixel: &[u8]) -> bool {
    let grey = |pixel: &[u8]| match pixel {
        // The weights by which an eye sees them (ITU-R BT.601).
        [red, green, blue] => (299 * u32::from(*red) + 587 * u32::from(*green) + 114 * u32::from(*blue)) / 1000,
        _ => u32::from(pixel[0]),
    };
    let (grey, opaque) = match pixel {
        [colours @ .., opaque] if pixel.len().is_multiple_of(2) => (grey(colours), u32::from(*opaque)),
        colours => (grey(colours), 255),
    };
    grey * opaque + 255 * (255 - opaque) < 128 * 255
}

/// Pixels as the network sees them.
const PIXELS: usize = SIDE * SIDE;

/// How a character stands in an episode. Its drawings are all seen the same way: where their pixels go is found once, and a
/// drawing then costs no more than its ink.
#[derive(Clone, Debug)]
struct Pose {
    /// For each pixel of a drawing the one that its middle is seen in; [`PIXELS`] if it is out of sight.
    seen_in: Vec<u16>,
    /// For each pixel how many of a drawing's are seen in it; the last are out of sight.
    drawn: [u16; PIXELS + 1],
}

impl Pose {
    /// Turned by so many quarters and a little more, and stretched a little.
    fn random(quarters: usize, random: &mut Random) -> Self {
        let mut uniform = |largest: f64| largest * (2.0 * random.unit() - 1.0);
        let turn = quarters as f64 * std::f64::consts::FRAC_PI_2 + uniform(LARGEST_TURN);
        let (width, height) = (1.0 + uniform(LARGEST_STRETCH), 1.0 + uniform(LARGEST_STRETCH));
        Self::new(turn, width, height)
    }

    /// Stretched to multiples of the width and the height, then turned, in radians.
    fn new(turn: f64, width: f64, height: f64) -> Self {
        let (sine, cosine) = (turn.sin() as f32, turn.cos() as f32);
        let from_middle = |place: usize| (place as f32 + 0.5) * (SIDE as f32 / DRAWN_SIDE as f32) - SIDE as f32 / 2.0;
        // Casts round towards 0, so that what is negative is moved above it: `floor` is slow where it is not an instruction.
        let pixel = |from_middle: f32| (from_middle + SIDE as f32 / 2.0 + SIDE as f32) as usize;
        let (mut seen_in, mut drawn) = (Vec::with_capacity(DRAWN_SIDE * DRAWN_SIDE), [0; PIXELS + 1]);
        for row in 0..DRAWN_SIDE {
            let y = from_middle(row) * height as f32;
            for column in 0..DRAWN_SIDE {
                let x = from_middle(column) * width as f32;
                let (row, column) = (pixel(cosine * y + sine * x), pixel(cosine * x - sine * y));
                let seen = (SIDE..2 * SIDE).contains(&row) && (SIDE..2 * SIDE).contains(&column);
                let place = if seen { (row - SIDE) * SIDE + column - SIDE } else { PIXELS };
                seen_in.push(place as u16);
                drawn[place] += 1;
            }
        }
        Self { seen_in, drawn }
    }
}

/// Characters to train on, held out, and to evaluate on.
struct Sets {
    options: Omniglot,
    training: Vec<Character>,
    held_out: Vec<Character>,
    /// None if there is no such set.
    evaluation: Vec<Character>,
    /// Of the background set, or of the set that alone is there.
    sum: String,
}

impl Sets {
    fn check(&self, path: &Path, what: &str, characters: &[Character]) -> Result<(), Error> {
        let (there, labels) = (4 * characters.len(), self.options.labels);
        if there >= labels {
            return Ok(());
        }
        let reason = format!(
            "it has {} characters {what}, which in four directions each are {there}; for {labels} labels more were \
             expected, or lower labels",
            characters.len()
        );
        Err(Error::data(path.display(), reason))
    }
}

/// A character of an episode.
struct Shown<'a> {
    drawings: &'a [Drawing],
    pose: Pose,
    label: usize,
    /// Times that it has come.
    times: usize,
}

impl Task for Sets {
    fn name(&self) -> &'static str {
        "omniglot"
    }

    fn channels(&self) -> Channels {
        let labels = self.options.labels;
        Channels { input_size: PIXELS + labels, output_size: labels, target_kind: TargetKind::Classes }
    }

    fn level_unit(&self) -> &'static str {
        "characters"
    }

    fn default_levels(&self) -> RangeInclusive<usize> {
        self.options.min_characters..=self.options.max_characters
    }

    fn possible_levels(&self) -> RangeInclusive<usize> {
        1..=self.options.labels
    }

    fn steps(&self, level: usize) -> usize {
        PRESENTATIONS * level
    }

    fn start(&self, draw: Draw) -> Source<'_> {
        let Draw { level, stream, mut random, .. } = draw;
        let set = match stream {
            Stream::Evaluation if !self.evaluation.is_empty() => &self.evaluation,
            Stream::Evaluation | Stream::Validation => &self.held_out,
            Stream::Training | Stream::Levels | Stream::Dropout | Stream::Refreshing => &self.training,
        };
        // Who built the task to evaluate has no others.
        let set = if set.is_empty() { &self.evaluation } else { set };
        let directed = random.distinct(level, 4 * set.len());
        let labels = random.distinct(level, level.next_power_of_two().min(self.options.labels));
        let mut shown: Vec<Shown<'_>> = directed
            .into_iter()
            .zip(labels)
            .map(|(number, label)| {
                let pose = Pose::random(number % 4, &mut random);
                Shown { drawings: &set[number / 4], pose, label, times: 0 }
            })
            .collect();
        let translation = if stream == Stream::Training { self.options.translation } else { 0 };
        let mut order = random.distinct(PRESENTATIONS * level, PRESENTATIONS * level).into_iter();
        let mut label_before = None;
        Box::new(move |sequence| {
            let Some(place) = order.next() else { return false };
            let character = &mut shown[place % level];
            let drawing = &character.drawings[random.below(character.drawings.len())];
            let input = sequence.step_with_class(character.label);
            // Sequences without a translation draw no numbers for it, and are those of before there was one.
            let mut by = || random.below(2 * translation + 1) as isize - translation as isize;
            let moved = if translation == 0 { [0, 0] } else { [by(), by()] };
            drawing.draw(&character.pose, moved, input);
            if let Some(label) = label_before.replace(character.label) {
                input[PIXELS + label] = 1.0;
            }
            sequence.set_answer(character.times, false);
            character.times += 1;
            true
        })
    }

    fn categories(&self) -> Option<Categories> {
        let names = (1..=PRESENTATIONS).map(|time| time.to_string()).collect();
        Some(Categories { unit: "instance", names, failed_above: None })
    }

    fn kept(&self) -> Option<Value> {
        Some(json!({ "sha256": self.sum }))
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::sequence::Sequence;

    /// A picture whose pixels are ink where the function says.
    fn picture(side: u32, ink: impl Fn(u32, u32) -> bool) -> Vec<u8> {
        let mut bytes = Vec::new();
        let mut encoder = png::Encoder::new(&mut bytes, side, side);
        encoder.set_color(png::ColorType::Grayscale);
        encoder.set_depth(png::BitDepth::One);
        let mut rows = Vec::new();
        for row in 0..side {
            let mut line = vec![0u8; (side as usize).div_ceil(8)];
            for column in (0..side).filter(|column| !ink(row, *column)) {
                line[column as usize / 8] |= 0x80 >> (column % 8);
            }
            rows.extend(line);
        }
        encoder.write_header().unwrap().write_image_data(&rows).unwrap();
        bytes
    }

    /// Alphabets of two characters, each with two drawings: bars whose thickness tells the alphabet.
    fn write_small(folder: &Path, set: &str, alphabets: u32, first: u32) {
        write_bars(folder, set, alphabets, |alphabet| 5 + 3 * (first + alphabet));
    }

    /// The same with bars of this thickness.
    fn write_bars(folder: &Path, set: &str, alphabets: u32, thick: impl Fn(u32) -> u32) {
        for alphabet in 0..alphabets {
            for character in 0..2 {
                let path = folder.join(set).join(format!("Alphabet{alphabet:02}/character{character:02}"));
                fs::create_dir_all(&path).unwrap();
                for drawing in 0..2 {
                    let thick = thick(alphabet);
                    let bytes = picture(105, |row, column| if character == 0 { row < thick } else { column < thick });
                    fs::write(path.join(format!("0001_{drawing:02}.png")), bytes).unwrap();
                }
            }
        }
    }

    fn small(folder: &Path) -> Omniglot {
        Omniglot { data: folder.display().to_string(), labels: 8, min_characters: 1, max_characters: 3, translation: 0 }
    }

    fn generate(task: &dyn Task, level: usize, stream: Stream, number: u64) -> Sequence {
        let mut sequence = task.sequence();
        task.generate(Draw::new(&(level..=level), 1, stream, number), &mut sequence);
        sequence
    }

    fn message(options: &Omniglot) -> String {
        let error = options.build(Given::default()).err().unwrap();
        assert!(error.is_usage(), "{error:?}");
        error.to_string()
    }

    #[test]
    fn drawings_are_scaled_and_turned() {
        // The upper fifth is ink: four rows of pixels.
        let drawing = Drawing::decode(&picture(105, |row, _| row < 21)).unwrap();
        let seen = |quarters: u32| {
            let mut pixels = [0.0; PIXELS];
            let turn = f64::from(quarters) * std::f64::consts::FRAC_PI_2;
            drawing.draw(&Pose::new(turn, 1.0, 1.0), [0, 0], &mut pixels);
            pixels
        };
        let upright = seen(0);
        assert!(upright[..80].iter().all(|pixel| *pixel == 1.0) && upright[80..].iter().all(|pixel| *pixel == 0.0));
        let upside_down = seen(2);
        assert!(upside_down[..300].iter().all(|pixel| *pixel == 0.0));
        assert!(upside_down[320..].iter().all(|pixel| *pixel == 1.0));
        let lying = seen(1);
        let columns = [0, 19].map(|column| (0..SIDE).map(|row| lying[row * SIDE + column]).sum::<f32>());
        assert!(columns.contains(&20.0) && columns.contains(&0.0), "{columns:?}");
        // Stretched to twice the height, the upper edge lies outside.
        let mut pixels = [0.0; PIXELS];
        drawing.draw(&Pose::new(0.0, 1.0, 1.25), [0, 0], &mut pixels);
        assert!(pixels[..40].iter().all(|pixel| *pixel == 1.0) && pixels[60..].iter().all(|pixel| *pixel == 0.0));
    }

    #[test]
    fn drawings_are_moved_and_leave_the_picture() {
        // A square of 21 pixels in the middle: four pixels a side.
        let middle = |place: u32| (42..63).contains(&place);
        let drawing = Drawing::decode(&picture(105, |row, column| middle(row) && middle(column))).unwrap();
        let upright = Pose::new(0.0, 1.0, 1.0);
        let seen = |moved| {
            let mut pixels = [0.0; PIXELS];
            drawing.draw(&upright, moved, &mut pixels);
            (0..PIXELS)
                .filter(|pixel| pixels[*pixel] == 1.0)
                .map(|pixel| [pixel / SIDE, pixel % SIDE])
                .collect::<Vec<_>>()
        };
        let square = |rows: std::ops::Range<usize>, columns: std::ops::Range<usize>| -> Vec<[usize; 2]> {
            rows.flat_map(|row| columns.clone().map(move |column| [row, column])).collect()
        };
        assert_eq!(seen([0, 0]), square(8..12, 8..12));
        assert_eq!(seen([21, -42]), square(12..16, 0..4));
        assert_eq!(seen([-42, 52]), square(0..4, 18..20));
        assert!(seen([-63, 0]).is_empty());
        assert!(seen([0, 63]).is_empty());
    }

    #[test]
    fn drawings_are_moved_in_training_alone() {
        let folder = tempfile::tempdir().unwrap();
        write_small(folder.path(), "images_background", 10, 0);
        let still = small(folder.path());
        let moving = Omniglot { translation: 20, ..still.clone() };
        let [still, moving] = [still, moving].map(|options| options.build(Given::default()).unwrap());
        let inputs = |task: &dyn Task, stream| -> Vec<f32> {
            let sequence = generate(task, 3, stream, 1);
            (0..30).flat_map(|step| sequence.input(step)[..PIXELS].to_vec()).collect()
        };
        for stream in [Stream::Validation, Stream::Evaluation] {
            assert_eq!(inputs(&*still, stream), inputs(&*moving, stream));
        }
        assert_ne!(inputs(&*still, Stream::Training), inputs(&*moving, Stream::Training));
        // A character, whose two drawings are alike, is seen at many places.
        let sequence = generate(&*moving, 1, Stream::Training, 2);
        let seen: std::collections::BTreeSet<Vec<u32>> =
            (0..10).map(|step| sequence.input(step)[..PIXELS].iter().map(|pixel| pixel.to_bits()).collect()).collect();
        assert!(seen.len() > 2, "{}", seen.len());
        let far = Omniglot { translation: 53, ..small(folder.path()) };
        assert!(far.check().unwrap_err().to_string().starts_with("translation = 53"));
    }

    #[test]
    fn episodes_show_each_character_ten_times_with_the_label_before() {
        let folder = tempfile::tempdir().unwrap();
        write_small(folder.path(), "images_background", 10, 0);
        let task = small(folder.path()).build(Given::default()).unwrap();
        let outputs = [0.0; 8];
        for number in 0..20 {
            let sequence = generate(&*task, 3, Stream::Training, number);
            assert_eq!(sequence.steps(), 30);
            let mut times = [0; 8];
            for step in 0..30 {
                let label = sequence.class(step).unwrap();
                // The category is how often the character has come before.
                assert_eq!(sequence.score(step, &outputs), Some((1, times[label], false)));
                times[label] += 1;
                let before: Vec<f32> = (0..8).map(|label| sequence.input(step)[400 + label]).collect();
                let expected: Vec<f32> = (0..8)
                    .map(|label| f32::from(u8::from(step > 0 && sequence.class(step - 1) == Some(label))))
                    .collect();
                assert_eq!(before, expected);
            }
            times.sort_unstable();
            assert_eq!(times, [0, 0, 0, 0, 0, 10, 10, 10]);
        }
    }

    #[test]
    fn labels_are_as_many_as_the_characters_rounded_up() {
        let folder = tempfile::tempdir().unwrap();
        write_small(folder.path(), "images_background", 10, 0);
        let options = Omniglot { labels: 6, max_characters: 6, ..small(folder.path()) };
        let task = options.build(Given::default()).unwrap();
        for (characters, labels) in [(1, 1), (2, 2), (3, 4), (4, 4), (5, 6), (6, 6)] {
            let sequences = (0..50).map(|number| generate(&*task, characters, Stream::Training, number));
            let seen: std::collections::BTreeSet<usize> = sequences
                .flat_map(|it| (0..it.steps()).map(|step| it.class(step).unwrap()).collect::<Vec<_>>())
                .collect();
            assert!(seen.into_iter().eq(0..labels), "{characters}");
        }
    }

    #[test]
    fn alphabets_are_not_shared() {
        let folder = tempfile::tempdir().unwrap();
        // Those held out are the fifth and the tenth.
        let thick = |alphabet| if alphabet % 5 == 4 { 50 } else { 15 };
        write_bars(folder.path(), "images_background", 10, thick);
        let (background, held_out, evaluation) = (0.05..0.25, 0.3..0.6, 0.65..1.0);
        let check = |task: &dyn Task, stream, expected: &std::ops::Range<f32>| {
            for number in 0..60 {
                let sequence = generate(task, 1, stream, number);
                let ink = (0..10).map(|step| sequence.input(step)[..PIXELS].iter().sum::<f32>() / 400.0);
                ink.for_each(|ink| assert!(expected.contains(&ink), "{stream:?} {number}: {ink} not in {expected:?}"));
            }
        };
        let task = small(folder.path()).build(Given::default()).unwrap();
        check(&*task, Stream::Training, &background);
        check(&*task, Stream::Validation, &held_out);
        check(&*task, Stream::Evaluation, &held_out);
        // With a set of its own the evaluation is on that one.
        write_bars(folder.path(), "images_evaluation", 4, |_| 95);
        let task = small(folder.path()).build(Given::default()).unwrap();
        check(&*task, Stream::Training, &background);
        check(&*task, Stream::Validation, &held_out);
        check(&*task, Stream::Evaluation, &evaluation);
        let other = tempfile::tempdir().unwrap();
        write_bars(other.path(), "mine", 4, |_| 95);
        let path = other.path().join("mine");
        let given = Given { evaluation_files: Some(&path), ..Given::default() };
        let nowhere = Omniglot { data: "none".into(), ..small(folder.path()) }.build(given).unwrap();
        // It is all that there is, whatever it is to be for.
        for stream in [Stream::Training, Stream::Validation, Stream::Evaluation] {
            check(&*nowhere, stream, &evaluation);
        }
    }

    #[test]
    fn the_sum_is_of_what_is_trained_on() {
        let folder = tempfile::tempdir().unwrap();
        write_small(folder.path(), "images_background", 10, 0);
        let kept = || small(folder.path()).build(Given::default()).unwrap().kept().unwrap();
        let before = kept();
        assert_eq!(before["sha256"].as_str().unwrap().len(), 64);
        write_small(folder.path(), "images_evaluation", 4, 20);
        assert_eq!(kept(), before);
        // The alphabets behind a new one move up, and others are held out.
        let background = folder.path().join("images_background");
        fs::rename(background.join("Alphabet09"), background.join("Aardvark")).unwrap();
        assert_ne!(kept(), before);
        fs::rename(background.join("Aardvark"), background.join("Alphabet09")).unwrap();
        assert_eq!(kept(), before);
        fs::write(background.join("Alphabet03/character01/0001_01.png"), picture(105, |row, _| row < 99)).unwrap();
        assert_ne!(kept(), before);
    }

    #[test]
    fn what_is_missing_or_malformed_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let options = small(folder.path());
        assert!(message(&options).contains("it holds no images_background.zip, nor what that unpacks to"));
        fs::create_dir(folder.path().join("images_background")).unwrap();
        assert!(message(&options).contains("files such as Greek/character01/0394_01.png were expected"));
        write_small(folder.path(), "images_background", 4, 0);
        let few = message(&options);
        assert!(few.contains("it has 0 characters held out") && few.contains("or lower labels"), "{few}");
        write_small(folder.path(), "images_background", 10, 0);
        let file = "images_background/Alphabet03/character01/0001_01.png";
        fs::write(folder.path().join(file), picture(100, |_, _| true)).unwrap();
        let small_picture = message(&options);
        assert!(small_picture.contains(file) && small_picture.contains("105×105 pixels was expected, not 100×100"));
        fs::write(folder.path().join(file), "no picture").unwrap();
        assert!(message(&options).contains("it is no PNG picture"));
        assert!(
            Omniglot { max_characters: 9, ..options }.check().unwrap_err().to_string().starts_with("max_characters")
        );
    }

    /// A drawing looks the same in every kind of picture, and so it is read.
    #[test]
    fn every_kind_of_picture_is_seen_as_it_looks() {
        use png::{BitDepth, ColorType};
        let ink = |row: u32, column: u32| row < 30 && column < 50;
        let plain = Drawing::decode(&picture(105, ink)).unwrap();
        let encode = |kind: ColorType, depth: BitDepth, pixel: &dyn Fn(bool) -> Vec<u8>| {
            let mut bytes = Vec::new();
            let mut encoder = png::Encoder::new(&mut bytes, 105, 105);
            encoder.set_color(kind);
            encoder.set_depth(depth);
            if kind == ColorType::Indexed {
                encoder.set_palette(vec![250, 250, 250, 9, 9, 9]);
            }
            let pixels = (0..105).flat_map(|row| (0..105).map(move |column| pixel(ink(row, column))));
            encoder.write_header().unwrap().write_image_data(&pixels.flatten().collect::<Vec<u8>>()).unwrap();
            bytes
        };
        let (eight, sixteen) = (BitDepth::Eight, BitDepth::Sixteen);
        let of = |dark: &'static [u8], light: &'static [u8]| move |ink: bool| if ink { dark } else { light }.to_vec();
        let kinds: Vec<Vec<u8>> = vec![
            encode(ColorType::Grayscale, eight, &of(&[40], &[200])),
            encode(ColorType::Grayscale, sixteen, &of(&[40, 0], &[200, 255])),
            encode(ColorType::Rgb, eight, &of(&[255, 0, 0], &[255, 255, 250])),
            encode(ColorType::Rgb, sixteen, &of(&[0, 9, 0, 9, 160, 9], &[255; 6])),
            encode(ColorType::Indexed, eight, &of(&[1], &[0])),
            // Black ink on a transparent ground whose colours are 0, as picture programs export it, and on white.
            encode(ColorType::Rgba, eight, &of(&[0, 0, 0, 255], &[0, 0, 0, 0])),
            encode(ColorType::Rgba, eight, &of(&[20, 20, 20, 200], &[255, 255, 255, 255])),
            encode(ColorType::GrayscaleAlpha, eight, &of(&[0, 255], &[0, 30])),
            encode(ColorType::GrayscaleAlpha, sixteen, &of(&[0, 0, 255, 255], &[0, 0, 0, 0])),
        ];
        for (number, bytes) in kinds.iter().enumerate() {
            assert!(Drawing::decode(bytes).unwrap() == plain, "kind {number}");
        }
        // On which nothing is seen, nothing is learnt.
        let faint = encode(ColorType::Rgba, eight, &of(&[0, 0, 0, 60], &[0, 0, 0, 0]));
        assert!(Drawing::decode(&faint).unwrap_err().contains("all of it is light"));
        let black = encode(ColorType::Grayscale, eight, &of(&[0], &[0]));
        assert!(Drawing::decode(&black).unwrap_err().contains("all of it is dark"));
    }

    #[test]
    fn the_layouts_of_others_and_what_archivers_leave_are_understood() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path();
        write_small(root, "images_background", 10, 0);
        let sum = |data: &Path| {
            let task = Omniglot { data: data.display().to_string(), ..small(root) }.build(Given::default());
            task.unwrap().kept().unwrap()
        };
        let expected = sum(root);
        // The folder itself; torchvision's; the authors' repository.
        assert_eq!(sum(&root.join("images_background")), expected);
        for (number, place) in ["omniglot-py", "python", "omniglot/python", "omniglot"].into_iter().enumerate() {
            let data = root.join(number.to_string());
            fs::create_dir_all(data.join(place)).unwrap();
            fs::rename(root.join("images_background"), data.join(place).join("images_background")).unwrap();
            assert_eq!(sum(&data), expected, "{place}");
            // What is trained on is what is checked.
            let set = crate::data::DataSet::by_name("omniglot").unwrap();
            assert!(set.files[0].check(&data).unwrap().contents.ends_with("of 10 alphabets"));
            fs::rename(data.join(place).join("images_background"), root.join("images_background")).unwrap();
        }
        // macOS leaves a companion beside each file, and a folder of them in zip archives.
        let companion = root.join("images_background/Alphabet03/character01/._0001_01.png");
        fs::write(companion, b"\0\x05\x16\x07").unwrap();
        let folder_of = root.join("images_background/__MACOSX/Alphabet03/character01");
        fs::create_dir_all(&folder_of).unwrap();
        fs::write(folder_of.join("._0001_01.png"), b"\0\x05\x16\x07").unwrap();
        assert_eq!(sum(root), expected);
    }

    #[test]
    fn the_official_archive_is_read() {
        let Some(data) = std::env::var_os("SPARSAM_DATA") else {
            eprintln!("skipped: SPARSAM_DATA names no folder with the real data");
            return;
        };
        let data = Path::new(&data);
        let found = contents(&data.join(BACKGROUND)).unwrap();
        assert_eq!(found, "19280 drawings of 964 characters of 30 alphabets");
        let task =
            Omniglot { data: data.display().to_string(), ..Omniglot::default() }.build(Given::default()).unwrap();
        let sequence = generate(&*task, 500, Stream::Validation, 0);
        assert_eq!(sequence.steps(), 5000);
        let ink: f32 = (0..5000).map(|step| sequence.input(step)[..400].iter().sum::<f32>()).sum::<f32>() / 5000.0;
        assert!((5.0..60.0).contains(&ink), "{ink}");
    }
}
