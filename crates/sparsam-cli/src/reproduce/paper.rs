//! What the paper reports (Rae et al. 2016, its supplement included), to stand beside what was found here.

use crate::figure::Figure;

/// Runs of each model; 1 where it does not say.
pub fn seeds(figure: Figure) -> u64 {
    match figure {
        Figure::Fig2 => 30,
        Figure::Fig3 => 5,
        Figure::Table1 => 15,
        Figure::Fig4 | Figure::Fig8 | Figure::Haystack => 1,
    }
}

/// Figure 2 (supplement C).
pub const FIG2: &str = "Rae et al. 2016: SAM learns copy about as fast as the dense models, and recall and sort in fewer \
    episodes (30 seeds, RMSProp at 10⁻⁵ with 8 asynchronous workers).";

/// Figure 3 (section 4.3).
pub const FIG3: &str = "Rae et al. 2016: SAM gets furthest on all three tasks, on recall past level 4000 (5 replicas; \
    dense models with 64 words, SAM with 2·10⁶).";

/// Figure 8 (supplement F).
pub const FIG8: &str = "Rae et al. 2016: SAM trained on lists of up to 10,000 is far better than chance (48 bits there) \
    at 200,000, with the exact index and with an approximate one.";

/// Figure 4 (section 4.5).
pub const FIG4: &str = "Rae et al. 2016: with 100 characters an error of about 40 % for the dense models and below 20 % \
    for SAM; chance with 500 is 99.8 %.";

/// Table 1 (section 4.4, supplement G).
pub const TABLE1: &str = "Rae et al. 2016: test questions, networks chosen by what was held out of training.";

/// BABILong.
pub const BABILONG: &str = "Published, of BABILong (Kuratov et al. 2024, arXiv:2406.10149), whose tokens are pieces of words and \
    whose books are those of PG19: ARMT (Rodkin et al. 2024, arXiv:2407.04841), 145 million parameters, a network for each \
    task, trained on at most 16,000 tokens; and a large commercial model that was not trained on it, from the predictions \
    that the benchmark publishes. Here one small network is trained on all these tasks, and on nothing else: it knows the \
    words of the stories, the commonest of the books, and no more.";

/// What was published, of tasks 1 to 5 in % of answers right: whose, and at how many tokens.
pub const BABILONG_RIGHT: [(&str, f64, [f64; 5]); 3] = [
    ("ARMT", 1e6, [98.5, 99.4, 72.1, 99.8, 97.3]),
    ("ARMT", 1e7, [89.4, 84.4, 37.0, 91.5, 80.9]),
    ("large commercial model", 1e6, [57.0, 28.0, 30.0, 71.0, 67.0]),
];

/// The line that it belongs to, a number of characters, the share of wrong labels, and how the paper puts it.
pub const FIG4_ERRORS: [(&str, f64, f64, &str); 2] =
    [("DAM", 100.0, 0.4, "about 40 %"), ("SAM", 100.0, 0.2, "below 20 %")];

/// A model's errors on bAbI in the paper, in %: of the best of 15 runs the mean error and the tasks failed, and the means
/// of both over the runs.
pub struct Babi {
    pub model: &'static str,
    pub best_error: f64,
    pub best_failed: u32,
    pub mean_error: f64,
    pub deviation: f64,
    pub mean_failed: f64,
}

const fn babi(
    model: &'static str,
    best_error: f64,
    best_failed: u32,
    mean_error: f64,
    deviation: f64,
    mean_failed: f64,
) -> Babi {
    Babi { model, best_error, best_failed, mean_error, deviation, mean_failed }
}

/// The sparse DNC's line of the table below.
pub const SDNC: Babi = babi("SDNC", 2.9, 1, 6.4, 2.5, 4.1);

/// Table 1 and the supplement's table of means.
pub const BABI: [Babi; 6] = [
    babi("LSTM", 28.0, 17, 28.7, 0.5, 17.1),
    babi("NTM", 17.5, 13, 26.6, 3.7, 15.5),
    babi("DNC", 5.2, 4, 12.8, 4.7, 8.2),
    babi("DAM", 3.3, 2, 8.7, 6.4, 5.4),
    babi("SAM", 4.1, 2, 11.5, 5.9, 7.1),
    SDNC,
];

/// The tasks that are hard for the paper's SDNC, and its mean errors on them in %.
pub const SDNC_HARD: [(u32, f64); 7] = [(16, 53.0), (19, 30.8), (17, 12.4), (3, 9.4), (2, 7.1), (14, 5.6), (15, 3.6)];
