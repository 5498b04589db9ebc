//! Files that are whole at every moment, and files that are read only if they are files.

use std::ffi::OsStr;
use std::fs::{self, File, Metadata, OpenOptions};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use super::notice::note;

/// How the names of temporary files end; they start with a dot.
const TEMPORARY: &str = ".tmp";

/// Links that are followed from one to the next, at most.
const MOST_LINKS: usize = 40;

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
/// A link stays: what it leads to is replaced. The new file has the older one's permissions and, where the system allows
/// it, owner. A device, or a named pipe that somebody reads, is written to; a folder is refused.
///
/// Where a file system does not sync, or lets no file take another's place, the file is written all the same, and
/// [`notice::take`](super::notice::take) tells what then does not hold.
///
/// # Errors
/// What the system says if the file cannot be written; the older one then stays as it was, unless the error says
/// otherwise.
pub fn replace(path: &Path, bytes: &[u8]) -> io::Result<()> {
    match place_of(path)? {
        Place::Special(mut file) => file.write_all(bytes),
        Place::Here => {
            let file = OpenOptions::new().write(true).create(true).truncate(false).open(path)?;
            write_in_place(file, path, bytes)
        }
        Place::Name { path, old } => replace_at(&path, old.as_ref(), bytes),
    }
}

/// Opens a file to be read, and says how many bytes it has. What is no file is refused and never waited for.
///
/// # Errors
/// What the system says; [`io::ErrorKind::InvalidInput`] or [`io::ErrorKind::IsADirectory`] if it is no file.
pub fn open(path: &Path) -> io::Result<(File, u64)> {
    // Opening a pipe waits until somebody writes to it, and opening a device may do anything: a look comes first.
    check_is_file(&fs::metadata(path)?)?;
    let mut options = OpenOptions::new();
    options.read(true);
    without_waiting(&mut options);
    let file = options.open(path)?;
    let about = file.metadata()?;
    check_is_file(&about)?;
    Ok((file, about.len()))
}

/// The bytes of a file.
///
/// # Errors
/// As [`open`].
pub fn read(path: &Path) -> io::Result<Vec<u8>> {
    let (mut file, length) = open(path)?;
    let mut bytes = Vec::new();
    // The length is what a file system says, and may be anything.
    bytes.try_reserve(usize::try_from(length).unwrap_or(usize::MAX)).map_err(|_| io::ErrorKind::OutOfMemory)?;
    file.read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// Has the system put on the disk what was written to a file. Where it cannot, that is noted and no error.
///
/// # Errors
/// What the system says if it could not write.
pub fn sync(file: &File, path: &Path) -> io::Result<()> {
    protected(file.sync_all(), path)
}

fn protected(synced: io::Result<()>, path: &Path) -> io::Result<()> {
    match synced {
        Err(error) if is_lack(&error) => {
            let folder = folder_of(path);
            note("files", folder, || {
                format!(
                    "files in {} cannot be synced ({error}): after a loss of power the newest may be damaged",
                    folder.display()
                )
            });
            Ok(())
        }
        other => other,
    }
}

/// Whether an error says that the system or the file system has no such operation, and nothing of the operation.
pub fn is_lack(error: &io::Error) -> bool {
    use io::ErrorKind::{InvalidInput, NotSeekable, Unsupported};
    matches!(error.kind(), InvalidInput | Unsupported | NotSeekable) || is_errno(error, LACKS)
}

#[cfg(unix)]
mod errno {
    use rustix::io::Errno;

    pub const LACKS: &[Errno] =
        &[Errno::INVAL, Errno::NOSYS, Errno::OPNOTSUPP, Errno::NOTSUP, Errno::NOTTY, Errno::BADF, Errno::NOLCK];
    /// What the system says where one file cannot take another's place, though both can be written.
    pub const NO_EXCHANGE: &[Errno] = &[
        Errno::BUSY,
        Errno::XDEV,
        Errno::NOSYS,
        Errno::OPNOTSUPP,
        Errno::NOTSUP,
        Errno::INVAL,
        Errno::PERM,
        Errno::ACCESS,
        Errno::EXIST,
        Errno::TXTBSY,
    ];
    /// What it says where a folder takes no new file.
    pub const NO_NEW_FILE: &[Errno] = &[Errno::PERM, Errno::ACCESS, Errno::NOSYS, Errno::OPNOTSUPP, Errno::NOTSUP];
    /// Nobody reads a pipe, or it is a socket.
    pub const NOBODY_THERE: &[Errno] = &[Errno::NXIO];

    pub fn is_errno(error: &std::io::Error, these: &[Errno]) -> bool {
        Errno::from_io_error(error).is_some_and(|errno| these.contains(&errno))
    }
}

#[cfg(not(unix))]
mod errno {
    pub const LACKS: &[u32] = &[];
    pub const NO_EXCHANGE: &[u32] = &[];
    pub const NO_NEW_FILE: &[u32] = &[];
    pub const NOBODY_THERE: &[u32] = &[];

    pub fn is_errno(_: &std::io::Error, _: &[u32]) -> bool {
        false
    }
}

use errno::{LACKS, NO_EXCHANGE, NO_NEW_FILE, NOBODY_THERE, is_errno};

/// Where what is written under a name goes.
enum Place {
    /// To what is no file, as it is.
    Special(File),
    /// To a file that the name leads to in a way that no other name does.
    Here,
    /// To the name at the end of all links, and the file that is there.
    Name { path: PathBuf, old: Option<Metadata> },
}

fn place_of(path: &Path) -> io::Result<Place> {
    if path.file_name().is_none() {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "this is not the name of a file"));
    }
    let old = match fs::metadata(path) {
        Ok(about) if about.is_dir() => {
            return Err(io::Error::new(io::ErrorKind::IsADirectory, "it is a folder; name a file in it"));
        }
        Ok(about) if !about.is_file() => return open_special(path, &about).map(Place::Special),
        Ok(about) => Some(about),
        Err(error) if error.kind() == io::ErrorKind::NotFound => None,
        Err(error) => return Err(error),
    };
    let mut end = path.to_owned();
    for _ in 0..MOST_LINKS {
        let Ok(to) = fs::read_link(&end) else { break };
        end = folder_of(&end).join(to);
    }
    // Links of /proc lead to files that may have no name.
    if let Some(old) = &old
        && end != path
        && !fs::metadata(&end).is_ok_and(|there| is_same(&there, old))
    {
        return Ok(Place::Here);
    }
    Ok(Place::Name { path: end, old })
}

