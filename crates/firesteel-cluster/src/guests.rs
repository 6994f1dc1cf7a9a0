//! Who comes to be served: a thread each, and so many at most.

use firesteel_net::Connection;
use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

/// What a listener does with a connection: `serve`, on a thread called `thread`; those who come when so many are being served have to
/// come again.
pub(crate) fn served(
    thread: &'static str,
    most: usize,
    serve: impl Fn(Connection) + Send + Sync + 'static,
) -> impl Fn(Connection) + Send + Sync + 'static {
    let (guests, serve) = (Arc::<AtomicUsize>::default(), Arc::new(serve));
    move |connection| {
        let peer = connection.peer().to_string();
        let Some(guest) = Guest::enter(&guests, most) else {
            return tracing::warn!("{peer} is sent away, since {most} others are served: it must come again");
        };
        let serve = serve.clone();
        let serving = move || {
            let _guest = guest;
            serve(connection);
        };
        if let Err(e) = std::thread::Builder::new().name(thread.into()).spawn(serving) {
            tracing::warn!("no thread to serve {peer}: {e}; see the limit on threads (`ulimit -u`)");
        }
    }
}

/// One of those who are served.
struct Guest(Arc<AtomicUsize>);

impl Guest {
    fn enter(guests: &Arc<AtomicUsize>, most: usize) -> Option<Guest> {
        let guest = Guest(guests.clone());
        (guests.fetch_add(1, Ordering::Relaxed) < most).then_some(guest)
    }
}

impl Drop for Guest {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}
