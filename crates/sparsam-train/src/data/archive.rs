//! Files of a data set, read from a folder or out of an archive.
//!
//! Archives come from elsewhere, so that nothing in them is trusted. They are read where they are and never unpacked:
//! what they hold goes into memory, within [`Limits`] that count what was really decompressed, whatever their headers say.

use std::fs;
use std::io::{self, BufRead, BufReader, Read};
use std::path::{Component, Path};

use flate2::read::GzDecoder;
use sparsam::internal::{available_bytes, file, size as told};

use super::text::seems;
use crate::Error;

/// How much is read at most.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Files and folders, those that are not wanted among them.
    pub entries: usize,
    /// Bytes of a file.
    pub file_bytes: u64,
    /// Bytes of an archive, decompressed, or of all files that are read from a folder.
    pub bytes: u64,
}

/// A file that was read.
#[derive(Clone, Debug, PartialEq)]
pub struct Entry {
    /// Its path in the folder or archive, with `/` between its parts.
    pub name: String,
    /// What errors call it: the folder or archive, and the name.
    pub place: String,
    /// What it holds.
    pub bytes: Vec<u8>,
}

/// Folders in folders that are looked into.
const DEEPEST: usize = 8;

/// Reads the files that are `wanted` by name from a folder, or from an archive that ends in `.tar.gz`, `.tgz`, `.zip` or `.npz`;
/// in the order of their names. What archivers of macOS leave beside each file is passed over.
///
/// # Errors
/// [`Error::Data`] if there is no such folder or archive, it is damaged, holds paths that lead out of it, links, or more
/// than the limits allow; [`Error::Io`] if it cannot be read.
pub fn read(path: &Path, limits: Limits, wanted: &dyn Fn(&str) -> bool) -> Result<Vec<Entry>, Error> {
    let name = path.file_name().map(|name| name.to_string_lossy().to_lowercase()).unwrap_or_default();
    let wanted = |name: &str| !is_companion(name) && wanted(name);
    let mut reader = Reader { path, limits, wanted: &wanted, seen: 0, read: 0, entries: Vec::new() };
    if path.is_dir() {
        reader.folder(path, "", 0)?;
    } else if !path.exists() {
        return Err(Error::data(path.display(), "there is no such file or folder"));
    } else if name.ends_with(".tar.gz") || name.ends_with(".tgz") {
        reader.tar_gz()?;
    } else if name.ends_with(".zip") || name.ends_with(".npz") {
        reader.zip()?;
    } else {
        return Err(Error::data(path.display(), "it is neither a folder nor a .tar.gz or .zip archive"));
    }
    reader.entries.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(reader.entries)
}

fn damaged(path: &Path, error: &dyn std::fmt::Display) -> Error {
    let reason = error.to_string();
    let way_out = if reason.contains("ompression method") || reason.contains("not supported") {
        "it is packed in a way that is not read here"
    } else {
        "it is no whole archive"
    };
    let again = if way_out.contains("packed") { "pack it again as zip programs and NumPy do" } else { "get it again" };
    Error::data(path.display(), format!("{way_out} ({reason}); {again}"))
}

/// Whether a file is none of its own: macOS puts `._name` beside a file on drives that are not its own, and such files into
/// a folder of zip archives.
fn is_companion(name: &str) -> bool {
    name.split('/').any(|part| part == "__MACOSX" || part.starts_with("._"))
}

struct Reader<'a> {
    path: &'a Path,
    limits: Limits,
    wanted: &'a dyn Fn(&str) -> bool,
    /// Entries passed so far.
    seen: usize,
    /// Bytes read so far.
    read: u64,
    entries: Vec<Entry>,
}

