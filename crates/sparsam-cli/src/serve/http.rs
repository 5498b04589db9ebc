//! HTTP for one page on this machine: requests to GET something, and answers from memory.
//!
//! The heads of requests are read by `httparse`, which is in the build for downloads already; servers that do more than this
//! bring an asynchronous runtime, or wait for a slow request without end. A request that is not plainly for this server is
//! refused: one of another method, with a body, too long, too slow, or for another host, as pages of other sites make them once a
//! name of theirs leads to this machine (DNS rebinding).

use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, Shutdown, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

/// The most bytes of a request.
const LONGEST: usize = 8 << 10;

/// The most headers of a request.
const MOST_HEADERS: usize = 64;

/// Connections that are answered at once; of more, each is told to come again.
const MOST_CONNECTIONS: usize = 64;

/// How long a request may take to arrive.
const ARRIVES_WITHIN: Duration = Duration::from_secs(5);

/// How long an answer may take to be taken.
const TAKEN_WITHIN: Duration = Duration::from_secs(60);

/// How long what is left of a refused request is thrown away, so that its sender reads the answer before the end.
const DRAINED_WITHIN: Duration = Duration::from_millis(500);

/// What is asked for.
pub struct Request {
    /// With the `/` at its beginning.
    pub path: String,
    /// The [`Response::tag`] that whoever asks has already.
    pub has: Option<String>,
}

/// What is answered.
#[derive(Clone)]
pub struct Response {
    pub status: Status,
    /// The type of the body, as MIME has it.
    pub kind: &'static str,
    /// Stands for this body: another body has another tag.
    pub tag: Option<String>,
    pub body: Arc<str>,
}

impl Response {
    pub fn new(kind: &'static str, body: impl Into<Arc<str>>) -> Self {
        Self { status: Status::Ok, kind, tag: None, body: body.into() }
    }

    /// A sentence that says why there is no other answer.
    pub fn refusal(status: Status, sentence: &str) -> Self {
        Self { status, kind: "text/plain; charset=utf-8", tag: None, body: format!("{sentence}\n").into() }
    }
}

/// The statuses of HTTP that occur.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    Ok,
    NotModified,
    BadRequest,
    Forbidden,
    NotFound,
    MethodNotAllowed,
    RequestTimeout,
    HeaderFieldsTooLarge,
    ServiceUnavailable,
}

impl Status {
    fn line(self) -> &'static str {
        match self {
            Self::Ok => "200 OK",
            Self::NotModified => "304 Not Modified",
            Self::BadRequest => "400 Bad Request",
            Self::Forbidden => "403 Forbidden",
            Self::NotFound => "404 Not Found",
            Self::MethodNotAllowed => "405 Method Not Allowed",
            Self::RequestTimeout => "408 Request Timeout",
            Self::HeaderFieldsTooLarge => "431 Request Header Fields Too Large",
            Self::ServiceUnavailable => "503 Service Unavailable",
        }
    }
}

/// A port of 127.0.0.1, which other machines do not reach.
pub struct Server {
    listener: TcpListener,
    port: u16,
}

impl Server {
    /// Takes a port, or a free one for 0.
    ///
    /// # Errors
    /// What the system says, as if the port is taken.
    pub fn bind(port: u16) -> io::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port))?;
        let port = listener.local_addr()?.port();
        Ok(Self { listener, port })
    }

    /// Where it is reached.
    pub fn address(&self) -> String {
        format!("http://127.0.0.1:{}/", self.port)
    }

    /// Answers whoever asks, for good.
    pub fn run(self, answer: impl Fn(&Request) -> Response + Send + Sync + 'static) -> ! {
        let (answer, port) = (Arc::new(answer), self.port);
        let connections = Arc::new(AtomicUsize::new(0));
        loop {
            let Ok((mut stream, _)) = self.listener.accept() else {
                // As when there are no more file descriptors: some may become free.
                thread::sleep(Duration::from_millis(50));
                continue;
            };
            let counted = Counted::new(&connections);
            if counted.number > MOST_CONNECTIONS {
                let busy = Response::refusal(Status::ServiceUnavailable, "too many connections; come again");
                let _ = send(&mut stream, &busy, Duration::from_millis(100));
                continue;
            }
            let answer = Arc::clone(&answer);
            let converses = move || {
                let _counted = counted;
                // Whoever asked is gone if this fails.
                let _ = converse(&mut stream, port, &*answer);
            };
            // Without a thread to be had, the connection is closed.
            let _ = thread::Builder::new().name("connection".into()).spawn(converses);
        }
    }
}

