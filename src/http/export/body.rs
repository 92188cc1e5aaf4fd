//! The body of an export: made in pieces while it is sent, never held together, and broken off where its end is missing.

use std::io;
use std::ops::ControlFlow;
use std::time::Duration;

use futures_util::stream::{self, BoxStream, StreamExt as _};
use tokio::sync::mpsc;
use tokio::time::timeout;

/// Bytes from which a piece is sent.
const PIECE: usize = 64 * 1024;
/// Pieces that wait for the client.
const AHEAD: usize = 4;
/// A client that takes no piece for this long has gone away: its export keeps a snapshot of the tenant's file.
const STALL: Duration = Duration::from_secs(30);

enum Piece {
    Bytes(Vec<u8>),
    /// Nothing is missing.
    End,
}

/// Takes the bytes of a body. Dropped without [`Pieces::end`], it leaves a body that breaks off.
pub(super) struct Pieces {
    sender: mpsc::Sender<Piece>,
    buffer: Vec<u8>,
}

/// The other end of [`Pieces`].
pub(super) struct Received(mpsc::Receiver<Piece>);

/// What comes of a body.
pub(super) type Body = BoxStream<'static, io::Result<Vec<u8>>>;

/// A body that is made while it is sent.
pub(super) fn body() -> (Pieces, Received) {
    let (sender, receiver) = mpsc::channel(AHEAD);
    (Pieces { sender, buffer: Vec::new() }, Received(receiver))
}

impl Pieces {
    /// Where the next bytes go.
    pub(super) fn buffer(&mut self) -> &mut Vec<u8> {
        &mut self.buffer
    }

    /// Sends what has been written, once it is enough. Breaks if nobody takes it.
    pub(super) async fn pass(&mut self) -> ControlFlow<()> {
        if self.buffer.len() < PIECE { ControlFlow::Continue(()) } else { self.flush().await }
    }

    /// Sends the rest. Nothing is missing.
    pub(super) async fn end(mut self) {
        if self.flush().await.is_continue() {
            let _broken = self.send(Piece::End).await;
        }
    }

    async fn flush(&mut self) -> ControlFlow<()> {
        let bytes = std::mem::replace(&mut self.buffer, Vec::with_capacity(PIECE + PIECE / 4));
        self.send(Piece::Bytes(bytes)).await
    }

    async fn send(&self, piece: Piece) -> ControlFlow<()> {
        match timeout(STALL, self.sender.send(piece)).await {
            Ok(Ok(())) => ControlFlow::Continue(()),
            Ok(Err(_)) | Err(_) => ControlFlow::Break(()), // gone, or as good as gone
        }
    }
}

impl Received {
    /// Waits for the first piece, and gives the whole body; nothing if there is none.
    pub(super) async fn first(mut self) -> Option<Body> {
        let first = self.0.recv().await?;
        let rest = stream::unfold(Some(self.0), async |receiver| {
            let mut receiver = receiver?;
            match receiver.recv().await {
                Some(Piece::Bytes(bytes)) => Some((Ok(bytes), Some(receiver))),
                Some(Piece::End) => None,
                // The connection is closed without the end of the body: no client takes it for whole.
                None => Some((Err(io::Error::other("the export broke off")), None)),
            }
        });
        match first {
            Piece::Bytes(bytes) => Some(stream::iter([Ok(bytes)]).chain(rest).boxed()),
            Piece::End => Some(stream::empty().boxed()),
        }
    }
}
