//! Pods by the thousand: one listener that answers on every address of the pods, each answer
//! being the address that was asked.

use std::net::{Ipv4Addr, TcpListener};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

/// Port of the crowd.
pub const PORT: u16 = 8080;

/// The address of a pod of the crowd. None has an address that `Pod::start` gives out.
pub fn address(number: usize) -> Ipv4Addr {
    let [_, high, middle, low] = (u32::try_from(number).unwrap() + 256).to_be_bytes();
    assert!(high < 31, "too many pods");
    Ipv4Addr::new(10, 80 + high, middle, low)
}

/// Starts answering. Ends with the process.
pub fn gather() {
    let listener = TcpListener::bind((Ipv4Addr::UNSPECIFIED, PORT)).unwrap();
    listener.set_nonblocking(true).unwrap();
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let listener = tokio::net::TcpListener::from_std(listener).unwrap();
            loop {
                let Ok((mut stream, _)) = listener.accept().await else { continue };
                let Ok(local) = stream.local_addr() else { continue };
                let body = local.ip().to_string();
                let length = body.len();
                let answer = format!("HTTP/1.1 200 OK\r\ncontent-length: {length}\r\n\r\n{body}");
                tokio::spawn(async move {
                    let _ = stream.set_nodelay(true);
                    let (mut piece, mut held) = (vec![0; 4096], 0);
                    while let Ok(count @ 1..) = stream.read(&mut piece[held..]).await {
                        held += count;
                        if piece[..held].ends_with(b"\r\n\r\n") {
                            held = 0;
                            if stream.write_all(answer.as_bytes()).await.is_err() {
                                return;
                            }
                        }
                    }
                });
            }
        });
    });
}
