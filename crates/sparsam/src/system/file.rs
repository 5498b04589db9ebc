//! Files that are whole at every moment.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

/// How the names of temporary files end; they start with a dot.
const TEMPORARY: &str = ".tmp";

/// Whether a file of this name can only be what a kill left of a [`replace`], which put it in the folder of the file that
/// it was to become.
pub fn is_temporary(name: &OsStr) -> bool {
    let name = name.as_encoded_bytes();
    name.starts_with(b".") && name.ends_with(TEMPORARY.as_bytes())
}

/// Writes a file in the place of any older one of that name: under a temporary name, which is synced and then renamed.
/// At every moment, a loss of power included, the name leads to a whole file, and once this succeeds to the new one. Only a
/// process that is killed here leaves a temporary file behind.
///
/// # Errors
/// What the system says if the file cannot be written; the older one then stays as it was.
pub fn replace(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut temporary = Temporary::beside(path)?;
    let mut file = File::create(&temporary.path)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    drop(file);
    std::fs::rename(&temporary.path, path)?;
    temporary.renamed = true;
    sync_folder(path)
}

/// A file that is removed unless it came to stand in another's place.
struct Temporary {
    path: PathBuf,
    renamed: bool,
}

impl Temporary {
    /// A name in the same folder, since only within one file system is renaming one act.
    fn beside(path: &Path) -> io::Result<Self> {
        static COUNT: AtomicU64 = AtomicU64::new(0);
        let Some(name) = path.file_name() else {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "this is not the name of a file"));
        };
        let mut hidden = OsString::from(".");
        hidden.push(name);
        hidden.push(format!(".{}-{}{TEMPORARY}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed)));
        Ok(Self { path: path.with_file_name(hidden), renamed: false })
    }
}

impl Drop for Temporary {
    fn drop(&mut self) {
        if !self.renamed {
            // What led here is already an error that the caller hears of; what is left of the file would only take
            // space, of which there may be none.
            let _ = std::fs::remove_file(&self.path);
        }
    }
}

/// Makes the names in a file's folder last. Elsewhere than on Unix a folder cannot be opened, and need not be.
fn sync_folder(path: &Path) -> io::Result<()> {
    if cfg!(unix) {
        let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
        File::open(folder)?.sync_all()?;
    }
    Ok(())
}