impl Reader<'_> {
    fn wrong(&self, reason: impl Into<String>) -> Error {
        Error::data(self.path.display(), reason)
    }

    fn damaged(&self, error: &dyn std::fmt::Display) -> Error {
        damaged(self.path, error)
    }

    /// Opens the archive, and looks whether it starts as one does.
    fn open(&self, start: &[u8]) -> Result<BufReader<fs::File>, Error> {
        let (file, _) = file::open(self.path).map_err(Error::at(self.path))?;
        let mut file = BufReader::new(file);
        let there = file.fill_buf().map_err(Error::at(self.path))?;
        if !there.starts_with(start) && !seems(there).is_empty() {
            return Err(self.wrong(format!("it is no archive as its name says{}", seems(there))));
        }
        Ok(file)
    }

    /// Counts one more entry.
    fn count(&mut self) -> Result<(), Error> {
        self.seen += 1;
        if self.seen > self.limits.entries {
            return Err(self.wrong(format!(
                "it holds more than {} files, which no such data set has; take out the others",
                self.limits.entries
            )));
        }
        Ok(())
    }

    /// Takes a file of this name and size, whose content is what `content` gives.
    fn take(
        &mut self,
        name: String,
        size: u64,
        content: &mut dyn Read,
        damaged: &dyn Fn(&io::Error) -> Error,
    ) -> Result<(), Error> {
        let most = self.limits.file_bytes.min(self.limits.bytes.saturating_sub(self.read));
        let mut bytes = Vec::new();
        // What an archive says of a size may be anything: too large a one is refused, and a smaller one only saves copies.
        if let Some(available) = available_bytes()
            && u128::from(size) > available
        {
            let (wanted, there) = (told(size.into()), told(available));
            let reason = format!(
                "{name} in it would take {wanted} of memory, and {there} are available; split it into several files"
            );
            return Err(self.wrong(reason));
        }
        let expected = usize::try_from(size.min(most)).unwrap_or(usize::MAX);
        bytes.try_reserve_exact(expected).map_err(|_| Error::at(self.path)(io::ErrorKind::OutOfMemory.into()))?;
        let length =
            content.take(most.saturating_add(1)).read_to_end(&mut bytes).map_err(|error| damaged(&error))? as u64;
        if length > most {
            return Err(self.wrong(format!("{name} in it is larger than any such data set's")));
        }
        self.read += length;
        let place = if self.path.is_dir() {
            self.path.join(&name).display().to_string()
        } else {
            format!("{} in {}", name, self.path.display())
        };
        self.entries.push(Entry { name, place, bytes });
        Ok(())
    }

    fn folder(&mut self, folder: &Path, prefix: &str, depth: usize) -> Result<(), Error> {
        let listing = fs::read_dir(folder).map_err(Error::at(folder))?;
        for entry in listing {
            let entry = entry.map_err(Error::at(folder))?;
            self.count()?;
            let Ok(name) = entry.file_name().into_string() else { continue };
            let (path, name) = (entry.path(), format!("{prefix}{name}"));
            if path.is_dir() {
                if depth < DEEPEST {
                    self.folder(&path, &format!("{name}/"), depth + 1)?;
                }
            } else if (self.wanted)(&name) {
                let (mut file, size) = file::open(&path).map_err(Error::at(&path))?;
                let failed = |error: &io::Error| Error::Io {
                    path: path.clone(),
                    source: io::Error::new(error.kind(), error.to_string()),
                };
                self.take(name, size, &mut file, &failed)?;
            }
        }
        Ok(())
    }

    fn tar_gz(&mut self) -> Result<(), Error> {
        // What is passed over is decompressed as well, and counts.
        let whole = GzDecoder::new(self.open(b"\x1f\x8b")?).take(self.limits.bytes);
        let mut archive = tar::Archive::new(whole);
        let path = self.path.to_owned();
        let damaged = |error: &io::Error| damaged(&path, error);
        let entries = archive.entries().map_err(|error| damaged(&error))?;
        for entry in entries {
            let mut entry = entry.map_err(|error| damaged(&error))?;
            self.count()?;
            let kind = entry.header().entry_type();
            let name = self.inside(&entry.path().map_err(|error| damaged(&error))?)?;
            if kind.is_symlink() || kind.is_hard_link() {
                return Err(self.wrong(format!("it holds a link, {name}, which no data set has; get the official one")));
            }
            if kind.is_file() && (self.wanted)(&name) {
                let size = entry.size();
                self.take(name, size, &mut entry, &damaged)?;
            }
        }
        // An archive ends before its compressed stream does, whose checksum comes last.
        let mut rest = archive.into_inner();
        io::copy(&mut rest, &mut io::sink()).map_err(|error| damaged(&error))?;
        if rest.limit() == 0 {
            return Err(self.wrong("it is larger than any such data set's"));
        }
        Ok(())
    }

    fn zip(&mut self) -> Result<(), Error> {
        let mut archive = zip::ZipArchive::new(self.open(b"PK")?).map_err(|error| self.damaged(&error))?;
        let path = self.path.to_owned();
        let damaged = |error: &io::Error| damaged(&path, error);
        for number in 0..archive.len() {
            self.count()?;
            let mut entry = archive.by_index(number).map_err(|error| self.damaged(&error))?;
            let name = entry.name().map_err(|error| self.damaged(&error))?.into_owned();
            let name = self.inside(Path::new(&name))?;
            if entry.is_symlink() {
                return Err(self.wrong(format!("it holds a link, {name}, which no data set has; get the official one")));
            }
            if entry.is_file() && (self.wanted)(&name) {
                let size = entry.size();
                self.take(name, size, &mut entry, &damaged)?;
            }
        }
        Ok(())
    }

    /// The name of an entry, which must not lead out of the archive.
    fn inside(&self, name: &Path) -> Result<String, Error> {
        let mut parts = Vec::new();
        for part in name.components() {
            match (part, part.as_os_str().to_str()) {
                (Component::Normal(_), Some(part)) if !part.contains('\\') => parts.push(part),
                (Component::CurDir, _) => {}
                _ => {
                    let name = name.display();
                    return Err(self.wrong(format!("the path {name} in it leads out of it; get the official archive")));
                }
            }
        }
        Ok(parts.join("/"))
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use std::fs::File;
    use std::io::Write;

    use flate2::Compression;
    use flate2::write::GzEncoder;
    use proptest::prelude::*;

    use super::*;

    const LIMITS: Limits = Limits { entries: 10, file_bytes: 1000, bytes: 20_000 };

    /// An archive of these files.
    pub fn write_tar_gz(path: &Path, files: &[(&str, &[u8])]) {
        let mut builder = tar::Builder::new(GzEncoder::new(File::create(path).unwrap(), Compression::default()));
        for (name, bytes) in files {
            let mut header = tar::Header::new_gnu();
            // Set past the check of the library that writes: others do not check.
            header.as_old_mut().name[..name.len()].copy_from_slice(name.as_bytes());
            header.set_size(bytes.len() as u64);
            header.set_mode(0o644);
            header.set_cksum();
            builder.append(&header, *bytes).unwrap();
        }
        builder.into_inner().unwrap().finish().unwrap();
    }

    /// An archive of these files.
    pub fn write_zip(path: &Path, files: &[(&str, &[u8])]) {
        let mut writer = zip::ZipWriter::new(File::create(path).unwrap());
        for (name, bytes) in files {
            writer.start_file(*name, zip::write::SimpleFileOptions::default()).unwrap();
            writer.write_all(bytes).unwrap();
        }
        writer.finish().unwrap();
    }

    fn all(path: &Path) -> Result<Vec<Entry>, Error> {
        read(path, LIMITS, &|name| name.ends_with(".txt"))
    }

    fn message(path: &Path) -> String {
        let error = all(path).unwrap_err();
        assert!(error.is_usage(), "{error:?}");
        error.to_string()
    }

    #[test]
    fn what_unpacks_to_more_than_there_is_memory_is_refused() {
        let mut reader = Reader {
            path: Path::new("a.npz"),
            limits: Limits { file_bytes: u64::MAX, bytes: u64::MAX, ..LIMITS },
            wanted: &|_| true,
            seen: 0,
            read: 0,
            entries: Vec::new(),
        };
        let damaged = |error: &io::Error| panic!("{error}");
        let refused = reader.take("x.npy".into(), 1 << 60, &mut &b"ab"[..], &damaged).unwrap_err().to_string();
        assert!(refused.contains("a.npz: x.npy in it would take ") && refused.contains("are available"), "{refused}");
        // What is said of a size is only a hint.
        reader.take("x.npy".into(), 1, &mut &b"ab"[..], &damaged).unwrap();
        assert_eq!(reader.entries[0].bytes, b"ab");
    }

    #[test]
    fn folders_and_archives_hold_the_same() {
        let folder = tempfile::tempdir().unwrap();
        let files: &[(&str, &[u8])] = &[("./a/b.txt", b"bee"), ("a/c.bin", b"no"), ("a.txt", b"a")];
        let root = folder.path().join("root");
        fs::create_dir_all(root.join("a")).unwrap();
        for (name, bytes) in files {
            fs::write(root.join(name), bytes).unwrap();
        }
        write_tar_gz(&folder.path().join("x.tar.gz"), files);
        write_zip(&folder.path().join("x.ZIP"), files);
        for name in ["root", "x.tar.gz", "x.ZIP"] {
            let path = folder.path().join(name);
            let found = all(&path).unwrap();
            let read: Vec<_> = found.iter().map(|entry| (&entry.name[..], &entry.bytes[..])).collect();
            assert_eq!(read, [("a.txt", &b"a"[..]), ("a/b.txt", b"bee")], "{name}");
            assert!(found.iter().all(|entry| entry.place.contains(name)), "{found:?}");
        }
    }

    #[test]
    fn malicious_archives_are_refused_and_nothing_is_written() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        for name in ["../evil.txt", "/tmp/evil.txt", "a/../../evil.txt", "a\\..\\evil.txt"] {
            write_tar_gz(&path("x.tar.gz"), &[(name, b"evil")]);
            assert!(message(&path("x.tar.gz")).contains("leads out of it"), "{name}");
            write_zip(&path("x.zip"), &[(name, b"evil")]);
            assert!(message(&path("x.zip")).contains("leads out of it"), "{name}");
        }

        let mut builder = tar::Builder::new(GzEncoder::new(File::create(path("l.tgz")).unwrap(), Compression::fast()));
        let mut header = tar::Header::new_gnu();
        header.set_entry_type(tar::EntryType::Symlink);
        header.set_size(0);
        builder.append_link(&mut header, "a.txt", "/etc/passwd").unwrap();
        builder.into_inner().unwrap().finish().unwrap();
        assert!(message(&path("l.tgz")).contains("holds a link, a.txt"));
        let mut writer = zip::ZipWriter::new(File::create(path("l.zip")).unwrap());
        writer.add_symlink("a.txt", "/etc/passwd", zip::write::SimpleFileOptions::default()).unwrap();
        writer.finish().unwrap();
        assert!(message(&path("l.zip")).contains("holds a link, a.txt"));

        // A megabyte of zeros takes a thousand bytes; and what is not wanted is decompressed in passing.
        let zeros = vec![0; 1 << 20];
        for name in ["a.txt", "a.bin"] {
            write_tar_gz(&path("b.tar.gz"), &[(name, &zeros), ("b.txt", b"b")]);
            assert!(fs::metadata(path("b.tar.gz")).unwrap().len() < 4000);
            message(&path("b.tar.gz"));
        }
        let mut writer = GzEncoder::new(File::create(path("e.tgz")).unwrap(), Compression::default());
        writer.write_all(&zeros).unwrap();
        writer.finish().unwrap();
        assert!(message(&path("e.tgz")).contains("e.tgz: it is larger than"), "an archive that ends at once");
        write_zip(&path("b.zip"), &[("a.txt", &zeros)]);
        assert!(message(&path("b.zip")).contains("a.txt in it is larger than"));
        let many: Vec<(String, Vec<u8>)> = (0..30).map(|i| (format!("{i}.txt"), vec![1; 900])).collect();
        let many: Vec<(&str, &[u8])> = many.iter().map(|(name, bytes)| (&name[..], &bytes[..])).collect();
        write_zip(&path("m.zip"), &many);
        assert!(message(&path("m.zip")).contains("more than 10 files"));
        write_tar_gz(&path("m.tar.gz"), &many);
        assert!(message(&path("m.tar.gz")).contains("more than 10 files"));
        assert!(!Path::new("/tmp/evil.txt").exists());
        let names = fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().file_name());
        assert!(names.into_iter().all(|name| !name.to_string_lossy().ends_with(".txt")));
    }

    #[test]
    fn what_is_no_archive_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        assert!(message(&path("none.zip")).contains("none.zip: there is no such file or folder"));
        fs::write(path("a.rar"), "x").unwrap();
        assert!(message(&path("a.rar")).contains("neither a folder nor a .tar.gz or .zip archive"));
        write_tar_gz(&path("x.tar.gz"), &[("a.txt", &[7; 900])]);
        write_zip(&path("x.zip"), &[("a.txt", &[7; 900])]);
        for name in ["x.tar.gz", "x.zip"] {
            let bytes = fs::read(path(name)).unwrap();
            fs::write(path(name), &bytes[..bytes.len() / 2]).unwrap();
            assert!(message(&path(name)).contains("no whole archive"), "{name}");
        }
        // Of the checksum and the length that a compressed stream ends with, each byte counts, and none may be missing.
        write_tar_gz(&path("x.tar.gz"), &[("a.txt", &[7; 900])]);
        let bytes = fs::read(path("x.tar.gz")).unwrap();
        for back in 1..=8 {
            let mut changed = bytes.clone();
            changed[bytes.len() - back] ^= 1;
            for bytes in [&changed[..], &bytes[..bytes.len() - back]] {
                fs::write(path("x.tar.gz"), bytes).unwrap();
                assert!(message(&path("x.tar.gz")).contains("no whole archive"), "{back} bytes before the end");
            }
        }
    }

    proptest! {
        #[test]
        fn damaged_archives_give_errors_or_files(changes in proptest::collection::vec(any::<(u16, u8)>(), 1..6), zip: bool) {
            let folder = tempfile::tempdir().unwrap();
            let path = folder.path().join(if zip { "x.zip" } else { "x.tar.gz" });
            let files: &[(&str, &[u8])] = &[("a/b.txt", b"bee bee bee"), ("c.txt", b"sea")];
            if zip { write_zip(&path, files) } else { write_tar_gz(&path, files) }
            let mut bytes = fs::read(&path).unwrap();
            for (place, byte) in changes {
                let place = place as usize % bytes.len();
                bytes[place] = byte;
            }
            fs::write(&path, bytes).unwrap();
            if let Ok(entries) = all(&path) {
                prop_assert!(entries.iter().all(|entry| entry.bytes.len() <= 1000));
            }
        }
    }
}
