//! A connection with a protocol of lines.

use crate::http::connect;
use crate::run::Result;
use std::io::{BufRead, BufReader, Write};
use std::net::TcpStream;

/// A connection on which the same is said again and again.
pub(super) struct Exchange {
    stream: BufReader<TcpStream>,
    port: u16,
    first: Option<String>,
    send: String,
    lines: usize,
    count: usize,
}

impl Exchange {
    /// Connects as soon as the server listens, and says what makes state there; it answers one line to that
    /// and `lines` to what is sent.
    pub(super) fn open(port: u16, send: &str, lines: usize, first: Option<&str>) -> Result<Self> {
        let (first, send) = (first.map(str::to_owned), send.to_owned());
        let mut exchange = Self { stream: connect(port)?, port, first, send, lines, count: 0 };
        exchange.begin()?;
        Ok(exchange)
    }

    /// Connects anew, to the same port, where the state is.
    pub(super) fn reconnect(&mut self) -> Result {
        self.stream = connect(self.port)?;
        Ok(())
    }

    /// Connects to another process on the same port.
    pub(super) fn reopen(&mut self) -> Result {
        self.reconnect()?;
        self.begin()
    }

    fn begin(&mut self) -> Result {
        if let Some(first) = self.first.clone() {
            self.exchange(&first, 1)?;
        }
        Ok(())
    }

    /// How often it was answered.
    pub(super) fn count(&self) -> usize {
        self.count
    }

    /// Says it and returns the answer.
    pub(super) fn ask(&mut self) -> Result<String> {
        let answer = self.exchange(&self.send.clone(), self.lines)?;
        self.count += 1;
        Ok(answer)
    }

    fn exchange(&mut self, send: &str, lines: usize) -> Result<String> {
        let fail = |error: std::io::Error| format!("the connection: {error}");
        self.stream.get_mut().write_all(send.as_bytes()).map_err(fail)?;
        let mut answer = String::new();
        for _ in 0..lines {
            if self.stream.read_line(&mut answer).map_err(fail)? == 0 {
                return Err(format!("the server has closed the connection after {answer:?}"));
            }
        }
        Ok(answer)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::{Ipv4Addr, TcpListener};

    #[test]
    fn an_answer_is_so_many_lines_and_no_answer_is_an_error() {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        let server = std::thread::spawn(move || {
            let (stream, _) = listener.accept().unwrap();
            let mut line = String::new();
            BufReader::new(&stream).read_line(&mut line).unwrap();
            writeln!(&stream, "{line}and two").unwrap();
        });
        let mut exchange = Exchange::open(port, "one\n", 2, None).unwrap();
        assert_eq!(exchange.ask().unwrap(), "one\nand two\n");
        server.join().unwrap();
        assert!(exchange.ask().is_err());
        assert_eq!(exchange.count(), 1);
    }
}