/// One of so many, until it is dropped.
struct Counted {
    all: Arc<AtomicUsize>,
    number: usize,
}

impl Counted {
    fn new(all: &Arc<AtomicUsize>) -> Self {
        Self { all: Arc::clone(all), number: all.fetch_add(1, Ordering::Relaxed) + 1 }
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.all.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Reads a request and answers it; a connection has one.
fn converse(stream: &mut TcpStream, port: u16, answer: &dyn Fn(&Request) -> Response) -> io::Result<()> {
    match read(stream, port)? {
        Some(Ok(request)) => {
            let mut response = answer(&request);
            if response.tag.is_some() && response.tag == request.has {
                response = Response { status: Status::NotModified, body: "".into(), ..response };
            }
            send(stream, &response, TAKEN_WITHIN)
        }
        Some(Err(refusal)) => {
            send(stream, &refusal, TAKEN_WITHIN)?;
            drain(stream)
        }
        None => Ok(()),
    }
}

/// The request, or what is answered in its place; none if the connection ends before it.
fn read(stream: &mut TcpStream, port: u16) -> io::Result<Option<Result<Request, Response>>> {
    let end = Instant::now() + ARRIVES_WITHIN;
    let (mut bytes, mut length) = ([0; LONGEST], 0);
    loop {
        let left = end.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Ok(Some(Err(Response::refusal(Status::RequestTimeout, "the request takes too long to arrive"))));
        }
        stream.set_read_timeout(Some(left))?;
        match stream.read(&mut bytes[length..]) {
            Ok(0) => return Ok(None),
            Ok(more) => length += more,
            Err(error) if is_wait(&error) => continue,
            Err(error) => return Err(error),
        }
        if let Some(understood) = understand(&bytes[..length], port) {
            return Ok(Some(understood));
        }
        if length == LONGEST {
            let sentence = format!("a request has {LONGEST} bytes at most");
            return Ok(Some(Err(Response::refusal(Status::HeaderFieldsTooLarge, &sentence))));
        }
    }
}

fn is_wait(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut | io::ErrorKind::Interrupted)
}

/// The request that the head of one stands for, or what is answered in its place; none if the head goes on.
fn understand(bytes: &[u8], port: u16) -> Option<Result<Request, Response>> {
    let refuse = |status, sentence: &str| Some(Err(Response::refusal(status, sentence)));
    let mut headers = [httparse::EMPTY_HEADER; MOST_HEADERS];
    let mut head = httparse::Request::new(&mut headers);
    match head.parse(bytes) {
        Ok(httparse::Status::Complete(_)) => {}
        Ok(httparse::Status::Partial) => return None,
        Err(httparse::Error::TooManyHeaders) => {
            let sentence = format!("a request has {MOST_HEADERS} headers at most");
            return refuse(Status::HeaderFieldsTooLarge, &sentence);
        }
        Err(error) => return refuse(Status::BadRequest, &format!("this is no request of HTTP: {error}")),
    }
    let values = |name: &str| -> Vec<&[u8]> {
        let named = head.headers.iter().filter(|header| header.name.eq_ignore_ascii_case(name));
        named.map(|header| header.value).collect()
    };
    match values("host")[..] {
        [host] if is_own(host, port) => {}
        [_] => return refuse(Status::Forbidden, &format!("this is http://127.0.0.1:{port}/ and no other host")),
        _ => return refuse(Status::BadRequest, "a request names one host"),
    }
    if head.method != Some("GET") {
        return refuse(Status::MethodNotAllowed, "there is nothing here to do but to GET");
    }
    let has_body =
        !values("transfer-encoding").is_empty() || values("content-length").iter().any(|length| *length != b"0");
    if has_body {
        return refuse(Status::BadRequest, "a request to GET has no body");
    }
    let has = match values("if-none-match")[..] {
        [tag] => String::from_utf8(tag.to_vec()).ok(),
        _ => None,
    };
    Some(Ok(Request { path: head.path.unwrap_or_default().to_owned(), has }))
}

/// Whether a request names this server as its host.
fn is_own(host: &[u8], port: u16) -> bool {
    ["127.0.0.1", "localhost"].iter().any(|name| {
        // The port of HTTP goes without saying.
        let short = port == 80 && host.eq_ignore_ascii_case(name.as_bytes());
        short || host.eq_ignore_ascii_case(format!("{name}:{port}").as_bytes())
    })
}

