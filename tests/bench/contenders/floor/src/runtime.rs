//! The Lambda runtime interface over one blocking keep-alive connection.
use std::{
    io::{Read, Write},
    net::TcpStream,
};

use crate::Outcome;

pub fn run(address: &str, mut answer: impl FnMut(&[u8]) -> Outcome<String>) -> Outcome<()> {
    let mut stream = TcpStream::connect(address)?;
    stream.set_nodelay(true)?;
    let next = format!("GET /2018-06-01/runtime/invocation/next HTTP/1.1\r\nhost: {address}\r\n\r\n");
    let mut message = Message::default();
    loop {
        stream.write_all(next.as_bytes())?;
        message.read(&mut stream)?;
        let id = message.header("lambda-runtime-aws-request-id").ok_or("no request id")?.to_owned();
        let body = answer(message.body())?;
        let head = format!(
            "POST /2018-06-01/runtime/invocation/{id}/response HTTP/1.1\r\nhost: {address}\r\ncontent-length: {}\r\n\r\n{body}",
            body.len()
        );
        stream.write_all(head.as_bytes())?;
        message.read(&mut stream)?;
    }
}

/// One HTTP/1.1 response with a `content-length`, in a buffer that is used again.
#[derive(Default)]
pub struct Message {
    buffer: Vec<u8>,
    head: usize,
    length: usize,
}

impl Message {
    pub fn read(&mut self, stream: &mut impl Read) -> Outcome<()> {
        self.buffer.clear();
        let mut chunk = [0; 8192];
        loop {
            let count = stream.read(&mut chunk)?;
            if count == 0 {
                return Err("the peer closed the connection".into());
            }
            self.buffer.extend_from_slice(&chunk[..count]);
            if let Some(end) = self.buffer.windows(4).position(|bytes| bytes == b"\r\n\r\n") {
                self.head = end + 4;
                break;
            }
        }
        self.length = self.header("content-length").unwrap_or("0").parse()?;
        while self.buffer.len() < self.head + self.length {
            let count = stream.read(&mut chunk)?;
            if count == 0 {
                return Err("the peer closed the connection".into());
            }
            self.buffer.extend_from_slice(&chunk[..count]);
        }
        Ok(())
    }

    pub fn status(&self) -> &str {
        std::str::from_utf8(self.buffer.get(9..12).unwrap_or_default()).unwrap_or_default()
    }

    pub fn header(&self, name: &str) -> Option<&str> {
        let head = std::str::from_utf8(&self.buffer[..self.head]).ok()?;
        head.lines().skip(1).find_map(|line| {
            let (key, value) = line.split_once(':')?;
            key.eq_ignore_ascii_case(name).then(|| value.trim())
        })
    }

    pub fn body(&self) -> &[u8] {
        &self.buffer[self.head..self.head + self.length]
    }
}