#[cfg(unix)]
fn is_same(one: &Metadata, other: &Metadata) -> bool {
    use std::os::unix::fs::MetadataExt;
    (one.dev(), one.ino()) == (other.dev(), other.ino())
}

#[cfg(not(unix))]
fn is_same(_: &Metadata, _: &Metadata) -> bool {
    true
}

/// Opens a device, or a pipe that somebody reads, to be written to.
fn open_special(path: &Path, about: &Metadata) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.write(true);
    without_waiting(&mut options);
    let file = options.open(path).map_err(|error| {
        if is_errno(&error, NOBODY_THERE) {
            let reason = format!("it is {} that nobody reads; name a file", kind_of(about));
            return io::Error::new(io::ErrorKind::InvalidInput, reason);
        }
        error
    })?;
    wait_again(&file)?;
    Ok(file)
}

#[cfg(unix)]
fn without_waiting(options: &mut OpenOptions) {
    use std::os::unix::fs::OpenOptionsExt;
    options.custom_flags(rustix::fs::OFlags::NONBLOCK.bits() as i32);
}

#[cfg(not(unix))]
fn without_waiting(_: &mut OpenOptions) {}

#[cfg(unix)]
fn wait_again(file: &File) -> io::Result<()> {
    let flags = rustix::fs::fcntl_getfl(file)?;
    Ok(rustix::fs::fcntl_setfl(file, flags - rustix::fs::OFlags::NONBLOCK)?)
}

#[cfg(not(unix))]
fn wait_again(_: &File) -> io::Result<()> {
    Ok(())
}

fn check_is_file(about: &Metadata) -> io::Result<()> {
    if about.is_file() {
        return Ok(());
    }
    let kind = if about.is_dir() { io::ErrorKind::IsADirectory } else { io::ErrorKind::InvalidInput };
    Err(io::Error::new(kind, not_a_file(about)))
}

/// What is said of what is no file, where one is to be read.
pub fn not_a_file(about: &Metadata) -> String {
    let way_out = if about.is_dir() { "" } else { "; put what comes from it into a file, and name that" };
    format!("it is {}, where a file was expected{way_out}", kind_of(about))
}

/// What is there under a name, in words.
fn kind_of(about: &Metadata) -> &'static str {
    #[cfg(unix)]
    {
        use std::os::unix::fs::FileTypeExt;
        let kind = about.file_type();
        if kind.is_fifo() {
            return "a named pipe";
        } else if kind.is_socket() {
            return "a socket";
        } else if kind.is_char_device() || kind.is_block_device() {
            return "a device";
        }
    }
    if about.is_dir() { "a folder" } else { "no file" }
}

