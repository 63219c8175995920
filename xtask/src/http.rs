//! An HTTP client of one connection.

use crate::run::Result;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::time::{Duration, Instant};

/// How long a server may take to listen, or to answer.
const PATIENCE: Duration = Duration::from_secs(30);

/// A connection to a server.
pub(crate) struct Connection {
    stream: BufReader<TcpStream>,
    port: u16,
    path: String,
    requests: usize,
}

/// A port that nobody listens on.
pub(crate) fn free_port() -> Result<u16> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).map_err(|error| error.to_string())?;
    listener.local_addr().map(|address| address.port()).map_err(|error| error.to_string())
}

/// Connects to a server as soon as it listens.
pub(crate) fn connect(port: u16) -> Result<BufReader<TcpStream>> {
    let deadline = Instant::now() + PATIENCE;
    let stream = loop {
        match TcpStream::connect((Ipv4Addr::LOCALHOST, port)) {
            Ok(stream) => break stream,
            Err(error) if Instant::now() > deadline => return Err(format!("port {port}: {error}")),
            Err(_) => std::thread::sleep(Duration::from_millis(20)),
        }
    };
    stream.set_read_timeout(Some(PATIENCE)).map_err(|error| error.to_string())?;
    Ok(BufReader::new(stream))
}

impl Connection {
    /// Connects as soon as the server listens.
    pub(crate) fn open(port: u16, path: &str) -> Result<Self> {
        Ok(Self { stream: connect(port)?, port, path: path.to_owned(), requests: 0 })
    }

    /// Connects anew, to the same port.
    pub(crate) fn reopen(&mut self) -> Result {
        (self.stream, self.requests) = (connect(self.port)?, 0);
        Ok(())
    }

    /// How many requests were answered.
    pub(crate) fn requests(&self) -> usize {
        self.requests
    }

    /// Asks for the page and returns the answer's head and body.
    pub(crate) fn get(&mut self) -> Result<String> {
        let answer = self.exchange().map_err(|error| format!("the connection: {error}"))?;
        self.requests += 1;
        Ok(String::from_utf8_lossy(&answer).into_owned())
    }

    fn exchange(&mut self) -> std::io::Result<Vec<u8>> {
        // In one piece: small ones wait for each other on the way.
        let request = format!("GET {} HTTP/1.1\r\nHost: localhost\r\n\r\n", self.path);
        self.stream.get_mut().write_all(request.as_bytes())?;
        let (mut length, mut chunked) = (0, false);
        let mut answer = Vec::new();
        loop {
            let line = self.line()?;
            answer.extend_from_slice(line.as_bytes());
            answer.push(b'\n');
            let Some((name, value)) = line.split_once(':') else {
                if line.is_empty() {
                    break;
                }
                continue;
            };
            match name.to_ascii_lowercase().as_str() {
                "content-length" => length = value.trim().parse().map_err(std::io::Error::other)?,
                "transfer-encoding" => chunked = value.trim().eq_ignore_ascii_case("chunked"),
                _ => {}
            }
        }
        if !chunked {
            self.read(length, &mut answer)?;
            return Ok(answer);
        }
        loop {
            let size = usize::from_str_radix(&self.line()?, 16).map_err(std::io::Error::other)?;
            self.read(size, &mut answer)?;
            self.line()?;
            if size == 0 {
                return Ok(answer);
            }
        }
    }

    fn read(&mut self, length: usize, into: &mut Vec<u8>) -> std::io::Result<()> {
        let at = into.len();
        into.resize(at + length, 0);
        self.stream.read_exact(&mut into[at..])
    }

    fn line(&mut self) -> std::io::Result<String> {
        let mut line = String::new();
        if self.stream.read_line(&mut line)? == 0 {
            return Err(std::io::Error::other("the server has closed it"));
        }
        Ok(line.trim_end().to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_of_both_kinds_over_one_connection() {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        let server = std::thread::spawn(move || {
            let (stream, _) = listener.accept().unwrap();
            let mut reader = BufReader::new(&stream);
            for answer in [
                "Content-Length: 3\r\n\r\none",
                "transfer-encoding: chunked\r\n\r\n2\r\ntw\r\n1\r\no\r\n0\r\n\r\n",
            ] {
                let mut line = String::new();
                while line != "\r\n" {
                    line.clear();
                    reader.read_line(&mut line).unwrap();
                }
                write!(&stream, "HTTP/1.1 200 OK\r\n{answer}").unwrap();
            }
        });
        let mut connection = Connection::open(port, "/").unwrap();
        assert_eq!(connection.get().unwrap(), "HTTP/1.1 200 OK\nContent-Length: 3\n\none");
        assert!(connection.get().unwrap().ends_with("chunked\n\ntwo"));
        server.join().unwrap();
        assert!(connection.get().is_err());
        assert_eq!(connection.requests(), 2);
    }
}
