//! The data sets that tasks are trained on.

use crate::data::{DataFile, DataSet};
use crate::task::{babi, omniglot};

/// Every data set.
pub const DATA_SETS: &[DataSet] = &[
    DataSet {
        name: "babi",
        files: &[DataFile {
            name: babi::ARCHIVE,
            // The second is the copy that the examples of Keras take.
            addresses: &[
                "https://www.thespermwhale.com/jaseweston/babi/tasks_1-20_v1-2.tar.gz",
                "https://s3.amazonaws.com/text-datasets/babi_tasks_1-20_v1-2.tar.gz",
            ],
            md5: None,
            place: babi::place_of,
            contents: babi::contents,
        }],
    },
    DataSet {
        name: "omniglot",
        // The sums are those that torchvision checks.
        files: &[
            DataFile {
                name: omniglot::BACKGROUND,
                addresses: &["https://github.com/brendenlake/omniglot/raw/master/python/images_background.zip"],
                md5: Some("68d2efa1b9178cc56df9314c21c6e718"),
                place: omniglot::place_of,
                contents: omniglot::contents,
            },
            DataFile {
                name: omniglot::EVALUATION,
                addresses: &["https://github.com/brendenlake/omniglot/raw/master/python/images_evaluation.zip"],
                md5: Some("6b91aef0f799c5bb55b94e3f2daec811"),
                place: omniglot::place_of,
                contents: omniglot::contents,
            },
        ],
    },
];

impl DataSet {
    /// The data set of that name.
    pub fn by_name(name: &str) -> Option<&'static Self> {
        DATA_SETS.iter().find(|set| set.name == name)
    }
}
