//! By which address of its own this machine reaches another.

use std::{
    io,
    net::{IpAddr, SocketAddr, ToSocketAddrs, UdpSocket},
};

/// The address of this machine from which the first of `peers` (`host:port`) is reached that has one; nothing is sent.
///
/// ```
/// let ip = firesteel_cluster::route::towards(&["127.0.0.1:7077".into()]).unwrap();
/// assert!(ip.is_loopback());
/// ```
///
/// # Errors
/// Why the last of them is not reached.
pub fn towards(peers: &[String]) -> Result<IpAddr, String> {
    let mut failed = String::new();
    for peer in peers {
        let way = || {
            let to = peer.to_socket_addrs()?.next().ok_or(io::ErrorKind::NotFound)?;
            let from: SocketAddr = if to.is_ipv4() { ([0; 4], 0).into() } else { ([0u16; 8], 0).into() };
            let socket = UdpSocket::bind(from)?;
            socket.connect(to)?;
            socket.local_addr()
        };
        match way() {
            Ok(address) => return Ok(address.ip()),
            Err(e) => failed = format!("{peer}: {e}"),
        }
    }
    Err(failed)
}