fn folder_of(path: &Path) -> &Path {
    path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// Writes a file in the place of an older one, which is no link.
fn replace_at(path: &Path, old: Option<&Metadata>, bytes: &[u8]) -> io::Result<()> {
    let (mut temporary, mut file) = match Temporary::beside(path, old) {
        Ok(made) => made,
        Err(error) if old.is_some() && is_errno(&error, NO_NEW_FILE) => {
            // The older file may be one that can be written.
            return match OpenOptions::new().write(true).open(path) {
                Ok(file) => write_in_place(file, path, bytes).map_err(|error| {
                    io::Error::new(error.kind(), format!("{error}; the older file was written over, and is damaged"))
                }),
                Err(_) => Err(error),
            };
        }
        Err(error) => return Err(error),
    };
    file.write_all(bytes)?;
    if let Some(old) = old {
        keep_owner_and_permissions(&file, old, path);
    }
    sync(&file, path)?;
    drop(file);
    match fs::rename(&temporary.path, path) {
        Ok(()) => temporary.keep = true,
        Err(error) if is_errno(&error, NO_EXCHANGE) => {
            let written = OpenOptions::new().write(true).create(true).truncate(false).open(path);
            return written.and_then(|file| write_in_place(file, path, bytes)).map_err(|error| {
                let whole = temporary.keep_as_copy();
                io::Error::new(error.kind(), format!("{error}; what was to be in it is whole in {}", whole.display()))
            });
        }
        Err(error) => return Err(error),
    }
    sync_folder(path);
    Ok(())
}

/// Writes over a file, open at its beginning, where no other can take its place.
fn write_in_place(mut file: File, path: &Path, bytes: &[u8]) -> io::Result<()> {
    note("in place", path, || {
        format!(
            "{} is written where it is, as no other file can take its place here: what ends the program while it is written leaves half of it",
            path.display()
        )
    });
    file.set_len(0)?;
    file.write_all(bytes)?;
    sync(&file, path)
}

/// Gives a new file what the older one has. That is no condition: it only protects.
fn keep_owner_and_permissions(file: &File, old: &Metadata, path: &Path) {
    #[cfg(unix)]
    {
        use std::os::unix::fs::{MetadataExt, fchown};
        let owner = |about: &Metadata| (about.uid(), about.gid());
        if file.metadata().is_ok_and(|about| owner(&about) != owner(old)) {
            // Only the administrator may give files away.
            let _ = fchown(file, Some(old.uid()), Some(old.gid())).or_else(|_| fchown(file, None, Some(old.gid())));
        }
    }
    if file.metadata().is_ok_and(|about| about.permissions() == old.permissions()) {
        return;
    }
    if let Err(error) = file.set_permissions(old.permissions()) {
        note("permissions", folder_of(path), || {
            format!("{} has other permissions than before ({error})", path.display())
        });
    }
}

/// A file that is removed unless it came to stand in another's place.
struct Temporary {
    path: PathBuf,
    keep: bool,
}

impl Temporary {
    /// A new file in the same folder, since only within one file system is renaming one act. Its name is short, however long
    /// the other is.
    fn beside(path: &Path, old: Option<&Metadata>) -> io::Result<(Self, File)> {
        static COUNT: AtomicU64 = AtomicU64::new(0);
        let mut options = OpenOptions::new();
        options.write(true).create_new(true);
        // Elsewhere permissions are those of the folder.
        #[cfg(not(unix))]
        let _ = old;
        #[cfg(unix)]
        if let Some(old) = old {
            use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
            // Nobody else may read meanwhile what nobody else may read afterwards.
            options.mode(old.mode() & 0o666 | 0o200);
        }
        loop {
            let number = COUNT.fetch_add(1, Ordering::Relaxed);
            let path = path.with_file_name(format!(".sparsam-{}-{number}{TEMPORARY}", std::process::id()));
            match options.open(&path) {
                // On another machine that shares the folder, or before a kill, there may have been the same number.
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                opened => return opened.map(|file| (Self { path, keep: false }, file)),
            }
        }
    }
}

impl Temporary {
    /// Leaves the file, under a name that nothing takes for what a kill has left, and gives where it is.
    fn keep_as_copy(&mut self) -> PathBuf {
        let copy = self.path.with_extension("copy");
        self.keep = true;
        if fs::rename(&self.path, &copy).is_ok() { copy } else { self.path.clone() }
    }
}

impl Drop for Temporary {
    fn drop(&mut self) {
        if !self.keep {
            // What led here is already an error that the caller hears of; what is left of the file would only take
            // space, of which there may be none.
            let _ = fs::remove_file(&self.path);
        }
    }
}

/// Makes the names in a file's folder last. Elsewhere than on Unix a folder cannot be opened, and need not be. The file is
/// whole and in its place already, so that nothing here is an error.
fn sync_folder(path: &Path) {
    if cfg!(unix) {
        let folder = folder_of(path);
        if let Err(error) = File::open(folder).and_then(|folder| folder.sync_all()) {
            note("folder", folder, || {
                format!(
                    "the folder {} cannot be synced ({error}): after a loss of power its older files may be back",
                    folder.display()
                )
            });
        }
    }
}

#[cfg(all(test, unix))]
mod tests {
    use std::os::unix::fs::{PermissionsExt, symlink};
    use std::time::{Duration, Instant};

    use super::*;

    /// The names in a folder.
    fn names(folder: &Path) -> Vec<String> {
        let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
        let mut names: Vec<String> = entries.collect();
        names.sort();
        names
    }

    fn pipe(path: &Path) {
        use rustix::fs::{CWD, FileType, Mode, mknodat};
        mknodat(CWD, path, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).unwrap();
    }

    #[test]
    fn links_are_written_through() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        fs::create_dir(path("scratch")).unwrap();
        // To a file, to another link, and to where there is nothing yet; relative to the link's folder.
        fs::write(path("scratch/a"), "old").unwrap();
        symlink("scratch/a", path("a")).unwrap();
        symlink("a", path("b")).unwrap();
        symlink("scratch/new", path("c")).unwrap();
        for (link, file) in [("a", "scratch/a"), ("b", "scratch/a"), ("c", "scratch/new"), ("c", "scratch/new")] {
            replace(&path(link), link.as_bytes()).unwrap();
            assert!(path(link).is_symlink(), "{link}");
            assert_eq!(fs::read_to_string(path(file)).unwrap(), link);
        }
        assert_eq!(names(&path("scratch")), ["a", "new"]);
        symlink("round", path("round")).unwrap();
        replace(&path("round"), b"x").unwrap_err();
    }

    #[test]
    fn permissions_stay() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a");
        for mode in [0o600, 0o640, 0o666, 0o755, 0o444] {
            fs::write(&path, "old").unwrap();
            fs::set_permissions(&path, PermissionsExt::from_mode(mode)).unwrap();
            replace(&path, b"new").unwrap();
            let about = fs::metadata(&path).unwrap();
            assert_eq!((about.permissions().mode() & 0o7777, about.len()), (mode, 3), "{mode:o}");
            fs::remove_file(&path).unwrap();
        }
    }

    #[test]
    fn what_is_no_file_is_written_to_or_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        replace(Path::new("/dev/null"), b"x").unwrap();
        assert!(!fs::metadata("/dev/null").unwrap().is_file());
        let error = replace(Path::new("/dev/full"), b"x").unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::StorageFull);
        fs::create_dir(path("d")).unwrap();
        assert!(replace(&path("d"), b"x").unwrap_err().to_string().contains("it is a folder"));

        pipe(&path("p"));
        let error = replace(&path("p"), b"x").unwrap_err();
        assert!(error.to_string().contains("a named pipe that nobody reads"), "{error}");
        // More than a pipe holds: it is waited for the reader.
        let bytes = vec![7; 1 << 18];
        let reader = std::thread::spawn({
            let path = path("p");
            move || fs::read(path).unwrap()
        });
        let started = Instant::now();
        while replace(&path("p"), &bytes).is_err() {
            assert!(started.elapsed() < Duration::from_secs(60));
            std::thread::yield_now();
        }
        assert_eq!(reader.join().unwrap(), bytes);
        assert!(!path("p").is_file());
        assert_eq!(names(folder.path()), ["d", "p"]);
    }

    #[test]
    fn only_files_are_read_and_nothing_is_waited_for() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        pipe(&path("p"));
        for (place, what) in
            [(path("p"), "a named pipe"), (folder.path().into(), "a folder"), ("/dev/zero".into(), "a device")]
        {
            for error in [open(&place).map(|_| ()).unwrap_err(), read(&place).map(|_| ()).unwrap_err()] {
                assert!(error.to_string().starts_with(&format!("it is {what}, where a file was expected")), "{error}");
            }
        }
        fs::write(path("a"), "abc").unwrap();
        assert_eq!((read(&path("a")).unwrap(), open(&path("a")).unwrap().1), (b"abc".to_vec(), 3));
    }

    #[test]
    fn a_name_may_be_as_long_as_the_system_allows() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("n".repeat(255));
        replace(&path, b"x").unwrap();
        replace(&path, b"xy").unwrap();
        assert_eq!(read(&path).unwrap(), b"xy");
        let longer = folder.path().join("n".repeat(256));
        assert_eq!(replace(&longer, b"x").unwrap_err().kind(), io::ErrorKind::InvalidFilename);
        assert_eq!(names(folder.path()).len(), 1);
    }

    #[test]
    fn a_temporary_file_of_another_machine_is_passed_over() {
        let folder = tempfile::tempdir().unwrap();
        for number in 0..100 {
            let name = format!(".sparsam-{}-{number}.tmp", std::process::id());
            assert!(is_temporary(OsStr::new(&name)));
            fs::write(folder.path().join(name), "theirs").unwrap();
        }
        replace(&folder.path().join("a"), b"ours").unwrap();
        assert_eq!(names(folder.path()).len(), 101);
        assert_eq!(fs::read_to_string(folder.path().join("a")).unwrap(), "ours");
    }
}