fn send(stream: &mut TcpStream, response: &Response, within: Duration) -> io::Result<()> {
    let Response { status, kind, tag, body } = response;
    let mut head = format!(
        "HTTP/1.1 {}\r\nContent-Type: {kind}\r\nConnection: close\r\nCache-Control: no-store\r\n\
         X-Content-Type-Options: nosniff\r\nReferrer-Policy: no-referrer\r\nCross-Origin-Resource-Policy: same-origin\r\n\
         Content-Security-Policy: frame-ancestors 'self'\r\n",
        status.line()
    );
    if *status != Status::NotModified {
        head += &format!("Content-Length: {}\r\n", body.len());
    }
    if *status == Status::MethodNotAllowed {
        head += "Allow: GET\r\n";
    }
    if let Some(tag) = tag {
        head += &format!("ETag: {tag}\r\n");
    }
    head += "\r\n";
    let end = Instant::now() + within;
    for mut part in [head.as_bytes(), body.as_bytes()] {
        while !part.is_empty() {
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(io::ErrorKind::TimedOut.into());
            }
            stream.set_write_timeout(Some(left))?;
            match stream.write(part) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(written) => part = &part[written..],
                Err(error) if is_wait(&error) => {}
                Err(error) => return Err(error),
            }
        }
    }
    Ok(())
}

