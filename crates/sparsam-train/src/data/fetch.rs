//! Getting the files of a data set.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use ureq::Agent;
use ureq::http::StatusCode;

use super::{DataFile, Found};
use crate::Error;

/// The most bytes of a file: none of them has a tenth.
const LARGEST: u64 = 1 << 28;

/// How far a download has come.
#[derive(Clone, Copy, Debug)]
pub struct Progress<'a> {
    /// The address.
    pub address: &'a str,
    /// Bytes that are there.
    pub bytes: u64,
    /// Bytes that there will be, if the server says.
    pub all: Option<u64>,
}

/// Downloads a file into a folder of data, unless it is there already, and says what it holds.
///
/// What an interrupted download left is gone on with. The file gets its name only when it is whole and its sum, if there
/// is an official one, and its contents are right; what does not match is removed, and the next address is asked. A file
/// that is there but is not what the task needs stays until a right one has come.
///
/// # Errors
/// [`Error::Download`] if the file cannot be had; [`Error::Data`] if it is not what it should be; [`Error::Io`]. Of several
/// addresses, the error of the first.
pub fn fetch(file: &DataFile, folder: &Path, watch: &mut dyn FnMut(Progress<'_>)) -> Result<Found, Error> {
    if (file.place)(folder, file.name).is_some() {
        match file.check(folder) {
            // It is damaged.
            Err(Error::Data { .. }) => {}
            found => return found,
        }
    }
    fs::create_dir_all(folder).map_err(Error::at(folder))?;
    let part = part(file, folder);
    let mut failure = None;
    for address in file.addresses {
        match download(address, &part, watch).and_then(|()| put_in_place(file, folder, &part, true)) {
            Ok(found) => return Ok(found),
            // The disk will not take more from elsewhere either.
            Err(error @ Error::Io { .. }) => return Err(error),
            // An address that no longer has the file may answer with something else.
            Err(error) => failure = failure.or(Some(error)),
        }
    }
    Err(failure.unwrap_or_else(|| Error::data(file.name, "there is no address to get it from")))
}

/// Takes a file that is on this machine already into a folder of data and says what it holds. It must be what the task
/// needs, but may be packed by others: whether it is the official one is in [`Found::official`].
///
/// # Errors
/// As [`fetch`].
pub fn take(file: &DataFile, from: &Path, folder: &Path) -> Result<Found, Error> {
    let from = match (file.place)(from, file.name) {
        Some(place) if place.is_file() => place,
        _ if from.is_dir() => from.join(file.name),
        _ => from.to_owned(),
    };
    if let Err(error) = sparsam::internal::file::open(&from) {
        return Err(match error.kind() {
            io::ErrorKind::NotFound => Error::data(from.display(), "there is no such file"),
            _ => Error::at(&from)(error),
        });
    }
    fs::create_dir_all(folder).map_err(Error::at(folder))?;
    let part = part(file, folder);
    fs::copy(&from, &part).map_err(Error::at(&part))?;
    put_in_place(file, folder, &part, false)
}

/// Where a file is until it is whole. It ends as the file does, which tells what kind it is.
fn part(file: &DataFile, folder: &Path) -> PathBuf {
    folder.join(format!(".part-{}", file.name))
}

fn put_in_place(file: &DataFile, folder: &Path, part: &Path, only_official: bool) -> Result<Found, Error> {
    let found = file.check_at(part).and_then(|found| {
        if only_official && found.official == Some(false) {
            let expected = file.md5.unwrap_or_default();
            let reason = format!("what came is not the official file, whose MD5 sum is {expected}; try again later");
            return Err(Error::data(file.name, reason));
        }
        Ok(found)
    });
    if found.is_err() {
        // Going on with it would not make it right.
        let _ = fs::remove_file(part);
        return found;
    }
    let path = folder.join(file.name);
    fs::rename(part, &path).map_err(Error::at(&path))?;
    found
}

/// Downloads to a file, from where that one ends.
fn download(address: &str, path: &Path, watch: &mut dyn FnMut(Progress<'_>)) -> Result<(), Error> {
    let failed =
        |error: &dyn std::fmt::Display| Error::Download { address: address.to_owned(), reason: error.to_string() };
    let agent: Agent = Agent::config_builder()
        // Only tests have addresses without.
        .https_only(address.starts_with("https:"))
        .http_status_as_error(false)
        .timeout_connect(Some(Duration::from_secs(30)))
        .timeout_recv_response(Some(Duration::from_secs(60)))
        .build()
        .into();
    let mut bytes = fs::metadata(path).map_or(0, |part| part.len());
    let mut request = agent.get(address);
    if bytes > 0 {
        request = request.header("Range", format!("bytes={bytes}-"));
    }
    let response = request.call().map_err(|error| failed(&error))?;
    match response.status() {
        StatusCode::PARTIAL_CONTENT => {}
        // From the start after all.
        StatusCode::OK => bytes = 0,
        // Nothing is missing, or what is there is of another file: the sum and the contents will tell.
        StatusCode::RANGE_NOT_SATISFIABLE => return Ok(()),
        status => return Err(failed(&format!("the server answered {status}"))),
    }
    let length = response.headers().get("Content-Length").and_then(|length| length.to_str().ok()?.parse::<u64>().ok());
    let all = length.map(|length| bytes + length);
    let mut file = OpenOptions::new().write(true).create(true).truncate(false).open(path).map_err(Error::at(path))?;
    file.set_len(bytes).map_err(Error::at(path))?;
    seek_to_end(&mut file, path)?;
    let mut body = response.into_body().into_reader();
    let mut buffer = vec![0; 1 << 16];
    loop {
        watch(Progress { address, bytes, all });
        let count = match body.read(&mut buffer) {
            Ok(0) => break,
            Ok(count) => count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(failed(&error)),
        };
        bytes += count as u64;
        if bytes > LARGEST {
            let _ = fs::remove_file(path);
            return Err(failed(&"it does not end where such a file does"));
        }
        file.write_all(&buffer[..count]).map_err(Error::at(path))?;
    }
    if all.is_some_and(|all| bytes < all) {
        return Err(failed(&"the connection ended before the file did"));
    }
    file.sync_all().map_err(Error::at(path))
}

fn seek_to_end(file: &mut File, path: &Path) -> Result<(), Error> {
    use std::io::Seek;
    file.seek(io::SeekFrom::End(0)).map(|_| ()).map_err(Error::at(path))
}

#[cfg(test)]
mod tests {
    use std::io::{BufRead, BufReader};
    use std::net::TcpListener;

    use super::*;

    const BODY: &[u8] = b"a file of seventy bytes or so, which is long enough to be cut into two";

    /// A file of nothing but text.
    fn contents(path: &Path) -> Result<String, Error> {
        let text = fs::read_to_string(path).map_err(Error::at(path))?;
        if text.starts_with("a file") { Ok(text) } else { Err(Error::data(path.display(), "it is no file of text")) }
    }

    fn data_file(address: String, md5: Option<&'static str>) -> DataFile {
        data_file_at(vec![address], md5)
    }

    fn data_file_at(addresses: Vec<String>, md5: Option<&'static str>) -> DataFile {
        let addresses = addresses.into_iter().map(|address| &*address.leak());
        let addresses: &'static [&'static str] = addresses.collect::<Vec<_>>().leak();
        let place = |folder: &Path, name: &str| Some(folder.join(name)).filter(|path| path.exists());
        DataFile { name: "a.txt", addresses, md5, place, contents }
    }

    /// A server that answers so many requests, each with what the function makes of where it is to start. Gives its
    /// address.
    fn serve(requests: usize, answer: impl Fn(Option<usize>) -> Vec<u8> + Send + 'static) -> String {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = format!("http://{}/a.txt", listener.local_addr().unwrap());
        std::thread::spawn(move || {
            for _ in 0..requests {
                let (mut stream, _) = listener.accept().unwrap();
                let mut from = None;
                for line in BufReader::new(stream.try_clone().unwrap()).lines() {
                    let line = line.unwrap().to_lowercase();
                    if let Some(range) = line.strip_prefix("range: bytes=") {
                        from = range.trim_end_matches('-').parse().ok();
                    }
                    if line.is_empty() {
                        break;
                    }
                }
                let _ = stream.write_all(&answer(from));
            }
        });
        address
    }

    fn response(status: &str, length: usize, body: &[u8]) -> Vec<u8> {
        let head = format!("HTTP/1.1 {status}\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n");
        [head.as_bytes(), body].concat()
    }

    fn whole(from: Option<usize>) -> Vec<u8> {
        match from {
            Some(from) => response("206 Partial Content", BODY.len() - from, &BODY[from..]),
            None => response("200 OK", BODY.len(), BODY),
        }
    }

    fn names(folder: &Path) -> Vec<String> {
        let names = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
        names.collect()
    }

    #[test]
    fn a_file_is_downloaded_once() {
        let folder = tempfile::tempdir().unwrap();
        let file = data_file(serve(1, whole), None);
        let mut seen = Vec::new();
        let found = fetch(&file, folder.path(), &mut |progress| seen.push((progress.bytes, progress.all))).unwrap();
        assert_eq!((found.contents.as_bytes(), found.official), (BODY, None));
        assert_eq!((seen.first(), seen.last()), (Some(&(0, Some(70))), Some(&(70, Some(70)))));
        assert_eq!(found.sha256.as_ref().map(String::len), Some(64));
        // The server is gone, but the file is there.
        assert_eq!(fetch(&file, folder.path(), &mut |_| ()).unwrap(), found);
        assert_eq!(names(folder.path()), ["a.txt"]);
    }

    #[test]
    fn an_interrupted_download_goes_on() {
        let folder = tempfile::tempdir().unwrap();
        let cut = |from: Option<usize>| match from {
            None => response("200 OK", BODY.len(), &BODY[..30]),
            from => whole(from),
        };
        let file = data_file(serve(2, cut), None);
        let error = fetch(&file, folder.path(), &mut |_| ()).unwrap_err();
        assert!(!error.is_usage() && error.to_string().contains("--from"), "{error}");
        assert_eq!(names(folder.path()), [".part-a.txt"]);
        let mut first = None;
        let found = fetch(&file, folder.path(), &mut |progress| first = first.or(Some(progress.bytes))).unwrap();
        assert_eq!((found.contents.as_bytes(), first), (BODY, Some(30)));

        // A server that knows no ranges starts again.
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join(".part-a.txt"), "rubbish").unwrap();
        let file = data_file(serve(1, |_| whole(None)), None);
        assert_eq!(fetch(&file, folder.path(), &mut |_| ()).unwrap().contents.as_bytes(), BODY);
    }

    #[test]
    fn what_does_not_match_is_refused_and_removed() {
        let folder = tempfile::tempdir().unwrap();
        let file = data_file(serve(1, whole), Some("00000000000000000000000000000000"));
        let error = fetch(&file, folder.path(), &mut |_| ()).unwrap_err().to_string();
        assert!(error.contains("not the official file, whose MD5 sum is 0000"), "{error}");
        let file = data_file(serve(1, |_| response("200 OK", 4, b"evil")), None);
        assert!(fetch(&file, folder.path(), &mut |_| ()).unwrap_err().to_string().contains("no file of text"));
        let file = data_file(serve(1, |_| response("404 Not Found", 2, b"no")), None);
        assert!(fetch(&file, folder.path(), &mut |_| ()).unwrap_err().to_string().contains("404"));
        assert!(names(folder.path()).is_empty());
    }

    #[test]
    fn an_address_with_something_else_is_passed_over() {
        let folder = tempfile::tempdir().unwrap();
        let parked = || serve(1, |_| response("200 OK", 9, b"<!DOCTYPE"));
        let file = data_file_at(vec![parked(), serve(1, whole)], None);
        assert_eq!(fetch(&file, folder.path(), &mut |_| ()).unwrap().contents.as_bytes(), BODY);
        assert_eq!(names(folder.path()), ["a.txt"]);

        let folder = tempfile::tempdir().unwrap();
        let missing = serve(1, |_| response("404 Not Found", 2, b"no"));
        let error = fetch(&data_file_at(vec![parked(), missing], None), folder.path(), &mut |_| ()).unwrap_err();
        assert!(error.to_string().contains("it is no file of text"), "{error}");
        assert!(names(folder.path()).is_empty());
    }

    #[test]
    fn a_damaged_file_is_replaced_by_a_whole_one() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("a.txt"), "damaged").unwrap();
        let file = data_file(serve(1, |_| response("404 Not Found", 2, b"no")), None);
        assert!(fetch(&file, folder.path(), &mut |_| ()).unwrap_err().to_string().contains("404"));
        assert_eq!(fs::read_to_string(folder.path().join("a.txt")).unwrap(), "damaged");
        let file = data_file(serve(1, whole), None);
        assert_eq!(fetch(&file, folder.path(), &mut |_| ()).unwrap().contents.as_bytes(), BODY);
        assert_eq!(names(folder.path()), ["a.txt"]);
        assert_eq!(fs::read(folder.path().join("a.txt")).unwrap(), BODY);
    }

    #[test]
    fn a_file_on_this_machine_is_taken() {
        let folder = tempfile::tempdir().unwrap();
        let (from, data) = (folder.path().join("a.txt"), folder.path().join("data"));
        fs::write(&from, BODY).unwrap();
        let file = data_file(String::new(), Some("00000000000000000000000000000000"));
        for from in [&from, folder.path()] {
            assert_eq!(take(&file, from, &data).unwrap().official, Some(false));
        }
        assert_eq!(names(&data), ["a.txt"]);
        assert_eq!(file.check(&data).unwrap().contents.as_bytes(), BODY);
        assert!(take(&file, &folder.path().join("none"), &data).unwrap_err().to_string().contains("no such file"));
        fs::write(&from, "evil").unwrap();
        assert!(take(&file, &from, &data).is_err());
        // What was there stays.
        assert_eq!(file.check(&data).unwrap().contents.as_bytes(), BODY);
        assert!(file.check(folder.path()).unwrap_err().to_string().contains("no file of text"));
    }
}