/// Throws away what still comes of a request that was refused: a connection that is closed before may take the answer with it.
fn drain(stream: &mut TcpStream) -> io::Result<()> {
    stream.shutdown(Shutdown::Write)?;
    let end = Instant::now() + DRAINED_WITHIN;
    let mut bytes = [0; 4 << 10];
    loop {
        let left = end.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Ok(());
        }
        stream.set_read_timeout(Some(left))?;
        if stream.read(&mut bytes)? == 0 {
            return Ok(());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A server that answers with the path, or with what has a tag.
    fn start() -> u16 {
        let server = Server::bind(0).unwrap();
        assert!(server.listener.local_addr().unwrap().ip().is_loopback());
        let port = server.port;
        thread::spawn(move || {
            server.run(|request| match request.path.as_str() {
                "/tagged" => Response { tag: Some("\"a\"".into()), ..Response::new("text/plain", "tagged") },
                "/panics" => panic!("as a mistake in the program would"),
                path => Response::new("text/plain", path),
            })
        });
        port
    }

    /// What is answered to these bytes, until the connection ends.
    fn answer(port: u16, bytes: &[u8]) -> String {
        let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        // A server that has refused need not read on.
        let _ = stream.write_all(bytes);
        let mut text = Vec::new();
        let _ = stream.read_to_end(&mut text);
        String::from_utf8(text).unwrap()
    }

    fn get(port: u16, path: &str, more: &str) -> String {
        answer(port, format!("GET {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\n{more}\r\n").as_bytes())
    }

    #[test]
    fn what_is_asked_for_is_answered() {
        let port = start();
        let told = get(port, "/a?b", "Accept: */*\r\n");
        assert!(told.starts_with("HTTP/1.1 200 OK\r\n") && told.ends_with("\r\n\r\n/a?b"), "{told}");
        for header in ["Connection: close", "nosniff", "Content-Length: 4\r\n", "frame-ancestors 'self'"] {
            assert!(told.contains(header), "{header} is not in {told}");
        }
        assert!(answer(port, format!("GET / HTTP/1.1\r\nhost: LOCALHOST:{port}\r\n\r\n").as_bytes()).contains(" 200 "));
        // What is there already is not sent again.
        assert!(get(port, "/tagged", "").ends_with("tagged"));
        let told = get(port, "/tagged", "If-None-Match: \"a\"\r\n");
        assert!(told.starts_with("HTTP/1.1 304 ") && told.ends_with("\r\n\r\n"), "{told}");
        assert!(get(port, "/tagged", "If-None-Match: \"b\"\r\n").contains(" 200 "));
        // A request in pieces is one.
        let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).unwrap();
        for piece in [&b"GET /pieces HT"[..], b"TP/1.1\r\nHost: ", format!("127.0.0.1:{port}\r\n\r\n").as_bytes()] {
            stream.write_all(piece).unwrap();
            thread::sleep(Duration::from_millis(20));
        }
        let mut text = String::new();
        stream.read_to_string(&mut text).unwrap();
        assert!(text.ends_with("/pieces"), "{text}");
    }

    #[test]
    fn what_is_not_for_this_server_is_refused() {
        let port = start();
        let of = |head: &str| answer(port, format!("{head}\r\n\r\n").as_bytes());
        let own = format!("Host: 127.0.0.1:{port}");
        let hosts = ["evil.example", "127.0.0.1", "127.0.0.1:1", "127.0.0.1.evil.example", &format!("evil:{port}"), ""];
        for host in hosts {
            let told = of(&format!("GET / HTTP/1.1\r\nHost: {host}"));
            assert!(told.starts_with("HTTP/1.1 403 "), "{host}: {told}");
        }
        assert!(of("GET / HTTP/1.1").starts_with("HTTP/1.1 400 "));
        assert!(of(&format!("GET / HTTP/1.1\r\n{own}\r\nHost: evil.example")).starts_with("HTTP/1.1 400 "));
        for method in ["POST", "HEAD", "PUT", "OPTIONS", "DELETE"] {
            let told = of(&format!("{method} / HTTP/1.1\r\n{own}"));
            assert!(told.starts_with("HTTP/1.1 405 ") && told.contains("Allow: GET"), "{method}: {told}");
        }
        for body in ["Content-Length: 3", "Transfer-Encoding: chunked"] {
            assert!(of(&format!("GET / HTTP/1.1\r\n{own}\r\n{body}")).starts_with("HTTP/1.1 400 "));
        }
    }

    #[test]
    fn garbage_and_too_much_are_refused_and_leave_the_server_standing() {
        let port = start();
        for garbage in
            [&b"\0\0\0\0"[..], b"GET\r\n\r\n", b"GET / HTTP/9.9\r\n\r\n", b"\x16\x03\x01\x02\x00\x01", b"\xff\xfe "]
        {
            let told = answer(port, garbage);
            assert!(told.starts_with("HTTP/1.1 400 "), "{garbage:?}: {told}");
        }
        let long = format!("GET /{} HTTP/1.1\r\n", "a".repeat(1 << 20));
        assert!(answer(port, long.as_bytes()).starts_with("HTTP/1.1 431 "));
        let many = format!("GET / HTTP/1.1\r\n{}\r\n", "a: b\r\n".repeat(100));
        assert!(answer(port, many.as_bytes()).starts_with("HTTP/1.1 431 "));
        // Every beginning of a request that ends there is passed over.
        let whole = format!("GET / HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\n\r\n");
        for length in 0..whole.len() {
            let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).unwrap();
            stream.write_all(&whole.as_bytes()[..length]).unwrap();
            stream.shutdown(Shutdown::Write).unwrap();
            assert_eq!(stream.read(&mut [0; 16]).unwrap(), 0);
        }
        assert_eq!(get(port, "/panics", ""), "");
        assert!(get(port, "/still", "").ends_with("/still"));
    }

    #[test]
    fn slow_requests_come_to_an_end_and_hinder_nobody() {
        let port = start();
        let started = Instant::now();
        let mut slow: Vec<TcpStream> = (0..MOST_CONNECTIONS - 4)
            .map(|_| {
                let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).unwrap();
                stream.write_all(b"GET / HTTP/1.1\r\n").unwrap();
                stream
            })
            .collect();
        assert!(get(port, "/meanwhile", "").ends_with("/meanwhile"));
        assert!(started.elapsed() < ARRIVES_WITHIN);
        // One that goes on and on, byte by byte, is no exception.
        let mut text = String::new();
        let last = slow.last_mut().unwrap();
        while last.write_all(b"a").is_ok() && started.elapsed() < 2 * ARRIVES_WITHIN {
            thread::sleep(Duration::from_millis(100));
            last.set_nonblocking(true).unwrap();
            let answered = last.peek(&mut [0; 1]).is_ok();
            last.set_nonblocking(false).unwrap();
            if answered {
                break;
            }
        }
        let _ = last.read_to_string(&mut text);
        assert!(text.starts_with("HTTP/1.1 408 "), "{text}");
        // More than there may be at once are told so.
        let many: Vec<_> =
            (0..2 * MOST_CONNECTIONS).map(|_| TcpStream::connect((Ipv4Addr::LOCALHOST, port)).unwrap()).collect();
        assert!(get(port, "/busy", "").contains(" 503 "));
        drop(many);
        let free = Instant::now();
        while !get(port, "/free", "").ends_with("/free") {
            assert!(free.elapsed() < Duration::from_secs(20));
        }
    }
}
